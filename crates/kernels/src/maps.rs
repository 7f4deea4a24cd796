//! What moves maps or goes through them number by number: other orders and formats, concatenation, sums and ReLU.

use crate::{
    Element,
    isa::for_each_isa,
    pool,
    rows::{blocks_mut, fold, isa, part_length, part_length_of_at_least, tile_width},
};

/// Rows and columns that are transposed together, in the first cache. Numbers that are read or written far apart are
/// those of some lines of the cache each time, since lines that are a power of two apart push each other out.
const TILE_ROWS: usize = 32;
const TILE_COLUMNS: usize = 128;
/// Rows and columns that a thread writes at a time.
const BLOCK_ROWS: usize = 2 * TILE_ROWS;
const BLOCK_COLUMNS: usize = 8 * TILE_COLUMNS;

/// Turns `rows` `[images, channels, height, width]` into `maps` `[height, width, images, channels]`.
///
/// # Panics
/// The lengths are not those of the shapes.
pub fn rows_to_maps<T: Element>(
    channels: usize,
    [height, width]: [usize; 2],
    images: usize,
    rows: &[f32],
    maps: &mut [T],
) {
    transpose(images * channels, height * width, rows, maps);
}

/// Turns `maps` `[height, width, images, channels]` into `rows` `[images, channels, height, width]`.
///
/// # Panics
/// The lengths are not those of the shapes.
pub fn maps_to_rows<T: Element>(
    channels: usize,
    [height, width]: [usize; 2],
    images: usize,
    maps: &[T],
    rows: &mut [f32],
) {
    transpose(height * width, images * channels, maps, rows);
}

/// Writes `from` `[height, width]` to `to` `[width, height]`.
fn transpose<A: Element, B: Element>(height: usize, width: usize, from: &[A], to: &mut [B]) {
    assert_eq!(
        from.len(),
        height * width,
        "as many numbers as the shape has"
    );
    assert_eq!(to.len(), height * width, "as many numbers as the shape has");
    if height == 1 || width == 1 {
        return convert(from, to);
    }
    let isa = isa();
    let blocks = blocks_mut(to, height, BLOCK_ROWS, BLOCK_COLUMNS);
    pool::parallel_for_each(blocks.into_iter(), |mut block| {
        let from = &from[block.first_column * width + block.first_row..];
        transpose_block(isa, from, width, &mut block.rows);
    });
}

/// Writes the rows of `parts` next to each other: a row of `to` has the channels of all parts, in their order. A part
/// is its elements `[rows, channels]` and its channels.
///
/// # Panics
/// The lengths are not those of `rows` rows.
pub fn concat<T: Element>(parts: &[(&[T], usize)], rows: usize, to: &mut [T]) {
    let width: usize = parts.iter().map(|(_, channels)| channels).sum();
    assert_eq!(to.len(), rows * width, "whole rows of all channels");
    for (part, channels) in parts {
        assert_eq!(
            part.len(),
            rows * channels,
            "whole rows of the part's channels"
        );
    }
    if to.is_empty() {
        return;
    }
    let rows = part_length(1).min(part_length(width) / width);
    let bands = to.chunks_mut(rows * width).enumerate();
    pool::parallel_for_each(bands, |(band, to)| {
        let mut first = 0;
        for (part, channels) in parts.iter().filter(|(_, channels)| *channels > 0) {
            let part = part[band * rows * channels..].chunks_exact(*channels);
            for (to, part) in to.chunks_exact_mut(width).zip(part) {
                to[first..first + channels].copy_from_slice(part);
            }
            first += channels;
        }
    });
}

/// Takes rows that [`concat()`] put together apart again.
///
/// # Panics
/// The lengths are not those of `rows` rows.
pub fn split<T: Element>(from: &[T], rows: usize, parts: &mut [(&mut [T], usize)]) {
    let width: usize = parts.iter().map(|(_, channels)| *channels).sum();
    assert_eq!(from.len(), rows * width, "whole rows of all channels");
    for (part, channels) in parts.iter() {
        assert_eq!(
            part.len(),
            rows * channels,
            "whole rows of the part's channels"
        );
    }
    if from.is_empty() {
        return;
    }
    let rows = part_length(width) / width;
    let mut first = 0;
    for (part, channels) in parts.iter_mut().filter(|(_, channels)| *channels > 0) {
        let channels = *channels;
        let bands = part
            .chunks_mut(rows * channels)
            .zip(from.chunks(rows * width));
        pool::parallel_for_each(bands, |(part, from)| {
            for (part, from) in part
                .chunks_exact_mut(channels)
                .zip(from.chunks_exact(width))
            {
                part.copy_from_slice(&from[first..first + channels]);
            }
        });
        first += channels;
    }
}

