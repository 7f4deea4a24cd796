//! The way of a batch through layers.

use burn::tensor::{DType, Gradients, Tensor};
use strata_kernels::{BatchNormSettings, Format, derive_seed};

use crate::{
    layers::{BatchNorm, Dropout, Kind, LayerModule, Residual, Running},
    ops,
};

/// A batch on its way: rows `[rows, numbers]` in `f32`, or maps `[height, width, images, channels]`.
#[derive(Clone, Debug)]
pub(crate) enum Batch {
    Rows(Tensor<2>),
    Maps(Tensor<4>),
}

/// What holds for all layers of a pass.
pub(crate) struct Pass<'a> {
    /// The format of maps.
    pub(crate) format: Format,
    /// Decides what dropouts leave out where a network learns.
    pub(crate) seed: u64,
    pub(crate) statistics: Statistics<'a>,
}

/// What batch normalizations use.
pub(crate) enum Statistics<'a> {
    /// The running ones: a network that answers.
    Running(&'a [Running]),
    /// Those of the batch: a network that learns. They also move the running ones, where `moves` says so.
    OfBatch {
        running: &'a mut [Running],
        moves: bool,
    },
}

/// What is done to what comes out of layers: a sum, then a ReLU. The last layer takes it into its own operation if it can.
#[derive(Default)]
struct After {
    residual: Option<Batch>,
    relu: bool,
}

impl Batch {
    pub(crate) fn into_rows(self) -> Tensor<2> {
        match self {
            Self::Rows(rows) => rows,
            Self::Maps(maps) => ops::maps_to_rows(maps),
        }
    }

    /// As maps, if a row has the shape of one. Dimensions of rows say nothing: they are flat.
    fn into_maps(self, shape: &[usize], format: Format) -> Self {
        match (self, shape) {
            (Self::Rows(rows), &[channels, height, width]) => {
                Self::Maps(ops::rows_to_maps(rows, channels, [height, width], format))
            }
            (batch, _) => batch,
        }
    }

    /// The same numbers, off the tape.
    pub(crate) fn detach(self) -> Self {
        match self {
            Self::Rows(rows) => Self::Rows(rows.detach()),
            Self::Maps(maps) => Self::Maps(maps.detach()),
        }
    }

    /// The same numbers, whose gradient is wanted.
    pub(crate) fn require_grad(self) -> Self {
        match self {
            Self::Rows(rows) => Self::Rows(rows.require_grad()),
            Self::Maps(maps) => Self::Maps(maps.require_grad()),
        }
    }

    /// Its gradient, off the tape, if it has one.
    pub(crate) fn gradient(&self, gradients: &Gradients) -> Option<Self> {
        Some(match self {
            Self::Rows(rows) => Self::Rows(Tensor::from_inner(rows.grad(gradients)?)),
            Self::Maps(maps) => Self::Maps(Tensor::from_inner(maps.grad(gradients)?)),
        })
    }

    /// The sum of its products with numbers of the same shape, as `[1]`: what has these as its gradient.
    pub(crate) fn inner_product(self, other: Self) -> Tensor<1> {
        match (self, other) {
            (Self::Rows(a), Self::Rows(b)) => (a * b).sum(),
            (Self::Maps(a), Self::Maps(b)) => (a * b).sum().cast(DType::F32),
            _ => unreachable!("both are rows, or both are maps"),
        }
    }
}

