//! Normalisation of each row of `[rows, width]` by its own statistics: Ba, Kiros and Hinton, "Layer Normalization",
//! 2016.

// What goes in and comes out of a gradient is that much.
#![allow(clippy::too_many_arguments)]

use crate::{
    Element,
    isa::for_each_isa,
    pool,
    rows::{fold, isa, part_length, part_length_of_at_least},
};

/// Partial sums of a row: as many as the longest vector has lanes, so that results do not depend on the instructions.
const LANES: usize = 16;
/// Rows of a part that sums are kept of, at least.
const LEAST_ROWS: usize = 64;

/// `y = (x - mean) * rstd * gamma + beta` for each row of `x` `[rows, width]`, where `rstd` is `1 / sqrt(variance +
/// epsilon)` with the biased variance. `gamma` and `beta` are `[width]`; `mean` and `rstd`, `[rows]`, are written.
///
/// # Panics
/// The lengths are not those of the shapes.
pub fn layer_norm<T: Element>(
    width: usize,
    epsilon: f32,
    x: &[T],
    gamma: &[f32],
    beta: &[f32],
    y: &mut [T],
    mean: &mut [f32],
    rstd: &mut [f32],
) {
    let rows = rows(width, x.len(), mean, rstd, gamma);
    assert_eq!(beta.len(), width, "a beta for each column");
    assert_eq!(y.len(), x.len(), "y is as long as x");
    if rows == 0 {
        return;
    }
    let isa = isa();
    let length = part_length(width);
    let of_rows = mean
        .chunks_mut(length / width)
        .zip(rstd.chunks_mut(length / width));
    let parts = x.chunks(length).zip(y.chunks_mut(length)).zip(of_rows);
    pool::parallel_for_each(parts, |((x, y), (mean, rstd))| {
        normalise(isa, epsilon, x, gamma, beta, y, mean, rstd);
    });
}

/// The gradients of [`layer_norm`], from that of `y`; `mean` and `rstd` are those that it wrote. `dgamma` and `dbeta`
/// are written, not added to; they have the same bits for any number of threads.
///
/// # Panics
/// The lengths are not those of the shapes.
pub fn layer_norm_backward<T: Element>(
    width: usize,
    x: &[T],
    dy: &[T],
    gamma: &[f32],
    mean: &[f32],
    rstd: &[f32],
    dx: &mut [T],
    dgamma: &mut [f32],
    dbeta: &mut [f32],
) {
    rows(width, x.len(), mean, rstd, gamma);
    assert_eq!(dy.len(), x.len(), "dy is as long as x");
    assert_eq!(dx.len(), x.len(), "dx is as long as x");
    assert_eq!(dgamma.len(), width, "a dgamma for each column");
    assert_eq!(dbeta.len(), width, "a dbeta for each column");
    let isa = isa();
    let length = part_length_of_at_least(LEAST_ROWS, width);
    let mut partials = vec![0.0_f32; x.len().div_ceil(length) * 2 * width];
    let of_rows = mean.chunks(length / width).zip(rstd.chunks(length / width));
    let parts = x
        .chunks(length)
        .zip(dy.chunks(length))
        .zip(dx.chunks_mut(length))
        .zip(of_rows)
        .zip(partials.chunks_mut(2 * width));
    pool::parallel_for_each(parts, |((((x, dy), dx), (mean, rstd)), partial)| {
        let (dgamma, dbeta) = partial.split_at_mut(width);
        gradients(isa, x, dy, gamma, mean, rstd, dx, dgamma, dbeta);
    });
    let mut total = vec![0.0_f64; 2 * width];
    fold(&partials, 2 * width, &mut total);
    for (to, total) in dgamma.iter_mut().chain(dbeta).zip(total) {
        *to = total as f32;
    }
}

fn rows(width: usize, length: usize, mean: &[f32], rstd: &[f32], gamma: &[f32]) -> usize {
    assert!(
        width > 0 && length.is_multiple_of(width),
        "whole rows of {width}"
    );
    let rows = length / width;
    assert_eq!(mean.len(), rows, "a mean for each row");
    assert_eq!(rstd.len(), rows, "an rstd for each row");
    assert_eq!(gamma.len(), width, "a gamma for each column");
    rows
}