/// Sums of the columns of `x` `[rows, width]`: the gradient of a bias. The same bits for any number of threads.
///
/// # Panics
/// `x` is not whole rows, or `sums` is not `width` long.
pub fn column_sums<T: Element>(width: usize, x: &[T], sums: &mut [f32]) {
    assert!(width > 0 && x.len().is_multiple_of(width), "whole rows");
    assert_eq!(sums.len(), width, "a sum for each column");
    let isa = isa();
    let tile = tile_width(width);
    let length = part_length_of_at_least(256 * width / tile, tile);
    let mut partials = vec![0.0_f64; x.len().div_ceil(length) * width];
    let parts = x.chunks(length).zip(partials.chunks_mut(width));
    pool::parallel_for_each(parts, |(x, partial)| {
        let mut sums = vec![0.0; tile];
        add_rows(isa, x, &mut sums);
        fold(&sums, width, partial);
    });
    let mut total = vec![0.0; width];
    for partial in partials.chunks(width) {
        for (total, partial) in total.iter_mut().zip(partial) {
            *total += partial;
        }
    }
    for (sum, total) in sums.iter_mut().zip(total) {
        *sum = total as f32;
    }
}

/// `y = x`, or 0 where that is larger; a NaN stays one.
///
/// # Panics
/// The lengths differ.
pub fn relu<T: Element>(x: &[T], y: &mut [T]) {
    assert_eq!(x.len(), y.len(), "equal lengths");
    let (isa, length) = (isa(), part_length(1));
    pool::parallel_for_each(x.chunks(length).zip(y.chunks_mut(length)), |(x, y)| {
        relu_part(isa, x, y);
    });
}

/// The gradient of [`relu`]'s `x`, from what it gave (`y`) and that one's gradient: `dy`, or 0 where `y` is.
///
/// # Panics
/// The lengths differ.
pub fn relu_backward<T: Element>(y: &[T], dy: &[T], dx: &mut [T]) {
    assert!(y.len() == dx.len() && dy.len() == dx.len(), "equal lengths");
    let (isa, length) = (isa(), part_length(1));
    let parts = y
        .chunks(length)
        .zip(dy.chunks(length))
        .zip(dx.chunks_mut(length));
    pool::parallel_for_each(parts, |((y, dy), dx)| relu_backward_part(isa, y, dy, dx));
}

/// `y = a + b`.
///
/// # Panics
/// The lengths differ.
pub fn add<T: Element>(a: &[T], b: &[T], y: &mut [T]) {
    add_relu(a, b, false, y);
}

/// `y = a + b`, or 0 where that is larger and `relu` is set.
///
/// # Panics
/// The lengths differ.
pub fn add_relu<T: Element>(a: &[T], b: &[T], relu: bool, y: &mut [T]) {
    assert!(a.len() == y.len() && b.len() == y.len(), "equal lengths");
    let (isa, length) = (isa(), part_length(1));
    let floor = if relu { 0.0 } else { f32::NEG_INFINITY };
    let parts = a
        .chunks(length)
        .zip(b.chunks(length))
        .zip(y.chunks_mut(length));
    pool::parallel_for_each(parts, |((a, b), y)| add_part(isa, a, b, floor, y));
}

/// The same numbers in another format, the nearest where there is no equal one.
///
/// # Panics
/// The lengths differ.
pub fn convert<A: Element, B: Element>(from: &[A], to: &mut [B]) {
    assert_eq!(from.len(), to.len(), "equal lengths");
    let (isa, length) = (isa(), part_length(1));
    let parts = from.chunks(length).zip(to.chunks_mut(length));
    pool::parallel_for_each(parts, |(from, to)| convert_part(isa, from, to));
}

/// The larger of both; a NaN in `value` stays one.
#[inline(always)]
pub(crate) fn at_least(floor: f32, value: f32) -> f32 {
    if value < floor { floor } else { value }
}

