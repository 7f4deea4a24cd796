//! Every kind against its definition, in `f64`.

use proptest::prelude::*;

use super::{max::NOTHING, *};
use crate::{
    Element, bf16,
    rows::testing::{assert_close, exact, numbers, poison, with_each_isa},
};

/// The places that each place of the output sees, with their taps, straight from the definition of a window.
fn seen(pool: &Pool2d) -> Vec<Vec<(usize, u16)>> {
    let [height, width] = pool.output();
    let [kernel_height, kernel_width] = pool.window.kernel;
    let taps =
        (0..kernel_height * kernel_width).map(|tap| [tap / kernel_width, tap % kernel_width]);
    let taps: Vec<_> = taps.collect();
    let at = |place: [usize; 2], tap: [usize; 2]| {
        let along = |axis: usize| {
            let Window {
                stride,
                dilation,
                padding,
                ..
            } = pool.window;
            let at = place[axis] * stride[axis] + tap[axis] * dilation[axis];
            let at = at as isize - padding[axis] as isize;
            (0..pool.input[axis] as isize)
                .contains(&at)
                .then_some(at as usize)
        };
        Some(along(0)? * pool.input[1] + along(1)?)
    };
    let of_place = |place: usize| {
        let place = [place / width, place % width];
        let seen = taps.iter().enumerate();
        seen.filter_map(|(tap, offset)| Some((at(place, *offset)?, tap as u16)))
            .collect()
    };
    (0..height * width).map(of_place).collect()
}

/// Weighted means, and the gradients of their inputs.
fn means(run: usize, x: &[f64], dy: &[f64], bins: &[(f64, Vec<usize>)]) -> (Vec<f64>, Vec<f64>) {
    let (mut y, mut dx) = (vec![0.0; dy.len()], vec![0.0; x.len()]);
    for (place, (weight, seen)) in bins.iter().enumerate() {
        for input in seen {
            for index in 0..run {
                y[place * run + index] += weight * x[input * run + index];
                dx[input * run + index] += weight * dy[place * run + index];
            }
        }
    }
    (y, dx)
}

fn check<T: Element>(pool: &Pool2d, seed: u64) {
    let run = pool.run();
    // Few different numbers: equal ones compete.
    let coarse = |x: T| T::from_f32((4.0 * x.to_f32()).round());
    let x: Vec<T> = numbers(pool.input_len(), seed)
        .into_iter()
        .map(coarse)
        .collect();
    let dy = numbers::<T>(pool.output_len(), !seed);
    let results = with_each_isa(|| {
        let (mut y, mut eval) = (poison::<T>(dy.len()), poison::<T>(dy.len()));
        let (mut dx, mut chosen) = (poison::<T>(x.len()), vec![9999; dy.len()]);
        max_pool(pool, &x, &mut y, &mut chosen);
        max_pool_eval(pool, &x, &mut eval);
        max_pool_backward(pool, &dy, &chosen, &mut dx);
        let chosen = chosen.into_iter().map(f64::from).collect();
        let mut results = vec![exact(&y), exact(&eval), chosen, exact(&dx)];
        for count_padding in [false, true] {
            let (mut y, mut dx) = (poison::<T>(dy.len()), poison::<T>(x.len()));
            average_pool(pool, count_padding, &x, &mut y);
            average_pool_backward(pool, count_padding, &dy, &mut dx);
            results.extend([exact(&y), exact(&dx)]);
        }
        results
    });
    let (x, dy, seen) = (exact(&x), exact(&dy), seen(pool));
    let mut expected_dx = vec![0.0; x.len()];
    for (place, seen) in seen.iter().enumerate() {
        for index in 0..run {
            let mut best = (f64::NEG_INFINITY, NOTHING, None);
            for (input, tap) in seen {
                let value = x[input * run + index];
                if value > best.0 {
                    best = (value, *tap, Some(*input));
                }
            }
            let at = place * run + index;
            assert_eq!(results[0][at], best.0);
            assert_eq!(results[1][at], best.0);
            assert_eq!(results[2][at], f64::from(best.1));
            if let Some(input) = best.2 {
                expected_dx[input * run + index] += dy[at];
            }
        }
    }
    assert_close::<T>("dx of the maximum", &results[3], &expected_dx, 1.0);
    for (count_padding, results) in [false, true].into_iter().zip(results[4..].chunks(2)) {
        let bin = |seen: &Vec<(usize, u16)>| {
            let counted = if count_padding {
                pool.taps()
            } else {
                seen.len().max(1)
            };
            (
                1.0 / counted as f64,
                seen.iter().map(|(input, _)| *input).collect(),
            )
        };
        let (y, dx) = means(run, &x, &dy, &seen.iter().map(bin).collect::<Vec<_>>());
        assert_close::<T>("mean", &results[0], &y, 1.0);
        assert_close::<T>("dx of the mean", &results[1], &dx, 1.0);
    }
}

