//! From levels and weights to steps.

use strata_kernels::{Conv2d, DenseWeights, Element, PackedConv2d};
use strata_spec::{
    Conv, Layer, Level, Residual, level_shapes,
    paths::{BODY, HEAD, branch_place, path_of, residual_places},
};

use super::{
    fold::{Line, conv_weights, dense_weights},
    steps::{
        self, HeadSteps, LevelOutput, LevelSteps, MapShape, Pooling, Program, Simple, Slot, Source,
        Step,
    },
};
use crate::{
    LevelWeights,
    layers::{gelu_of, window_of},
    weights::output_shape,
};

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

/// What a layer gives. Its buffer is in use until every holder has released it.
#[derive(Clone, Copy, Debug)]
enum Value {
    Rows(Source),
    Maps(Slot),
}

/// What is done to what comes out of layers: a sum, then a ReLU.
#[derive(Default)]
struct After {
    residual: Option<Value>,
    relu: bool,
}

/// Buffers of one kind: how long each is, and how many hold what is in it.
#[derive(Debug, Default)]
struct Buffers {
    lens: Vec<usize>,
    holders: Vec<usize>,
}

impl Buffers {
    /// A buffer that nobody holds, made long enough: the shortest that is, or else the longest.
    fn take(&mut self, len: usize) -> Slot {
        let free = (0..self.lens.len()).filter(|index| self.holders[*index] == 0);
        let index = free.min_by_key(|index| {
            let have = self.lens[*index];
            if have >= len {
                (false, have)
            } else {
                (true, usize::MAX - have)
            }
        });
        let index = index.unwrap_or_else(|| {
            self.lens.push(0);
            self.holders.push(0);
            self.lens.len() - 1
        });
        self.lens[index] = self.lens[index].max(len);
        self.holders[index] = 1;
        Slot { index, len }
    }
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

    fn conv(
        &mut self,
        conv: &Conv,
        path: &str,
        input: &[usize],
        norm: Option<Line>,
        x: Value,
        after: After,
    ) -> Value {
        let (shape, from) = self.maps_of(x, input);
        let (weight, bias) = conv_weights(self.weights, path, conv.bias, norm);
        let window = window_of(conv.window());
        let [height, width] = window.output(shape.size).expect("checked levels");
        let to = self.maps.take(height * width * conv.channels);
        let residual = after.residual.map(|residual| match residual {
            Value::Maps(slot) => slot,
            Value::Rows(_) => unreachable!("a residual layer on maps holds maps"),
        });
        let sizes = Conv2d {
            images: 1,
            input: shape.size,
            in_channels: shape.channels,
            out_channels: conv.channels,
            groups: conv.groups,
            window,
        };
        self.steps.push(Step::Conv {
            packed: PackedConv2d::pack(&sizes, &weight, &bias),
            residual,
            relu: after.relu,
            from,
            to,
        });
        self.release(Value::Maps(from));
        if let Some(residual) = residual {
            self.release(Value::Maps(residual));
        }
        Value::Maps(to)
    }

    /// A normalization, or a factor, that stands above no weights.
    fn batch_norm(
        &mut self,
        norm: steps::BatchNorm,
        input: &[usize],
        x: Value,
        after: After,
    ) -> Value {
        let relu = after.relu;
        let x = self.as_layers_take_it(x, input);
        let residual = after.residual.map(|residual| match residual {
            Value::Maps(slot) | Value::Rows(Source::Buffer(slot)) => slot,
            Value::Rows(Source::Input(_)) => unreachable!("a residual layer holds buffers"),
        });
        match x {
            Value::Maps(from) => {
                let to = self.maps.take(from.len);
                self.steps.push(Step::OnMaps(Simple::BatchNorm {
                    norm,
                    residual,
                    relu,
                    from,
                    to,
                }));
                self.release(x);
                if let Some(residual) = residual {
                    self.release(Value::Maps(residual));
                }
                Value::Maps(to)
            }
            Value::Rows(from) => {
                let from = self.loaded(from);
                let to = self.rows.take(from.len);
                self.steps.push(Step::OnRows(Simple::BatchNorm {
                    norm,
                    residual,
                    relu,
                    from,
                    to,
                }));
                self.release(Value::Rows(Source::Buffer(from)));
                if let Some(residual) = residual {
                    self.release(Value::Rows(Source::Buffer(residual)));
                }
                Value::Rows(Source::Buffer(to))
            }
        }
    }

    fn pool(&mut self, layer: &Layer, pooling: Pooling, input: &[usize], x: Value) -> Value {
        let (shape, from) = self.maps_of(x, input);
        let to = self.maps.take(output_shape(layer, input).iter().product());
        self.steps.push(Step::Pool {
            pooling,
            shape,
            from,
            to,
        });
        self.release(Value::Maps(from));
        Value::Maps(to)
    }

    fn residual(
        &mut self,
        residual: &Residual,
        path: &str,
        input: &[usize],
        x: Value,
        after: After,
    ) -> Value {
        let [layers, shortcut] = residual_places(path);
        let x = match self.as_layers_take_it(x, input) {
            Value::Rows(source) => Value::Rows(Source::Buffer(self.loaded(source))),
            maps => maps,
        };
        self.hold(x);
        let shortcut = self.layers(&residual.shortcut, &shortcut, input, x, After::default());
        // A ReLU that comes after another sum is not this sum's.
        let is_last = after.residual.is_none();
        let sum = After {
            residual: Some(shortcut),
            relu: after.relu && is_last,
        };
        let y = self.layers(&residual.layers, &layers, input, x, sum);
        if is_last { y } else { self.finish(y, after) }
    }

