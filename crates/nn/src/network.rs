use burn::{
    module::{Module, Param},
    optim::GradientsParams,
    tensor::{Device, Tensor, TensorData},
};
use strata_spec::{Layer, Level, LevelShapes, Precision, level_shapes};

use crate::{
    LevelWeights,
    forward::{Batch, Pass, Statistics},
    fresh::fresh_weights,
    layers::{Levels, Running, read_tensor},
    ops,
    optimizer::Optimizer,
    precision::{format_of_maps, resolve},
};

/// A network that learns: levels, each with a body and, if it has one, a head.
///
/// Rows are plain slices of `f32`, one after another; the shape of one row is what the network was made with.
#[derive(Debug)]
pub struct Network {
    specs: Vec<Level>,
    shapes: Vec<LevelShapes>,
    levels: Levels,
    running: Vec<Running>,
    precision: Precision,
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

impl Network {
    /// A network with fresh weights: dense layers Glorot uniform (Glorot & Bengio 2010), convolutions He normal (He et al.
    /// 2015), biases zero. The same seed gives the same weights on every machine.
    ///
    /// # Panics
    /// `levels` are not checked ones (see `strata_spec`).
    pub fn new(input: &[usize], levels: &[Level], seed: u64, precision: Precision) -> Self {
        let shapes = level_shapes(input, levels).expect("checked levels");
        let weights: Vec<LevelWeights> = levels
            .iter()
            .zip(&shapes)
            .enumerate()
            .map(|(index, (level, shapes))| fresh_weights(level, shapes, index, seed))
            .collect();
        Self::with_weights(input, levels, &weights, precision)
    }

    /// A network with the given weights, one set for each level.
    ///
    /// # Panics
    /// `levels` are not checked ones, or `weights` are of other levels.
    pub fn with_weights(
        input: &[usize],
        levels: &[Level],
        weights: &[LevelWeights],
        precision: Precision,
    ) -> Self {
        assert_eq!(levels.len(), weights.len(), "weights of every level");
        let device = Device::flex().autodiff();
        let shapes = level_shapes(input, levels).expect("checked levels");
        let (modules, running) = Levels::build(levels, &shapes, weights, &device);
        Self {
            specs: levels.to_vec(),
            shapes,
            levels: modules,
            running,
            precision: resolve(precision),
            device,
        }
    }

    /// The number format in use; never `auto`.
    pub fn precision(&self) -> Precision {
        self.precision
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

    /// Numbers that one row becomes on its way through all layers: what learning and gradients keep of it, about.
    pub fn numbers_of_a_row(&self) -> usize {
        let levels = self.specs.iter().zip(&self.shapes);
        let of_level = |(level, shapes): (&Level, &LevelShapes)| {
            let head = level.head.as_ref();
            let head = head.map_or(0, |head| numbers_through(&head.layers, &shapes.output));
            numbers_through(&level.layers, &shapes.input) + head
        };
        self.input_len() + levels.map(of_level).sum::<usize>()
    }

    /// Number of weights that are learned.
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

    /// The weights of every level, running statistics included.
    pub fn weights(&self) -> Vec<LevelWeights> {
        let levels = self.levels.levels.iter().zip(&self.specs).zip(&self.shapes);
        levels
            .map(|((module, level), shapes)| {
                LevelWeights::unchecked(module.tensors(&self.running), level, shapes)
            })
            .collect()
    }

    /// One step of end-to-end learning: cross-entropy of the top level's head, gradients through every level. Batch
    /// normalizations use the statistics of these rows and move their running ones.
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
        let input = self.rows_to_tensor(rows);
        let pass = Pass {
            format: format_of_maps(self.precision),
            statistics: Statistics::OfBatch(&mut self.running),
        };
        let logits = forward(&self.levels, input, pass);
        let loss = ops::cross_entropy(logits.clone(), targets);
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

    /// The way of rows through a network that answers.
    fn forward(&self, input: Tensor<2>) -> Tensor<2> {
        let pass = Pass {
            format: format_of_maps(self.precision),
            statistics: Statistics::Running(&self.running),
        };
        forward(&self.levels, input, pass)
    }
}

/// The logits of the top level's head.
fn forward(levels: &Levels, input: Tensor<2>, mut pass: Pass<'_>) -> Tensor<2> {
    let mut x = Batch::Rows(input);
    for level in &levels.levels {
        x = pass.through(&level.body, x);
    }
    let top = levels.levels.last();
    let top = top.expect("checked levels: at least one");
    pass.through(&top.head, x).into_rows()
}

/// What comes out of each of `layers`, and of those in them, for a row of shape `input`.
fn numbers_through(layers: &[Layer], input: &[usize]) -> usize {
    let mut shape = input.to_vec();
    let mut numbers = 0;
    for layer in layers {
        let inner: usize = match layer {
            Layer::Residual(residual) => {
                numbers_through(&residual.layers, &shape)
                    + numbers_through(&residual.shortcut, &shape)
            }
            Layer::Branches(branches) => branches
                .branches
                .iter()
                .map(|layers| numbers_through(layers, &shape))
                .sum(),
            _ => 0,
        };
        shape = layer.output_shape(&shape).expect("checked levels");
        numbers += inner + shape.iter().product::<usize>();
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Plan, Scratch, tests::perceptron};

    #[test]
    fn a_plan_answers_as_the_network_does() {
        let levels = perceptron(12, 7, 3);
        let network = Network::new(&[12], &levels, 5, Precision::F32);
        let rows: Vec<f32> = (0..36).map(|i| (i as f32 * 0.37).sin()).collect();
        let plan = Plan::compile(&[12], &levels, &network.weights(), Precision::F32);
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
        let weights = |seed| Network::new(&[12], &levels, seed, Precision::F32).weights();
        assert_eq!(weights(1), weights(1));
        assert_ne!(weights(1), weights(2));
    }

    #[test]
    fn input_gradients_match_finite_differences() {
        let levels = perceptron(6, 5, 2);
        let network = Network::new(&[6], &levels, 3, Precision::F32);
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
