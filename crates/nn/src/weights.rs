use std::collections::BTreeMap;

use strata_spec::{
    DenseStart, Layer, Level, LevelShapes, Start, level_shapes,
    paths::{BODY, HEAD, branch_place, path_of, residual_places},
};

use crate::tensors::{self, TensorsError};

/// The weights of one level by name: `layers.1.weight`, `head.0.bias`, `layers.2.residual.shortcut.0.weight`, numbered as
/// in the recipe.
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
    /// A name is missing or unknown, a shape is not the level's, a value is not finite, or a running variance is negative.
    pub fn new(
        tensors: BTreeMap<String, WeightTensor>,
        level: &Level,
        shapes: &LevelShapes,
    ) -> Result<Self, WeightsError> {
        let wrong = |problem: String| WeightsError::Content {
            level: level.name.to_string(),
            problem,
        };
        let expected: BTreeMap<String, Expected> = tensors_of(level, shapes)
            .into_iter()
            .map(|tensor| (tensor.name.clone(), tensor))
            .collect();
        if let Some(name) = tensors.keys().find(|name| !expected.contains_key(*name)) {
            return Err(wrong(format!(
                "unexpected tensor `{}`",
                name.escape_debug()
            )));
        }
        for (name, Expected { shape, role, .. }) in &expected {
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
            let is_negative = |value: &f32| *value < 0.0;
            if *role == Role::RunningVariance && tensor.values.iter().any(is_negative) {
                return Err(wrong(format!("tensor `{name}` holds a negative variance")));
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
            tensors_of(level, shapes).len() == tensors.len()
                && tensors_of(level, shapes)
                    .iter()
                    .all(|expected| tensors.contains_key(&expected.name)),
            "the level's tensors"
        );
        Self(tensors)
    }

    /// Those of the level's body alone.
    #[must_use]
    pub fn without_head(mut self) -> Self {
        self.0
            .retain(|name, _| !name.starts_with(&format!("{HEAD}.")));
        self
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

    /// The tensor of the layer at `path`, such as `weight` of `layers.1`.
    pub(crate) fn of(&self, path: &str, tensor: &str) -> &WeightTensor {
        &self.0[&format!("{path}.{tensor}")]
    }
}

/// What a tensor of weights is for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Role {
    /// `[outputs, inputs]`, and what it is before the first step.
    Dense(DenseStart),
    /// `[channels out, channels in / groups, height, width]`, and what it is before the first step.
    Kernel(Start),
    Bias,
    /// A bias that begins with uniform numbers, of an output that is a sum of so many numbers.
    UniformBias(usize),
    /// What a normalized number is multiplied by.
    Factor,
    RunningMean,
    RunningVariance,
}

/// A tensor that a level has.
#[derive(Debug)]
pub(crate) struct Expected {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) role: Role,
}

/// Every tensor of a level, in the order of its layers.
pub(crate) fn tensors_of(level: &Level, shapes: &LevelShapes) -> Vec<Expected> {
    let mut found = Vec::new();
    of_layers(&level.layers, BODY, &shapes.input, &mut found);
    if let Some(head) = &level.head {
        of_layers(&head.layers, HEAD, &shapes.output, &mut found);
    }
    found
}

fn of_layers(layers: &[Layer], place: &str, input: &[usize], found: &mut Vec<Expected>) {
    let mut shape = input.to_vec();
    for (position, layer) in layers.iter().enumerate() {
        of_layer(layer, &path_of(place, position), &shape, found);
        shape = output_shape(layer, &shape);
    }
}