for_each_isa! {
    fn normalise<T: Element>(
        epsilon: f32, x: &[T], gamma: &[f32], beta: &[f32], y: &mut [T], means: &mut [f32], rstds: &mut [f32],
    ) {
        let width = gamma.len();
        let of_rows = means.iter_mut().zip(rstds);
        let rows = x.chunks_exact(width).zip(y.chunks_exact_mut(width)).zip(of_rows);
        for ((x, y), (mean_to, rstd_to)) in rows {
            let mean = sum(x, |x| x) / width as f32;
            let variance = sum(x, |x| (x - mean) * (x - mean)) / width as f32;
            let rstd = 1.0 / (variance + epsilon).sqrt();
            for ((y, x), (gamma, beta)) in y.iter_mut().zip(x).zip(gamma.iter().zip(beta)) {
                *y = T::from_f32((x.to_f32() - mean) * rstd * gamma + beta);
            }
            (*mean_to, *rstd_to) = (mean, rstd);
        }
    }
}

for_each_isa! {
    fn gradients<T: Element>(
        x: &[T], dy: &[T], gamma: &[f32], mean: &[f32], rstd: &[f32],
        dx: &mut [T], dgamma: &mut [f32], dbeta: &mut [f32],
    ) {
        let width = gamma.len();
        let rows = x.chunks_exact(width).zip(dy.chunks_exact(width)).zip(dx.chunks_exact_mut(width));
        for (((x, dy), dx), (mean, rstd)) in rows.zip(mean.iter().zip(rstd)) {
            let (gradient, product) = gradient_sums(x, dy, gamma, *mean);
            let mean_gradient = gradient / width as f32;
            let mean_product = product * rstd / width as f32;
            for ((dx, x), (dy, gamma)) in dx.iter_mut().zip(x).zip(dy.iter().zip(gamma)) {
                let normalised = (x.to_f32() - mean) * rstd;
                let gradient = dy.to_f32() * gamma;
                *dx = T::from_f32((gradient - mean_gradient - normalised * mean_product) * rstd);
            }
            let sums = dgamma.iter_mut().zip(dbeta.iter_mut());
            for ((dgamma, dbeta), (x, dy)) in sums.zip(x.iter().zip(dy)) {
                *dgamma += dy.to_f32() * ((x.to_f32() - mean) * rstd);
                *dbeta += dy.to_f32();
            }
        }
    }
}

