//! Right operands, packed: panels of [`PANEL`] columns, each step of a panel next to the one before.

use std::ops::Range;

use crate::{
    Element, Format, Isa,
    gemm::{scratch::SharedMut, tile::PANEL, transpose::transpose},
    isa::for_each_isa,
    pool,
};

/// A matrix `[depth, columns]` of weights in memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Matrix<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) depth: usize,
    pub(crate) columns: usize,
    pub(crate) order: Order,
}

/// Where step `k` and column `c` of a [`Matrix`] stand.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Order {
    /// At `k * stride + c`.
    Steps { stride: usize },
    /// At `(k / run) * run_stride + c * stride + k % run`.
    Columns {
        stride: usize,
        run: usize,
        run_stride: usize,
    },
}

impl Matrix<'_> {
    /// Some of its columns.
    pub(crate) fn columns(self, columns: Range<usize>) -> Self {
        let first = match self.order {
            Order::Steps { .. } => columns.start,
            Order::Columns { stride, .. } => columns.start * stride,
        };
        Self {
            values: &self.values[first..],
            columns: columns.len(),
            ..self
        }
    }

    #[inline(always)]
    fn at(&self, step: usize, column: usize) -> f32 {
        match self.order {
            Order::Steps { stride } => self.values[step * stride + column],
            Order::Columns {
                stride,
                run,
                run_stride,
            } => self.values[step / run * run_stride + column * stride + step % run],
        }
    }

    /// The same, with 0 outside of the matrix.
    fn at_or_zero(&self, step: usize, column: usize) -> f32 {
        if step < self.depth && column < self.columns {
            self.at(step, column)
        } else {
            0.0
        }
    }
}

/// A packed right operand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Panels<'a> {
    words: &'a [f32],
    steps: usize,
    columns: usize,
}

/// Steps of a panel that one task packs.
const BAND: usize = 512;

impl<'a> Panels<'a> {
    /// Words that `[depth, columns]` takes when packed.
    pub(crate) fn words<T: Element>(depth: usize, columns: usize) -> usize {
        depth.div_ceil(T::PER_WORD) * columns.div_ceil(PANEL) * PANEL
    }

    /// What [`Panels::pack`] wrote before.
    pub(crate) fn packed<T: Element>(words: &'a [f32], depth: usize, columns: usize) -> Self {
        assert_eq!(
            words.len(),
            Self::words::<T>(depth, columns),
            "a packed operand"
        );
        Self {
            words,
            steps: depth.div_ceil(T::PER_WORD),
            columns,
        }
    }

    /// Packs a matrix into `words`, on the kernels' threads: the steps of `live` (see [`crate::gemm::Rows::live`]) only; the
    /// others must not be asked for.
    pub(crate) fn pack<T: Element>(
        isa: Isa,
        matrix: Matrix<'_>,
        live: &[Range<usize>],
        words: &'a mut [f32],
    ) -> Self {
        assert_eq!(
            words.len(),
            Self::words::<T>(matrix.depth, matrix.columns),
            "room for the packed operand"
        );
        let steps = matrix.depth.div_ceil(T::PER_WORD);
        let shared = SharedMut::new(words);
        let panels = matrix.columns.div_ceil(PANEL);
        let mut bands = Vec::new();
        for live in live {
            let (first, end) = (live.start / T::PER_WORD, live.end.div_ceil(T::PER_WORD));
            bands.extend(
                (first..end)
                    .step_by(BAND)
                    .map(|step| step..end.min(step + BAND)),
            );
        }
        pool::parallel_for_each(bands.into_iter(), |band| {
            for panel in 0..panels {
                let start = panel * steps * PANEL;
                // SAFETY: panels and bands of steps do not overlap, and a band belongs to one task.
                let words =
                    unsafe { shared.part(start + band.start * PANEL..start + band.end * PANEL) };
                pack_part::<T>(isa, matrix, panel * PANEL, band.start, words);
            }
        });
        Self::packed::<T>(shared.into_slice(), matrix.depth, matrix.columns)
    }

    /// Number of panels.
    pub(crate) fn panels(&self) -> usize {
        self.columns.div_ceil(PANEL)
    }

    /// The words of one panel.
    pub(crate) fn panel(&self, panel: usize) -> &'a [f32] {
        &self.words[panel * self.steps * PANEL..][..self.steps * PANEL]
    }
}

