use std::collections::BTreeMap;

use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use strata_spec::{Layer, Level, LevelShapes};

/// The weights of one level by name: `layers.1.weight`, `head.0.bias`, numbered as in the recipe.
#[derive(Clone, Debug, PartialEq)]
pub struct LevelWeights(BTreeMap<String, WeightTensor>);

/// One tensor of weights, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightTensor {
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// Its elements; as many as the product of `shape`.
    pub values: Vec<f32>,
}

/// Weights that a level cannot take.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The bytes are no safetensors file.
    #[error("level `{level}`: not a safetensors file: {source}")]
    Form {
        /// The level's name.
        level: String,
        /// What the reader says.
        source: safetensors::SafeTensorError,
    },
    /// Names, shapes, types or values are not the level's.
    #[error("level `{level}`: {problem}")]
    Content {
        /// The level's name.
        level: String,
        /// What was expected and what was found.
        problem: String,
    },
}

impl LevelWeights {
    /// Weights from tensors by name.
    ///
    /// # Errors
    /// A name is missing or unknown, a shape is not the level's, or a value is not finite.
    pub fn new(
        tensors: BTreeMap<String, WeightTensor>,
        level: &Level,
        shapes: &LevelShapes,
    ) -> Result<Self, WeightsError> {
        let wrong = |problem: String| WeightsError::Content {
            level: level.name.to_string(),
            problem,
        };
        let expected = expected_shapes(level, shapes);
        if let Some(name) = tensors.keys().find(|name| !expected.contains_key(*name)) {
            return Err(wrong(format!(
                "unexpected tensor `{}`",
                name.escape_debug()
            )));
        }
        for (name, shape) in &expected {
            let Some(tensor) = tensors.get(name) else {
                return Err(wrong(format!("tensor `{name}` is missing")));
            };
            if tensor.shape != *shape || tensor.values.len() != shape.iter().product::<usize>() {
                return Err(wrong(format!(
                    "tensor `{name}`: expected shape {shape:?}, found {:?}",
                    tensor.shape
                )));
            }
            if tensor.values.iter().any(|value| !value.is_finite()) {
                return Err(wrong(format!(
                    "tensor `{name}` holds a value that is not finite"
                )));
            }
        }
        Ok(Self(tensors))
    }

    /// Weights of a network in training: of the right shapes, but perhaps no longer finite.
    pub(crate) fn unchecked(
        tensors: BTreeMap<String, WeightTensor>,
        level: &Level,
        shapes: &LevelShapes,
    ) -> Self {
        debug_assert!(
            tensors.keys().eq(expected_shapes(level, shapes).keys()),
            "the level's tensors"
        );
        Self(tensors)
    }

    /// Whether every value is finite; a training that diverged gives others.
    pub fn is_finite(&self) -> bool {
        self.0
            .values()
            .all(|tensor| tensor.values.iter().all(|value| value.is_finite()))
    }

    /// Reads a safetensors file with exactly the level's tensors, all `F32`.
    ///
    /// # Errors
    /// The bytes are no such file, or its tensors are not the level's.
    pub fn from_safetensors(
        bytes: &[u8],
        level: &Level,
        shapes: &LevelShapes,
    ) -> Result<Self, WeightsError> {
        let form = |source| WeightsError::Form {
            level: level.name.to_string(),
            source,
        };
        let file = SafeTensors::deserialize(bytes).map_err(form)?;
        let mut tensors = BTreeMap::new();
        for (name, view) in file.iter() {
            if view.dtype() != Dtype::F32 {
                let problem = format!(
                    "tensor `{}`: expected F32, found {:?}",
                    name.escape_debug(),
                    view.dtype()
                );
                return Err(WeightsError::Content {
                    level: level.name.to_string(),
                    problem,
                });
            }
            let value = |bytes: &[u8]| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            let values = view.data().chunks_exact(4).map(value).collect();
            tensors.insert(
                name.to_owned(),
                WeightTensor {
                    shape: view.shape().to_vec(),
                    values,
                },
            );
        }
        Self::new(tensors, level, shapes)
    }

    /// The weights as a safetensors file. Equal weights give equal bytes.
    pub fn to_safetensors(&self) -> Vec<u8> {
        let bytes: Vec<(&String, &WeightTensor, Vec<u8>)> = self
            .iter()
            .map(|(name, tensor)| {
                (
                    name,
                    tensor,
                    tensor.values.iter().flat_map(|v| v.to_le_bytes()).collect(),
                )
            })
            .collect();
        let views = bytes.iter().map(|(name, tensor, bytes)| {
            let view = TensorView::new(Dtype::F32, tensor.shape.clone(), bytes);
            (
                name,
                view.expect("as many values as the shape says: checked when made"),
            )
        });
        safetensors::serialize(views, None).expect("names are unique and short")
    }

    /// The tensors, ordered by name.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &WeightTensor)> {
        self.0.iter()
    }

    /// The tensor of a layer, such as `weight` of layer 1 in `layers`.
    pub(crate) fn of(&self, place: &str, position: usize, tensor: &str) -> &WeightTensor {
        &self.0[&name_of(place, position, tensor)]
    }
}

/// Where a level's layers stand, as the names of their weights say it.
pub(crate) const BODY: &str = "layers";
/// The same for its head.
pub(crate) const HEAD: &str = "head";

pub(crate) fn name_of(place: &str, position: usize, tensor: &str) -> String {
    format!("{place}.{position}.{tensor}")
}

/// Name and shape of every tensor of a level.
fn expected_shapes(level: &Level, shapes: &LevelShapes) -> BTreeMap<String, Vec<usize>> {
    let mut expected = BTreeMap::new();
    let mut add = |place: &str, layers: &[Layer], mut shape: Vec<usize>| {
        for (position, layer) in layers.iter().enumerate() {
            if let Layer::Dense(dense) = layer {
                expected.insert(
                    name_of(place, position, "weight"),
                    vec![dense.units, shape[0]],
                );
                expected.insert(name_of(place, position, "bias"), vec![dense.units]);
            }
            shape = layer
                .output_shape(&shape)
                .expect("shapes were computed from these layers");
        }
    };
    add(BODY, &level.layers, shapes.input.clone());
    if let Some(head) = &level.head {
        add(HEAD, &head.layers, shapes.output.clone());
    }
    expected
}
