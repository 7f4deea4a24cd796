//! Convolutions of 3 by 3 with stride 1 in `f32`, with 16 products where the definition has 36: F(2x2, 3x3) of Lavin and
//! Gray, "Fast Algorithms for Convolutional Neural Networks" (2016), after Winograd.
//!
//! The output is cut into tiles of 2 by 2 places. What a tile sees, 4 by 4 places, is transformed to 16 **frequencies**; at
//! each of them the channels are multiplied by the transformed weights, as matrices; and what comes out is transformed
//! back: `y = A' ((G w G') * (B' x B)) A`. The transforms add and halve, so that the error stays near that of plain sums.
//!
//! A row of the products is a tile of an image. As everywhere, a row's sums are the same bits whatever is beside it.

mod gradient;
mod product;
mod transform;

pub(super) use gradient::weight_gradient;
pub(super) use product::multiply;

use std::ops::Range;

use crate::{
    Isa,
    conv::Conv2d,
    gemm::{Matrix, PANEL, Panels, Purpose, SharedMut, even_parts, pack_part, with_words},
    pool,
};

const FREQUENCIES: usize = 16;
/// Channels of the weights that are transformed together, at most.
const WEIGHT_CHANNELS: usize = 32;
/// Channels that are transformed together, at most.
const CHUNK: usize = 128;

/// Whether a convolution is better off with it: enough channels for the transforms to be the smaller part, and a map on
/// which the definition does not leave out much.
fn suits(conv: &Conv2d) -> bool {
    conv.window.kernel == [3, 3]
        && conv.window.stride == [1, 1]
        && conv.window.dilation == [1, 1]
        && conv.window.padding.iter().all(|padding| *padding < 3)
        && conv.groups == 1
        && conv.in_channels.is_multiple_of(16)
        && conv.out_channels.is_multiple_of(16)
        && conv.in_channels.min(conv.out_channels) >= 32
        && conv.output().iter().all(|side| *side > 3)
}

/// Whether it is better off with it where the weights have to be transformed first: with rows enough to make up for that.
pub(super) fn suits_once(conv: &Conv2d) -> bool {
    suits(conv) && tiles(conv) * conv.images >= conv.in_channels * conv.out_channels / 256
}

/// Whether it is better off with it where the weights were transformed before: with tiles enough to make up for reading
/// more weights. The number of images must not matter: an image's answer is the same bits in any batch.
pub(super) fn suits_packed(conv: &Conv2d) -> bool {
    suits(conv) && tiles(conv) >= conv.in_channels * conv.out_channels / 2048
}

/// Tiles of an image.
fn tiles(conv: &Conv2d) -> usize {
    across(conv.output()).iter().product()
}

/// Tiles from top to bottom and from left to right of a map.
fn across(output: [usize; 2]) -> [usize; 2] {
    output.map(|side| side.div_ceil(2))
}

/// A map, as the tiles see it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tiles<'a> {
    map: &'a [f32],
    size: [usize; 2],
    images: usize,
    channels: usize,
    padding: [usize; 2],
    /// Height and width of what comes out.
    output: [usize; 2],
}

impl<'a> Tiles<'a> {
    /// Those of a convolution's input.
    pub(super) fn of_input(conv: &Conv2d, x: &'a [f32]) -> Self {
        Self {
            map: x,
            size: conv.input,
            images: conv.images,
            channels: conv.in_channels,
            padding: conv.window.padding,
            output: conv.output(),
        }
    }

    /// Those of the gradient of its output, from which that of its input is computed as by a convolution.
    pub(super) fn of_gradient(conv: &Conv2d, dy: &'a [f32]) -> Self {
        Self {
            map: dy,
            size: conv.output(),
            images: conv.images,
            channels: conv.out_channels,
            padding: conv.window.padding.map(|padding| 2 - padding),
            output: conv.input,
        }
    }

    fn rows(&self) -> usize {
        let [height, width] = across(self.output);
        height * width * self.images
    }

    /// The tile and the image of a row.
    fn at(&self, row: usize) -> (usize, usize) {
        (row / self.images, row % self.images)
    }

    /// Where the first image of each place that a tile sees begins in the map; nothing where it is padding.
    fn sources(&self, tile: usize) -> [Option<usize>; FREQUENCIES] {
        let width = across(self.output)[1];
        let first = [tile / width * 2, tile % width * 2];
        std::array::from_fn(|place| {
            let along = |axis: usize, offset: usize| {
                (first[axis] + offset)
                    .checked_sub(self.padding[axis])
                    .filter(|place| *place < self.size[axis])
            };
            let (y, x) = (along(0, place / 4)?, along(1, place % 4)?);
            Some((y * self.size[1] + x) * self.images * self.channels)
        })
    }

