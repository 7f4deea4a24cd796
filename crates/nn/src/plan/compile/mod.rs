//! From levels and weights to steps.

mod layers;
mod values;

use strata_kernels::{DenseWeights, Element};
use strata_spec::{
    Layer, Level, level_shapes,
    paths::{BODY, HEAD, branch_place, path_of},
};

use super::{
    fold::{Line, dense_weights},
    steps::{self, HeadSteps, LevelOutput, LevelSteps, Pooling, Program, Simple, Source, Step},
};
use crate::{
    LevelWeights,
    layers::{gelu_of, window_of},
    weights::output_shape,
};
use values::{Buffers, Value};

/// The steps of every level, from the lowest to the top one.
pub(super) fn compile<T: Element>(
    input: &[usize],
    levels: &[Level],
    weights: &[LevelWeights],
) -> Program<T> {
    let shapes = level_shapes(input, levels).expect("checked levels");
    let (mut rows, mut maps) = (Buffers::default(), Buffers::default());
    let mut x = Value::Rows(Source::Input(input.iter().product()));
    let mut compiled = Vec::with_capacity(levels.len());
    for (index, (level, weights)) in levels.iter().zip(weights).enumerate() {
        let (mut body, mut head_steps) = (Vec::new(), Vec::new());
        let mut compiler = Compiler {
            weights,
            steps: &mut body,
            rows: &mut rows,
            maps: &mut maps,
        };
        let shapes = &shapes[index];
        x = compiler.layers(&level.layers, BODY, &shapes.input, x, After::default());
        let is_top = index + 1 == levels.len();
        if level.head.is_some() && !is_top {
            // Rows may leave here; the caller's own stay where they are.
            if let Value::Rows(source) = x {
                x = Value::Rows(Source::Buffer(compiler.loaded(source)));
            }
            compiler.hold(x);
        }
        let head = level.head.as_ref().map(|head| {
            compiler.steps = &mut head_steps;
            let logits = compiler.layers(&head.layers, HEAD, &shapes.output, x, After::default());
            let Value::Rows(output) = logits else {
                unreachable!("checked levels: a head gives rows of one dimension");
            };
            compiler.release(logits);
            output
        });
        compiled.push(LevelSteps {
            body,
            output: match x {
                Value::Rows(source) => LevelOutput::Rows(source),
                Value::Maps(slot) => LevelOutput::Maps {
                    slot,
                    channels: shapes.output[0],
                },
            },
            head: head.map(|output| HeadSteps {
                steps: head_steps,
                output,
            }),
        });
    }
    Program {
        levels: compiled,
        rows: rows.lens,
        maps: maps.lens,
    }
}

/// What is done to what comes out of layers: a sum, then a ReLU.
#[derive(Default)]
struct After {
    residual: Option<Value>,
    relu: bool,
}

struct Compiler<'a, T> {
    weights: &'a LevelWeights,
    steps: &'a mut Vec<Step<T>>,
    rows: &'a mut Buffers,
    maps: &'a mut Buffers,
}

