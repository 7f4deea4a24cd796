use std::ops::Range;

use super::{FREQUENCIES, Place, Tiles, transform};
use crate::{
    Format, Isa,
    conv::Conv2d,
    gemm::{
        DEPTH, Kernel, PANEL, Purpose, STRIDE, Segment, SharedMut, Tile, even_parts, part_of,
        with_words,
    },
    pool,
};

/// Input and output channels of a block of the gradient: its frequencies stay in the second-level cache.
const BLOCK_CHANNELS: usize = 64;
/// Rows that are summed up in registers, at most.
const BLOCK_ROWS: usize = 64;
/// Words between frequencies, beyond what they take: they are written together, and would compete for places in the cache.
const APART: usize = 5 * 16;
/// Words of a panel of the right operand.
const PANEL_WORDS: usize = BLOCK_ROWS * PANEL + APART;
/// Rows of a part of the sum, at least, and how many parts there are at most. They depend on the shape alone, not on the
/// number of threads: the parts' order is that of the sum.
const PART_ROWS: usize = 512;
const MOST_PARTS: usize = 8;
/// Blocks from which on there is work enough for the threads without parts.
const MANY_BLOCKS: usize = 16;

/// The gradient of the weights: `G' (sum of (B' x B) * (A dy A')) G`.
pub(crate) fn weight_gradient(isa: Isa, conv: &Conv2d, x: &[f32], dy: &[f32], dweight: &mut [f32]) {
    let tiles = Tiles::of_input(conv, x);
    let (ci, co) = (conv.in_channels, conv.out_channels);
    let blocks: Vec<(Range<usize>, Range<usize>)> = even_blocks(ci)
        .flat_map(|input| even_blocks(co).map(move |output| (input.clone(), output)))
        .collect();
    let parts = if blocks.len() < MANY_BLOCKS {
        (tiles.rows() / PART_ROWS).clamp(1, MOST_PARTS)
    } else {
        1
    };
    // The frequencies of the whole gradient, for each part.
    const BLOCK_WORDS: usize = FREQUENCIES * BLOCK_CHANNELS * BLOCK_CHANNELS;
    let shared = SharedMut::new(dweight);
    with_words(Purpose::Parts, parts * blocks.len() * BLOCK_WORDS, |sums| {
        let all = SharedMut::new(sums);
        pool::run(parts * blocks.len(), &|task| {
            let (part, (input, output)) = (task / blocks.len(), &blocks[task % blocks.len()]);
            let rows = part_of(part, parts, tiles.rows());
            // SAFETY: each task has a block of words of its own.
            let sums = unsafe { all.part(task * BLOCK_WORDS..(task + 1) * BLOCK_WORDS) };
            sum(isa, &tiles, dy, rows, input.clone(), output.clone(), sums);
        });
        let sums = all.into_slice();
        let all: &[f32] = sums;
        pool::run(blocks.len(), &|block| {
            let (input, output) = &blocks[block];
            let mut frequencies = [[0.0; BLOCK_CHANNELS]; FREQUENCIES];
            let mut taps = [[0.0; BLOCK_CHANNELS]; 9];
            for (index, channel) in input.clone().enumerate() {
                for (frequency, to) in frequencies.iter_mut().enumerate() {
                    to.fill(0.0);
                    for part in 0..parts {
                        let start = (part * blocks.len() + block) * BLOCK_WORDS;
                        let row = (frequency * BLOCK_CHANNELS + index) * BLOCK_CHANNELS;
                        let from = &all[start + row..][..BLOCK_CHANNELS];
                        to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
                    }
                }
                let mut to = taps.iter_mut();
                transform::weight_gradient(
                    isa,
                    frequencies
                        .each_ref()
                        .map(|frequency| &frequency[..output.len()]),
                    std::array::from_fn(|_| &mut to.next().expect("nine taps")[..output.len()]),
                );
                for (tap, values) in taps.iter().enumerate() {
                    let row = (tap * ci + channel) * co;
                    // SAFETY: each channel of a block's input and output is one task's.
                    let to = unsafe { shared.part(row + output.start..row + output.end) };
                    to.copy_from_slice(&values[..output.len()]);
                }
            }
        });
    });
}

