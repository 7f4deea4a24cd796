//! The Gaussian error linear unit: `x` times the share of a standard normal distribution that lies below it
//! (Hendrycks and Gimpel 2016).

use std::f32::consts::{FRAC_1_SQRT_2, LOG2_E};

use crate::{
    Element,
    isa::{for_each_isa, isa},
    pool,
    rows::part_length,
};

/// How the normal distribution is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gelu {
    /// By the error function.
    Erf,
    /// By a hyperbolic tangent: `tanh(sqrt(2 / pi) (x + 0.044715 x^3))`.
    Tanh,
}

/// `y = x P(x)`, where `P` is the normal distribution; a NaN stays one. The error is below 1e-6 of `max(1, |x|)`.
///
/// # Panics
/// The lengths differ.
pub fn gelu<T: Element>(kind: Gelu, x: &[T], y: &mut [T]) {
    assert_eq!(x.len(), y.len(), "equal lengths");
    let (isa, length) = (isa(), part_length(1));
    let parts = x.chunks(length).zip(y.chunks_mut(length));
    pool::parallel_for_each(parts, |(x, y)| match kind {
        Gelu::Erf => erf_part(isa, x, y),
        Gelu::Tanh => tanh_part(isa, x, y),
    });
}

/// The gradient of [`gelu`]'s `x`, from `x` and the gradient of what it gave.
///
/// # Panics
/// The lengths differ.
pub fn gelu_backward<T: Element>(kind: Gelu, x: &[T], dy: &[T], dx: &mut [T]) {
    assert!(x.len() == dx.len() && dy.len() == dx.len(), "equal lengths");
    let (isa, length) = (isa(), part_length(1));
    let parts = x.chunks(length).zip(dy.chunks(length));
    let parts = parts.zip(dx.chunks_mut(length));
    pool::parallel_for_each(parts, |((x, dy), dx)| match kind {
        Gelu::Erf => erf_backward_part(isa, x, dy, dx),
        Gelu::Tanh => tanh_backward_part(isa, x, dy, dx),
    });
}

for_each_isa! {
    fn erf_part<T: Element>(x: &[T], y: &mut [T]) {
        for (x, y) in x.iter().zip(y) {
            let x = x.to_f32();
            *y = T::from_f32(x * by_erf(x).below);
        }
    }
}

for_each_isa! {
    fn tanh_part<T: Element>(x: &[T], y: &mut [T]) {
        for (x, y) in x.iter().zip(y) {
            let x = x.to_f32();
            *y = T::from_f32(x * by_tanh(x).below);
        }
    }
}

for_each_isa! {
    fn erf_backward_part<T: Element>(x: &[T], dy: &[T], dx: &mut [T]) {
        for ((x, dy), dx) in x.iter().zip(dy).zip(dx) {
            let x = x.to_f32();
            let normal = by_erf(x);
            *dx = T::from_f32(dy.to_f32() * (normal.below + x * normal.density));
        }
    }
}

for_each_isa! {
    fn tanh_backward_part<T: Element>(x: &[T], dy: &[T], dx: &mut [T]) {
        for ((x, dy), dx) in x.iter().zip(dy).zip(dx) {
            let x = x.to_f32();
            let normal = by_tanh(x);
            *dx = T::from_f32(dy.to_f32() * (normal.below + x * normal.density));
        }
    }
}

/// The normal distribution at a place.
struct Normal {
    below: f32,
    /// The derivative of `below`.
    density: f32,
}

/// By Abramowitz and Stegun 1964, 7.1.26: an error below 8e-8 of the share.
#[inline(always)]
fn by_erf(x: f32) -> Normal {
    let size = x.abs();
    let bell = exp_of_negative(-0.5 * x * x);
    let t = 1.0 / (1.0 + 0.327_591_1 * FRAC_1_SQRT_2 * size);
    let sum = t * (1.421_413_8 + t * (-1.453_152_1 + t * 1.061_405_4));
    let beyond = 0.5 * bell * t * (0.254_829_6 + t * (-0.284_496_72 + sum));
    Normal {
        below: if x < 0.0 { beyond } else { 1.0 - beyond },
        density: bell * 0.398_942_3,
    }
}

/// `(1 + tanh(z)) / 2` is the logistic function of `2 z`.
#[inline(always)]
fn by_tanh(x: f32) -> Normal {
    // sqrt(8 / pi), for twice the tangent's argument.
    let factor = 1.595_769;
    let square = x * x;
    let argument = factor * x * (1.0 + 0.044_715 * square);
    let exponential = exp_of_negative(-argument.abs());
    let most = 1.0 / (1.0 + exponential);
    let least = exponential * most;
    // A square beyond every number times a share of 0 would be none.
    let slope = factor * (1.0 + 0.134_145 * if square < 1e4 { square } else { 1e4 });
    Normal {
        below: if x < 0.0 { least } else { most },
        density: least * most * slope,
    }
}