fn check_adaptive<T: Element>(
    images: usize,
    channels: usize,
    input: [usize; 2],
    output: [usize; 2],
    seed: u64,
) {
    let run = images * channels;
    let x = numbers::<T>(input[0] * input[1] * run, seed);
    let dy = numbers::<T>(output[0] * output[1] * run, !seed);
    let results = with_each_isa(|| {
        let (mut y, mut dx) = (poison::<T>(dy.len()), poison::<T>(x.len()));
        adaptive_average_pool(images, channels, input, output, &x, &mut y);
        adaptive_average_pool_backward(images, channels, input, output, &dy, &mut dx);
        vec![exact(&y), exact(&dx)]
    });
    let bin = |place: usize| {
        let along = |axis: usize, index: usize| {
            let share = input[axis] as f64 / output[axis] as f64;
            let start = (index as f64 * share + 1e-9).floor() as usize;
            start..((index + 1) as f64 * share - 1e-9).ceil() as usize
        };
        let [rows, columns] = [along(0, place / output[1]), along(1, place % output[1])];
        let places =
            rows.flat_map(|row| columns.clone().map(move |column| row * input[1] + column));
        let places: Vec<usize> = places.collect();
        (1.0 / places.len() as f64, places)
    };
    let bins: Vec<_> = (0..output[0] * output[1]).map(bin).collect();
    let (y, dx) = means(run, &exact(&x), &exact(&dy), &bins);
    assert_close::<T>("y", &results[0], &y, 1.0);
    assert_close::<T>("dx", &results[1], &dx, 1.0);
}

fn window() -> impl Strategy<Value = Window> {
    let pair = |range: std::ops::Range<usize>| [range.clone(), range];
    let ceil = proptest::bool::ANY;
    (pair(1..4), pair(1..4), pair(0..3), pair(1..3), ceil).prop_map(
        |(kernel, stride, padding, dilation, ceil)| Window {
            kernel,
            stride,
            padding,
            dilation,
            ceil,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_window_gives_what_the_definition_says(
        images in 1_usize..4, channels in 1_usize..40, input in [1_usize..8, 1_usize..8], window in window(), seed: u64,
    ) {
        let pool = Pool2d { images, channels, input, window };
        prop_assume!(window.output(input).is_some());
        check::<f32>(&pool, seed);
        check::<bf16>(&pool, seed);
    }

    #[test]
    fn any_bins_give_what_the_definition_says(
        images in 1_usize..4, channels in 1_usize..40, input in [1_usize..9, 1_usize..9],
        output in [1_usize..9, 1_usize..9], seed: u64,
    ) {
        check_adaptive::<f32>(images, channels, input, output, seed);
        check_adaptive::<bf16>(images, channels, input, output, seed);
    }
}

#[test]
fn long_runs_are_cut_into_pieces() {
    let window = Window::square(3, 2).padded(1);
    let pool = Pool2d {
        images: 5,
        channels: 211,
        input: [6, 5],
        window,
    };
    check::<f32>(&pool, 1);
    check::<bf16>(&pool, 2);
    check_adaptive::<f32>(5, 211, [3, 4], [1, 1], 3);
}

#[test]
fn a_nan_wins_and_the_first_place_wins_over_nothing() {
    let pool = |input: usize, window| Pool2d {
        images: 1,
        channels: 1,
        input: [1, input],
        window,
    };
    let row = Window {
        kernel: [1, 3],
        ..Window::square(1, 1)
    };
    let (mut y, mut chosen) = ([0.0_f32], [0]);
    max_pool(&pool(3, row), &[1.0, f32::NAN, 2.0], &mut y, &mut chosen);
    assert!(y[0].is_nan() && chosen == [1]);
    max_pool_eval(&pool(3, row), &[f32::NAN, 1.0, 2.0], &mut y);
    assert!(y[0].is_nan());
    max_pool(&pool(3, row), &[f32::NEG_INFINITY; 3], &mut y, &mut chosen);
    assert_eq!((y, chosen), ([f32::NEG_INFINITY], [0]));

    // Both taps are in the padding.
    let apart = Window {
        kernel: [1, 2],
        padding: [0, 1],
        dilation: [1, 3],
        ..Window::square(1, 1)
    };
    let (mut dx, dy) = ([f32::NAN; 2], [1.0_f32]);
    max_pool(&pool(2, apart), &[1.0, 2.0], &mut y, &mut chosen);
    assert_eq!((y, chosen), ([f32::NEG_INFINITY], [NOTHING]));
    max_pool_backward(&pool(2, apart), &dy, &chosen, &mut dx);
    assert_eq!(dx, [0.0; 2]);
    average_pool(&pool(2, apart), false, &[1.0_f32, 2.0], &mut y);
    assert_eq!(y, [0.0]);
}

#[test]
fn the_mean_of_equal_numbers_is_that_number() {
    let pool = Pool2d {
        images: 1,
        channels: 1,
        input: [7, 7],
        window: Window::square(7, 1),
    };
    let mut y = [0.0_f32];
    average_pool(&pool, true, &[0.3; 49], &mut y);
    assert!((y[0] - 0.3).abs() < 1e-6);
}