/// Channels, multiples of 16 of them, in blocks.
fn even_blocks(channels: usize) -> impl Iterator<Item = Range<usize>> {
    even_parts(channels / 16, BLOCK_CHANNELS / 16).map(|part| part.start * 16..part.end * 16)
}

/// The sum over `rows`: for each frequency, `[input, output]` with rows of [`BLOCK_CHANNELS`].
fn sum(
    isa: Isa,
    tiles: &Tiles<'_>,
    dy: &[f32],
    rows: Range<usize>,
    input: Range<usize>,
    output: Range<usize>,
    sums: &mut [f32],
) {
    let kernel = Kernel::new(isa, Format::F32);
    sums.fill(0.0);
    let panels = output.len().div_ceil(PANEL);
    let place = Place {
        stride: STRIDE,
        beside: DEPTH / BLOCK_CHANNELS,
        width: BLOCK_CHANNELS,
        group: BLOCK_ROWS * STRIDE + APART,
    };
    let transformed = FREQUENCIES / place.beside * place.group;
    let right = FREQUENCIES * panels * PANEL_WORDS;
    with_words(Purpose::Blocks, transformed + right, |memory| {
        let (transformed, right) = memory.split_at_mut(transformed);
        if !output.len().is_multiple_of(PANEL) {
            right.fill(0.0);
        }
        for part in even_parts(rows.len(), BLOCK_ROWS) {
            let rows = rows.start + part.start..rows.start + part.end;
            if rows.is_empty() {
                continue;
            }
            tiles.transform(isa, rows.clone(), input.clone(), place, transformed);
            transform_gradient(isa, tiles, dy, rows.clone(), output.clone(), right);
            let segments = [Segment {
                left: 0,
                right: 0,
                depth: rows.len(),
            }];
            for frequency in 0..FREQUENCIES {
                for panel in 0..panels {
                    let right =
                        &right[(frequency * panels + panel) * PANEL_WORDS..][..rows.len() * PANEL];
                    for part in even_parts(input.len(), kernel.rows) {
                        let left = &transformed[place.of(frequency) + part.start..];
                        assert!(left.len() >= (rows.len() - 1) * STRIDE + part.len());
                        let to = (frequency * BLOCK_CHANNELS + part.start) * BLOCK_CHANNELS
                            + panel * PANEL;
                        let tile = Tile {
                            left: left.as_ptr(),
                            right: right.as_ptr(),
                            segments: &segments,
                            to: sums[to..to + (part.len() - 1) * BLOCK_CHANNELS + PANEL]
                                .as_mut_ptr(),
                            to_stride: BLOCK_CHANNELS,
                            add: true,
                        };
                        // SAFETY: the operands and the sums hold the tile, as was checked; `kernel` was made for this CPU.
                        unsafe { kernel.run(&tile, part.len(), true) };
                    }
                }
            }
        }
    });
}

/// Transforms the output's gradient at `rows`: panels of [`PANEL_WORDS`], for each frequency.
fn transform_gradient(
    isa: Isa,
    tiles: &Tiles<'_>,
    dy: &[f32],
    rows: Range<usize>,
    output: Range<usize>,
    to: &mut [f32],
) {
    const ZEROS: [f32; PANEL] = [0.0; PANEL];
    let co = dy.len() / (tiles.output[0] * tiles.output[1] * tiles.images);
    let panels = output.len().div_ceil(PANEL);
    for (index, row) in rows.enumerate() {
        let (tile, image) = tiles.at(row);
        let targets = tiles.targets(tile);
        for panel in 0..panels {
            let columns =
                output.start + panel * PANEL..output.end.min(output.start + (panel + 1) * PANEL);
            let from = targets.map(|target| match target {
                Some(target) => &dy[(target + image) * co..][columns.clone()],
                None => &ZEROS[..columns.len()],
            });
            let offsets = std::array::from_fn(|frequency| {
                (frequency * panels + panel) * PANEL_WORDS + index * PANEL
            });
            transform::output_gradient(isa, from, to, offsets);
        }
    }
}
