//! Mean and variance of the rows themselves.

use super::{LEAST_ROWS, repeat};
use crate::{
    Element, Isa,
    isa::for_each_isa,
    pool,
    rows::{fold, isa, part_length_of_at_least, tile_width},
};

/// Mean and biased variance of the columns of `x`.
pub(super) fn statistics<T: Element>(
    channels: usize,
    x: &[T],
    mean: &mut [f32],
    variance: &mut [f32],
) {
    let isa = isa();
    let width = tile_width(channels);
    let length = part_length_of_at_least(LEAST_ROWS * channels / width, width);
    let mut partials = vec![0.0_f64; x.len().div_ceil(length) * 2 * channels];
    let parts = x.chunks(length).zip(partials.chunks_mut(2 * channels));
    pool::parallel_for_each(parts, |(x, partial)| {
        part_statistics(isa, x, channels, partial)
    });

    let mut means = vec![0.0_f64; channels];
    let mut squares = vec![0.0_f64; channels];
    let mut rows = 0.0;
    for (x, partial) in x.chunks(length).zip(partials.chunks(2 * channels)) {
        let more = (x.len() / channels) as f64;
        let share = more / (rows + more);
        let (part_means, part_squares) = partial.split_at(channels);
        let part = part_means.iter().zip(part_squares);
        for ((mean, square), (part_mean, part_square)) in
            means.iter_mut().zip(&mut squares).zip(part)
        {
            let distance = part_mean - *mean;
            *mean += distance * share;
            *square += part_square + distance * distance * rows * share;
        }
        rows += more;
    }
    for (mean, exact) in mean.iter_mut().zip(means) {
        *mean = exact as f32;
    }
    for (variance, square) in variance.iter_mut().zip(squares) {
        *variance = (square / rows) as f32;
    }
}

/// Mean and sum of squared distances from it of the columns of a part, one after the other.
///
/// Sums are of distances from the first row. That row is one of the part, so its distance from the mean is at most the
/// deviation times the root of the number of rows: what is lost by taking squares of sums from sums of squares stays
/// below that number of rows times the rounding of an `f32`, wherever the mean lies.
fn part_statistics<T: Element>(isa: Isa, x: &[T], channels: usize, partial: &mut [f64]) {
    let width = tile_width(channels);
    let first: Vec<f32> = x[..channels].iter().map(|x| x.to_f32()).collect();
    let mut sums = vec![0.0; width];
    let mut squares = vec![0.0; width];
    sum_distances(isa, x, &repeat(&first, width), &mut sums, &mut squares);

    let (means, m2) = partial.split_at_mut(channels);
    fold(&sums, channels, means);
    fold(&squares, channels, m2);
    let rows = (x.len() / channels) as f64;
    for ((mean, m2), first) in means.iter_mut().zip(m2).zip(first) {
        let rest = *m2 - *mean * *mean / rows;
        // Not `max`: a NaN stays one.
        *m2 = if rest < 0.0 { 0.0 } else { rest };
        *mean = f64::from(first) + *mean / rows;
    }
}

for_each_isa! {
    fn sum_distances<T: Element>(x: &[T], from: &[f32], sums: &mut [f32], squares: &mut [f32]) {
        for x in x.chunks(from.len()) {
            for (((x, from), sum), square) in
                x.iter().zip(from).zip(sums.iter_mut()).zip(squares.iter_mut())
            {
                let distance = x.to_f32() - from;
                *sum += distance;
                *square += distance * distance;
            }
        }
    }
}
