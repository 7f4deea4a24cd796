use std::collections::BTreeMap;

use burn::{
    module::{Module, Param},
    optim::GradientsParams,
    tensor::{Device, Tensor, TensorData},
};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};
use strata_kernels::burn_ops;
use strata_spec::{Layer, Level, LevelShapes, level_shapes};

use crate::{
    LevelWeights, WeightTensor,
    optimizer::Optimizer,
    weights::{BODY, HEAD, dense_layers, name_of},
};

/// A network that learns: levels, each with a body and, if it has one, a head.
///
/// Rows are plain slices of `f32`, one after another; the shape of one row is what the network was made with.
#[derive(Debug)]
pub struct Network {
    specs: Vec<Level>,
    shapes: Vec<LevelShapes>,
    levels: Levels,
    device: Device,
}

/// What one step of learning saw, before the step.
#[derive(Clone, Debug, PartialEq)]
pub struct StepResult {
    /// Mean loss of the rows.
    pub loss: f32,
    /// Logits, `[rows, classes]`.
    pub logits: Vec<f32>,
    /// Euclidean norm of the gradient of all weights, before clipping; only computed where the norm is limited.
    pub gradient_norm: Option<f32>,
}

/// The gradient of one logit with respect to some rows.
#[derive(Clone, Debug, PartialEq)]
pub struct InputGradient {
    /// The logit of each row.
    pub logits: Vec<f32>,
    /// As many numbers as the rows.
    pub gradient: Vec<f32>,
}

#[derive(Module, Debug)]
pub(crate) struct Levels {
    levels: Vec<LevelModule>,
}

#[derive(Module, Debug)]
struct LevelModule {
    body: Vec<LayerModule>,
    head: Vec<LayerModule>,
}

#[derive(Module, Debug)]
enum LayerModule {
    Flatten(Flatten),
    Dense(Dense),
    Relu(Relu),
}

#[derive(Module, Debug)]
struct Flatten;

#[derive(Module, Debug)]
struct Relu;

/// `weight` `[outputs, inputs]`, `bias` `[outputs]`.
#[derive(Module, Debug)]
struct Dense {
    weight: Param<Tensor<2>>,
    bias: Param<Tensor<1>>,
}

impl Levels {
    pub(crate) fn empty() -> Self {
        Self { levels: Vec::new() }
    }
}

impl Network {
    /// A network with fresh weights: Glorot uniform (Glorot & Bengio 2010), biases zero. The same seed gives the same
    /// weights on every machine.
    ///
    /// # Panics
    /// `levels` are not checked ones (see `strata_spec`).
    pub fn new(input: &[usize], levels: &[Level], seed: u64) -> Self {
        let weights: Vec<LevelWeights> = (0..levels.len())
            .map(|index| fresh_weights(input, levels, index, seed))
            .collect();
        Self::with_weights(input, levels, &weights)
    }

    /// A network with the given weights, one set for each level.
    ///
    /// # Panics
    /// `levels` are not checked ones, or `weights` are of other levels.
    pub fn with_weights(input: &[usize], levels: &[Level], weights: &[LevelWeights]) -> Self {
        assert_eq!(levels.len(), weights.len(), "weights of every level");
        let device = Device::flex().autodiff();
        let module = |level: &Level, weights: &LevelWeights| LevelModule {
            body: layer_modules(&level.layers, BODY, weights, &device),
            head: level.head.as_ref().map_or(Vec::new(), |head| {
                layer_modules(&head.layers, HEAD, weights, &device)
            }),
        };
        Self {
            specs: levels.to_vec(),
            shapes: level_shapes(input, levels).expect("checked levels"),
            levels: Levels {
                levels: levels
                    .iter()
                    .zip(weights)
                    .map(|(level, weights)| module(level, weights))
                    .collect(),
            },
            device,
        }
    }

    /// Numbers in one row.
    pub fn input_len(&self) -> usize {
        self.shapes[0].input.iter().product()
    }

    /// Logits of one row.
    pub fn output_len(&self) -> usize {
        let top = self.shapes.last().and_then(|shapes| shapes.head.as_ref());
        top.expect("checked levels: the last one has a head")
            .iter()
            .product()
    }

    /// Number of weights.
    pub fn parameters(&self) -> usize {
        self.levels.num_params()
    }