fn of_layer(layer: &Layer, path: &str, input: &[usize], found: &mut Vec<Expected>) {
    let mut add = |tensor: &str, shape: &[usize], role| {
        found.push(Expected {
            name: format!("{path}.{tensor}"),
            shape: shape.to_vec(),
            role,
        });
    };
    match layer {
        Layer::Flatten
        | Layer::Relu
        | Layer::Gelu(_)
        | Layer::MaxPool(_)
        | Layer::AveragePool(_)
        | Layer::AdaptiveAveragePool(_)
        | Layer::GlobalAveragePool
        | Layer::Dropout(_)
        | Layer::Scale(_)
        | Layer::Subsample(_) => {}
        Layer::Dense(dense) => {
            add("weight", &[dense.units, input[0]], Role::Dense(dense.start));
            let bias = match dense.start {
                DenseStart::Uniform => Role::UniformBias(input[0]),
                DenseStart::Random | DenseStart::Normal(_) => Role::Bias,
            };
            add("bias", &[dense.units], bias);
        }
        Layer::Conv(conv) => {
            let ([height, width], inputs) = (conv.kernel.0, input[0] / conv.groups);
            add(
                "weight",
                &[conv.channels, inputs, height, width],
                Role::Kernel(conv.start),
            );
            if conv.bias {
                let bias = match conv.start {
                    Start::Uniform => Role::UniformBias(inputs * height * width),
                    _ => Role::Bias,
                };
                add("bias", &[conv.channels], bias);
            }
        }
        Layer::BatchNorm(_) => {
            add("weight", &input[..1], Role::Factor);
            add("bias", &input[..1], Role::Bias);
            add("running_mean", &input[..1], Role::RunningMean);
            add("running_var", &input[..1], Role::RunningVariance);
        }
        Layer::LayerNorm(_) => {
            add("weight", &input[..1], Role::Factor);
            add("bias", &input[..1], Role::Bias);
        }
        Layer::Residual(residual) => {
            let [layers, shortcut] = residual_places(path);
            of_layers(&residual.layers, &layers, input, found);
            of_layers(&residual.shortcut, &shortcut, input, found);
        }
        Layer::Branches(branches) => {
            for (index, layers) in branches.branches.iter().enumerate() {
                of_layers(layers, &branch_place(path, index), input, found);
            }
        }
    }
}

/// The shape of one row after a checked layer.
pub(crate) fn output_shape(layer: &Layer, input: &[usize]) -> Vec<usize> {
    layer
        .output_shape(input)
        .expect("shapes were computed from these layers")
}

#[cfg(test)]
mod tests {
    use strata_spec::{Level, LevelShapes, Precision, level_shapes};

    use super::*;
    use crate::Network;

