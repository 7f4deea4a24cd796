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
    /// Whether a last window may reach over the edge of the padded map, if it begins within the map or the padding before it:
    /// otherwise places that fill no window are left out.
    pub ceil: bool,
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
            let stride = self.stride[axis];
            let over = if self.ceil { stride.checked_sub(1)? } else { 0 };
            let free = padded.checked_add(over)?.checked_sub(span)?;
            let last = free.checked_div(stride)?;
            let begins_within = last * stride < input[axis] + self.padding[axis];
            Some(last + usize::from(!self.ceil || begins_within))
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
