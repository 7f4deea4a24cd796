//! `left * right`, with a left operand that is gathered and a right one that is packed.

use std::{cell::Cell, ops::Range};

use crate::{
    Element, Isa,
    gemm::{
        Panels, Rows, block_stride, elements_of_mut, even_parts, part_of,
        scratch::{Purpose, with_words},
        tile::{DEPTH, Kernel, PANEL, STRIDE, Segment, Tile, prefetch},
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
        let rows = part_of(task / column_blocks, row_blocks, rows);
        let panels = part_of(task % column_blocks, column_blocks, panels);
        for rows in even_parts(rows.len(), BLOCK_ROWS)
            .map(|part| rows.start + part.start..rows.start + part.end)
        {
            if !rows.is_empty() && !panels.is_empty() {
                block(kernel, left, right, rows, panels.clone(), columns, &finish);
            }
        }
    });
}

/// Lists that a block needs; kept by each thread, so that a block allocates nothing.
#[derive(Debug, Default)]
struct Lists {
    /// The parts of the sum that matter to the block.
    live: Vec<Range<usize>>,
    /// The rows of each tile, and the parts that matter to it, one tile's after another's.
    tiles: Vec<(Range<usize>, Range<usize>)>,
    live_of_tiles: Vec<Range<usize>>,
    /// The segments of a chunk, and the elements that they are made of.
    segments: Vec<Segment>,
    elements: Vec<Range<usize>>,
    /// The segments of each tile, one tile's after another's, and where each one's end.
    segments_of_tiles: Vec<Segment>,
    ends: Vec<usize>,
}

thread_local! {
    static LISTS: Cell<Lists> = Cell::default();
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
    let mut lists = LISTS.take();
    lists.find_live(left, rows.clone(), kernel.rows);
    with_words(Purpose::Blocks, rows.len() * (STRIDE + stride), |memory| {
        let (gathered, product) = memory.split_at_mut(rows.len() * STRIDE);
        let mut chunks = Chunks::new::<T>(&lists.live);
        let mut add = false;
        while chunks.next::<T>(&lists.live, &mut lists.segments, &mut lists.elements) {
            for (segment, elements) in lists.segments.iter().zip(&lists.elements) {
                let to = &mut elements_of_mut::<T>(gathered)[segment.left * T::PER_WORD..];
                left.gather(rows.clone(), elements.clone(), to);
                if !elements.len().is_multiple_of(T::PER_WORD) {
                    // The other half of the last word.
                    for row in 0..rows.len() {
                        to[row * block_stride::<T>() + elements.len()] = T::default();
                    }
                }
            }
            lists.share_out::<T>();
            for (index, panel) in panels.clone().enumerate() {
                let panel = right.panel(panel);
                let fits =
                    |segment: &Segment| (segment.right + segment.depth) * PANEL <= panel.len();
                debug_assert!(lists.segments.iter().all(fits));
                // What this chunk takes of the next panel; of the last one, what the next chunk takes of the first.
                let steps = lists.segments.first().map_or(0, |segment| segment.right)
                    ..lists
                        .segments
                        .last()
                        .map_or(0, |segment| segment.right + segment.depth);
                let next = if index + 1 < panels.len() {
                    &right.panel(panels.start + index + 1)[steps.start * PANEL..steps.end * PANEL]
                } else {
                    let first = right.panel(panels.start);
                    &first[steps.end * PANEL..first.len().min((steps.end + steps.len()) * PANEL)]
                };
                let mut start = 0;
                for (number, ((tile, _), end)) in lists.tiles.iter().zip(&lists.ends).enumerate() {
                    prefetch(next, number, lists.tiles.len());
                    let words = Tile {
                        left: gathered[tile.start * STRIDE..].as_ptr(),
                        right: panel.as_ptr(),
                        segments: &lists.segments_of_tiles[start..*end],
                        to: product[tile.start * stride + index * PANEL..].as_mut_ptr(),
                        to_stride: stride,
                        add,
                    };
                    // SAFETY: the segments lie in the panel, and within `DEPTH` words of the gathered rows; the tile lies
                    // in `product`, whose rows have room for a whole panel; `kernel` was made for this CPU.
                    unsafe { kernel.run(&words, tile.len(), false) };
                    start = *end;
                }
            }
            add = true;
        }
        if !add {
            product.fill(0.0);
        }
        let columns = panels.start * PANEL..columns.min(panels.end * PANEL);
        for (row, sums) in rows.zip(product.chunks_exact(stride)) {
            finish(row, columns.clone(), &sums[..columns.len()]);
        }
    });
    LISTS.set(lists);
}

