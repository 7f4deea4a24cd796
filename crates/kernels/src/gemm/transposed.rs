//! `left' * right`, with a left operand that is gathered: the gradient of weights.

use std::ops::Range;

use crate::{
    Element, Format, Isa,
    gemm::{
        Rows, SharedMut, block_stride, elements_of_mut, even_parts,
        pack::interleave,
        part_of,
        scratch::{Purpose, with_words},
        tile::{DEPTH, Kernel, PANEL, STRIDE, Segment, Tile},
        transpose::transpose,
    },
    pool,
};

/// Rows that are summed up in registers, at most.
const BLOCK_ROWS: usize = 224;
/// Panels of the right operand that a task takes, at most.
const BLOCK_PANELS: usize = 8;
/// Products of up to this many words are summed up whole, by each of several parts of the rows.
const SMALL: usize = 160 << 10;
/// Rows of such a part, at least, and how many of them there are at most. They depend on the shape alone, not on the
/// number of threads: the parts' order is that of the sum.
const PART_ROWS: usize = 1024;
const MOST_PARTS: usize = 8;

/// Words of a gathered block, as it stands or transposed.
const GATHERED: usize = if BLOCK_ROWS > DEPTH {
    BLOCK_ROWS
} else {
    DEPTH
} * STRIDE;

/// The right operand: rows of a map.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Right<'a, T> {
    /// Its first element.
    pub(crate) values: &'a [T],
    /// Elements between its rows.
    pub(crate) stride: usize,
    pub(crate) columns: usize,
}

/// Computes `left' * right` into `to`, where element `k` and column `c` stand at `k * stride + c` and the places between
/// are left alone.
///
/// # Panics
/// `to` or the right operand is too short.
pub(crate) fn multiply_transposed<T: Element>(
    isa: Isa,
    left: &impl Rows<T>,
    right: Right<'_, T>,
    to: &mut [f32],
    stride: usize,
) {
    let (rows, depth, columns) = (left.rows(), left.depth(), right.columns);
    if depth == 0 || columns == 0 {
        return;
    }
    assert!(
        to.len() >= (depth - 1) * stride + columns,
        "room for the product"
    );
    assert!(
        rows == 0 || right.values.len() >= (rows - 1) * right.stride + columns,
        "the right operand's rows"
    );
    let kernel = Kernel::new(isa, T::FORMAT);
    let task = Task {
        isa,
        kernel,
        left,
        right,
    };
    let padded = columns.next_multiple_of(PANEL);
    let whole = depth * padded;
    let parts = if whole <= SMALL {
        (rows / PART_ROWS).clamp(1, MOST_PARTS)
    } else {
        1
    };
    if parts == 1 {
        let shared = SharedMut::new(to);
        let chunks = even_parts(depth, DEPTH);
        let blocks: Vec<_> = chunks
            .flat_map(|chunk| column_blocks(columns).map(move |block| (chunk.clone(), block)))
            .collect();
        pool::run(blocks.len(), &|index| {
            let (chunk, columns) = &blocks[index];
            let width = columns.len().next_multiple_of(PANEL);
            with_words(Purpose::Sums, chunk.len() * width, |sums| {
                task.sum(0..rows, chunk.clone(), columns.clone(), sums, width);
                for (k, sums) in chunk.clone().zip(sums.chunks_exact(width)) {
                    // SAFETY: each element and column of the product belongs to one block.
                    let to = unsafe {
                        shared.part(k * stride + columns.start..k * stride + columns.end)
                    };
                    to.copy_from_slice(&sums[..columns.len()]);
                }
            });
        });
        return;
    }
    with_words(Purpose::Parts, parts * whole, |sums| {
        let part_sums = sums
            .chunks_exact_mut(whole)
            .zip((0..parts).map(|part| part_of(part, parts, rows)));
        pool::parallel_for_each(part_sums, |(sums, rows)| {
            task.sum(rows, 0..depth, 0..columns, sums, padded)
        });
        let (first, others) = sums.split_at(whole);
        for (k, to) in to.chunks_mut(stride).take(depth).enumerate() {
            let place = k * padded..k * padded + columns;
            to[..columns].copy_from_slice(&first[place.clone()]);
            for part in others.chunks_exact(whole) {
                to.iter_mut()
                    .zip(&part[place.clone()])
                    .for_each(|(to, value)| *to += value);
            }
        }
    });
}

/// Columns in blocks of whole panels.
fn column_blocks(columns: usize) -> impl Iterator<Item = Range<usize>> {
    even_parts(columns.div_ceil(PANEL), BLOCK_PANELS)
        .map(move |panels| panels.start * PANEL..columns.min(panels.end * PANEL))
}

struct Task<'a, T, L> {
    isa: Isa,
    kernel: Kernel,
    left: &'a L,
    right: Right<'a, T>,
}

