//! The rows that a convolution multiplies by its weights: for each place of the map, what the kernel sees there.

use std::ops::Range;

use crate::{
    Element, Isa, Window,
    conv::Conv2d,
    gemm::{Rows, SharedMut, block_stride, elements_of_mut},
    isa::for_each_isa,
    pool,
};

/// The rows of a convolution's left operand.
#[derive(Debug)]
pub(super) enum Source<'a, T> {
    Taps(Taps<'a, T>),
    Lines(Lines<'a, T>),
}

impl<'a, T: Element> Source<'a, T> {
    /// Words of memory that [`Source::new`] needs.
    pub(super) fn words(conv: &Conv2d) -> usize {
        if Lines::<T>::suits(conv) {
            Lines::<T>::padded_len(conv).div_ceil(T::PER_WORD)
        } else {
            0
        }
    }

    /// What the kernel sees of a group's channels of `x`, for each place of the output.
    pub(super) fn new(
        isa: Isa,
        conv: &Conv2d,
        x: &'a [T],
        group: usize,
        memory: &'a mut [f32],
    ) -> Self {
        if Lines::<T>::suits(conv) {
            return Self::Lines(Lines::new(isa, conv, x, elements_of_mut(memory)));
        }
        Self::Taps(Taps {
            isa,
            map: x,
            size: conv.input,
            images: conv.images,
            row_len: conv.in_channels,
            first: group * conv.in_of_group(),
            channels: conv.in_of_group(),
            window: conv.window,
            places: Places::in_order(conv.output()),
            backward: false,
        })
    }
}

impl<T: Element> Rows<T> for Source<'_, T> {
    fn rows(&self) -> usize {
        match self {
            Self::Taps(taps) => taps.rows(),
            Self::Lines(lines) => lines.rows(),
        }
    }

    fn depth(&self) -> usize {
        match self {
            Self::Taps(taps) => taps.depth(),
            Self::Lines(lines) => lines.depth(),
        }
    }

    fn unit(&self) -> usize {
        match self {
            Self::Taps(taps) => taps.unit(),
            Self::Lines(lines) => lines.unit(),
        }
    }

    fn live(&self, rows: Range<usize>, ranges: &mut Vec<Range<usize>>) {
        match self {
            Self::Taps(taps) => taps.live(rows, ranges),
            Self::Lines(lines) => lines.live(rows, ranges),
        }
    }

    fn gather(&self, rows: Range<usize>, depth: Range<usize>, block: &mut [T]) {
        match self {
            Self::Taps(taps) => taps.gather(rows, depth, block),
            Self::Lines(lines) => lines.gather(rows, depth, block),
        }
    }
}

/// What stands at each place of a product's rows, gathered tap by tap from a map `[height, width, images, channels]`.
///
/// A row's elements are `[taps, channels]`.
#[derive(Clone, Debug)]
pub(super) struct Taps<'a, T> {
    pub(super) isa: Isa,
    pub(super) map: &'a [T],
    /// Height and width of the map.
    pub(super) size: [usize; 2],
    pub(super) images: usize,
    /// Channels of the map.
    pub(super) row_len: usize,
    /// The channels that are gathered: as many as `channels`, from `first` on.
    pub(super) first: usize,
    pub(super) channels: usize,
    pub(super) window: Window,
    /// The places of the rows, each for all images.
    pub(super) places: Places,
    /// Whether the rows are places of the convolution's input, and the map is what came out of it.
    pub(super) backward: bool,
}

/// An order of the places of a map, in which those that differ by multiples of `phases` follow each other: the same taps
/// matter to all of them, where a gradient goes back through a stride.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places {
    pub(super) size: [usize; 2],
    pub(super) phases: [usize; 2],
}

impl Places {
    /// Rows by rows.
    pub(super) fn in_order(size: [usize; 2]) -> Self {
        Self {
            size,
            phases: [1, 1],
        }
    }

    /// Row and column of a place, by its number in this order.
    #[inline(always)]
    pub(super) fn at(&self, number: usize) -> [usize; 2] {
        self.run(number).0
    }

