use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor, TensorData},
};
use strata_kernels::derive_seed;
use strata_spec::{Layer, Level, LevelShapes, Precision, level_shapes};

use crate::{
    LevelWeights, Role,
    forward::{Batch, Pass, Statistics},
    fresh::fresh_weights,
    layers::{LevelModule, Levels, Running, read_tensor},
    learn::track,
    mirror::{average, mirrored, mirrored_shape},
    precision::{format_of_maps, resolve},
};

/// The first of the streams of random numbers that are sides': levels have those below.
const SIDES: usize = 1 << 16;

/// A network that learns: levels, each with a body and, if it has one, a head.
///
/// Rows are plain slices of `f32`, one after another; the shape of one row is what the network was made with.
#[derive(Debug)]
pub struct Network {
    specs: Vec<Level>,
    /// What each level's objective needs beside its head, as a level of its own on top of the level's body.
    sides: Vec<(Level, LevelShapes)>,
    pub(crate) shapes: Vec<LevelShapes>,
    pub(crate) levels: Levels,
    pub(crate) roles: Vec<Role>,
    pub(crate) running: Vec<Running>,
    pub(crate) precision: Precision,
    /// Decides what is random in a step.
    pub(crate) seed: u64,
    pub(crate) device: Device,
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
    /// 2015), biases zero, but where the `start` of a layer says otherwise. The same seed gives the same weights on every machine.
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
        let mut network = Self::fixed(input, levels, weights, precision);
        network.assign(Role::end_to_end(levels.len()));
        network
    }

    /// The same for a network that only answers and gives gradients of its input: it does not learn, and no gradients of its
    /// weights are computed.
    ///
    /// # Panics
    /// Those of [`Network::with_weights`].
    pub fn fixed(
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
            sides: Vec::new(),
            shapes,
            levels: modules,
            roles: Vec::new(),
            running,
            precision: resolve(precision),
            seed: 0,
            device,
        }
    }

    /// Gives each level the layers that its objective needs beside its head (see [`crate::side_layers`]), with fresh weights
    /// from `seed`.
    ///
    /// # Panics
    /// There are not layers for each level, or they do not fit what its body gives.
    pub fn add_sides(&mut self, sides: Vec<Vec<Layer>>, seed: u64) {
        assert_eq!(sides.len(), self.specs.len(), "layers for each level");
        self.sides = Vec::new();
        for (index, layers) in sides.into_iter().enumerate() {
            let side = Level {
                name: self.specs[index].name.clone(),
                layers,
                head: None,
            };
            let shapes = level_shapes(&self.shapes[index].output, std::slice::from_ref(&side));
            let shapes = shapes.expect("layers that fit").remove(0);
            // A stream of their own: a level begins the same whatever its objective is.
            let weights = fresh_weights(&side, &shapes, SIDES + index, seed);
            self.sides.push((side, shapes));
            self.set_side(index, &weights);
        }
    }

    /// The weights that [`Network::add_sides`] gave, as they are now; nothing if it was not called.
    pub fn side_weights(&self) -> Vec<LevelWeights> {
        let sides = self.sides.iter().zip(&self.levels.levels);
        sides
            .map(|((level, shapes), module)| {
                LevelWeights::unchecked(module.side_tensors(&self.running), level, shapes)
            })
            .collect()
    }

    /// Levels that hold what [`Network::add_sides`] gave, and their shapes: what [`Network::side_weights`] are weights of.
    pub fn sides(&self) -> &[(Level, LevelShapes)] {
        &self.sides
    }

    /// Goes on with weights that [`Network::side_weights`] gave.
    ///
    /// # Panics
    /// They are of other layers.
    pub fn set_side_weights(&mut self, weights: &[LevelWeights]) {
        assert_eq!(weights.len(), self.sides.len(), "weights of every level");
        for (index, weights) in weights.iter().enumerate() {
            self.set_side(index, weights);
        }
    }

    fn set_side(&mut self, index: usize, weights: &LevelWeights) {
        let (level, shapes) = &self.sides[index];
        let module = &mut self.levels.levels[index];
        module.set_side(level, shapes, weights, &self.device, &mut self.running);
        track(&mut module.side, true);
    }

    /// The number format in use; never `auto`.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Sets what decides what is random in the steps that follow, such as what dropouts leave out. A training calls it
    /// before each step with its seed and the number of the step, so that one that goes on later repeats what it would
    /// have done; without it every step leaves out alike.
    pub fn seed_step(&mut self, seed: u64, step: u64) {
        self.seed = derive_seed(seed, step);
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

    /// Number of weights of each tensor of each level, in the order in which an optimizer meets them.
    pub(crate) fn parameter_lengths(&self) -> Vec<Vec<usize>> {
        struct Lengths(Vec<usize>);
        impl burn::module::ModuleVisitor for Lengths {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                self.0.push(param.val().dims().iter().product());
            }
        }
        let of_level = |level: &LevelModule| {
            let mut lengths = Lengths(Vec::new());
            level.visit(&mut lengths);
            lengths.0
        };
        self.levels.levels.iter().map(of_level).collect()
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

    /// Logits of each row. A [`crate::Plan`] is faster; this is the network as it learns.
    ///
    /// # Panics
    /// `rows` are not whole rows.
    pub fn logits(&self, rows: Vec<f32>) -> Vec<f32> {
        let turned = self.mirrored().map(|shape| mirrored(&rows, shape));
        let of = |rows| {
            let rows = self.rows_to_tensor(rows, self.input_len());
            read_tensor(self.forward(rows).inner()).values
        };
        let mut logits = of(rows);
        if let Some(turned) = turned {
            average(&mut logits, &of(turned));
        }
        logits
    }

    /// The logit of class `target` for each row, and its gradient with respect to the row.
    ///
    /// # Panics
    /// `rows` are not whole rows, or `target` is no class.
    pub fn input_gradient(&self, rows: Vec<f32>, target: usize) -> InputGradient {
        let Some(shape) = self.mirrored() else {
            return self.input_gradient_as_they_are(rows, target);
        };
        let turned = mirrored(&rows, shape);
        let mut found = self.input_gradient_as_they_are(rows, target);
        let other = self.input_gradient_as_they_are(turned, target);
        average(&mut found.logits, &other.logits);
        average(&mut found.gradient, &mirrored(&other.gradient, shape));
        found
    }

    /// The shape of a row, if answers are also from its mirror image.
    fn mirrored(&self) -> Option<[usize; 3]> {
        mirrored_shape(&self.shapes[0].input, &self.specs)
    }

    fn input_gradient_as_they_are(&self, rows: Vec<f32>, target: usize) -> InputGradient {
        let input = self.rows_to_tensor(rows, self.input_len()).require_grad();
        let logits = self.forward(input.clone()).narrow(1, target, 1);
        let gradients = logits.clone().sum().backward();
        let gradient = input.grad(&gradients).expect("the input is tracked");
        InputGradient {
            logits: read_tensor(logits.inner()).values,
            gradient: read_tensor(gradient).values,
        }
    }

    pub(crate) fn rows_to_tensor(&self, rows: Vec<f32>, width: usize) -> Tensor<2> {
        let count = rows.len() / width;
        assert_eq!(rows.len(), count * width, "whole rows");
        Tensor::from_data(TensorData::new(rows, [count, width]), &self.device)
    }

    /// The way of rows through a network that answers.
    fn forward(&self, input: Tensor<2>) -> Tensor<2> {
        let pass = Pass {
            format: format_of_maps(self.precision),
            seed: self.seed,
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
