//! Layers, and the shapes that pass through them.

mod composed;
mod conv;
mod dropout;
mod gelu;
mod norm;
mod pair;
mod pooling;
mod scale;
mod subsample;
#[cfg(test)]
mod tests;
mod window;

use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{
        Error, IntoDeserializer, MapAccess, Visitor,
        value::{MapAccessDeserializer, StrDeserializer},
    },
};

pub use composed::{Branches, Residual};
pub use conv::{Conv, Start};
pub use dropout::Dropout;
pub use gelu::{Approximation, Gelu};
pub use norm::{BatchNorm, LayerNorm};
pub use pair::Pair;
pub use pooling::{AdaptiveAveragePool, AveragePool, MaxPool};
pub use scale::Scale;
pub use subsample::Subsample;
pub use window::Window;

/// One layer, written as a word (`"relu"`) or as a word with settings (`{ dense = { units = 128 } }`).
///
/// Shapes are those of one row; the batch comes before them. Maps are `[channels, height, width]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", remote = "Self")]
#[schemars(transform = with_bare_words)]
pub enum Layer {
    /// Any shape to one dimension, in row-major order.
    Flatten,
    /// `y = x W' + b`, `[inputs]` to `[units]`.
    Dense(Dense),
    /// `max(0, x)`, any shape.
    Relu,
    /// `x` times the share of a standard normal distribution below it, any shape. `"gelu"` alone has the default settings.
    Gelu(Gelu),
    /// Convolution, maps to maps.
    Conv(Conv),
    /// Normalizes each channel over a batch; maps, or rows of one dimension. `"batch-norm"` alone has the default settings.
    BatchNorm(BatchNorm),
    /// Normalizes each row; rows of one dimension. `"layer-norm"` alone has the default settings.
    LayerNorm(LayerNorm),
    /// The highest number in each window, maps to maps.
    MaxPool(MaxPool),
    /// The mean of each window, maps to maps.
    AveragePool(AveragePool),
    /// Means, of as many parts of a map as are asked for, maps to maps.
    AdaptiveAveragePool(AdaptiveAveragePool),
    /// The mean of each channel: `[channels, height, width]` to `[channels]`.
    GlobalAveragePool,
    /// Numbers left out at random while learning, any shape.
    Dropout(Dropout),
    /// Each number times one that does not learn, any shape.
    Scale(Scale),
    /// Every so many places of a map, and channels of zeros around its own; maps to maps.
    Subsample(Subsample),
    /// The sum of two ways through layers, which must give the same shape.
    Residual(Residual),
    /// Several ways through layers, their channels put together.
    Branches(Branches),
}

/// Layers whose settings all have defaults are words, too.
fn with_bare_words(schema: &mut schemars::Schema) {
    let words = serde_json::json!({"type": "string", "enum": ["batch-norm", "layer-norm", "gelu"]});
    if let Some(serde_json::Value::Array(forms)) = schema.get_mut("oneOf") {
        forms.push(words);
    }
}

/// Settings of [`Layer::Dense`]. Weights are stored as PyTorch's `Linear` stores them:
/// `weight` `[units, inputs]` and `bias` `[units]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dense {
    /// Number of outputs, 1 to 1,048,576.
    #[schemars(range(min = 1, max = 1_048_576))]
    pub units: usize,
    /// Its weights before the first step. Default: `random`.
    #[serde(default, skip_serializing_if = "DenseStart::is_random")]
    pub start: DenseStart,
}

/// The weights of a dense layer before the first step of learning. The biases are 0, unless it says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DenseStart {
    /// Uniform numbers that keep the variance of both, what goes up and gradients (Glorot & Bengio 2010).
    #[default]
    Random,
    /// As [`Start::Uniform`].
    Uniform,
    /// As [`Start::Normal`].
    Normal(f64),
}

impl Dense {
    /// A layer of `units` outputs; the other settings are the defaults.
    pub fn new(units: usize) -> Self {
        Self {
            units,
            start: DenseStart::Random,
        }
    }
}

impl DenseStart {
    fn is_random(&self) -> bool {
        *self == Self::Random
    }
}

/// A layer that cannot take the shape below it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{layer} {expected}, but what comes from below has shape {found:?}")]
pub struct ShapeError {
    /// Where it stands in what was asked about, such as `.residual.layers[0]` of a layer or `levels[0].layers[1]` of
    /// levels; empty for a layer that was itself asked.
    pub place: String,
    /// The layer's word.
    pub layer: &'static str,
    /// What it takes.
    pub expected: String,
    /// The shape of one row that reaches it.
    pub found: Vec<usize>,
}

/// Numbers that one row may have anywhere in a network.
const MOST_NUMBERS: usize = 1 << 28;