    fn level() -> (Level, LevelShapes, LevelWeights) {
        let layer = |json: &str| serde_json::from_str(json).unwrap();
        let level = Level {
            name: "only".parse().unwrap(),
            layers: vec![
                layer(r#"{ "conv": { "channels": 4, "kernel": [3, 1], "groups": 2 } }"#),
                layer(
                    r#"{ "residual": { "layers": ["batch-norm"], "shortcut": [{ "conv": { "channels": 4, "kernel": 1, "bias": false } }] } }"#,
                ),
                layer(r#"{ "branches": { "branches": [[], ["batch-norm"]] } }"#),
            ],
            head: Some(strata_spec::Head {
                task: "task".parse().unwrap(),
                layers: vec![layer("\"global-average-pool\""), layer("\"layer-norm\"")],
                mirrored: false,
            }),
        };
        let levels = [level];
        let shapes = level_shapes(&[2, 5, 5], &levels).unwrap();
        let network = Network::new(&[2, 5, 5], &levels, 1, Precision::F32);
        let weights = network.weights().remove(0);
        let [level] = levels;
        (level, shapes[0].clone(), weights)
    }

    #[test]
    fn names_say_where_a_tensor_stands() {
        let (_, _, weights) = level();
        let names: Vec<String> = weights
            .iter()
            .map(|(name, tensor)| format!("{name} {:?}", tensor.shape))
            .collect();
        assert_eq!(
            names,
            [
                "head.1.bias [8]",
                "head.1.weight [8]",
                "layers.0.bias [4]",
                "layers.0.weight [4, 1, 3, 1]",
                "layers.1.residual.layers.0.bias [4]",
                "layers.1.residual.layers.0.running_mean [4]",
                "layers.1.residual.layers.0.running_var [4]",
                "layers.1.residual.layers.0.weight [4]",
                "layers.1.residual.shortcut.0.weight [4, 4, 1, 1]",
                "layers.2.branches.1.0.bias [4]",
                "layers.2.branches.1.0.running_mean [4]",
                "layers.2.branches.1.0.running_var [4]",
                "layers.2.branches.1.0.weight [4]",
            ]
        );
    }

    #[test]
    fn every_tensor_of_a_network_by_name_has_its_published_name() {
        for (network, size) in [
            (r#"{ "perceptron": { "hidden": [9, 8] } }"#, 32),
            (r#"{ "alexnet": { "cuts": ["conv3"] } }"#, 224),
            (r#"{ "googlenet": {} }"#, 224),
            (r#"{ "inception-v3": {} }"#, 299),
            (r#"{ "resnet": { "depth": 34, "stem": "cifar" } }"#, 32),
            (r#"{ "resnet": { "depth": 50, "cuts": [] } }"#, 224),
            (r#"{ "resnet": { "depth": 110 } }"#, 32),
            (r#"{ "densenet": { "depth": 161 } }"#, 224),
            (r#"{ "squeezenet": { "version": "1.0" } }"#, 224),
        ] {
            let network: strata_spec::networks::NamedNetwork =
                serde_json::from_str(network).unwrap();
            let task = "object".parse().unwrap();
            let levels = network.levels(&task, 10).unwrap();
            let shapes = level_shapes(&[3, size, size], &levels).unwrap();
            let keys = network.keys(&task, 10).unwrap();
            assert_eq!(keys.len(), levels.len());
            for ((level, shapes), keys) in levels.iter().zip(&shapes).zip(&keys) {
                assert_eq!(keys.level, level.name);
                let mut expected: Vec<String> = tensors_of(level, shapes)
                    .into_iter()
                    .map(|tensor| tensor.name)
                    .collect();
                expected.sort();
                let found: Vec<String> = keys.tensors.keys().cloned().collect();
                assert_eq!(found, expected, "{network:?} {}", level.name);
            }
        }
    }

    #[test]
    fn weights_that_are_not_the_levels_are_refused() {
        let (level, shapes, weights) = level();
        let check = |change: fn(&mut BTreeMap<String, WeightTensor>), expected: &str| {
            let mut tensors = weights.0.clone();
            change(&mut tensors);
            let error = LevelWeights::new(tensors, &level, &shapes).unwrap_err();
            assert_eq!(error.to_string(), format!("level `only`: {expected}"));
        };
        check(
            |tensors| {
                tensors.remove("layers.0.bias");
            },
            "tensor `layers.0.bias` is missing",
        );
        check(
            |tensors| {
                let tensor = tensors["layers.0.bias"].clone();
                tensors.insert("layers.1.bias".to_owned(), tensor);
            },
            "unexpected tensor `layers.1.bias`",
        );
        check(
            |tensors| tensors.get_mut("layers.0.weight").unwrap().shape = vec![4, 1, 1, 3],
            "tensor `layers.0.weight`: expected shape [4, 1, 3, 1], found [4, 1, 1, 3]",
        );
        check(
            |tensors| {
                let name = "layers.2.branches.1.0.running_mean";
                tensors.get_mut(name).unwrap().values[1] = f32::NAN;
            },
            "tensor `layers.2.branches.1.0.running_mean` holds a value that is not finite",
        );
        check(
            |tensors| {
                let name = "layers.1.residual.layers.0.running_var";
                tensors.get_mut(name).unwrap().values[1] = -1e-9;
            },
            "tensor `layers.1.residual.layers.0.running_var` holds a negative variance",
        );
        assert!(LevelWeights::new(weights.0.clone(), &level, &shapes).is_ok());
    }
}