/// Packs steps of the panel that begins at `column`: as many as `words` hold, from word `first` of each column on.
pub(crate) fn pack_part<T: Element>(
    isa: Isa,
    matrix: Matrix<'_>,
    column: usize,
    first: usize,
    words: &mut [f32],
) {
    let whole = column + PANEL <= matrix.columns;
    let mut done = 0;
    let steps = words.len() / PANEL;
    if whole {
        match matrix.order {
            Order::Steps { stride } => {
                // The last pair of an odd number of steps is half padding.
                done =
                    steps.min(matrix.depth / T::PER_WORD - first.min(matrix.depth / T::PER_WORD));
                let from = &matrix.values[first * T::PER_WORD * stride + column..];
                match T::FORMAT {
                    Format::F32 => copy_steps(isa, from, stride, &mut words[..done * PANEL]),
                    Format::Bf16 => pair_steps(isa, from, stride, &mut words[..done * PANEL]),
                }
            }
            Order::Columns {
                stride,
                run,
                run_stride,
            } => {
                const SIDE: usize = 16;
                while done < steps {
                    let step = (first + done) * T::PER_WORD;
                    let count = SIDE.min(steps - done);
                    if step % run + count * T::PER_WORD > run {
                        // A block across two runs, or half a word at the end: by single numbers.
                        single_steps::<T>(
                            matrix,
                            column,
                            first + done,
                            &mut words[done * PANEL..][..PANEL],
                        );
                        done += 1;
                        continue;
                    }
                    let from =
                        &matrix.values[step / run * run_stride + column * stride + step % run..];
                    let to = &mut words[done * PANEL..][..count * PANEL];
                    let mut block = [0.0; SIDE * SIDE];
                    for half in [0, SIDE] {
                        let from = &from[half * stride..];
                        match T::FORMAT {
                            Format::F32 => copy_rows(from, stride, count, &mut block),
                            Format::Bf16 => pair_rows(isa, from, stride, count, &mut block),
                        }
                        if count == SIDE {
                            transpose(isa, &block, &mut to[half..], PANEL);
                        } else {
                            let mut columns = [0.0; SIDE * SIDE];
                            transpose(isa, &block, &mut columns, SIDE);
                            for (to, step) in to
                                .chunks_exact_mut(PANEL)
                                .zip(columns.as_chunks::<SIDE>().0)
                            {
                                to[half..half + SIDE].copy_from_slice(step);
                            }
                        }
                    }
                    done += count;
                }
            }
        }
    }
    single_steps::<T>(matrix, column, first + done, &mut words[done * PANEL..]);
}

/// Packs steps number by number: edges, and what does not lie well.
fn single_steps<T: Element>(matrix: Matrix<'_>, column: usize, first: usize, words: &mut [f32]) {
    for (index, word) in words.iter_mut().enumerate() {
        let (step, column) = (
            (first + index / PANEL) * T::PER_WORD,
            column + index % PANEL,
        );
        let value = matrix.at_or_zero(step, column);
        *word = match T::FORMAT {
            Format::F32 => value,
            Format::Bf16 => pair(value, matrix.at_or_zero(step + 1, column)),
        };
    }
}

/// Two numbers as `bf16` in one word.
#[inline(always)]
fn pair(first: f32, second: f32) -> f32 {
    let bits = |value| u32::from(<crate::bf16 as Element>::from_f32(value).to_bits());
    f32::from_bits(bits(first) | bits(second) << 16)
}

for_each_isa! {
    fn copy_steps(from: &[f32], stride: usize, words: &mut [f32]) {
        for (step, words) in words.as_chunks_mut::<PANEL>().0.iter_mut().enumerate() {
            words.copy_from_slice(&from[step * stride..][..PANEL]);
        }
    }
}

for_each_isa! {
    fn pair_steps(from: &[f32], stride: usize, words: &mut [f32]) {
        for (step, words) in words.as_chunks_mut::<PANEL>().0.iter_mut().enumerate() {
            let first: &[f32; PANEL] = from[2 * step * stride..].first_chunk().expect("a whole panel");
            let second: &[f32; PANEL] = from[(2 * step + 1) * stride..].first_chunk().expect("a whole panel");
            for ((word, first), second) in words.iter_mut().zip(first).zip(second) {
                *word = pair(*first, *second);
            }
        }
    }
}

/// 16 rows of `count` numbers each, at most 16.
fn copy_rows(from: &[f32], stride: usize, count: usize, block: &mut [f32; 256]) {
    for (row, block) in block.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        block[..count].copy_from_slice(&from[row * stride..][..count]);
    }
}

for_each_isa! {
    /// 16 rows of `count` pairs each, at most 16.
    fn pair_rows(from: &[f32], stride: usize, count: usize, block: &mut [f32; 256]) {
        for (row, block) in block.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            let (pairs, _) = from[row * stride..][..2 * count].as_chunks::<2>();
            for (word, [first, second]) in block.iter_mut().zip(pairs) {
                *word = pair(*first, *second);
            }
        }
    }
}

for_each_isa! {
    /// Makes pairs of rows: word `i` of row `r` of `to` is made of element `i` of the rows `2 r` and `2 r + 1` of `from`.
    /// Rows are `from_stride` elements and `to_stride` words apart; `width` of them are taken.
    pub(crate) fn interleave(from: &[crate::bf16], from_stride: usize, width: usize, to: &mut [f32], to_stride: usize, rows: usize) {
        for row in 0..rows.div_ceil(2) {
            let to = &mut to[row * to_stride..][..width];
            let first = &from[2 * row * from_stride..][..width];
            if 2 * row + 1 < rows {
                let second = &from[(2 * row + 1) * from_stride..][..width];
                for ((to, first), second) in to.iter_mut().zip(first).zip(second) {
                    *to = f32::from_bits(u32::from(first.to_bits()) | u32::from(second.to_bits()) << 16);
                }
            } else {
                for (to, first) in to.iter_mut().zip(first) {
                    *to = f32::from_bits(u32::from(first.to_bits()));
                }
            }
        }
    }
}