impl<T: Element, L: Rows<T>> Task<'_, T, L> {
    /// The product over `rows`: elements `depth` times `columns`, into rows of `sums`, `width` apart.
    fn sum(
        &self,
        rows: Range<usize>,
        depth: Range<usize>,
        columns: Range<usize>,
        sums: &mut [f32],
        width: usize,
    ) {
        sums.fill(0.0);
        let panels = columns.len().div_ceil(PANEL);
        let rows_of = |part: Range<usize>| rows.start + part.start..rows.start + part.end;
        let pairs = if T::FORMAT == Format::Bf16 {
            BLOCK_ROWS.div_ceil(2).next_multiple_of(16) * STRIDE
        } else {
            0
        };
        let mut live = Vec::new();
        with_words(
            Purpose::Blocks,
            GATHERED + BLOCK_ROWS * panels * PANEL + pairs,
            |memory| {
                let (gathered, rest) = memory.split_at_mut(GATHERED);
                let (paired, right) = rest.split_at_mut(pairs);
                for rows in even_parts(rows.len(), BLOCK_ROWS).map(rows_of) {
                    if rows.is_empty() {
                        continue;
                    }
                    live.clear();
                    self.left.live(rows.clone(), &mut live);
                    let steps = rows.len().div_ceil(T::PER_WORD);
                    let mut packed = false;
                    for chunk in even_parts(depth.len(), DEPTH) {
                        let chunk = depth.start + chunk.start..depth.start + chunk.end;
                        if !live
                            .iter()
                            .any(|live| live.start < chunk.end && chunk.start < live.end)
                        {
                            continue;
                        }
                        if !packed {
                            self.pack_right(rows.clone(), columns.clone(), right);
                            packed = true;
                        }
                        self.left
                            .gather(rows.clone(), chunk.clone(), elements_of_mut(gathered));
                        let words: &[f32] = match T::FORMAT {
                            Format::F32 => gathered,
                            Format::Bf16 => {
                                let stride = block_stride::<T>();
                                interleave(
                                    self.isa,
                                    elements_of_mut(gathered),
                                    stride,
                                    chunk.len(),
                                    paired,
                                    STRIDE,
                                    rows.len(),
                                );
                                if self.kernel.by_rows {
                                    transpose_block(self.isa, paired, steps, chunk.len(), gathered);
                                    gathered
                                } else {
                                    paired
                                }
                            }
                        };
                        let to = &mut sums[(chunk.start - depth.start) * width..];
                        self.multiply(words, right, steps, chunk.len(), to, width);
                    }
                }
            },
        );
    }

    /// Packs `columns` of `rows` of the right operand: panels of as many steps as a block of rows has.
    fn pack_right(&self, rows: Range<usize>, columns: Range<usize>, to: &mut [f32]) {
        let steps = rows.len().div_ceil(T::PER_WORD);
        for (panel, to) in to
            .chunks_exact_mut(steps * PANEL)
            .take(columns.len().div_ceil(PANEL))
            .enumerate()
        {
            let first = columns.start + panel * PANEL;
            let width = (columns.end - first).min(PANEL);
            if width < PANEL {
                to.fill(0.0);
            }
            let from = &self.right.values[rows.start * self.right.stride + first..];
            match T::halves(from) {
                None => {
                    for (row, to) in elements_of_mut::<T>(to)
                        .as_chunks_mut::<PANEL>()
                        .0
                        .iter_mut()
                        .enumerate()
                    {
                        to[..width].copy_from_slice(&from[row * self.right.stride..][..width]);
                    }
                }
                Some(from) => {
                    interleave(
                        self.isa,
                        from,
                        self.right.stride,
                        width,
                        to,
                        PANEL,
                        rows.len(),
                    );
                }
            }
        }
    }

    fn multiply(
        &self,
        left: &[f32],
        right: &[f32],
        steps: usize,
        elements: usize,
        to: &mut [f32],
        width: usize,
    ) {
        let panels = width / PANEL;
        let segments = [Segment {
            left: 0,
            right: 0,
            depth: steps,
        }];
        let transposed = !self.kernel.by_rows;
        let (long, wide) = if transposed {
            (steps, elements)
        } else {
            (elements, steps)
        };
        assert!(left.len() >= (long - 1) * STRIDE + wide && right.len() >= panels * steps * PANEL);
        assert!(to.len() >= (elements - 1) * width + panels * PANEL);
        for panel in 0..panels {
            for part in even_parts(elements, self.kernel.rows) {
                let tile = Tile {
                    left: left[part.start * if transposed { 1 } else { STRIDE }..].as_ptr(),
                    right: right[panel * steps * PANEL..].as_ptr(),
                    segments: &segments,
                    to: to[part.start * width + panel * PANEL..].as_mut_ptr(),
                    to_stride: width,
                    add: true,
                };
                // SAFETY: the operands and the result hold all places of the tile, as was checked above; `kernel` was made
                // for this CPU.
                unsafe { self.kernel.run(&tile, part.len(), transposed) };
            }
        }
    }
}

/// Makes rows of the columns of a block `[steps, elements]`, both with their rows `STRIDE` apart.
fn transpose_block(isa: Isa, from: &[f32], steps: usize, elements: usize, to: &mut [f32]) {
    const SIDE: usize = 16;
    for step in (0..steps).step_by(SIDE) {
        for element in (0..elements).step_by(SIDE) {
            // Beyond the edges there is memory, and what becomes of it is not used.
            let mut block = [0.0; SIDE * SIDE];
            for (row, block) in block.as_chunks_mut::<SIDE>().0.iter_mut().enumerate() {
                block.copy_from_slice(&from[(step + row) * STRIDE + element..][..SIDE]);
            }
            transpose(isa, &block, &mut to[element * STRIDE + step..], STRIDE);
        }
    }
}
