use std::collections::BTreeMap;

use strata_spec::{Layer, Level, LevelShapes, level_shapes};

use crate::tensors::{self, TensorsError};

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

impl AsRef<Self> for WeightTensor {
    fn as_ref(&self) -> &Self {
        self
    }
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
        let (tensors, _) = tensors::read(bytes).map_err(|error| match error {
            TensorsError::Form(source) => form(source),
            TensorsError::Type(problem) => WeightsError::Content {
                level: level.name.to_string(),
                problem,
            },
        })?;
        Self::new(tensors, level, shapes)
    }

    /// Reads a safetensors file for each of `levels`, which take rows of shape `input`; see [`Self::from_safetensors`].
    ///
    /// # Errors
    /// The first file that is not its level's.
    ///
    /// # Panics
    /// `levels` are not checked ones (see `strata_spec`), or there are more or fewer files.
    pub fn of_levels<B: AsRef<[u8]>>(
        files: &[B],
        input: &[usize],
        levels: &[Level],
    ) -> Result<Vec<Self>, WeightsError> {
        assert_eq!(files.len(), levels.len(), "a file for each level");
        let shapes = level_shapes(input, levels).expect("checked levels");
        let read = |((file, level), shapes): ((&B, &Level), &LevelShapes)| {
            Self::from_safetensors(file.as_ref(), level, shapes)
        };
        files.iter().zip(levels).zip(&shapes).map(read).collect()
    }

    /// The weights as a safetensors file. Equal weights give equal bytes.
    pub fn to_safetensors(&self) -> Vec<u8> {
        tensors::write(self.iter(), None)
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

/// A dense layer of a level, where it stands and what it is between.
pub(crate) struct DenseAt {
    pub(crate) place: &'static str,
    pub(crate) position: usize,
    pub(crate) inputs: usize,
    pub(crate) units: usize,
}

/// The dense layers of a level, those of the body first, in their order.
pub(crate) fn dense_layers(level: &Level, shapes: &LevelShapes) -> Vec<DenseAt> {
    let mut found = Vec::new();
    let mut walk = |place, layers: &[Layer], mut shape: Vec<usize>| {
        for (position, layer) in layers.iter().enumerate() {
            if let Layer::Dense(dense) = layer {
                let (inputs, units) = (shape[0], dense.units);
                found.push(DenseAt {
                    place,
                    position,
                    inputs,
                    units,
                });
            }
            shape = layer
                .output_shape(&shape)
                .expect("shapes were computed from these layers");
        }
    };
    walk(BODY, &level.layers, shapes.input.clone());
    if let Some(head) = &level.head {
        walk(HEAD, &head.layers, shapes.output.clone());
    }
    found
}

/// Name and shape of every tensor of a level.
fn expected_shapes(level: &Level, shapes: &LevelShapes) -> BTreeMap<String, Vec<usize>> {
    let mut expected = BTreeMap::new();
    for dense in dense_layers(level, shapes) {
        let name = |tensor| name_of(dense.place, dense.position, tensor);
        expected.insert(name("weight"), vec![dense.units, dense.inputs]);
        expected.insert(name("bias"), vec![dense.units]);
    }
    expected
}
