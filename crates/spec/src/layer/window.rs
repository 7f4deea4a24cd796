/// How a window moves over a map; every pair is `[height, width]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Places that it looks at.
    pub kernel: [usize; 2],
    /// Distance from one window to the next.
    pub stride: [usize; 2],
    /// Rows and columns of padding on each side of the map.
    pub padding: [usize; 2],
    /// Distance between the places of one window.
    pub dilation: [usize; 2],
}

impl Window {
    /// Height and width of what comes out of a map; nothing where the window is larger than the padded map.
    pub fn output(&self, input: [usize; 2]) -> Option<[usize; 2]> {
        let along = |axis: usize| {
            let reach = self.kernel[axis].checked_sub(1)?;
            let span = reach.checked_mul(self.dilation[axis])?.checked_add(1)?;
            let padded = self.padding[axis]
                .checked_mul(2)?
                .checked_add(input[axis])?;
            Some(padded.checked_sub(span)?.checked_div(self.stride[axis])? + 1)
        };
        Some([along(0)?, along(1)?])
    }

    /// Whether some window sees nothing but padding.
    pub(super) fn sees_only_padding(&self, input: [usize; 2]) -> bool {
        let Some(output) = self.output(input) else {
            return false;
        };
        (0..2).any(|axis| {
            let inside = |output: usize, tap: usize| {
                let padded = output * self.stride[axis] + tap * self.dilation[axis];
                padded
                    .checked_sub(self.padding[axis])
                    .is_some_and(|place| place < input[axis])
            };
            let sees = |output| (0..self.kernel[axis]).any(|tap| inside(output, tap));
            !(0..output[axis]).all(sees)
        })
    }
}