    /// The same, and how many places follow each other from there in its line, itself included.
    #[inline(always)]
    fn run(&self, mut number: usize) -> ([usize; 2], usize) {
        let [height, width] = self.size;
        if self.phases == [1, 1] {
            return ([number / width, number % width], width - number % width);
        }
        for y in 0..self.phases[0].min(height) {
            for x in 0..self.phases[1].min(width) {
                let rows = (height - y).div_ceil(self.phases[0]);
                let columns = (width - x).div_ceil(self.phases[1]);
                if number < rows * columns {
                    let (row, column) = (number / columns, number % columns);
                    return (
                        [y + row * self.phases[0], x + column * self.phases[1]],
                        columns - column,
                    );
                }
                number -= rows * columns;
            }
        }
        unreachable!("a place of the map")
    }
}

impl<T: Element> Taps<'_, T> {
    /// Where along `axis` the map is looked at, for a place of a row and a tap.
    #[inline(always)]
    fn along(&self, axis: usize, place: usize, tap: usize) -> Option<usize> {
        if !self.backward {
            return self.window.place(axis, place, tap, self.size[axis]);
        }
        self.window.output_at(axis, place, tap, self.size[axis])
    }

    /// Whether a tap may see the map, not its padding, from one of some places.
    fn is_seen(&self, places: Range<usize>, tap: usize) -> bool {
        let (ky, kx) = (tap / self.window.kernel[1], tap % self.window.kernel[1]);
        let mut number = places.start;
        while number < places.end {
            let ([y, x], along) = self.places.run(number);
            let count = along.min(places.end - number);
            let last = x + (count - 1) * self.places.phases[1];
            if self.is_seen_along(0, [y, y], ky) && self.is_seen_along(1, [x, last], kx) {
                return true;
            }
            number += count;
        }
        false
    }

    /// The same along `axis`, for places of one line from the first to the last.
    fn is_seen_along(&self, axis: usize, [first, last]: [usize; 2], tap: usize) -> bool {
        let (padding, size) = (self.window.padding[axis], self.size[axis]);
        let (stride, offset) = (self.window.stride[axis], tap * self.window.dilation[axis]);
        if !self.backward {
            return last * stride + offset >= padding && first * stride + offset < padding + size;
        }
        // Places of a line differ by multiples of the stride.
        let (first, last) = (first + padding, last + padding);
        (first + stride * offset - offset).is_multiple_of(stride)
            && last >= offset
            && first.saturating_sub(offset) < size * stride
    }

    fn taps(&self) -> usize {
        self.window.kernel[0] * self.window.kernel[1]
    }
}

impl<T: Element> Rows<T> for Taps<'_, T> {
    fn rows(&self) -> usize {
        self.places.size[0] * self.places.size[1] * self.images
    }

    fn depth(&self) -> usize {
        self.taps() * self.channels
    }

    /// The images of a place, or the places of a line.
    fn unit(&self) -> usize {
        if self.images >= FEW_IMAGES {
            return self.images;
        }
        self.places.size[1].div_ceil(self.places.phases[1]).max(1) * self.images.max(1)
    }

    fn live(&self, rows: Range<usize>, ranges: &mut Vec<Range<usize>>) {
        if rows.is_empty() {
            return;
        }
        // Taps can only be left out where they fill whole groups of words.
        if !self.channels.is_multiple_of(16 * T::PER_WORD) {
            ranges.push(0..self.depth());
            return;
        }
        let places = rows.start / self.images..rows.end.div_ceil(self.images);
        let first = ranges.len();
        for tap in 0..self.taps() {
            if self.is_seen(places.clone(), tap) {
                let range = tap * self.channels..(tap + 1) * self.channels;
                match ranges[first..].last_mut() {
                    Some(last) if last.end == range.start => last.end = range.end,
                    _ => ranges.push(range),
                }
            }
        }
    }

    fn gather(&self, rows: Range<usize>, depth: Range<usize>, block: &mut [T]) {
        let stride = block_stride::<T>();
        let mut row = rows.start;
        while row < rows.end {
            let (number, image) = (row / self.images, row % self.images);
            let (place, along) = self.places.run(number);
            // As many places of a line as the block still has, as long as they are whole; or a part of one place.
            let (places, count) = if image == 0 && rows.end - row >= self.images {
                (along.min((rows.end - row) / self.images), self.images)
            } else {
                (1, (self.images - image).min(rows.end - row))
            };
            let mut k = depth.start;
            while k < depth.end {
                let (tap, channel) = (k / self.channels, k % self.channels);
                let length = (self.channels - channel).min(depth.end - k);
                let to = &mut block[(row - rows.start) * stride + (k - depth.start)..];
                let line = Line {
                    place,
                    places,
                    image,
                    count,
                    channel,
                    length,
                };
                self.gather_line(tap, line, to);
                k += length;
            }
            row += places * count;
        }
    }
}

