use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Pair, ShapeError, Window, map_shape};

/// Settings of [`Layer::Conv`](super::Layer::Conv). Weights are stored as PyTorch's `Conv2d` stores them: `weight`
/// `[channels, input channels / groups, kernel height, kernel width]` and, with `bias`, `bias` `[channels]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Conv {
    /// Channels that come out, 1 to 65,536.
    #[schemars(range(min = 1, max = 65_536))]
    pub channels: usize,
    /// Size of the kernel, 1 to 255.
    pub kernel: Pair,
    /// Distance from one window to the next, 1 to 255. Default: 1.
    #[serde(default = "one")]
    pub stride: Pair,
    /// Rows and columns of zeros on each side, 0 to 255. Default: 0.
    #[serde(default = "zero")]
    pub padding: Pair,
    /// Distance between the places of one window, 1 to 255. Default: 1.
    #[serde(default = "one")]
    pub dilation: Pair,
    /// Groups of channels that know nothing of each other; the numbers of channels that go in and come out are multiples
    /// of it. Default: 1.
    #[serde(default = "one_group")]
    #[schemars(range(min = 1, max = 65_536))]
    pub groups: usize,
    /// Whether a bias is added. Default: true.
    #[serde(default = "yes")]
    pub bias: bool,
    /// Its kernel before the first step. Default: `random`.
    #[serde(default, skip_serializing_if = "Start::is_random")]
    pub start: Start,
}

/// The kernel of a convolution before the first step of learning. The biases are 0, unless it says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// Normal numbers that keep the variance of gradients (He et al. 2015).
    #[default]
    Random,
    /// Uniform numbers that keep the variance of what goes up (He et al. 2015).
    HeUniform,
    /// Uniform numbers of at most 1 by the root of how many numbers one of its outputs is a sum of, the biases too (LeCun
    /// et al. 1998, section 4.6): as PyTorch's layers begin.
    Uniform,
    /// Normal numbers of this standard deviation, more than 0 and at most 1.
    Normal(f64),
    /// The first channels pass on what enters, as many as do (Zagoruyko & Komodakis 2017, "DiracNets"); the others are
    /// random.
    Identity,
    /// What makes the patches of the training rows white: the eigenvectors of their covariance, each divided by the root of
    /// its eigenvalue, the largest first, and their negatives (Page 2019, "How to train your ResNet 8"; Jordan 2024). It is
    /// fitted once and does not learn; a bias does. Only for the lowest layer of a network.
    Whitening,
}

impl Start {
    fn is_random(&self) -> bool {
        *self == Self::Random
    }
}

impl Conv {
    /// A square kernel; the other settings are the defaults.
    pub fn square(channels: usize, kernel: usize) -> Self {
        Self {
            channels,
            kernel: kernel.into(),
            stride: one(),
            padding: zero(),
            dilation: one(),
            groups: 1,
            bias: true,
            start: Start::Random,
        }
    }

    /// How its kernel moves.
    pub fn window(&self) -> Window {
        Window {
            kernel: self.kernel.0,
            stride: self.stride.0,
            padding: self.padding.0,
            dilation: self.dilation.0,
            ceil: false,
        }
    }

    pub(super) fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>, ShapeError> {
        let [channels, height, width] = map_shape("conv", input)?;
        if !channels.is_multiple_of(self.groups) {
            let expected = format!("has {} groups, which must divide the channels", self.groups);
            return Err(ShapeError::new("conv", expected, input));
        }
        match self.window().output([height, width]) {
            Some([height, width]) => Ok(vec![self.channels, height, width]),
            None => Err(ShapeError::new("conv", TOO_LARGE, input)),
        }
    }

    pub(super) fn parameters(&self, input: &[usize]) -> usize {
        let [height, width] = self.kernel.0;
        let channels = input.first().copied().unwrap_or(0);
        let of_one = (channels / self.groups.max(1))
            .saturating_mul(height)
            .saturating_mul(width)
            .saturating_add(usize::from(self.bias));
        of_one.saturating_mul(self.channels)
    }
}

pub(super) const TOO_LARGE: &str = "has a kernel that is larger than the padded map";

pub(super) fn one() -> Pair {
    Pair::from(1)
}

pub(super) fn zero() -> Pair {
    Pair::from(0)
}

const fn one_group() -> usize {
    1
}

pub(super) const fn yes() -> bool {
    true
}