    /// Number of weights of each tensor, in the order in which an optimizer meets them.
    pub(crate) fn parameter_lengths(&self) -> Vec<usize> {
        struct Lengths(Vec<usize>);
        impl burn::module::ModuleVisitor for Lengths {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                self.0.push(param.val().dims().iter().product());
            }
        }
        let mut lengths = Lengths(Vec::new());
        self.levels.visit(&mut lengths);
        lengths.0
    }

    /// The weights of every level.
    pub fn weights(&self) -> Vec<LevelWeights> {
        let read = |module: &LevelModule, level: &Level, shapes: &LevelShapes| {
            let mut tensors = BTreeMap::new();
            for (place, layers) in [(BODY, &module.body), (HEAD, &module.head)] {
                for (position, layer) in layers.iter().enumerate() {
                    let LayerModule::Dense(dense) = layer else {
                        continue;
                    };
                    tensors.insert(
                        name_of(place, position, "weight"),
                        read_tensor(dense.weight.val()),
                    );
                    tensors.insert(
                        name_of(place, position, "bias"),
                        read_tensor(dense.bias.val()),
                    );
                }
            }
            LevelWeights::unchecked(tensors, level, shapes)
        };
        let levels = self.levels.levels.iter().zip(&self.specs).zip(&self.shapes);
        levels
            .map(|((module, level), shapes)| read(module, level, shapes))
            .collect()
    }

    /// One step of end-to-end learning: cross-entropy of the top level's head, gradients through every level.
    ///
    /// `rows` are as many as `targets`, which are classes.
    ///
    /// # Panics
    /// The lengths do not fit, or a target is no class.
    pub fn learn(
        &mut self,
        rows: Vec<f32>,
        targets: &[u32],
        optimizer: &mut Optimizer,
        rate: f64,
    ) -> StepResult {
        let logits = self.forward(self.rows_to_tensor(rows));
        let loss = burn_ops::cross_entropy(logits.clone(), targets);
        let mut gradients = loss.backward();
        let gradients = GradientsParams::from_module(&mut gradients, &self.levels);
        let gradient_norm = optimizer.step(&mut self.levels, gradients, rate);
        StepResult {
            loss: read_tensor(loss.inner()).values[0],
            logits: read_tensor(logits.inner()).values,
            gradient_norm,
        }
    }

    /// Logits of each row. A [`crate::Plan`] is faster; this is the network as it learns.
    ///
    /// # Panics
    /// `rows` are not whole rows.
    pub fn logits(&self, rows: Vec<f32>) -> Vec<f32> {
        read_tensor(self.forward(self.rows_to_tensor(rows)).inner()).values
    }

    /// The logit of class `target` for each row, and its gradient with respect to the row.
    ///
    /// # Panics
    /// `rows` are not whole rows, or `target` is no class.
    pub fn input_gradient(&self, rows: Vec<f32>, target: usize) -> InputGradient {
        let input = self.rows_to_tensor(rows).require_grad();
        let logits = self.forward(input.clone()).narrow(1, target, 1);
        let gradients = logits.clone().sum().backward();
        let gradient = input.grad(&gradients).expect("the input is tracked");
        InputGradient {
            logits: read_tensor(logits.inner()).values,
            gradient: read_tensor(gradient).values,
        }
    }

    fn rows_to_tensor(&self, rows: Vec<f32>) -> Tensor<2> {
        let width = self.input_len();
        let count = rows.len() / width;
        assert_eq!(rows.len(), count * width, "whole rows");
        Tensor::from_data(TensorData::new(rows, [count, width]), &self.device)
    }

    fn forward(&self, input: Tensor<2>) -> Tensor<2> {
        let mut x = input;
        for level in &self.levels.levels {
            x = forward(&level.body, x);
        }
        let top = self
            .levels
            .levels
            .last()
            .expect("checked levels: at least one");
        forward(&top.head, x)
    }
}

/// A dense layer takes the ReLU above it into its own operation.
fn forward(layers: &[LayerModule], mut x: Tensor<2>) -> Tensor<2> {
    let mut layers = layers.iter().peekable();
    while let Some(layer) = layers.next() {
        x = match layer {
            // Rows already are flat: `Network` takes and keeps them as `[rows, numbers]`.
            LayerModule::Flatten(_) => x,
            LayerModule::Relu(_) => burn::tensor::activation::relu(x),
            LayerModule::Dense(dense) => {
                let relu = layers
                    .next_if(|next| matches!(next, LayerModule::Relu(_)))
                    .is_some();
                burn_ops::dense(x, dense.weight.val(), dense.bias.val(), relu)
            }
        };
    }
    x
}