impl<T: Element> Compiler<'_, T> {
    /// The steps of `layers`. Releases `x` and what comes `after`.
    fn layers(
        &mut self,
        layers: &[Layer],
        place: &str,
        input: &[usize],
        mut x: Value,
        after: After,
    ) -> Value {
        let mut after = Some(after);
        let mut shape = input.to_vec();
        // What is left out while learning is left in here.
        let layers = layers.iter().enumerate();
        let layers = layers.filter(|(_, layer)| !matches!(layer, Layer::Dropout(_)));
        let mut layers = layers.peekable();
        while let Some((position, layer)) = layers.next() {
            let input = shape;
            shape = output_shape(layer, &input);
            let path = path_of(place, position);
            // A normalization goes into the weights before it.
            let mut norm = None;
            if matches!(layer, Layer::Conv(_) | Layer::Dense(_))
                && let Some((position, next)) = layers
                    .next_if(|(_, next)| matches!(next, Layer::BatchNorm(_) | Layer::Scale(_)))
            {
                let path = path_of(place, position);
                norm = match next {
                    Layer::BatchNorm(settings) => Some(Line::of(settings, self.weights, &path)),
                    Layer::Scale(scale) => Some(Line::times(scale.by, shape[0])),
                    _ => None,
                };
            }
            let relu = layers
                .next_if(|(_, next)| matches!(next, Layer::Relu))
                .is_some();
            // What comes after all layers comes after a ReLU of their own, so not with it in one step.
            let own = match layers.peek() {
                None if !relu => after.take().unwrap_or_default(),
                _ => After {
                    residual: None,
                    relu,
                },
            };
            x = self.layer(layer, &path, &input, norm, x, own);
        }
        match after {
            Some(after) => self.finish(x, after),
            None => x,
        }
    }

    fn layer(
        &mut self,
        layer: &Layer,
        path: &str,
        input: &[usize],
        norm: Option<Line>,
        x: Value,
        after: After,
    ) -> Value {
        match layer {
            Layer::Relu => {
                let x = self.apply_relu(x);
                self.finish(x, after)
            }
            Layer::Gelu(gelu) => {
                let kind = gelu_of(*gelu);
                let x = self.one_by_one(x, |from, to| Simple::Gelu { kind, from, to });
                self.finish(x, after)
            }
            Layer::Flatten => {
                let x = self.rows_of(x, input);
                self.finish(x, after)
            }
            Layer::Dense(_) => {
                let (weight, bias) = dense_weights(self.weights, path, norm);
                let inputs = input[0];
                let from = self.source(x, input);
                let to = self.rows.take(bias.len());
                let relu = after.relu && after.residual.is_none();
                self.steps.push(Step::Dense {
                    weights: DenseWeights::pack(&weight, &bias, inputs),
                    relu,
                    from,
                    to,
                });
                self.release(Value::Rows(from));
                let y = Value::Rows(Source::Buffer(to));
                if relu { y } else { self.finish(y, after) }
            }
            Layer::Conv(conv) => self.conv(conv, path, input, norm, x, after),
            Layer::BatchNorm(norm) => {
                let values = |name| self.weights.of(path, name).values.clone();
                let norm = steps::BatchNorm {
                    epsilon: norm.epsilon as f32,
                    weight: values("weight"),
                    bias: values("bias"),
                    mean: values("running_mean"),
                    variance: values("running_var"),
                };
                self.batch_norm(norm, input, x, after)
            }
            Layer::Scale(scale) => {
                let [zeros, ones] = [0.0, 1.0].map(|value| vec![value; input[0]]);
                let norm = steps::BatchNorm {
                    epsilon: 0.0,
                    weight: vec![scale.by as f32; input[0]],
                    bias: zeros.clone(),
                    mean: zeros,
                    variance: ones,
                };
                self.batch_norm(norm, input, x, after)
            }
            Layer::LayerNorm(norm) => {
                let from = self.source(x, input);
                let from = self.loaded(from);
                let to = self.rows.take(from.len);
                self.steps.push(Step::LayerNorm {
                    epsilon: norm.epsilon as f32,
                    weight: self.weights.of(path, "weight").values.clone(),
                    bias: self.weights.of(path, "bias").values.clone(),
                    from,
                    to,
                });
                self.release(Value::Rows(Source::Buffer(from)));
                self.finish(Value::Rows(Source::Buffer(to)), after)
            }
            Layer::MaxPool(pool) => {
                let pooling = Pooling::Max(window_of(pool.window()));
                let y = self.pool(layer, pooling, input, x);
                self.finish(y, after)
            }
            Layer::AveragePool(pool) => {
                let pooling = Pooling::Average {
                    window: window_of(pool.window()),
                    count_padding: pool.count_padding,
                };
                let y = self.pool(layer, pooling, input, x);
                self.finish(y, after)
            }
            Layer::AdaptiveAveragePool(pool) => {
                let pooling = Pooling::Adaptive([pool.height, pool.width]);
                let y = self.pool(layer, pooling, input, x);
                self.finish(y, after)
            }
            Layer::Subsample(subsample) => {
                let pooling = Pooling::Subsample {
                    stride: subsample.stride.0,
                    channels: subsample.channels,
                };
                let y = self.pool(layer, pooling, input, x);
                self.finish(y, after)
            }
            Layer::Dropout(_) => unreachable!("dropouts have no step"),
            Layer::GlobalAveragePool => {
                let pooled = self.pool(layer, Pooling::Adaptive([1, 1]), input, x);
                let y = self.rows_of(pooled, &[input[0], 1, 1]);
                self.finish(y, after)
            }
            Layer::Residual(residual) => self.residual(residual, path, input, x, after),
            Layer::Branches(branches) => {
                let x = self.as_layers_take_it(x, input);
                let mut parts = Vec::new();
                for (index, layers) in branches.branches.iter().enumerate() {
                    self.hold(x);
                    let place = branch_place(path, index);
                    parts.push(self.layers(layers, &place, input, x, After::default()));
                }
                self.release(x);
                let shapes = branches.output_shapes(input).expect("checked levels");
                let y = self.concatenate(&parts, &shapes);
                self.finish(y, after)
            }
        }
    }
}