for_each_isa! {
    /// Row `i` of `to` is column `i` of `from`, whose rows are `width` apart.
    fn transpose_block<A: Element, B: Element>(from: &[A], width: usize, to: &mut [&mut [B]]) {
        // A line longer than what is used of it: else all lines would fall into the same places of the cache.
        let mut tile = [[0.0_f32; TILE_COLUMNS + 16]; TILE_ROWS];
        let height = to[0].len();
        for first in (0..height).step_by(TILE_COLUMNS) {
            let columns = TILE_COLUMNS.min(height - first);
            for (index, to) in to.chunks_mut(TILE_ROWS).enumerate() {
                let from = &from[first * width + index * TILE_ROWS..];
                for (y, from) in from.chunks(width).take(columns).enumerate() {
                    for (line, from) in tile.iter_mut().zip(&from[..to.len()]) {
                        line[y] = from.to_f32();
                    }
                }
                for (to, line) in to.iter_mut().zip(&tile) {
                    for (to, value) in to[first..first + columns].iter_mut().zip(line) {
                        *to = B::from_f32(*value);
                    }
                }
            }
        }
    }
}

for_each_isa! {
    fn add_rows<T: Element>(x: &[T], sums: &mut [f32]) {
        for x in x.chunks(sums.len()) {
            for (sum, x) in sums.iter_mut().zip(x) {
                *sum += x.to_f32();
            }
        }
    }
}

for_each_isa! {
    fn relu_part<T: Element>(x: &[T], y: &mut [T]) {
        for (x, y) in x.iter().zip(y) {
            *y = T::from_f32(at_least(0.0, x.to_f32()));
        }
    }
}

for_each_isa! {
    fn relu_backward_part<T: Element>(y: &[T], dy: &[T], dx: &mut [T]) {
        for ((y, dy), dx) in y.iter().zip(dy).zip(dx) {
            *dx = if y.to_f32() <= 0.0 { T::default() } else { *dy };
        }
    }
}

for_each_isa! {
    fn add_part<T: Element>(a: &[T], b: &[T], floor: f32, y: &mut [T]) {
        for ((a, b), y) in a.iter().zip(b).zip(y) {
            *y = T::from_f32(at_least(floor, a.to_f32() + b.to_f32()));
        }
    }
}

