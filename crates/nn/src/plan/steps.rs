//! What a plan does, step by step.

use strata_kernels::{
    BatchNormSettings, DenseWeights, Element, Gelu, PackedConv2d, Pool2d, Subsample2d, Window,
    adaptive_average_pool, add_relu, average_pool, batch_norm_eval, concat, gelu, layer_norm,
    maps_to_rows, max_pool_eval, relu, rows_to_maps, subsample,
};

use super::memory::{Memory, Slot, Slots};

/// Steps, level by level, and the buffers between them, for maps of `T`. Rows are `f32`.
#[derive(Debug)]
pub(super) struct Program<T> {
    pub(super) levels: Vec<LevelSteps<T>>,
    /// The most numbers of one row that each buffer of rows holds.
    pub(super) rows: Vec<usize>,
    /// The same for the buffers of maps.
    pub(super) maps: Vec<usize>,
}

#[derive(Debug)]
pub(super) struct LevelSteps<T> {
    pub(super) body: Vec<Step<T>>,
    /// What the level above takes; the only value that is in use between two levels.
    pub(super) output: LevelOutput,
    pub(super) head: Option<HeadSteps<T>>,
}

/// Where a body's output lies.
#[derive(Clone, Copy, Debug)]
pub(super) enum LevelOutput {
    Rows(Source),
    Maps { slot: Slot, channels: usize },
}

#[derive(Debug)]
pub(super) struct HeadSteps<T> {
    pub(super) steps: Vec<Step<T>>,
    /// Where the logits are in the end.
    pub(super) output: Source,
}

/// Where rows come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The caller's rows, of so many numbers.
    Input(usize),
    Buffer(Slot),
}

/// Channels, and height and width, of maps.
#[derive(Clone, Copy, Debug)]
pub(super) struct MapShape {
    pub(super) channels: usize,
    pub(super) size: [usize; 2],
}

#[derive(Debug)]
pub(super) enum Step<T> {
    /// Copies the caller's rows.
    Load {
        to: Slot,
    },
    Dense {
        weights: DenseWeights,
        relu: bool,
        from: Source,
        to: Slot,
    },
    LayerNorm {
        epsilon: f32,
        weight: Vec<f32>,
        bias: Vec<f32>,
        from: Slot,
        to: Slot,
    },
    OnRows(Simple),
    RowsToMaps {
        shape: MapShape,
        from: Source,
        to: Slot,
    },
    MapsToRows {
        shape: MapShape,
        from: Slot,
        to: Slot,
    },
    Conv {
        packed: PackedConv2d<T>,
        residual: Option<Slot>,
        relu: bool,
        from: Slot,
        to: Slot,
    },
    Pool {
        pooling: Pooling,
        shape: MapShape,
        from: Slot,
        to: Slot,
    },
    OnMaps(Simple),
}

#[derive(Debug)]
pub(super) enum Pooling {
    Max(Window),
    Average {
        window: Window,
        count_padding: bool,
    },
    Adaptive([usize; 2]),
    /// No means: places that are taken, with channels of zeros around theirs.
    Subsample {
        stride: [usize; 2],
        channels: usize,
    },
}

/// What is done to rows and to maps alike.
#[derive(Debug)]
pub(super) enum Simple {
    Gelu {
        kind: Gelu,
        from: Slot,
        to: Slot,
    },
    Relu {
        from: Slot,
        to: Slot,
    },
    Add {
        a: Slot,
        b: Slot,
        relu: bool,
        to: Slot,
    },
    BatchNorm {
        norm: BatchNorm,
        residual: Option<Slot>,
        relu: bool,
        from: Slot,
        to: Slot,
    },
    /// The channels of several, next to each other; with each the number of its channels.
    Concat {
        parts: Vec<(Slot, usize)>,
        to: Slot,
    },
}

/// A batch normalization that is in no weights; each `[channels]`.
#[derive(Debug)]
pub(super) struct BatchNorm {
    pub(super) epsilon: f32,
    pub(super) weight: Vec<f32>,
    pub(super) bias: Vec<f32>,
    pub(super) mean: Vec<f32>,
    pub(super) variance: Vec<f32>,
}

