use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Pair, ShapeError, Window,
    conv::{TOO_LARGE, one, yes, zero},
    map_shape,
};

/// Settings of [`Layer::MaxPool`](super::Layer::MaxPool).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MaxPool {
    /// Size of the window, 1 to 255.
    pub kernel: Pair,
    /// Distance from one window to the next, 1 to 255. Default: the kernel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stride: Option<Pair>,
    /// Rows and columns on each side that are never the highest, 0 to 255. Default: 0.
    #[serde(default = "zero")]
    pub padding: Pair,
    /// Distance between the places of one window, 1 to 255. Default: 1.
    #[serde(default = "one")]
    pub dilation: Pair,
    /// Whether a last window may reach over the edge, so that sizes are rounded up (`ceil_mode` in PyTorch). Default: false.
    #[serde(default)]
    pub ceil: bool,
}

/// Settings of [`Layer::AveragePool`](super::Layer::AveragePool).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AveragePool {
    /// Size of the window, 1 to 255.
    pub kernel: Pair,
    /// Distance from one window to the next, 1 to 255. Default: the kernel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stride: Option<Pair>,
    /// Rows and columns of zeros on each side, 0 to 255. Default: 0.
    #[serde(default = "zero")]
    pub padding: Pair,
    /// Whether the zeros of the padding count as places, so that a window at the edge is divided by as much as any other.
    /// Default: true.
    #[serde(default = "yes")]
    pub count_padding: bool,
}

/// Settings of [`Layer::AdaptiveAveragePool`](super::Layer::AdaptiveAveragePool): place `i` of `n` is the mean of the places
/// from `⌊i size / n⌋` to `⌈(i + 1) size / n⌉`, as in PyTorch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AdaptiveAveragePool {
    /// Height of what comes out, 1 to 4096.
    #[schemars(range(min = 1, max = 4096))]
    pub height: usize,
    /// Width of what comes out, 1 to 4096.
    #[schemars(range(min = 1, max = 4096))]
    pub width: usize,
}

impl MaxPool {
    /// A square window; the other settings are the defaults.
    pub fn square(kernel: usize) -> Self {
        Self {
            kernel: kernel.into(),
            stride: None,
            padding: zero(),
            dilation: one(),
            ceil: false,
        }
    }

    /// How its window moves.
    pub fn window(&self) -> Window {
        Window {
            kernel: self.kernel.0,
            stride: self.stride.unwrap_or(self.kernel).0,
            padding: self.padding.0,
            dilation: self.dilation.0,
            ceil: self.ceil,
        }
    }

    pub(super) fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>, ShapeError> {
        pooled("max-pool", &self.window(), input)
    }
}

impl AveragePool {
    /// How its window moves.
    pub fn window(&self) -> Window {
        Window {
            kernel: self.kernel.0,
            stride: self.stride.unwrap_or(self.kernel).0,
            padding: self.padding.0,
            dilation: [1; 2],
            ceil: false,
        }
    }

    pub(super) fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>, ShapeError> {
        pooled("average-pool", &self.window(), input)
    }
}

impl AdaptiveAveragePool {
    pub(super) fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>, ShapeError> {
        let [channels, ..] = map_shape("adaptive-average-pool", input)?;
        Ok(vec![channels, self.height, self.width])
    }
}

fn pooled(layer: &'static str, window: &Window, input: &[usize]) -> Result<Vec<usize>, ShapeError> {
    let [channels, height, width] = map_shape(layer, input)?;
    let Some([out_height, out_width]) = window.output([height, width]) else {
        return Err(ShapeError::new(layer, TOO_LARGE, input));
    };
    if window.sees_only_padding([height, width]) {
        let expected = "would have a window that sees nothing but padding";
        return Err(ShapeError::new(layer, expected, input));
    }
    Ok(vec![channels, out_height, out_width])
}