impl Layer {
    /// The shape of one row after this layer.
    ///
    /// # Errors
    /// The layer cannot take `input`, or what comes out has more than 268,435,456 numbers.
    pub fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>, ShapeError> {
        let output = match self {
            Self::Flatten => vec![input.iter().product()],
            Self::Relu | Self::Gelu(_) | Self::Dropout(_) | Self::Scale(_) => input.to_vec(),
            Self::Dense(dense) if input.len() == 1 => vec![dense.units],
            Self::Dense(_) => {
                let expected = "takes rows of one dimension (put `flatten` before it)";
                return Err(ShapeError::new("dense", expected, input));
            }
            Self::Conv(conv) => conv.output_shape(input)?,
            Self::BatchNorm(norm) => norm.output_shape(input)?,
            Self::LayerNorm(norm) => norm.output_shape(input)?,
            Self::MaxPool(pool) => pool.output_shape(input)?,
            Self::AveragePool(pool) => pool.output_shape(input)?,
            Self::AdaptiveAveragePool(pool) => pool.output_shape(input)?,
            Self::Subsample(subsample) => subsample.output_shape(input)?,
            Self::GlobalAveragePool => vec![map_shape("global-average-pool", input)?[0]],
            Self::Residual(residual) => residual.output_shape(input)?,
            Self::Branches(branches) => branches.output_shape(input)?,
        };
        let numbers = output
            .iter()
            .fold(1_usize, |product, size| product.saturating_mul(*size));
        if numbers > MOST_NUMBERS {
            let expected = format!("gives rows of more than {MOST_NUMBERS} numbers ({output:?})");
            return Err(ShapeError::new(self.word(), expected, input));
        }
        Ok(output)
    }

    /// Number of weights that are learned, given the shape of one row that enters.
    pub fn parameters(&self, input: &[usize]) -> usize {
        match self {
            Self::Flatten
            | Self::Relu
            | Self::Gelu(_)
            | Self::MaxPool(_)
            | Self::AveragePool(_)
            | Self::AdaptiveAveragePool(_)
            | Self::GlobalAveragePool
            | Self::Dropout(_)
            | Self::Scale(_)
            | Self::Subsample(_) => 0,
            Self::Dense(dense) => dense
                .units
                .saturating_mul(input.iter().product::<usize>().saturating_add(1)),
            Self::Conv(conv) => conv.parameters(input),
            Self::BatchNorm(_) | Self::LayerNorm(_) => {
                input.first().map_or(0, |size| size.saturating_mul(2))
            }
            Self::Residual(residual) => {
                let own = parameters_of(&residual.layers, input);
                own.saturating_add(parameters_of(&residual.shortcut, input))
            }
            Self::Branches(branches) => branches.branches.iter().fold(0, |sum, layers| {
                parameters_of(layers, input).saturating_add(sum)
            }),
        }
    }

    /// The word that a recipe uses for it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Flatten => "flatten",
            Self::Dense(_) => "dense",
            Self::Relu => "relu",
            Self::Gelu(_) => "gelu",
            Self::Conv(_) => "conv",
            Self::BatchNorm(_) => "batch-norm",
            Self::LayerNorm(_) => "layer-norm",
            Self::MaxPool(_) => "max-pool",
            Self::AveragePool(_) => "average-pool",
            Self::AdaptiveAveragePool(_) => "adaptive-average-pool",
            Self::GlobalAveragePool => "global-average-pool",
            Self::Dropout(_) => "dropout",
            Self::Scale(_) => "scale",
            Self::Subsample(_) => "subsample",
            Self::Residual(_) => "residual",
            Self::Branches(_) => "branches",
        }
    }
}

impl ShapeError {
    fn new(layer: &'static str, expected: impl Into<String>, found: &[usize]) -> Self {
        Self {
            place: String::new(),
            layer,
            expected: expected.into(),
            found: found.to_vec(),
        }
    }
}

/// The shape of one row after `layers`, which stand at `place`.
///
/// # Errors
/// A layer cannot take what comes from below it; its place begins with `place`.
pub(crate) fn shape_through(
    layers: &[Layer],
    place: &str,
    input: &[usize],
) -> Result<Vec<usize>, ShapeError> {
    let mut shape = input.to_vec();
    for (position, layer) in layers.iter().enumerate() {
        shape = layer.output_shape(&shape).map_err(|error| ShapeError {
            place: format!("{place}[{position}]{}", error.place),
            ..error
        })?;
    }
    Ok(shape)
}

/// Number of weights of checked layers that are learned.
pub(crate) fn parameters_of(layers: &[Layer], input: &[usize]) -> usize {
    let mut shape = input.to_vec();
    let mut total = 0_usize;
    for layer in layers {
        total = total.saturating_add(layer.parameters(&shape));
        shape = layer.output_shape(&shape).unwrap_or_default();
    }
    total
}

fn map_shape(layer: &'static str, input: &[usize]) -> Result<[usize; 3], ShapeError> {
    input
        .try_into()
        .map_err(|_| ShapeError::new(layer, "takes maps of [channels, height, width]", input))
}

impl Serialize for Layer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

/// A word alone stands for a layer with the default settings, where every setting has a default.
impl<'de> Deserialize<'de> for Layer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WordOrTable;

        impl<'de> Visitor<'de> for WordOrTable {
            type Value = Layer;

            fn expecting(&self, text: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                text.write_str("a layer's word, or a table of a word with its settings")
            }

            fn visit_str<E: Error>(self, word: &str) -> Result<Layer, E> {
                match word {
                    "batch-norm" => Ok(Layer::BatchNorm(BatchNorm::default())),
                    "layer-norm" => Ok(Layer::LayerNorm(LayerNorm::default())),
                    "gelu" => Ok(Layer::Gelu(Gelu::default())),
                    word => {
                        let word: StrDeserializer<'_, E> = word.into_deserializer();
                        Layer::deserialize(word)
                    }
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Layer, A::Error> {
                Layer::deserialize(MapAccessDeserializer::new(map))
            }
        }

        deserializer.deserialize_any(WordOrTable)
    }
}