impl<T: Element> Program<T> {
    /// Bytes that the buffers take for each row.
    pub(super) fn bytes_of_a_row(&self) -> usize {
        let (rows, maps) = (self.rows.iter(), self.maps.iter());
        rows.sum::<usize>() * size_of::<f32>() + maps.sum::<usize>() * size_of::<T>()
    }

    /// What a pass works in, for the `count` rows of `input`.
    pub(super) fn memory<'a>(
        &self,
        count: usize,
        input: &'a [f32],
        rows: &'a mut Vec<Vec<f32>>,
        maps: &'a mut Vec<Vec<T>>,
    ) -> Memory<'a, T> {
        Memory {
            input,
            rows: Slots::new(rows, &self.rows, count),
            maps: Slots::new(maps, &self.maps, count),
        }
    }
}

impl<T: Element> LevelSteps<T> {
    pub(super) fn run_body(&self, count: usize, memory: &mut Memory<'_, T>) {
        for step in &self.body {
            step.run(count, memory);
        }
    }

    /// Leaves of the body's output only the rows at the places `kept`, ascending, out of `count`.
    pub(super) fn keep(&self, kept: &[u32], count: usize, memory: &mut Memory<'_, T>) {
        match self.output {
            LevelOutput::Rows(Source::Buffer(slot)) => {
                compact(memory.rows.own(slot, count), slot.len, 1, kept, count);
            }
            LevelOutput::Rows(Source::Input(_)) => unreachable!("loaded where rows may leave"),
            LevelOutput::Maps { slot, channels } => {
                let places = slot.len / channels;
                let maps = memory.maps.own(slot, count);
                compact(maps, channels, places, kept, count);
            }
        }
    }
}

impl<T: Element> HeadSteps<T> {
    /// Logits of one row.
    pub(super) fn output_len(&self) -> usize {
        match self.output {
            Source::Input(len) => len,
            Source::Buffer(slot) => slot.len,
        }
    }

    pub(super) fn run(&self, count: usize, memory: &mut Memory<'_, T>, logits: &mut [f32]) {
        for step in &self.steps {
            step.run(count, memory);
        }
        let Memory { input, rows, .. } = memory;
        logits.copy_from_slice(source(self.output, input, rows, count));
    }
}

/// Moves the kept ones of the `count` elements of each of `places` together: `[places, count, len]` becomes
/// `[places, kept, len]`. Nothing moves up, so nothing is overwritten that is still to be moved.
fn compact<E: Copy>(buffer: &mut [E], len: usize, places: usize, kept: &[u32], count: usize) {
    let mut to = 0;
    for place in 0..places {
        for index in kept {
            let from = (place * count + *index as usize) * len;
            buffer.copy_within(from..from + len, to);
            to += len;
        }
    }
}