/// Rows of a block that are next to each other in the map: images of places that follow each other in a line.
#[derive(Clone, Copy, Debug)]
struct Line {
    /// The first place.
    place: [usize; 2],
    places: usize,
    /// The first image, and how many there are, of each place.
    image: usize,
    count: usize,
    /// The first channel of the tap, and how many.
    channel: usize,
    length: usize,
}

impl<T: Element> Taps<'_, T> {
    /// Writes what one tap sees from the places of a line.
    fn gather_line(&self, tap: usize, line: Line, to: &mut [T]) {
        let stride = block_stride::<T>();
        let (ky, kx) = (tap / self.window.kernel[1], tap % self.window.kernel[1]);
        let Line {
            place: [y, x],
            places,
            image,
            count,
            channel,
            length,
        } = line;
        let x_of = |place: usize| self.along(1, x + place * self.places.phases[1], kx);
        // The places that see the map, not its padding, follow each other.
        let (mut first, mut end) = (0, places);
        let found = self.along(0, y, ky).and_then(|source| {
            first = (0..places).find(|place| x_of(*place).is_some())?;
            end = (first..places).rev().find(|place| x_of(*place).is_some())? + 1;
            Some((source * self.size[1] + x_of(first)?) * self.images + image)
        });
        let Some(source) = found else {
            return (0..places * count)
                .for_each(|row| to[row * stride..][..length].fill(T::default()));
        };
        let padding = (0..first).chain(end..places);
        for row in padding.flat_map(|place| place * count..(place + 1) * count) {
            to[row * stride..][..length].fill(T::default());
        }
        let step = if self.backward {
            1
        } else {
            self.window.stride[1]
        };
        let from = &self.map[source * self.row_len + self.first + channel..];
        let to = &mut to[first * count * stride..];
        if step == 1 || self.images == 1 {
            // Rows of the same distance, from the first to the last.
            let rows = (end - first) * count;
            copy_rows(
                self.isa,
                from,
                step * self.row_len,
                to,
                stride,
                rows,
                length,
            );
        } else {
            for place in 0..end - first {
                let from = &from[place * step * self.images * self.row_len..];
                copy_rows(
                    self.isa,
                    from,
                    self.row_len,
                    &mut to[place * count * stride..],
                    stride,
                    count,
                    length,
                );
            }
        }
    }
}

/// Images of a place up to which a line is what a tile is made of.
const FEW_IMAGES: usize = 6;

for_each_isa! {
    fn copy_rows<T: Element>(from: &[T], from_stride: usize, to: &mut [T], to_stride: usize, rows: usize, length: usize) {
        for row in 0..rows {
            let from = &from[row * from_stride..][..length];
            let to = &mut to[row * to_stride..][..length];
            // A call to copy so few bytes would take as long as copying them.
            let ((from, from_rest), (to, to_rest)) = (from.as_chunks::<32>(), to.as_chunks_mut::<32>());
            for (to, from) in to.iter_mut().zip(from) {
                *to = *from;
            }
            for (to, from) in to_rest.iter_mut().zip(from_rest) {
                *to = *from;
            }
        }
    }
}

/// The same for few channels: a copy of the map, image by image and with its padding, in which all that a row of the
/// kernel sees lies together.
#[derive(Debug)]
pub(super) struct Lines<'a, T> {
    isa: Isa,
    /// `[images, height + padding, width + padding, channels]`.
    padded: &'a [T],
    size: [usize; 2],
    images: usize,
    channels: usize,
    window: Window,
    output: [usize; 2],
}

