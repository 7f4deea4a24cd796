use std::ops::Range;

use super::{CHUNK, FREQUENCIES, Place, Tiles, Weights, transform};
use crate::{
    Format, Isa,
    gemm::{
        DEPTH, Kernel, PANEL, Purpose, STRIDE, Segment, Tile, even_parts, part_of, prefetch,
        with_words,
    },
    pool,
};

/// Rows of a block, at most, and panels that it is multiplied by: so many that its frequencies and their products stay in
/// the second-level cache.
const BLOCK_ROWS: usize = 42;
const BLOCK_PANELS: usize = 4;

/// Convolves a map with transformed weights, on the kernels' threads; gives `finish` the number of a row of the output, a
/// range of columns, and what stands there; each row and column once.
pub(crate) fn multiply(
    isa: Isa,
    tiles: &Tiles<'_>,
    weights: Weights<'_>,
    finish: impl Fn(usize, Range<usize>, &[f32]) + Sync,
) {
    assert_eq!(
        weights.channels, tiles.channels,
        "a weight for each channel"
    );
    let rows = tiles.rows();
    let mut row_blocks = rows.div_ceil(BLOCK_ROWS);
    if row_blocks > 1 {
        row_blocks = row_blocks.next_multiple_of(pool::threads());
    }
    let column_blocks = weights.panels().div_ceil(BLOCK_PANELS);
    pool::run(row_blocks * column_blocks, &|task| {
        let rows = part_of(task / column_blocks, row_blocks, rows);
        let panels = part_of(task % column_blocks, column_blocks, weights.panels());
        for part in even_parts(rows.len(), BLOCK_ROWS) {
            let part = rows.start + part.start..rows.start + part.end;
            if !part.is_empty() {
                block(isa, tiles, weights, part, panels.clone(), &finish);
            }
        }
    });
}

fn block(
    isa: Isa,
    tiles: &Tiles<'_>,
    weights: Weights<'_>,
    rows: Range<usize>,
    panels: Range<usize>,
    finish: &impl Fn(usize, Range<usize>, &[f32]),
) {
    let kernel = Kernel::new(isa, Format::F32);
    let chunk = tiles
        .channels
        .div_ceil(tiles.channels.div_ceil(CHUNK))
        .next_multiple_of(16);
    let beside = DEPTH / chunk;
    let place = Place {
        stride: STRIDE,
        beside,
        width: chunk,
        group: rows.len() * STRIDE,
    };
    let columns = panels.len() * PANEL;
    let product_stride = columns + 16;
    let transformed = FREQUENCIES.div_ceil(beside) * place.group;
    let products = FREQUENCIES * rows.len() * product_stride;
    with_words(
        Purpose::Blocks,
        transformed + products + 4 * columns,
        |memory| {
            let (transformed, rest) = memory.split_at_mut(transformed);
            let (products, places) = rest.split_at_mut(products);
            for start in (0..tiles.channels).step_by(chunk) {
                let channels = start..tiles.channels.min(start + chunk);
                let segments = [Segment {
                    left: 0,
                    right: channels.start,
                    depth: channels.len(),
                }];
                tiles.transform(isa, rows.clone(), channels.clone(), place, transformed);
                for frequency in 0..FREQUENCIES {
                    for (index, panel) in panels.clone().enumerate() {
                        let right = weights.panel(frequency, panel);
                        assert!((segments[0].right + segments[0].depth) * PANEL <= right.len());
                        let next = if index + 1 < panels.len() {
                            weights.panel(frequency, panel + 1)
                        } else {
                            weights.panel((frequency + 1) % FREQUENCIES, panels.start)
                        };
                        let next = &next[channels.start * PANEL..channels.end * PANEL];
                        let tiles = rows.len().div_ceil(kernel.rows);
                        for (number, part) in even_parts(rows.len(), kernel.rows).enumerate() {
                            prefetch(next, number, tiles);
                            let to = (frequency * rows.len() + part.start) * product_stride
                                + index * PANEL;
                            let left = &transformed[place.of(frequency) + part.start * STRIDE..];
                            assert!(left.len() >= (part.len() - 1) * STRIDE + segments[0].depth);
                            let tile = Tile {
                                left: left.as_ptr(),
                                right: right.as_ptr(),
                                segments: &segments,
                                to: products[to..to + (part.len() - 1) * product_stride + PANEL]
                                    .as_mut_ptr(),
                                to_stride: product_stride,
                                add: start > 0,
                            };
                            // SAFETY: the operands hold the segment, and `products` the tile, as was checked; `kernel` was made
                            // for this CPU.
                            unsafe { kernel.run(&tile, part.len(), false) };
                        }
                    }
                }
            }
            let columns = panels.start * PANEL..weights.columns.min(panels.end * PANEL);
            for (index, row) in rows.clone().enumerate() {
                let offsets = std::array::from_fn(|frequency| {
                    (frequency * rows.len() + index) * product_stride
                });
                let (tile, image) = tiles.at(row);
                let targets = tiles.targets(tile);
                let mut to = places.chunks_exact_mut(columns.len());
                transform::output(
                    isa,
                    products,
                    offsets,
                    std::array::from_fn(|_| to.next().expect("four places")),
                );
                for (target, sums) in targets.into_iter().zip(places.chunks_exact(columns.len())) {
                    if let Some(target) = target {
                        finish(target + image, columns.clone(), sums);
                    }
                }
            }
        },
    );
}
