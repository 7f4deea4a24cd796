//! An image on its way through augmentations, and what moves its pixels.

use fast_image_resize::{
    FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer,
    images::{Image as Target, ImageRef},
};
use strata_spec::Margin;

/// A rectangle of pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) top: usize,
    pub(super) left: usize,
    pub(super) height: usize,
    pub(super) width: usize,
}

/// An image, the channels of a pixel next to each other, and room for the next one.
#[derive(Default)]
pub(super) struct Frame {
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) channels: usize,
    pub(super) pixels: Vec<u8>,
    spare: Vec<u8>,
    resizer: Resizer,
}

impl Frame {
    /// Begins with another image.
    pub(super) fn load(&mut self, height: usize, width: usize, channels: usize, pixels: &[u8]) {
        (self.height, self.width, self.channels) = (height, width, channels);
        self.pixels.clear();
        self.pixels.extend_from_slice(pixels);
    }

    /// Left and right change places.
    pub(super) fn flip(&mut self) {
        for line in self.pixels.chunks_exact_mut(self.width * self.channels) {
            if self.channels == 3 {
                line.as_chunks_mut::<3>().0.reverse();
            } else {
                line.reverse();
            }
        }
    }

    /// Top and bottom change places.
    pub(super) fn flip_vertically(&mut self) {
        let (upper, lower) = self
            .pixels
            .split_at_mut(self.height / 2 * self.width * self.channels);
        let line = self.width * self.channels;
        for (up, down) in upper
            .chunks_exact_mut(line)
            .zip(lower.chunks_exact_mut(line).rev())
        {
            up.swap_with_slice(down);
        }
    }

    /// Cuts as much as the image has out of the image with a margin of `padding` pixels; `corner` is the first row and
    /// column within that, 0 to `2 * padding`.
    pub(super) fn crop_with_margin(&mut self, padding: usize, margin: Margin, corner: [usize; 2]) {
        let (height, width) = (self.height as isize, self.width as isize);
        let [down, right] = corner.map(|place| place as isize - padding as isize);
        if (down, right) == (0, 0) {
            return;
        }
        let line_len = self.width * self.channels;
        self.spare.clear();
        self.spare.resize(self.pixels.len(), 0);
        // Columns of the result that are columns of the image.
        let first = (-right).clamp(0, width) as usize;
        let last = (width - right).clamp(0, width) as usize;
        for (y, to) in self.spare.chunks_exact_mut(line_len).enumerate() {
            let from = match (y as isize + down, margin) {
                (from, _) if (0..height).contains(&from) => from,
                (_, Margin::Black) => continue,
                (from, Margin::Reflect) => mirrored(from, height),
            };
            let from = &self.pixels[from as usize * line_len..][..line_len];
            if first < last {
                let start = (first as isize + right) as usize * self.channels;
                let len = (last - first) * self.channels;
                to[first * self.channels..][..len].copy_from_slice(&from[start..][..len]);
            }
            if margin == Margin::Reflect {
                for x in (0..first).chain(last..self.width) {
                    let column = mirrored(x as isize + right, width) as usize;
                    to[x * self.channels..][..self.channels]
                        .copy_from_slice(&from[column * self.channels..][..self.channels]);
                }
            }
        }
        std::mem::swap(&mut self.pixels, &mut self.spare);
    }

    /// Fills a square around a pixel, as far as it lies within the image.
    pub(super) fn cut_out(&mut self, [y, x]: [usize; 2], size: usize, colour: &[u8]) {
        let range = |centre: usize, end: usize| {
            let start = centre as isize - (size / 2) as isize;
            start.max(0) as usize..((start + size as isize).max(0) as usize).min(end)
        };
        let columns = range(x, self.width);
        for y in range(y, self.height) {
            let line = &mut self.pixels[y * self.width * self.channels..];
            let line = &mut line[columns.start * self.channels..columns.end * self.channels];
            for pixel in line.chunks_exact_mut(self.channels) {
                pixel.copy_from_slice(colour);
            }
        }
    }

