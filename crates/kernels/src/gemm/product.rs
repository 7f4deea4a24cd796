//! `left * right`, with a left operand that is gathered and a right one that is packed.

use std::ops::Range;

use crate::{
    Element, Isa,
    gemm::{
        Panels, Rows, block_stride, elements_of_mut, even_parts,
        scratch::{Purpose, with_words},
        tile::{DEPTH, Kernel, PANEL, STRIDE, Segment, Tile},
    },
    pool,
};

/// Rows of a block of the left operand, at most: a multiple of the tiles' rows, so that the block and its product stay in
/// the second-level cache.
const BLOCK_ROWS: usize = 168;
/// Panels that a block is multiplied by, at most.
const BLOCK_PANELS: usize = 16;
/// Rows from which on it pays to give each thread rows of its own.
const FEW_ROWS: usize = 28;

/// Multiplies `left` by `right` on the kernels' threads, and gives the product to `finish`: the number of a row, a range of
/// columns, and what stands there; each row and column once.
pub(crate) fn multiply<T: Element>(
    isa: Isa,
    left: &impl Rows<T>,
    right: Panels<'_>,
    columns: usize,
    finish: impl Fn(usize, Range<usize>, &[f32]) + Sync,
) {
    let (rows, panels, threads) = (left.rows(), right.panels(), pool::threads());
    if rows == 0 || columns == 0 {
        return;
    }
    let mut row_blocks = rows.div_ceil(BLOCK_ROWS);
    let mut column_blocks = panels.div_ceil(BLOCK_PANELS);
    // Work for all threads: by rows, where there are enough of them.
    if rows >= FEW_ROWS * threads {
        row_blocks = row_blocks.next_multiple_of(threads);
    } else if row_blocks * column_blocks < threads {
        column_blocks = threads.min(panels);
    }
    let kernel = Kernel::new(isa, T::FORMAT);
    pool::run(row_blocks * column_blocks, &|task| {
        let part =
            |index: usize, of: usize, total: usize| total * index / of..total * (index + 1) / of;
        let rows = part(task / column_blocks, row_blocks, rows);
        let panels = part(task % column_blocks, column_blocks, panels);
        for rows in even_parts(rows.len(), BLOCK_ROWS)
            .map(|part| rows.start + part.start..rows.start + part.end)
        {
            if !rows.is_empty() && !panels.is_empty() {
                block(kernel, left, right, rows, panels.clone(), columns, &finish);
            }
        }
    });
}

fn block<T: Element>(
    kernel: Kernel,
    left: &impl Rows<T>,
    right: Panels<'_>,
    rows: Range<usize>,
    panels: Range<usize>,
    columns: usize,
    finish: &impl Fn(usize, Range<usize>, &[f32]),
) {
    // A little more than the columns, so that the rows do not compete for places in the cache.
    let stride = panels.len() * PANEL + 16;
    let mut live = Vec::new();
    left.live(rows.clone(), &mut live);
    with_words(Purpose::Blocks, rows.len() * (STRIDE + stride), |memory| {
        let (gathered, product) = memory.split_at_mut(rows.len() * STRIDE);
        let mut add = false;
        for_each_chunk::<T>(&live, |segments, ranges| {
            for (segment, range) in segments.iter().zip(ranges) {
                let to = &mut elements_of_mut::<T>(gathered)[segment.left * T::PER_WORD..];
                left.gather(rows.clone(), range.clone(), to);
                if !range.len().is_multiple_of(T::PER_WORD) {
                    // The other half of the last word.
                    for row in 0..rows.len() {
                        to[row * block_stride::<T>() + range.len()] = T::default();
                    }
                }
            }
            for (index, panel) in panels.clone().enumerate() {
                let panel = right.panel(panel);
                debug_assert!(
                    segments
                        .iter()
                        .all(|segment| (segment.right + segment.depth) * PANEL <= panel.len())
                );
                for tile in even_parts(rows.len(), kernel.rows) {
                    let words = Tile {
                        left: gathered[tile.start * STRIDE..].as_ptr(),
                        right: panel.as_ptr(),
                        segments,
                        to: product[tile.start * stride + index * PANEL..].as_mut_ptr(),
                        to_stride: stride,
                        add,
                    };
                    // SAFETY: the segments lie in the panel, and within `DEPTH` words of the gathered rows; the tile lies
                    // in `product`, whose rows have room for a whole panel; `kernel` was made for this CPU.
                    unsafe { kernel.run(&words, tile.len(), false) };
                }
            }
            add = true;
        });
        if !add {
            product.fill(0.0);
        }
        let columns = panels.start * PANEL..columns.min(panels.end * PANEL);
        for (row, sums) in rows.zip(product.chunks_exact(stride)) {
            finish(row, columns.clone(), &sums[..columns.len()]);
        }
    });
}

/// Cuts the live parts of a sum into chunks of at most [`DEPTH`] words; gives each as segments and as ranges of elements.
fn for_each_chunk<T: Element>(
    live: &[Range<usize>],
    mut visit: impl FnMut(&[Segment], &[Range<usize>]),
) {
    let words: usize = live
        .iter()
        .map(|range| range.len().div_ceil(T::PER_WORD))
        .sum();
    let most = words
        .div_ceil(words.div_ceil(DEPTH).max(1))
        .next_multiple_of(16)
        .min(DEPTH);
    let (mut segments, mut ranges, mut filled) = (Vec::new(), Vec::new(), 0);
    for range in live {
        let mut start = range.start;
        while start < range.end {
            let end = range.end.min(start + (most - filled) * T::PER_WORD);
            let depth = (end - start).div_ceil(T::PER_WORD);
            segments.push(Segment {
                left: filled,
                right: start / T::PER_WORD,
                depth,
            });
            ranges.push(start..end);
            (start, filled) = (end, filled + depth);
            if filled == most {
                visit(&segments, &ranges);
                segments.clear();
                ranges.clear();
                filled = 0;
            }
        }
    }
    if filled > 0 {
        visit(&segments, &ranges);
    }
}
