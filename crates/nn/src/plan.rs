use strata_kernels::DenseWeights;
use strata_spec::{Layer, Level, level_shapes};

use crate::weights::{BODY, HEAD, LevelWeights};

/// A network compiled for answering: packed weights, fused activations, buffers of known size.
///
/// A row's answer is the same bits in any batch, at any position.
#[derive(Debug)]
pub struct Plan {
    steps: Vec<Step>,
    input: usize,
    output: usize,
    widest: usize,
}

/// What a [`Plan`] needs to run; one for each thread that runs it, reused from call to call.
#[derive(Debug, Default)]
pub struct Scratch {
    from: Vec<f32>,
    to: Vec<f32>,
}

#[derive(Debug)]
enum Step {
    Dense { weights: DenseWeights, relu: bool },
    Relu,
}

impl Plan {
    /// Compiles the path from the input to the top level's head.
    ///
    /// `input` is the shape of one row; `weights` are those of `levels`, in the same order.
    ///
    /// # Panics
    /// `levels` are not checked ones (see `strata_spec`), or `weights` are of other levels.
    pub fn compile(input: &[usize], levels: &[Level], weights: &[LevelWeights]) -> Self {
        assert_eq!(levels.len(), weights.len(), "weights of every level");
        let shapes = level_shapes(input, levels).expect("checked levels");
        let input_len = input.iter().product();
        let mut plan = Self {
            steps: Vec::new(),
            input: input_len,
            output: input_len,
            widest: input_len,
        };
        for (index, (level, weights)) in levels.iter().zip(weights).enumerate() {
            plan.add(&level.layers, shapes[index].input.clone(), BODY, weights);
            if index + 1 == levels.len() {
                let head = level
                    .head
                    .as_ref()
                    .expect("checked levels: the last one has a head");
                plan.add(&head.layers, shapes[index].output.clone(), HEAD, weights);
            }
        }
        plan
    }

    /// Numbers in one row.
    pub fn input_len(&self) -> usize {
        self.input
    }

    /// Logits of one row.
    pub fn output_len(&self) -> usize {
        self.output
    }

    /// Computes the logits of `input.len() / input_len` rows into `logits`.
    ///
    /// # Panics
    /// The lengths of `input` and `logits` are not those of the same number of rows.
    pub fn run(&self, input: &[f32], logits: &mut [f32], scratch: &mut Scratch) {
        let rows = input.len() / self.input;
        assert_eq!(input.len(), rows * self.input, "whole rows");
        assert_eq!(
            logits.len(),
            rows * self.output,
            "room for the logits of every row"
        );
        // Enough rows to keep the weights busy, few enough for the activations to stay in the cache.
        const BLOCK: usize = 64;
        for (input, logits) in input
            .chunks(BLOCK * self.input)
            .zip(logits.chunks_mut(BLOCK * self.output))
        {
            self.run_block(input, logits, scratch);
        }
    }

    fn run_block(&self, input: &[f32], logits: &mut [f32], scratch: &mut Scratch) {
        let rows = input.len() / self.input;
        scratch.from.resize(rows * self.widest, 0.0);
        scratch.to.resize(rows * self.widest, 0.0);
        let mut width = self.input;
        let mut current: &[f32] = input;
        for step in &self.steps {
            match step {
                Step::Dense { weights, relu } => {
                    let to = &mut scratch.to[..rows * weights.outputs()];
                    weights.apply(current, to, *relu);
                    width = weights.outputs();
                }
                Step::Relu => {
                    for (to, from) in scratch.to.iter_mut().zip(current) {
                        *to = from.max(0.0);
                    }
                }
            }
            std::mem::swap(&mut scratch.from, &mut scratch.to);
            current = &scratch.from[..rows * width];
        }
        logits.copy_from_slice(current);
    }

    fn add(
        &mut self,
        layers: &[Layer],
        mut shape: Vec<usize>,
        place: &str,
        weights: &LevelWeights,
    ) {
        for (position, layer) in layers.iter().enumerate() {
            match layer {
                Layer::Flatten => {}
                Layer::Dense(_) => {
                    let weight = weights.of(place, position, "weight");
                    let bias = weights.of(place, position, "bias");
                    let weights = DenseWeights::pack(&weight.values, &bias.values, weight.shape[1]);
                    self.steps.push(Step::Dense {
                        weights,
                        relu: false,
                    });
                }
                Layer::Relu => match self.steps.last_mut() {
                    Some(Step::Dense { relu, .. }) => *relu = true,
                    _ => self.steps.push(Step::Relu),
                },
            }
            shape = layer.output_shape(&shape).expect("checked levels");
            self.output = shape.iter().product();
            self.widest = self.widest.max(self.output);
        }
    }
}