impl<T: Element> Step<T> {
    fn run(&self, count: usize, memory: &mut Memory<'_, T>) {
        let Memory { input, rows, maps } = memory;
        match self {
            Self::Load { to } => rows.fill(*to, count, |_, to| to.copy_from_slice(input)),
            Self::Dense {
                weights,
                relu,
                from,
                to,
            } => rows.fill(*to, count, |rows, to| {
                weights.apply(source(*from, input, rows, count), to, *relu);
            }),
            Self::LayerNorm {
                epsilon,
                weight,
                bias,
                from,
                to,
            } => rows.fill(*to, count, |rows, to| {
                // One row after the other: its statistics then need no room of their own.
                let (width, from) = (weight.len(), rows.part(*from, count));
                for (from, to) in from.chunks_exact(width).zip(to.chunks_exact_mut(width)) {
                    let (mut mean, mut rstd) = ([0.0], [0.0]);
                    layer_norm(
                        width, *epsilon, from, weight, bias, to, &mut mean, &mut rstd,
                    );
                }
            }),
            Self::OnRows(simple) => simple.run(count, rows),
            Self::RowsToMaps { shape, from, to } => {
                // One map alone is the same either way.
                if let (Source::Input(_), 1, Some(maps_already)) =
                    (from, count * shape.channels, T::of_singles(input))
                {
                    maps.lend(*to, maps_already);
                    return;
                }
                maps.fill(*to, count, |_, to| {
                    let from = source(*from, input, rows, count);
                    rows_to_maps(shape.channels, shape.size, count, from, to);
                });
            }
            Self::MapsToRows { shape, from, to } => rows.fill(*to, count, |_, to| {
                maps_to_rows(
                    shape.channels,
                    shape.size,
                    count,
                    maps.part(*from, count),
                    to,
                );
            }),
            Self::Conv {
                packed,
                residual,
                relu,
                from,
                to,
            } => maps.fill(*to, count, |maps, to| {
                let residual = residual.map(|residual| maps.part(residual, count));
                packed.apply(count, maps.part(*from, count), residual, *relu, to);
            }),
            Self::Pool {
                pooling,
                shape,
                from,
                to,
            } => maps.fill(*to, count, |maps, to| {
                pooling.run(count, *shape, maps.part(*from, count), to);
            }),
            Self::OnMaps(simple) => simple.run(count, maps),
        }
    }
}

fn source<'a>(
    source: Source,
    input: &'a [f32],
    rows: &'a Slots<'_, f32>,
    count: usize,
) -> &'a [f32] {
    match source {
        Source::Input(_) => input,
        Source::Buffer(slot) => rows.part(slot, count),
    }
}

impl Pooling {
    fn run<T: Element>(&self, images: usize, shape: MapShape, from: &[T], to: &mut [T]) {
        let MapShape { channels, size } = shape;
        let pool = |window| Pool2d {
            images,
            channels,
            input: size,
            window,
        };
        match *self {
            Self::Max(window) => max_pool_eval(&pool(window), from, to),
            Self::Average {
                window,
                count_padding,
            } => average_pool(&pool(window), count_padding, from, to),
            Self::Adaptive(output) => {
                adaptive_average_pool(images, channels, size, output, from, to);
            }
            Self::Subsample {
                stride,
                channels: out_channels,
            } => {
                let sizes = Subsample2d {
                    images,
                    in_channels: channels,
                    out_channels,
                    input: size,
                    stride,
                };
                subsample(&sizes, from, to);
            }
        }
    }
}

impl Simple {
    fn run<E: Element>(&self, count: usize, buffers: &mut Slots<'_, E>) {
        match self {
            Self::Relu { from, to } => buffers.fill(*to, count, |buffers, to| {
                relu(buffers.part(*from, count), to);
            }),
            Self::Gelu { kind, from, to } => buffers.fill(*to, count, |buffers, to| {
                gelu(*kind, buffers.part(*from, count), to);
            }),
            Self::Add { a, b, relu, to } => buffers.fill(*to, count, |buffers, to| {
                add_relu(buffers.part(*a, count), buffers.part(*b, count), *relu, to);
            }),
            Self::BatchNorm {
                norm,
                residual,
                relu,
                from,
                to,
            } => buffers.fill(*to, count, |buffers, to| {
                let settings = BatchNormSettings {
                    channels: norm.weight.len(),
                    epsilon: norm.epsilon,
                    relu: *relu,
                };
                let residual = residual.map(|residual| buffers.part(residual, count));
                batch_norm_eval(
                    settings,
                    buffers.part(*from, count),
                    &norm.weight,
                    &norm.bias,
                    &norm.mean,
                    &norm.variance,
                    residual,
                    to,
                );
            }),
            Self::Concat { parts, to } => buffers.fill(*to, count, |buffers, to| {
                let channels: usize = parts.iter().map(|(_, channels)| channels).sum();
                let places = to.len() / channels;
                let parts = parts.iter();
                let parts: Vec<(&[E], usize)> = parts
                    .map(|(slot, channels)| (buffers.part(*slot, count), *channels))
                    .collect();
                concat(&parts, places, to);
            }),
        }
    }
}
