//! The steps of layers that take more than a line of the table.

use strata_kernels::{Conv2d, Element, PackedConv2d};
use strata_spec::{Conv, Layer, Residual, paths::residual_places};

use super::{
    super::{
        fold::{Line, conv_weights},
        memory::Slot,
        steps::{self, Pooling, Simple, Source, Step},
    },
    After, Compiler,
    values::Value,
};
use crate::{layers::window_of, weights::output_shape};

impl<T: Element> Compiler<'_, T> {
    pub(super) fn conv(
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
    pub(super) fn batch_norm(
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

    pub(super) fn pool(
        &mut self,
        layer: &Layer,
        pooling: Pooling,
        input: &[usize],
        x: Value,
    ) -> Value {
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

    pub(super) fn residual(
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
    pub(super) fn finish(&mut self, x: Value, after: After) -> Value {
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

    pub(super) fn apply_relu(&mut self, x: Value) -> Value {
        self.one_by_one(x, |from, to| Simple::Relu { from, to })
    }

    /// Numbers that each depend on one below.
    pub(super) fn one_by_one(
        &mut self,
        x: Value,
        step: impl FnOnce(Slot, Slot) -> Simple,
    ) -> Value {
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

    pub(super) fn concatenate(&mut self, parts: &[Value], shapes: &[Vec<usize>]) -> Value {
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
}
