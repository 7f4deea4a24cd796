//! Both modes against `f64`.

use proptest::prelude::*;

use super::*;
use crate::{
    bf16,
    rows::testing::{assert_close, exact, numbers, poison, slopes, with_each_isa},
};

const EPSILON: f32 = 0.1;

/// Every `step`-th number.
fn column(values: &[f64], first: usize, step: usize) -> Vec<f64> {
    values.iter().skip(first).step_by(step).copied().collect()
}

fn mean_and_variance(x: &[f64]) -> (f64, f64) {
    let mean = x.iter().sum::<f64>() / x.len() as f64;
    let square = x.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>();
    (mean, square / x.len() as f64)
}

/// Both modes and their gradients, against `f64` and its finite differences, of the first `checked` channels.
fn check<T: Element>(
    rows: usize,
    channels: usize,
    checked: usize,
    relu: bool,
    residual: bool,
    seed: u64,
) {
    let settings = BatchNormSettings {
        channels,
        epsilon: EPSILON,
        relu,
    };
    let length = rows * channels;
    let x = numbers::<T>(length, seed);
    let dy = numbers::<T>(length, seed ^ 1);
    let added = numbers::<T>(length, seed ^ 2);
    let added = residual.then_some(&added[..]);
    let gamma = numbers::<f32>(channels, seed ^ 3);
    let beta = numbers::<f32>(channels, seed ^ 4);
    let given_mean = numbers::<f32>(channels, seed ^ 5);
    let given_variance: Vec<f32> = numbers::<f32>(channels, seed ^ 6)
        .iter()
        .map(|v| v.abs())
        .collect();

    let gradients = |train: bool, y: &[T], mean: &[f32], variance: &[f32]| {
        let (mut dx, mut dadded) = (poison::<T>(length), poison::<T>(length));
        let (mut dgamma, mut dbeta) = (poison::<f32>(channels), poison::<f32>(channels));
        let backward = if train {
            batch_norm_train_backward
        } else {
            batch_norm_eval_backward
        };
        // Without a ReLU, `y` is not looked at.
        let y = if relu { y } else { &[] };
        backward(
            settings,
            &x,
            y,
            &dy,
            &gamma,
            mean,
            variance,
            &mut dx,
            residual.then_some(&mut dadded[..]),
            &mut dgamma,
            &mut dbeta,
        );
        [exact(&dx), exact(&dadded), exact(&dgamma), exact(&dbeta)]
    };
    let results = with_each_isa(|| {
        let (mut mean, mut variance) = (poison(channels), poison(channels));
        let (mut y, mut y_eval) = (poison::<T>(length), poison::<T>(length));
        batch_norm_train(
            settings,
            &x,
            &gamma,
            &beta,
            added,
            &mut y,
            &mut mean,
            &mut variance,
        );
        batch_norm_eval(
            settings,
            &x,
            &gamma,
            &beta,
            &given_mean,
            &given_variance,
            added,
            &mut y_eval,
        );
        let mut results = vec![exact(&mean), exact(&variance), exact(&y)];
        results.extend(gradients(true, &y, &mean, &variance));
        results.extend([exact(&given_mean), exact(&given_variance), exact(&y_eval)]);
        results.extend(gradients(false, &y_eval, &given_mean, &given_variance));
        results
    });

    for (train, results) in [true, false].into_iter().zip(results.chunks(7)) {
        for channel in 0..checked {
            let of = |values: &[f64]| column(values, channel, channels);
            let (x, dy) = (of(&exact(&x)), of(&exact(&dy)));
            let added = added.map_or(vec![0.0; rows], |added| of(&exact(added)));
            let (gamma, beta) = (f64::from(gamma[channel]), f64::from(beta[channel]));
            let [mean, variance, y, dx, dadded, dgamma, dbeta] = results else {
                unreachable!("seven results")
            };
            let given = (mean[channel], variance[channel]);
            let statistics = |x: &[f64]| if train { mean_and_variance(x) } else { given };
            let normalised = |x: &[f64]| -> Vec<f64> {
                let (mean, variance) = statistics(x);
                let root = (variance + f64::from(EPSILON)).sqrt();
                x.iter().map(|x| (x - mean) / root).collect()
            };
            let (expected_mean, expected_variance) = statistics(&x);
            assert_close::<f32>("mean", &[given.0], &[expected_mean], 1.0);
            assert_close::<f32>("variance", &[given.1], &[expected_variance], 0.1);

            let unit = normalised(&x);
            let floor = if relu { 0.0 } else { f64::NEG_INFINITY };
            let value = |(unit, added): (&f64, &f64)| (unit * gamma + beta + added).max(floor);
            let expected: Vec<f64> = unit.iter().zip(&added).map(value).collect();
            assert_close::<T>("y", &of(y), &expected, 1.0);

            let masked = |(dy, y): (&f64, &f64)| if relu && *y <= 0.0 { 0.0 } else { *dy };
            let g: Vec<f64> = dy.iter().zip(&of(y)).map(masked).collect();
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            let loss = |x: &[f64]| gamma * dot(&normalised(x), &g);
            let size = gamma.abs() / (given.1 + f64::from(EPSILON)).sqrt();
            assert_close::<T>("dx", &of(dx), &slopes(loss, &x), size);
            if residual {
                assert_eq!(of(dadded), g);
            }
            let most = (rows as f64).sqrt();
            assert_close::<f32>("dgamma", &[dgamma[channel]], &[dot(&g, &unit)], most);
            assert_close::<f32>("dbeta", &[dbeta[channel]], &[g.iter().sum()], most);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn statistics_outputs_and_gradients_are_those_of_the_formula(
        rows in 1_usize..20, channels in 1_usize..200, relu: bool, residual: bool, seed: u64,
    ) {
        check::<f32>(rows, channels, channels, relu, residual, seed);
        check::<bf16>(rows, channels, channels, relu, residual, seed);
    }
}

#[test]
fn many_parts_are_joined() {
    // 3 parts by the number of rows, 4 by the number of elements.
    check::<f32>(600, 160, 2, true, true, 1);
    check::<bf16>(1700, 72, 2, true, false, 2);
}

#[test]
fn the_variance_is_right_far_from_zero() {
    let rows = 40_000;
    let x: Vec<f32> = numbers::<f32>(rows, 3).iter().map(|x| 1000.0 + x).collect();
    let (mut mean, mut variance, mut y) = ([0.0], [0.0], poison::<f32>(rows));
    let settings = BatchNormSettings {
        channels: 1,
        epsilon: 0.0,
        relu: false,
    };
    batch_norm_train(
        settings,
        &x,
        &[1.0],
        &[0.0],
        None,
        &mut y,
        &mut mean,
        &mut variance,
    );
    let (expected_mean, expected) = mean_and_variance(&exact(&x));
    assert_close::<f32>("mean", &exact(&mean), &[expected_mean], 0.0);
    assert_close::<f32>("variance", &exact(&variance), &[expected], 0.0);
    // One row far from all others; and no variance at all.
    let mut x = vec![0.5_f32; 300];
    x[0] = 1e6;
    batch_norm_train(
        settings,
        &x,
        &[1.0],
        &[0.0],
        None,
        &mut y[..300],
        &mut mean,
        &mut variance,
    );
    assert_close::<f32>(
        "variance",
        &exact(&variance),
        &[mean_and_variance(&exact(&x)).1],
        0.0,
    );
    batch_norm_train(
        settings,
        &x[1..],
        &[1.0],
        &[0.0],
        None,
        &mut y[1..300],
        &mut mean,
        &mut variance,
    );
    assert_eq!((mean, variance), ([0.5], [0.0]));
}

#[test]
fn a_nan_shows() {
    let settings = BatchNormSettings {
        channels: 1,
        epsilon: 1e-5,
        relu: true,
    };
    let (mut mean, mut variance, mut y) = ([0.0], [0.0], [0.0; 2]);
    batch_norm_train(
        settings,
        &[1.0, f32::NAN],
        &[1.0],
        &[0.0],
        None,
        &mut y,
        &mut mean,
        &mut variance,
    );
    assert!(mean[0].is_nan() && variance[0].is_nan() && y.iter().all(|y| y.is_nan()));
}