impl Pass<'_> {
    /// `x` after `layers`.
    pub(crate) fn through(&mut self, layers: &[LayerModule], x: Batch) -> Batch {
        self.through_and(layers, x, After::default())
    }

    fn through_and(&mut self, layers: &[LayerModule], mut x: Batch, after: After) -> Batch {
        let mut after = Some(after);
        let mut layers = layers.iter().peekable();
        while let Some(layer) = layers.next() {
            let relu = layers
                .next_if(|next| matches!(next.kind, Kind::Relu(_)))
                .is_some();
            // What comes after all layers comes after a ReLU of their own, so not with it in one operation.
            let own = match layers.peek() {
                None if !relu => after.take().unwrap_or_default(),
                _ => After {
                    residual: None,
                    relu,
                },
            };
            x = self.layer(layer, x, own);
        }
        match after {
            Some(after) => finish(x, after),
            None => x,
        }
    }

    fn layer(&mut self, layer: &LayerModule, x: Batch, after: After) -> Batch {
        // Rows stay rows where it makes no difference.
        let x = match layer.kind {
            Kind::Flatten(_)
            | Kind::Relu(_)
            | Kind::Gelu(_)
            | Kind::Dropout(_)
            | Kind::Scale(_) => x,
            _ => x.into_maps(&layer.input, self.format),
        };
        match (&layer.kind, x) {
            (Kind::Dense(dense), x) => {
                let fused = after.relu && after.residual.is_none();
                let (weight, bias) = (dense.weight.val(), dense.bias.val());
                let y = Batch::Rows(ops::dense(x.into_rows(), weight, bias, fused, self.format));
                if fused { y } else { finish(y, after) }
            }
            (Kind::BatchNorm(norm), x) => self.batch_norm(norm, x, after),
            (Kind::Residual(residual), x) => self.residual(residual, x, after),
            (Kind::Branches(branches), x) => {
                let branches = branches.branches.iter();
                let outputs = branches
                    .map(|layers| self.through(layers, x.clone()))
                    .collect();
                finish(concatenate(outputs), after)
            }
            (Kind::Dropout(dropout), x) => finish(self.dropout(dropout, x), after),
            (Kind::Scale(scale), Batch::Rows(x)) => finish(Batch::Rows(x * scale.by), after),
            (Kind::Scale(scale), Batch::Maps(x)) => finish(Batch::Maps(x * scale.by), after),
            (Kind::Flatten(_), x) => finish(Batch::Rows(x.into_rows()), after),
            (Kind::Relu(_), Batch::Rows(x)) => finish(Batch::Rows(ops::relu(x)), after),
            (Kind::Relu(_), Batch::Maps(x)) => finish(Batch::Maps(ops::relu(x)), after),
            (Kind::Gelu(gelu), Batch::Rows(x)) => {
                finish(Batch::Rows(ops::gelu(x, gelu.kind)), after)
            }
            (Kind::Gelu(gelu), Batch::Maps(x)) => {
                finish(Batch::Maps(ops::gelu(x, gelu.kind)), after)
            }
            (Kind::LayerNorm(norm), x) => {
                let (weight, bias) = (norm.weight.val(), norm.bias.val());
                let y = ops::layer_norm(x.into_rows(), weight, bias, norm.epsilon);
                finish(Batch::Rows(y), after)
            }
            (kind, Batch::Maps(x)) => finish(on_maps(kind, x), after),
            (kind, Batch::Rows(_)) => unreachable!("checked levels: {kind:?} stands above maps"),
        }
    }

    /// Layers whose statistics stay as they are answer, so nothing is left out of them.
    fn dropout(&self, dropout: &Dropout, x: Batch) -> Batch {
        if matches!(self.statistics, Statistics::Running(_)) || dropout.rate == 0.0 {
            return x;
        }
        let seed = derive_seed(self.seed, dropout.number as u64);
        match x {
            Batch::Rows(x) => Batch::Rows(ops::dropout(x, seed, dropout.rate)),
            Batch::Maps(x) => Batch::Maps(ops::dropout(x, seed, dropout.rate)),
        }
    }

    fn batch_norm(&mut self, norm: &BatchNorm, x: Batch, after: After) -> Batch {
        let (x, were_rows) = match x {
            Batch::Maps(x) => (x, false),
            Batch::Rows(x) => (as_maps(x), true),
        };
        let residual = after.residual.map(|residual| match residual {
            Batch::Maps(residual) => residual,
            Batch::Rows(residual) => as_maps(residual),
        });
        let [height, width, images, channels] = x.dims();
        let settings = BatchNormSettings {
            channels,
            epsilon: norm.epsilon,
            relu: after.relu,
        };
        let (weight, bias) = (norm.weight.val(), norm.bias.val());
        let y = match &mut self.statistics {
            Statistics::Running(running) => {
                let running = running[norm.slot].clone();
                let statistics = [running.mean, running.variance];
                ops::batch_norm_with(x, weight, bias, statistics, residual, settings)
            }
            Statistics::OfBatch { moves: false, .. } => {
                ops::batch_norm(x, weight, bias, residual, settings).y
            }
            Statistics::OfBatch { running, .. } => {
                let normalized = ops::batch_norm(x, weight, bias, residual, settings);
                let count = (height * width * images) as f64;
                // The running variance is an estimate of that of all rows: without bias, if there is more than one.
                let unbiased = count / (count - 1.0).max(1.0);
                let running = &mut running[norm.slot];
                let moved = |old: &Tensor<1>, new: Tensor<1>, factor: f64| {
                    old.clone() * (1.0 - norm.momentum) + new.inner() * (norm.momentum * factor)
                };
                running.mean = moved(&running.mean, normalized.mean, 1.0);
                running.variance = moved(&running.variance, normalized.variance, unbiased);
                normalized.y
            }
        };
        if were_rows {
            Batch::Rows(y.reshape([images, channels]))
        } else {
            Batch::Maps(y)
        }
    }

    fn residual(&mut self, residual: &Residual, x: Batch, after: After) -> Batch {
        let shortcut = self.through(&residual.shortcut, x.clone());
        let sum = After {
            residual: Some(shortcut),
            relu: after.relu && after.residual.is_none(),
        };
        if after.residual.is_none() {
            return self.through_and(&residual.layers, x, sum);
        }
        let y = self.through_and(&residual.layers, x, sum);
        finish(y, after)
    }
}