/// `e^x` for `x` of at most 0, to some 2e-7 of it; 0 where `x` is below -87.
///
/// Written out, so that loops over it become vector instructions.
#[inline(always)]
fn exp_of_negative(x: f32) -> f32 {
    // The sum of a number and this one is rounded to a whole one, which then stands in its lowest bits.
    const ROUNDER: f32 = 12_582_912.0;
    // ln 2 in two parts, of which the first has few digits.
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    let near = if x > -87.0 { x } else { -87.0 };
    let shifted = near * LOG2_E + ROUNDER;
    let whole = shifted - ROUNDER;
    let rest = near - whole * LN_2[0] - whole * LN_2[1];
    let series = 1.0 / 6.0 + rest * (1.0 / 24.0 + rest * (1.0 / 120.0 + rest * (1.0 / 720.0)));
    let series = 1.0 + rest * (1.0 + rest * (0.5 + rest * series));
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    if x > -87.0 { series * power } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;

    /// `erf` in f64 by its series, which is exact to some 1e-13 where `|x|` is below 4.
    fn erf(x: f64) -> f64 {
        let (mut term, mut sum) = (x, x);
        for n in 1..120 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    }

    fn reference(kind: Gelu, x: f64) -> f64 {
        match kind {
            Gelu::Erf => 0.5 * x * (1.0 + erf(x / 2.0_f64.sqrt())),
            Gelu::Tanh => {
                let z = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
                0.5 * x * (1.0 + z.tanh())
            }
        }
    }

    #[test]
    fn values_and_slopes_are_those_of_the_definition() {
        let x: Vec<f32> = (-5500..=5500).map(|i| i as f32 * 1e-3).collect();
        let ones = vec![1.0; x.len()];
        let (mut y, mut dx) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        for kind in [Gelu::Erf, Gelu::Tanh] {
            gelu(kind, &x, &mut y);
            gelu_backward(kind, &x, &ones, &mut dx);
            for ((x, y), dx) in x.iter().zip(&y).zip(&dx) {
                let x = f64::from(*x);
                let expected = reference(kind, x);
                let tolerance = 1e-6 * x.abs().max(1.0);
                assert!((f64::from(*y) - expected).abs() < tolerance, "{kind:?} {x}");
                let h = 1e-4;
                let slope = (reference(kind, x + h) - reference(kind, x - h)) / (2.0 * h);
                assert!((f64::from(*dx) - slope).abs() < 2e-6, "{kind:?} {x}: {dx}");
            }
        }
    }

    #[test]
    fn far_places_and_no_numbers_stay_what_they_are() {
        let x = [-1e30, -100.0, -0.0, 0.0, 100.0, 1e30];
        let expected = [0.0_f32, 0.0, 0.0, 0.0, 100.0, 1e30];
        let slopes = [0.0, 0.0, 0.5, 0.5, 1.0, 1.0];
        for kind in [Gelu::Erf, Gelu::Tanh] {
            let (mut y, mut dx) = ([9.0; 6], [9.0; 6]);
            gelu(kind, &x, &mut y);
            gelu_backward(kind, &x, &[1.0; 6], &mut dx);
            for i in 0..6 {
                let tolerance = 1e-6 * expected[i].max(1.0);
                assert!(
                    (y[i] - expected[i]).abs() <= tolerance,
                    "{kind:?} {i}: {}",
                    y[i]
                );
                assert!((dx[i] - slopes[i]).abs() < 1e-6, "{kind:?} {i}: {}", dx[i]);
            }
            let mut y = [0.0];
            gelu(kind, &[f32::NAN], &mut y);
            assert!(y[0].is_nan());
        }
    }

    #[test]
    fn every_instruction_set_gives_the_same_bits_in_both_formats() {
        let x: Vec<f32> = (0..1000).map(|i| (i as f32 * 0.37).sin() * 4.0).collect();
        let dy: Vec<f32> = (0..1000).map(|i| (i as f32 * 0.11).cos()).collect();
        let halves = |x: &[f32]| -> Vec<bf16> { x.iter().map(|x| bf16::from_f32(*x)).collect() };
        let (x16, dy16) = (halves(&x), halves(&dy));
        let run = |isa| {
            let (mut y, mut dx) = (vec![0.0; 1000], vec![0.0; 1000]);
            let (mut y16, mut dx16) = (halves(&y), halves(&dx));
            erf_part(isa, &x, &mut y);
            erf_backward_part(isa, &x, &dy, &mut dx);
            tanh_part(isa, &x16, &mut y16);
            tanh_backward_part(isa, &x16, &dy16, &mut dx16);
            (y, dx, y16, dx16)
        };
        let portable = run(crate::Isa::Portable);
        for isa in crate::isa::available() {
            assert_eq!(run(isa), portable, "{isa:?}");
        }
    }
}