    /// Resizes a part, as preparation does: a triangle filter that widens when it shrinks (Pillow's `BILINEAR`). Pixels
    /// outside of the part have no influence.
    pub(super) fn resize_part(&mut self, part: Part, [height, width]: [usize; 2]) {
        self.spare.clear();
        let len = part.width * self.channels;
        for y in part.top..part.top + part.height {
            let start = (y * self.width + part.left) * self.channels;
            self.spare.extend_from_slice(&self.pixels[start..][..len]);
        }
        if (part.height, part.width) == (height, width) {
            std::mem::swap(&mut self.pixels, &mut self.spare);
        } else {
            let kind = if self.channels == 1 {
                PixelType::U8
            } else {
                PixelType::U8x3
            };
            self.pixels.clear();
            self.pixels.resize(height * width * self.channels, 0);
            let bilinear = ResizeAlg::Convolution(FilterType::Bilinear);
            let source = ImageRef::new(part.width as u32, part.height as u32, &self.spare, kind)
                .expect("a part has as many bytes");
            let mut target =
                Target::from_slice_u8(width as u32, height as u32, &mut self.pixels, kind)
                    .expect("made with as many bytes");
            self.resizer
                .resize(
                    &source,
                    &mut target,
                    &ResizeOptions::new().resize_alg(bilinear),
                )
                .expect("both have the same kind of pixels");
        }
        (self.height, self.width) = (height, width);
    }

    /// Takes each pixel from `(a x + b y + c, d x + e y + f)`, where `(x, y)` is the pixel's centre; black where that is
    /// outside. The nearest pixel, in 16-bit fixed point (Pillow's `Image.transform` with `AFFINE` and `NEAREST`).
    pub(super) fn transform(&mut self, [a, b, c, d, e, f]: [f64; 6]) {
        let fixed = |value: f64| (value * 65536.0 + 0.5).floor() as i64;
        let (right, down) = ([fixed(a), fixed(d)], [fixed(b), fixed(e)]);
        let mut start = [fixed(c + 0.5 * (a + b)), fixed(f + 0.5 * (d + e))];
        let (height, width) = (self.height as i64, self.width as i64);
        self.spare.clear();
        self.spare.resize(self.pixels.len(), 0);
        for line in self.spare.chunks_exact_mut(self.width * self.channels) {
            let mut place = start;
            for pixel in line.chunks_exact_mut(self.channels) {
                let [x, y] = place.map(|place| place >> 16);
                if (0..width).contains(&x) && (0..height).contains(&y) {
                    let from = (y * width + x) as usize * self.channels;
                    pixel.copy_from_slice(&self.pixels[from..][..self.channels]);
                }
                place = [place[0] + right[0], place[1] + right[1]];
            }
            start = [start[0] + down[0], start[1] + down[1]];
        }
        std::mem::swap(&mut self.pixels, &mut self.spare);
    }

    /// Replaces each value by `change(channel, value)`.
    pub(super) fn map(&mut self, change: impl Fn(usize, u8) -> u8) {
        for channel in 0..self.channels {
            let table: [u8; 256] = std::array::from_fn(|value| change(channel, value as u8));
            for pixel in self.pixels.chunks_exact_mut(self.channels) {
                pixel[channel] = table[usize::from(pixel[channel])];
            }
        }
    }

    /// Blends with the same image smoothed: `smooth + factor * (pixel - smooth)`; the outermost pixels stay.
    pub(super) fn sharpen(&mut self, factor: f32) {
        self.spare.clear();
        self.spare.extend_from_slice(&self.pixels);
        let (line, step) = (self.width * self.channels, self.channels);
        for y in 1..self.height.saturating_sub(1) {
            for at in y * line + step..(y + 1) * line - step {
                // Pillow's `SMOOTH`: all nine alike, the middle five times.
                let around: u32 = [at - line, at, at + line]
                    .iter()
                    .flat_map(|&middle| [middle - step, middle, middle + step])
                    .map(|place| u32::from(self.spare[place]))
                    .sum();
                let sum = around + 4 * u32::from(self.spare[at]);
                let smooth = ((2 * sum + 13) / 26) as u8;
                self.pixels[at] = super::colour::blend(smooth, self.spare[at], factor);
            }
        }
    }
}

/// The place in `0..len` that a mirror at the first and last pixel shows.
fn mirrored(place: isize, len: isize) -> isize {
    let place = place.abs();
    if place < len {
        place
    } else {
        2 * len - 2 - place
    }
}