impl<'a, T: Element> Lines<'a, T> {
    /// Whether a convolution of so many channels is better off with it.
    fn suits(conv: &Conv2d) -> bool {
        conv.groups == 1
            && conv.in_channels < 16
            && conv.window.kernel[1] > 1
            && conv.window.dilation[1] == 1
    }

    /// Elements of the copy.
    fn padded_len(conv: &Conv2d) -> usize {
        let [height, width] = [0, 1].map(|axis| conv.input[axis] + 2 * conv.window.padding[axis]);
        conv.images * height * width * conv.in_channels
    }

    /// Copies a map `[height, width, images, channels]` to `padded`.
    fn new(isa: Isa, conv: &Conv2d, map: &[T], padded: &'a mut [T]) -> Self {
        let &Conv2d {
            images,
            input: size,
            in_channels: channels,
            window,
            ..
        } = conv;
        let padded_size = [0, 1].map(|axis| size[axis] + 2 * window.padding[axis]);
        let line = padded_size[1] * channels;
        let shared = SharedMut::new(&mut padded[..images * padded_size[0] * line]);
        pool::run(images.min(64), &|task| {
            for image in (task..images).step_by(64) {
                // SAFETY: each image is one task's.
                let to = unsafe {
                    shared.part(image * padded_size[0] * line..(image + 1) * padded_size[0] * line)
                };
                to.fill(T::default());
                for y in 0..size[0] {
                    let to =
                        &mut to[(y + window.padding[0]) * line + window.padding[1] * channels..];
                    for x in 0..size[1] {
                        let from =
                            &map[((y * size[1] + x) * images + image) * channels..][..channels];
                        for (to, from) in to[x * channels..][..channels].iter_mut().zip(from) {
                            *to = *from;
                        }
                    }
                }
            }
        });
        Self {
            isa,
            padded: shared.into_slice(),
            size: padded_size,
            images,
            channels,
            window,
            output: conv.output(),
        }
    }
}

impl<T: Element> Rows<T> for Lines<'_, T> {
    fn rows(&self) -> usize {
        self.output[0] * self.output[1] * self.images
    }

    fn depth(&self) -> usize {
        self.window.kernel[0] * self.window.kernel[1] * self.channels
    }

    fn unit(&self) -> usize {
        self.rows().max(1)
    }

    fn live(&self, _: Range<usize>, ranges: &mut Vec<Range<usize>>) {
        ranges.push(0..self.depth());
    }

    fn gather(&self, rows: Range<usize>, depth: Range<usize>, block: &mut [T]) {
        let line = self.window.kernel[1] * self.channels;
        for (row, to) in rows.zip(block.chunks_mut(block_stride::<T>())) {
            let (place, image) = (row / self.images, row % self.images);
            let (y, x) = (
                place / self.output[1] * self.window.stride[0],
                place % self.output[1] * self.window.stride[1],
            );
            let first = ((image * self.size[0] + y) * self.size[1] + x) * self.channels;
            let step = self.window.dilation[0] * self.size[1] * self.channels;
            copy_lines(
                self.isa,
                &self.padded[first..],
                step,
                line,
                depth.start,
                &mut to[..depth.len()],
            );
        }
    }
}

for_each_isa! {
    /// Copies parts of lines of a map, `step` apart and each `line` long, next to each other: all of `to`, from element
    /// `start` of the lines on.
    fn copy_lines<T: Element>(from: &[T], step: usize, line: usize, start: usize, to: &mut [T]) {
        let (mut ky, mut skipped, mut done) = (start / line, start % line, 0);
        while done < to.len() {
            let from = &from[ky * step + skipped..];
            let to = &mut to[done..];
            let length = (line - skipped).min(to.len());
            // A copy of constant length is a few instructions; what it writes beyond the line is written again after it.
            match (from.first_chunk::<32>(), to.first_chunk_mut::<32>()) {
                (Some(from), Some(to)) if length <= 32 => *to = *from,
                _ => {
                    for (to, from) in to[..length].iter_mut().zip(from) {
                        *to = *from;
                    }
                }
            }
            (ky, skipped, done) = (ky + 1, 0, done + length);
        }
    }
}