    /// A sum and a ReLU that no other step took.
    fn finish(&mut self, x: Value, after: After) -> Value {
        let Some(residual) = after.residual else {
            return if after.relu { self.apply_relu(x) } else { x };
        };
        let relu = after.relu;
        let y = match (x, residual) {
            (Value::Maps(a), Value::Maps(b)) => {
                let to = self.maps.take(a.len);
                let add = Simple::Add { a, b, relu, to };
                self.steps.push(Step::OnMaps(add));
                Value::Maps(to)
            }
            (Value::Rows(Source::Buffer(a)), Value::Rows(Source::Buffer(b))) => {
                let to = self.rows.take(a.len);
                let add = Simple::Add { a, b, relu, to };
                self.steps.push(Step::OnRows(add));
                Value::Rows(Source::Buffer(to))
            }
            _ => unreachable!("checked levels: both parts of a sum have one shape"),
        };
        self.release(x);
        self.release(residual);
        y
    }

    fn apply_relu(&mut self, x: Value) -> Value {
        self.one_by_one(x, |from, to| Simple::Relu { from, to })
    }

    /// Numbers that each depend on one below.
    fn one_by_one(&mut self, x: Value, step: impl FnOnce(Slot, Slot) -> Simple) -> Value {
        let y = match x {
            Value::Maps(from) => {
                let to = self.maps.take(from.len);
                self.steps.push(Step::OnMaps(step(from, to)));
                Value::Maps(to)
            }
            Value::Rows(source) => {
                let from = self.loaded(source);
                let to = self.rows.take(from.len);
                self.steps.push(Step::OnRows(step(from, to)));
                self.release(Value::Rows(Source::Buffer(from)));
                return Value::Rows(Source::Buffer(to));
            }
        };
        self.release(x);
        y
    }

    fn concatenate(&mut self, parts: &[Value], shapes: &[Vec<usize>]) -> Value {
        let len = shapes
            .iter()
            .map(|shape| shape.iter().product::<usize>())
            .sum();
        let channels = shapes.iter().map(|shape| shape[0]);
        let (mut maps, mut rows) = (Vec::new(), Vec::new());
        for (part, channels) in parts.iter().zip(channels) {
            match *part {
                Value::Maps(slot) => maps.push((slot, channels)),
                Value::Rows(source) => rows.push((self.loaded(source), channels)),
            }
        }
        let y = if rows.is_empty() {
            let to = self.maps.take(len);
            let concat = Simple::Concat {
                parts: maps.clone(),
                to,
            };
            self.steps.push(Step::OnMaps(concat));
            Value::Maps(to)
        } else {
            let to = self.rows.take(len);
            let concat = Simple::Concat {
                parts: rows.clone(),
                to,
            };
            self.steps.push(Step::OnRows(concat));
            Value::Rows(Source::Buffer(to))
        };
        for (slot, _) in maps {
            self.release(Value::Maps(slot));
        }
        for (slot, _) in rows {
            self.release(Value::Rows(Source::Buffer(slot)));
        }
        y
    }

    /// As maps if a row has the shape of one, else as rows.
    fn as_layers_take_it(&mut self, x: Value, shape: &[usize]) -> Value {
        if shape.len() == 3 {
            Value::Maps(self.maps_of(x, shape).1)
        } else {
            x
        }
    }

    fn maps_of(&mut self, x: Value, shape: &[usize]) -> (MapShape, Slot) {
        let shape = map_shape(shape);
        match x {
            Value::Maps(slot) => (shape, slot),
            Value::Rows(from) => {
                let to = self
                    .maps
                    .take(shape.channels * shape.size[0] * shape.size[1]);
                self.steps.push(Step::RowsToMaps { shape, from, to });
                self.release(x);
                (shape, to)
            }
        }
    }

    fn rows_of(&mut self, x: Value, shape: &[usize]) -> Value {
        let Value::Maps(from) = x else {
            return x;
        };
        let to = self.rows.take(from.len);
        self.steps.push(Step::MapsToRows {
            shape: map_shape(shape),
            from,
            to,
        });
        self.release(x);
        Value::Rows(Source::Buffer(to))
    }

    fn source(&mut self, x: Value, shape: &[usize]) -> Source {
        match self.rows_of(x, shape) {
            Value::Rows(source) => source,
            Value::Maps(_) => unreachable!("rows were asked for"),
        }
    }

    /// Rows in a buffer, the caller's too.
    fn loaded(&mut self, source: Source) -> Slot {
        match source {
            Source::Buffer(slot) => slot,
            Source::Input(len) => {
                let to = self.rows.take(len);
                self.steps.push(Step::Load { to });
                to
            }
        }
    }

    fn hold(&mut self, value: Value) {
        match value {
            Value::Maps(slot) => self.maps.holders[slot.index] += 1,
            Value::Rows(Source::Buffer(slot)) => self.rows.holders[slot.index] += 1,
            Value::Rows(Source::Input(_)) => {}
        }
    }

    fn release(&mut self, value: Value) {
        match value {
            Value::Maps(slot) => self.maps.holders[slot.index] -= 1,
            Value::Rows(Source::Buffer(slot)) => self.rows.holders[slot.index] -= 1,
            Value::Rows(Source::Input(_)) => {}
        }
    }
}

fn map_shape(shape: &[usize]) -> MapShape {
    let &[channels, height, width] = shape else {
        unreachable!("checked levels: {shape:?} are no maps");
    };
    MapShape {
        channels,
        size: [height, width],
    }
}
