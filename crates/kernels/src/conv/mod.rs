//! Convolution of maps.
//!
//! Maps are `[height, width, images, channels]`, channels next to each other; weights are
//! `[kernel height, kernel width, input channels / groups, output channels]`.

mod backward;
mod depthwise;
mod forward;
mod gather;
mod packed;
#[cfg(test)]
mod tests;
mod winograd;

pub use packed::PackedConv2d;

#[cfg(test)]
use crate::Format;
use crate::{Element, Window, isa};

/// The sizes of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2d {
    /// How many maps there are.
    pub images: usize,
    /// Height and width of what goes in.
    pub input: [usize; 2],
    /// Channels that go in.
    pub in_channels: usize,
    /// Channels that come out.
    pub out_channels: usize,
    /// Groups of channels that know nothing of each other; both numbers of channels are multiples of it.
    pub groups: usize,
    /// How the kernel moves.
    pub window: Window,
}

impl Conv2d {
    /// Height and width of what comes out.
    ///
    /// # Panics
    /// The window does not fit the map, see [`Window::output`].
    pub fn output(&self) -> [usize; 2] {
        self.window
            .output(self.input)
            .expect("a window that fits the map")
    }

    /// Elements that go in.
    pub fn input_len(&self) -> usize {
        self.input[0] * self.input[1] * self.images * self.in_channels
    }

    /// Elements that come out.
    pub fn output_len(&self) -> usize {
        let [height, width] = self.output();
        height * width * self.images * self.out_channels
    }

    /// Number of weights.
    pub fn weight_len(&self) -> usize {
        self.window.kernel[0]
            * self.window.kernel[1]
            * (self.in_channels / self.groups)
            * self.out_channels
    }

    /// Output channels of a group.
    fn out_of_group(&self) -> usize {
        self.out_channels / self.groups
    }

    /// Input channels of a group.
    fn in_of_group(&self) -> usize {
        self.in_channels / self.groups
    }

    /// Places that the kernel looks at.
    fn taps(&self) -> usize {
        self.window.kernel[0] * self.window.kernel[1]
    }

    fn check(&self) {
        assert!(self.groups > 0, "at least one group");
        assert!(
            self.in_channels.is_multiple_of(self.groups)
                && self.out_channels.is_multiple_of(self.groups),
            "groups of as many channels each: {self:?}"
        );
    }

    /// Whether each channel is on its own.
    fn is_depthwise(&self) -> bool {
        self.groups > 1 && self.groups == self.in_channels && self.groups == self.out_channels
    }
}

/// `y = x * weight + bias`.
///
/// # Panics
/// The lengths are not those that `conv` says.
pub fn conv2d<T: Element>(
    conv: &Conv2d,
    x: &[T],
    weight: &[f32],
    bias: Option<&[f32]>,
    y: &mut [T],
) {
    forward::conv2d_for(isa(), conv, x, weight, bias, y);
}

/// The gradient of `x`, from that of `y`.
///
/// # Panics
/// The lengths are not those that `conv` says.
pub fn conv2d_input_gradient<T: Element>(conv: &Conv2d, dy: &[T], weight: &[f32], dx: &mut [T]) {
    backward::input_gradient_for(isa(), conv, dy, weight, dx);
}

/// The gradient of the weights, from that of `y`.
///
/// # Panics
/// The lengths are not those that `conv` says.
pub fn conv2d_weight_gradient<T: Element>(conv: &Conv2d, x: &[T], dy: &[T], dweight: &mut [f32]) {
    backward::weight_gradient_for(isa(), conv, x, dy, dweight);
}