fn on_maps(kind: &Kind, x: Tensor<4>) -> Batch {
    Batch::Maps(match kind {
        Kind::Conv(conv) => {
            let bias = conv.bias.as_ref().map(|bias| bias.val());
            let weight = conv.weight.val();
            let weight = if conv.learns { weight } else { weight.detach() };
            ops::conv2d(x, weight, bias, conv.window, conv.groups)
        }
        Kind::MaxPool(pool) => ops::max_pool(x, pool.window),
        Kind::AveragePool(pool) => ops::average_pool(x, pool.window, pool.count_padding),
        Kind::AdaptiveAveragePool(pool) => ops::adaptive_average_pool(x, [pool.height, pool.width]),
        Kind::Subsample(subsample) => ops::subsample(x, subsample.stride, subsample.channels),
        Kind::GlobalAveragePool(_) => {
            let pooled = ops::adaptive_average_pool(x, [1, 1]);
            return Batch::Rows(ops::maps_to_rows(pooled));
        }
        other => unreachable!("{other:?} has its own arm"),
    })
}

fn finish(x: Batch, after: After) -> Batch {
    match (x, after) {
        (
            Batch::Rows(x),
            After {
                residual: Some(residual),
                relu,
            },
        ) => Batch::Rows(ops::add(x, residual.into_rows(), relu)),
        (
            Batch::Maps(x),
            After {
                residual: Some(Batch::Maps(residual)),
                relu,
            },
        ) => Batch::Maps(ops::add(x, residual, relu)),
        (
            Batch::Maps(_),
            After {
                residual: Some(_), ..
            },
        ) => {
            unreachable!("checked levels: both parts of a sum have one shape")
        }
        (x, After { relu: false, .. }) => x,
        (Batch::Rows(x), _) => Batch::Rows(ops::relu(x)),
        (Batch::Maps(x), _) => Batch::Maps(ops::relu(x)),
    }
}

/// Puts the channels of several batches together.
fn concatenate(parts: Vec<Batch>) -> Batch {
    let (mut rows, mut maps) = (Vec::new(), Vec::new());
    for part in parts {
        match part {
            Batch::Rows(part) => rows.push(part),
            Batch::Maps(part) => maps.push(part),
        }
    }
    if maps.is_empty() {
        Batch::Rows(Tensor::cat(rows, 1))
    } else {
        Batch::Maps(Tensor::cat(maps, 3))
    }
}

/// Rows of one dimension as maps of one place.
fn as_maps(rows: Tensor<2>) -> Tensor<4> {
    let [count, features] = rows.dims();
    rows.reshape([1, 1, count, features])
}