for_each_isa! {
    fn convert_part<A: Element, B: Element>(from: &[A], to: &mut [B]) {
        for (from, to) in from.iter().zip(to) {
            *to = B::from_f32(from.to_f32());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        bf16,
        rows::testing::{assert_close, exact, numbers, poison, with_each_isa},
    };

    fn check_orders<T: Element>(
        channels: usize,
        [height, width]: [usize; 2],
        images: usize,
        seed: u64,
    ) {
        let length = channels * height * width * images;
        let rows = numbers::<f32>(length, seed);
        let results = with_each_isa(|| {
            let (mut maps, mut back) = (poison::<T>(length), poison::<f32>(length));
            rows_to_maps(channels, [height, width], images, &rows, &mut maps);
            maps_to_rows(channels, [height, width], images, &maps, &mut back);
            vec![exact(&maps), exact(&back)]
        });
        for image in 0..images {
            for channel in 0..channels {
                for y in 0..height {
                    for x in 0..width {
                        let row = ((image * channels + channel) * height + y) * width + x;
                        let map = ((y * width + x) * images + image) * channels + channel;
                        let expected = f64::from(T::from_f32(rows[row]).to_f32());
                        assert_eq!(results[0][map], expected);
                        assert_eq!(results[1][row], expected);
                    }
                }
            }
        }
    }

    fn check_joined<T: Element>(rows: usize, channels: &[usize], seed: u64) {
        let part =
            |(index, channels): (usize, &usize)| numbers::<T>(rows * channels, seed ^ index as u64);
        let parts: Vec<Vec<T>> = channels.iter().enumerate().map(part).collect();
        let width: usize = channels.iter().sum();
        let mut together = poison::<T>(rows * width);
        let joined: Vec<_> = parts
            .iter()
            .map(|part| &part[..])
            .zip(channels.iter().copied())
            .collect();
        concat(&joined, rows, &mut together);
        let mut first = 0;
        for (part, channels) in joined {
            for row in 0..rows {
                assert_eq!(
                    together[row * width + first..][..channels],
                    part[row * channels..][..channels]
                );
            }
            first += channels;
        }
        let mut apart: Vec<Vec<T>> = parts.iter().map(|part| poison(part.len())).collect();
        let mut pieces: Vec<_> = apart
            .iter_mut()
            .map(|part| &mut part[..])
            .zip(channels.iter().copied())
            .collect();
        split(&together, rows, &mut pieces);
        assert_eq!(apart, parts);
    }

    fn check_numbers<T: Element>(count: usize, seed: u64) {
        let (a, b) = (numbers::<T>(count, seed), numbers::<T>(count, !seed));
        let results = with_each_isa(|| {
            let run = |kernel: &dyn Fn(&mut [T])| {
                let mut to = poison(count);
                kernel(&mut to);
                exact(&to)
            };
            let mut from_f32 = poison::<T>(count);
            let mut wide = poison::<f32>(count);
            convert(&a, &mut wide);
            convert(&wide, &mut from_f32);
            vec![
                run(&|y| relu(&a, y)),
                run(&|y| relu_backward(&a, &b, y)),
                run(&|y| add(&a, &b, y)),
                run(&|y| add_relu(&a, &b, true, y)),
                exact(&wide),
                exact(&from_f32),
            ]
        });
        let (a, b) = (exact(&a), exact(&b));
        let expected = |of: &dyn Fn(f64, f64) -> f64| -> Vec<f64> {
            a.iter().zip(&b).map(|(a, b)| of(*a, *b)).collect()
        };
        assert_eq!(results[0], expected(&|a, _| a.max(0.0)));
        assert_eq!(results[1], expected(&|a, b| if a > 0.0 { b } else { 0.0 }));
        assert_close::<T>("add", &results[2], &expected(&|a, b| a + b), 1.0);
        assert_close::<T>(
            "add_relu",
            &results[3],
            &expected(&|a, b| (a + b).max(0.0)),
            1.0,
        );
        assert_eq!(results[4], a);
        assert_eq!(results[5], a);
    }

    fn check_sums<T: Element>(rows: usize, width: usize, seed: u64) {
        let x = numbers::<T>(rows * width, seed);
        let results = with_each_isa(|| {
            let mut sums = poison(width);
            column_sums(width, &x, &mut sums);
            vec![exact(&sums)]
        });
        let mut expected = vec![0.0; width];
        for (index, x) in exact(&x).into_iter().enumerate() {
            expected[index % width] += x;
        }
        assert_close::<f32>("sums", &results[0], &expected, (rows as f64).sqrt());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn every_number_is_where_it_belongs(
            channels in 1_usize..20, height in 1_usize..12, width in 1_usize..12, images in 1_usize..5, seed: u64,
        ) {
            check_orders::<f32>(channels, [height, width], images, seed);
            check_orders::<bf16>(channels, [height, width], images, seed);
        }

        #[test]
        fn what_was_put_together_comes_apart(
            rows in 1_usize..40, channels in prop::collection::vec(0_usize..40, 1..5), seed: u64,
        ) {
            check_joined::<f32>(rows, &channels, seed);
            check_joined::<bf16>(rows, &channels, seed);
        }

        #[test]
        fn numbers_are_those_of_the_formula(
            count in 0_usize..200, rows in 0_usize..40, width in 1_usize..200, seed: u64,
        ) {
            check_numbers::<f32>(count, seed);
            check_numbers::<bf16>(count, seed);
            check_sums::<f32>(rows, width, seed);
            check_sums::<bf16>(rows, width, seed);
        }
    }

    #[test]
    fn many_parts_are_joined() {
        check_orders::<f32>(21, [10, 17], 60, 1);
        check_orders::<bf16>(3, [37, 41], 2, 2);
        check_joined::<f32>(3000, &[5, 16], 3);
        check_numbers::<bf16>(70_001, 4);
        check_sums::<f32>(20_000, 3, 5);
        check_sums::<bf16>(600, 140, 6);
    }

    #[test]
    fn a_nan_stays_one() {
        let mut y = [0.0_f32];
        relu(&[f32::NAN], &mut y);
        assert!(y[0].is_nan());
        add_relu(&[f32::NAN], &[1.0], true, &mut y);
        assert!(y[0].is_nan());
    }
}