    /// The rows of the output, for the first image, at the places of a tile; nothing where it sticks out.
    fn targets(&self, tile: usize) -> [Option<usize>; 4] {
        let width = across(self.output)[1];
        std::array::from_fn(|place| {
            let (y, x) = (tile / width * 2 + place / 2, tile % width * 2 + place % 2);
            (y < self.output[0] && x < self.output[1])
                .then_some((y * self.output[1] + x) * self.images)
        })
    }

    /// Transforms `channels` of `rows`: the frequencies of row `i` go to `to`, where `place` says.
    fn transform(
        &self,
        isa: Isa,
        rows: Range<usize>,
        channels: Range<usize>,
        place: Place,
        to: &mut [f32],
    ) {
        const ZEROS: [f32; CHUNK] = [0.0; CHUNK];
        let mut row = rows.start;
        while row < rows.end {
            let (tile, image) = self.at(row);
            let count = (self.images - image).min(rows.end - row);
            let sources = self.sources(tile);
            for index in 0..count {
                let from = sources.map(|source| match source {
                    Some(source) => {
                        &self.map[source + (image + index) * self.channels..]
                            [channels.start..channels.end]
                    }
                    None => &ZEROS[..channels.len()],
                });
                let offsets: [usize; FREQUENCIES] = std::array::from_fn(|frequency| {
                    place.of(frequency) + (row - rows.start + index) * place.stride
                });
                transform::input(isa, from, to, offsets);
            }
            row += count;
        }
    }
}

/// Where the frequencies of a block stand: several of them side by side in each row.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Words between rows.
    stride: usize,
    /// Frequencies side by side, and the words between them.
    beside: usize,
    width: usize,
    /// Words between groups of them.
    group: usize,
}

impl Place {
    /// Where the first row of a frequency begins.
    fn of(&self, frequency: usize) -> usize {
        frequency / self.beside * self.group + frequency % self.beside * self.width
    }
}

/// Transformed weights: for each frequency, panels of `[channels, columns]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weights<'a> {
    words: &'a [f32],
    channels: usize,
    columns: usize,
}

impl<'a> Weights<'a> {
    /// Words that they take.
    pub(super) fn words(channels: usize, columns: usize) -> usize {
        FREQUENCIES * Panels::words::<f32>(channels, columns)
    }

    /// What [`Weights::transform`] wrote before.
    pub(super) fn transformed(words: &'a [f32], channels: usize, columns: usize) -> Self {
        assert_eq!(
            words.len(),
            Self::words(channels, columns),
            "transformed weights"
        );
        Self {
            words,
            channels,
            columns,
        }
    }

    /// Transforms a matrix `[9 * channels, columns]` of weights; in reverse order of the taps where `backward` is set.
    pub(super) fn transform(
        isa: Isa,
        matrix: Matrix<'_>,
        backward: bool,
        words: &'a mut [f32],
    ) -> Self {
        let (channels, columns) = (matrix.depth / 9, matrix.columns);
        assert_eq!(
            words.len(),
            Self::words(channels, columns),
            "room for the transformed weights"
        );
        let shared = SharedMut::new(words);
        let panels = columns.div_ceil(PANEL);
        let blocks: Vec<Range<usize>> = even_parts(channels, WEIGHT_CHANNELS).collect();
        pool::run(panels * blocks.len(), &|task| {
            let (panel, block) = (task / blocks.len(), &blocks[task % blocks.len()]);
            let length = block.len() * PANEL;
            with_words(Purpose::Blocks, 9 * length, |packed| {
                for (tap, packed) in packed.chunks_exact_mut(length).enumerate() {
                    let tap = if backward { 8 - tap } else { tap };
                    pack_part::<f32>(
                        isa,
                        matrix,
                        panel * PANEL,
                        tap * channels + block.start,
                        packed,
                    );
                }
                // SAFETY: each task writes its channels of its panel of each frequency.
                let to = std::array::from_fn(|frequency| unsafe {
                    let start = ((frequency * panels + panel) * channels + block.start) * PANEL;
                    shared.part(start..start + length)
                });
                transform::weights(
                    isa,
                    std::array::from_fn(|tap| &packed[tap * length..][..length]),
                    to,
                );
            });
        });
        Self::transformed(shared.into_slice(), channels, columns)
    }

    fn panels(&self) -> usize {
        self.columns.div_ceil(PANEL)
    }

    /// The words of a panel of a frequency.
    fn panel(&self, frequency: usize, panel: usize) -> &'a [f32] {
        let length = self.channels * PANEL;
        &self.words[(frequency * self.panels() + panel) * length..][..length]
    }
}