fn layer_modules(
    layers: &[Layer],
    place: &str,
    weights: &LevelWeights,
    device: &Device,
) -> Vec<LayerModule> {
    let module = |(position, layer): (usize, &Layer)| match layer {
        Layer::Flatten => LayerModule::Flatten(Flatten),
        Layer::Relu => LayerModule::Relu(Relu),
        Layer::Dense(_) => {
            let parameter = |name: &str| {
                let tensor = weights.of(place, position, name);
                TensorData::new(tensor.values.clone(), tensor.shape.clone())
            };
            LayerModule::Dense(Dense {
                weight: Param::from_tensor(Tensor::from_data(parameter("weight"), device)),
                bias: Param::from_tensor(Tensor::from_data(parameter("bias"), device)),
            })
        }
    };
    layers.iter().enumerate().map(module).collect()
}

fn fresh_weights(input: &[usize], levels: &[Level], index: usize, seed: u64) -> LevelWeights {
    let shapes = level_shapes(input, levels).expect("checked levels");
    // A stream for each level: a level starts the same whatever stands above or below it.
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(index as u64);
    let mut tensors = BTreeMap::new();
    let level = &levels[index];
    for dense in dense_layers(level, &shapes[index]) {
        let (inputs, units) = (dense.inputs, dense.units);
        let name = |tensor| name_of(dense.place, dense.position, tensor);
        let limit = (6.0 / (inputs + units) as f32).sqrt();
        let values = (0..inputs * units)
            .map(|_| limit * (2.0 * unit_interval(&mut random) - 1.0))
            .collect();
        let shape = vec![units, inputs];
        tensors.insert(name("weight"), WeightTensor { shape, values });
        let (shape, values) = (vec![units], vec![0.0; units]);
        tensors.insert(name("bias"), WeightTensor { shape, values });
    }
    LevelWeights::unchecked(tensors, level, &shapes[index])
}

/// Uniform in [0, 1), with 24 bits: the same on every machine.
fn unit_interval(random: &mut ChaCha8Rng) -> f32 {
    (random.next_u32() >> 8) as f32 / (1 << 24) as f32
}

fn read_tensor<const D: usize>(tensor: Tensor<D>) -> WeightTensor {
    let shape = tensor.dims().to_vec();
    let values = tensor
        .into_data()
        .try_into_vec()
        .expect("tensors of this crate are f32");
    WeightTensor { shape, values }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Plan, Scratch, tests::perceptron};

    #[test]
    fn a_plan_answers_as_the_network_does() {
        let levels = perceptron(12, 7, 3);
        let network = Network::new(&[12], &levels, 5);
        let rows: Vec<f32> = (0..36).map(|i| (i as f32 * 0.37).sin()).collect();
        let plan = Plan::compile(&[12], &levels, &network.weights());
        let mut logits = vec![0.0; 9];
        plan.run(&rows, &mut logits, &mut Scratch::default());
        for class in 0..3 {
            let expected = network.input_gradient(rows.clone(), class).logits;
            for (row, expected) in expected.iter().enumerate() {
                assert!((logits[row * 3 + class] - expected).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn equal_seeds_give_equal_weights_and_others_do_not() {
        let levels = perceptron(12, 7, 3);
        let weights = |seed| Network::new(&[12], &levels, seed).weights();
        assert_eq!(weights(1), weights(1));
        assert_ne!(weights(1), weights(2));
    }

    #[test]
    fn input_gradients_match_finite_differences() {
        let levels = perceptron(6, 5, 2);
        let network = Network::new(&[6], &levels, 3);
        let row: Vec<f32> = (0..6).map(|i| (i as f32 * 1.3).cos()).collect();
        let found = network.input_gradient(row.clone(), 1).gradient;
        for index in 0..6 {
            let moved = |step: f32| {
                let mut row = row.clone();
                row[index] += step;
                network.input_gradient(row, 1).logits[0]
            };
            let slope = (moved(1e-2) - moved(-1e-2)) / 2e-2;
            assert!(
                (slope - found[index]).abs() < 1e-3,
                "{slope} {}",
                found[index]
            );
        }
    }
}