/// The sum of what `of` gives for all numbers of `x`, whose partial sums are one for each lane.
#[inline(always)]
fn sum<T: Element>(x: &[T], of: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let (vectors, rest) = x.as_chunks::<LANES>();
    for x in vectors {
        let values = x.map(|x| of(x.to_f32()));
        for (lane, value) in lanes.iter_mut().zip(values) {
            *lane += value;
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *lane += of(x.to_f32());
    }
    sum_lanes(lanes)
}

/// The sums of `dy * gamma` and of `dy * gamma * (x - mean)`.
#[inline(always)]
fn gradient_sums<T: Element>(x: &[T], dy: &[T], gamma: &[f32], mean: f32) -> (f32, f32) {
    let (mut gradients, mut products) = ([0.0; LANES], [0.0; LANES]);
    let mut add = |x: &[T], dy: &[T], gamma: &[f32]| {
        let lanes = gradients.iter_mut().zip(&mut products);
        for ((gradient, product), ((x, dy), gamma)) in lanes.zip(x.iter().zip(dy).zip(gamma)) {
            let g = dy.to_f32() * gamma;
            *gradient += g;
            *product += g * (x.to_f32() - mean);
        }
    };
    let ((x, x_rest), (dy, dy_rest)) = (x.as_chunks::<LANES>(), dy.as_chunks::<LANES>());
    let (gamma, gamma_rest) = gamma.as_chunks::<LANES>();
    for ((x, dy), gamma) in x.iter().zip(dy).zip(gamma) {
        add(x, dy, gamma);
    }
    add(x_rest, dy_rest, gamma_rest);
    (sum_lanes(gradients), sum_lanes(products))
}

/// Adds the halves until one number is left.
#[inline(always)]
fn sum_lanes(mut lanes: [f32; LANES]) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
        half /= 2;
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        bf16,
        rows::testing::{assert_close, exact, numbers, poison, slopes, with_each_isa},
    };

    const EPSILON: f32 = 0.1;

    /// Against `f64` and its finite differences, of the first `checked` rows.
    fn check<T: Element>(rows: usize, width: usize, checked: usize, seed: u64) {
        let (x, dy) = (
            numbers::<T>(rows * width, seed),
            numbers::<T>(rows * width, !seed),
        );
        let (gamma, beta) = (
            numbers::<f32>(width, seed ^ 2),
            numbers::<f32>(width, seed ^ 3),
        );
        let results = with_each_isa(|| {
            let (mut mean, mut rstd) = (poison(rows), poison(rows));
            let (mut y, mut dx) = (poison::<T>(rows * width), poison::<T>(rows * width));
            let (mut dgamma, mut dbeta) = (poison(width), poison(width));
            layer_norm(
                width, EPSILON, &x, &gamma, &beta, &mut y, &mut mean, &mut rstd,
            );
            layer_norm_backward(
                width,
                &x,
                &dy,
                &gamma,
                &mean,
                &rstd,
                &mut dx,
                &mut dgamma,
                &mut dbeta,
            );
            vec![
                exact(&mean),
                exact(&rstd),
                exact(&y),
                exact(&dx),
                exact(&dgamma),
                exact(&dbeta),
            ]
        });
        let [means, rstds, y, dx, dgamma, dbeta] = &results[..] else {
            unreachable!("six results")
        };
        let (gamma, beta) = (exact(&gamma), exact(&beta));
        let (mut expected_dgamma, mut expected_dbeta) = (vec![0.0; width], vec![0.0; width]);
        let statistics = |x: &[f64]| {
            let mean = x.iter().sum::<f64>() / width as f64;
            let variance = x.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / width as f64;
            (mean, 1.0 / (variance + f64::from(EPSILON)).sqrt())
        };
        let of_rows = exact(&x)
            .chunks(width)
            .map(<[f64]>::to_vec)
            .collect::<Vec<_>>();
        for (row, (x, dy)) in of_rows.iter().zip(exact(&dy).chunks(width)).enumerate() {
            let (mean, rstd) = statistics(x);
            for (column, (x, dy)) in x.iter().zip(dy).enumerate() {
                expected_dgamma[column] += dy * (x - mean) * rstd;
                expected_dbeta[column] += dy;
            }
            if row >= checked {
                continue;
            }
            let of = |values: &[f64]| values[row * width..][..width].to_vec();
            let normalised = |x: &[f64]| -> Vec<f64> {
                let (mean, rstd) = statistics(x);
                let number = |(column, x): (usize, &f64)| (x - mean) * rstd * gamma[column];
                x.iter().enumerate().map(number).collect()
            };
            assert_close::<f32>("mean", &[means[row]], &[mean], 1.0);
            assert_close::<f32>("rstd", &[rstds[row]], &[rstd], 1.0);
            let expected: Vec<f64> = normalised(x)
                .iter()
                .zip(&beta)
                .map(|(y, beta)| y + beta)
                .collect();
            assert_close::<T>("y", &of(y), &expected, 1.0);
            let loss = |x: &[f64]| {
                normalised(x)
                    .iter()
                    .zip(dy)
                    .map(|(y, dy)| y * dy)
                    .sum::<f64>()
            };
            assert_close::<T>("dx", &of(dx), &slopes(loss, x), rstd);
        }
        let most = (rows as f64).sqrt();
        assert_close::<f32>("dgamma", dgamma, &expected_dgamma, most);
        assert_close::<f32>("dbeta", dbeta, &expected_dbeta, most);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn outputs_and_gradients_are_those_of_the_formula(
            rows in 1_usize..12, width in 1_usize..100, seed: u64,
        ) {
            check::<f32>(rows, width, rows, seed);
            check::<bf16>(rows, width, rows, seed);
        }
    }

    #[test]
    fn many_parts_are_joined() {
        check::<f32>(1100, 70, 2, 1);
        check::<bf16>(150, 600, 1, 2);
    }
}