impl Lists {
    /// Cuts `rows` into tiles of at most `most`, and finds what matters to each and to all of them.
    fn find_live<T>(&mut self, left: &impl Rows<T>, rows: Range<usize>, most: usize) {
        self.live.clear();
        self.tiles.clear();
        self.live_of_tiles.clear();
        left.live(rows.clone(), &mut self.live);
        // Tiles end where rows begin that see something else, unless they would be too small.
        let unit = left.unit();
        let unit = if unit < most / 2 {
            most / unit * unit
        } else {
            unit
        };
        let mut first = rows.start;
        while first < rows.end {
            let end = rows.end.min((first / unit + 1) * unit);
            for tile in even_parts(end - first, most) {
                let tile = first + tile.start..first + tile.end;
                let start = self.live_of_tiles.len();
                left.live(tile.clone(), &mut self.live_of_tiles);
                let of_block = tile.start - rows.start..tile.end - rows.start;
                self.tiles.push((of_block, start..self.live_of_tiles.len()));
            }
            first = end;
        }
    }

    /// Gives each tile those parts of the chunk's segments that matter to it.
    fn share_out<T: Element>(&mut self) {
        self.segments_of_tiles.clear();
        self.ends.clear();
        for (_, live) in &self.tiles {
            let live = &self.live_of_tiles[live.clone()];
            for (segment, elements) in self.segments.iter().zip(&self.elements) {
                for live in live {
                    let (start, end) = (live.start.max(elements.start), live.end.min(elements.end));
                    if start < end {
                        let skipped = (start - elements.start) / T::PER_WORD;
                        self.segments_of_tiles.push(Segment {
                            left: segment.left + skipped,
                            right: segment.right + skipped,
                            depth: (end - start).div_ceil(T::PER_WORD),
                        });
                    }
                }
            }
            self.ends.push(self.segments_of_tiles.len());
        }
    }
}

/// Cuts the live parts of a sum into chunks of at most [`DEPTH`] words.
struct Chunks {
    /// Words of each.
    most: usize,
    /// The next element: of which part, and where in it.
    part: usize,
    start: usize,
}

impl Chunks {
    fn new<T: Element>(live: &[Range<usize>]) -> Self {
        let words: usize = live
            .iter()
            .map(|range| range.len().div_ceil(T::PER_WORD))
            .sum();
        let most = words
            .div_ceil(words.div_ceil(DEPTH).max(1))
            .next_multiple_of(16)
            .min(DEPTH);
        Self {
            most,
            part: 0,
            start: live.first().map_or(0, |range| range.start),
        }
    }

    /// The next chunk, as segments and as ranges of elements; false where there is none.
    fn next<T: Element>(
        &mut self,
        live: &[Range<usize>],
        segments: &mut Vec<Segment>,
        elements: &mut Vec<Range<usize>>,
    ) -> bool {
        segments.clear();
        elements.clear();
        let mut filled = 0;
        while filled < self.most && self.part < live.len() {
            let range = &live[self.part];
            let end = range
                .end
                .min(self.start + (self.most - filled) * T::PER_WORD);
            let depth = (end - self.start).div_ceil(T::PER_WORD);
            segments.push(Segment {
                left: filled,
                right: self.start / T::PER_WORD,
                depth,
            });
            elements.push(self.start..end);
            filled += depth;
            self.start = end;
            if end == range.end {
                self.part += 1;
                self.start = live.get(self.part).map_or(0, |range| range.start);
            }
        }
        filled > 0
    }
}
