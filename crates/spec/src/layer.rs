use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One layer, written as a word (`"relu"`) or as a word with settings (`{ dense = { units = 128 } }`).
///
/// Shapes are those of one row; the batch comes before them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Layer {
    /// Any shape to one dimension, in row-major order.
    Flatten,
    /// `y = x W' + b`, `[inputs]` to `[units]`.
    Dense(Dense),
    /// `max(0, x)`, any shape.
    Relu,
}

/// Settings of [`Layer::Dense`]. Weights are stored as PyTorch's `Linear` stores them:
/// `weight` `[units, inputs]` and `bias` `[units]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dense {
    /// Number of outputs, 1 to 1,048,576.
    #[schemars(range(min = 1, max = 1_048_576))]
    pub units: usize,
}

/// A layer that cannot take the shape below it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{layer} {expected}, but what comes from below has shape {found:?}")]
pub struct ShapeError {
    /// The layer's word.
    pub layer: &'static str,
    /// What it takes.
    pub expected: &'static str,
    /// The shape of one row that reaches it.
    pub found: Vec<usize>,
}

impl Layer {
    /// The shape of one row after this layer.
    ///
    /// # Errors
    /// The layer cannot take `input`.
    pub fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>, ShapeError> {
        match self {
            Self::Flatten => Ok(vec![input.iter().product()]),
            Self::Relu => Ok(input.to_vec()),
            Self::Dense(dense) if input.len() == 1 => Ok(vec![dense.units]),
            Self::Dense(_) => Err(ShapeError {
                layer: "dense",
                expected: "takes rows of one dimension (put `flatten` before it)",
                found: input.to_vec(),
            }),
        }
    }

    /// Number of weights, given the shape of one row that enters.
    pub fn parameters(&self, input: &[usize]) -> usize {
        match self {
            Self::Flatten | Self::Relu => 0,
            Self::Dense(dense) => dense
                .units
                .saturating_mul(input.iter().product::<usize>().saturating_add(1)),
        }
    }

    /// The word that a recipe uses for it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Flatten => "flatten",
            Self::Dense(_) => "dense",
            Self::Relu => "relu",
        }
    }
}
