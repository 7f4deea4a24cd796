/// How a window moves over a map `[height, width]`: that of a convolution or of a pooling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Places that the window looks at, in each direction.
    pub kernel: [usize; 2],
    /// Distance between one window and the next.
    pub stride: [usize; 2],
    /// Rows and columns of padding on each side of the map.
    pub padding: [usize; 2],
    /// Distance between the places of one window.
    pub dilation: [usize; 2],
    /// Whether a last window may reach over the edge of the padded map, if it begins within the map or the padding before
    /// it: otherwise places that fill no window are left out. For pooling only.
    pub ceil: bool,
}

impl Window {
    /// A square window without padding or dilation.
    pub fn square(kernel: usize, stride: usize) -> Self {
        Self {
            kernel: [kernel; 2],
            stride: [stride; 2],
            padding: [0; 2],
            dilation: [1; 2],
            ceil: false,
        }
    }

    /// The same window with `padding` on every side.
    pub fn padded(self, padding: usize) -> Self {
        Self {
            padding: [padding; 2],
            ..self
        }
    }

    /// Height and width of what comes out; nothing where the window is larger than the padded map, or a number is 0 that
    /// may not be.
    pub fn output(&self, input: [usize; 2]) -> Option<[usize; 2]> {
        let along = |axis: usize| {
            let (kernel, stride, dilation) =
                (self.kernel[axis], self.stride[axis], self.dilation[axis]);
            if kernel == 0 || stride == 0 || dilation == 0 {
                return None;
            }
            let span = dilation.checked_mul(kernel - 1)?.checked_add(1)?;
            let padded = self.padding[axis]
                .checked_mul(2)?
                .checked_add(input[axis])?;
            let over = if self.ceil { stride - 1 } else { 0 };
            let last = padded.checked_add(over)?.checked_sub(span)? / stride;
            let begins_within = last * stride < input[axis] + self.padding[axis];
            Some(last + usize::from(!self.ceil || begins_within))
        };
        Some([along(0)?, along(1)?])
    }

    /// The place of the input, along `axis`, that place `tap` of window `output` looks at; nothing where it is padding.
    pub fn place(&self, axis: usize, output: usize, tap: usize, input: usize) -> Option<usize> {
        let padded = output * self.stride[axis] + tap * self.dilation[axis];
        padded
            .checked_sub(self.padding[axis])
            .filter(|place| *place < input)
    }

    /// The window along `axis`, of `outputs` many, that sees place `input` with its place `tap`: [`Window::place`] the
    /// other way round.
    #[inline(always)]
    pub fn output_at(
        &self,
        axis: usize,
        input: usize,
        tap: usize,
        outputs: usize,
    ) -> Option<usize> {
        let start = (input + self.padding[axis]).checked_sub(tap * self.dilation[axis])?;
        let output = match self.stride[axis] {
            1 => start,
            stride if start.is_multiple_of(stride) => start / stride,
            _ => return None,
        };
        (output < outputs).then_some(output)
    }
}
