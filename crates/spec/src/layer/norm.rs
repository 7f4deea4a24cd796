use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ShapeError;

/// Settings of [`Layer::BatchNorm`](super::Layer::BatchNorm): over the rows of a batch and the places of a map, each
/// channel becomes `(x - mean) / √(variance + epsilon) weight + bias` (Ioffe & Szegedy 2015).
///
/// Learning uses the mean and the (biased) variance of the batch, and moves the running ones by `momentum` towards the mean
/// and the unbiased variance (the biased one, 0, where there is one number only); answering uses the running ones. Weights are stored as PyTorch's `BatchNorm2d` stores them:
/// `weight`, `bias`, `running_mean`, `running_var`, each `[channels]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BatchNorm {
    /// From 1e-12 to 1. Default: 1e-5.
    pub epsilon: f64,
    /// Share of the batch in what the running statistics become, more than 0 and at most 1. Default: 0.1.
    pub momentum: f64,
}

/// Settings of [`Layer::LayerNorm`](super::Layer::LayerNorm): each row becomes
/// `(x - mean) / √(variance + epsilon) weight + bias`, with its own mean and (biased) variance (Ba et al. 2016).
/// Weights: `weight` and `bias`, `[features]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LayerNorm {
    /// From 1e-12 to 1. Default: 1e-5.
    pub epsilon: f64,
}

impl Default for BatchNorm {
    fn default() -> Self {
        Self {
            epsilon: 1e-5,
            momentum: 0.1,
        }
    }
}

impl Default for LayerNorm {
    fn default() -> Self {
        Self { epsilon: 1e-5 }
    }
}

impl BatchNorm {
    pub(super) fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>, ShapeError> {
        if matches!(input.len(), 1 | 3) {
            return Ok(input.to_vec());
        }
        let expected = "takes maps of [channels, height, width] or rows of one dimension";
        Err(ShapeError::new("batch-norm", expected, input))
    }
}

impl LayerNorm {
    pub(super) fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>, ShapeError> {
        if input.len() == 1 {
            return Ok(input.to_vec());
        }
        let expected = "takes rows of one dimension (put `flatten` before it)";
        Err(ShapeError::new("layer-norm", expected, input))
    }
}
