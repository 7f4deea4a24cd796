//! Batch normalisation of rows `[rows, channels]`; a row is a place of a map.
//!
//! Ioffe and Szegedy, "Batch Normalization", 2015. Statistics are made part by part, the parts' joined in their order
//! by Chan, Golub and LeVeque's formula (1979), in `f64`. Parts follow from the shape, so the result has the same bits
//! for any number of threads.

// What goes in and comes out of a gradient is that much.
#![allow(clippy::too_many_arguments)]

mod gradients;
mod statistics;
#[cfg(test)]
mod tests;

use self::{
    gradients::{Line, finish_sums, input_gradient, part_sums},
    statistics::statistics,
};
use crate::{
    Element,
    isa::for_each_isa,
    maps::at_least,
    pool,
    rows::{chunks_of, chunks_of_mut, isa, part_length, part_length_of_at_least, tile_width},
};

/// Rows of a part that statistics are kept of, at least.
const LEAST_ROWS: usize = 256;

/// What a batch normalisation is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNormSettings {
    /// Numbers of a row.
    pub channels: usize,
    /// Added to the variance.
    pub epsilon: f32,
    /// Whether a ReLU follows.
    pub relu: bool,
}

/// `y = act((x - mean) / sqrt(variance + epsilon) * gamma + beta + residual)` with the statistics of `x` itself, which
/// are written to `mean` and `variance` (the biased one). `act` is ReLU where `relu` is set.
///
/// `x`, `residual` and `y` are `[rows, channels]`, the others `[channels]`.
///
/// # Panics
/// The lengths are not those of the shapes, or there is no row.
pub fn batch_norm_train<T: Element>(
    settings: BatchNormSettings,
    x: &[T],
    gamma: &[f32],
    beta: &[f32],
    residual: Option<&[T]>,
    y: &mut [T],
    mean: &mut [f32],
    variance: &mut [f32],
) {
    settings.check(x.len(), &[gamma, beta, mean, variance]);
    assert!(!x.is_empty(), "statistics of at least one row");
    statistics(settings.channels, x, mean, variance);
    batch_norm_eval(settings, x, gamma, beta, mean, variance, residual, y);
}

/// The gradients of [`batch_norm_train`], from that of `y`. `mean` and `variance` are those that it wrote.
///
/// `y` is read where `relu` is set only, and may be empty otherwise. `dresidual` is the gradient of `residual`: `dy`
/// where `y` is positive or no ReLU follows, else 0. `dgamma` and `dbeta` are written, not added to.
///
/// # Panics
/// The lengths are not those of the shapes, or there is no row.
pub fn batch_norm_train_backward<T: Element>(
    settings: BatchNormSettings,
    x: &[T],
    y: &[T],
    dy: &[T],
    gamma: &[f32],
    mean: &[f32],
    variance: &[f32],
    dx: &mut [T],
    mut dresidual: Option<&mut [T]>,
    dgamma: &mut [f32],
    dbeta: &mut [f32],
) {
    settings.check(x.len(), &[gamma, mean, variance, dgamma, dbeta]);
    settings.check_gradients(x.len(), y, dy, dx, &dresidual);
    assert!(!x.is_empty(), "statistics of at least one row");
    let isa = isa();
    let channels = settings.channels;
    let tile = Tile::new(settings, gamma, mean, variance);
    let y = settings.relu.then_some(y);

    let length = settings.part_length();
    let mut partials = vec![0.0_f64; x.len().div_ceil(length) * 2 * channels];
    let parts = x
        .chunks(length)
        .zip(chunks_of(y, x.len(), length))
        .zip(dy.chunks(length))
        .zip(chunks_of_mut(dresidual.as_deref_mut(), x.len(), length))
        .zip(partials.chunks_mut(2 * channels));
    pool::parallel_for_each(parts, |((((x, y), dy), dresidual), partial)| {
        part_sums(isa, x, y, dy, dresidual, &tile, partial);
    });
    finish_sums(settings, variance, &partials, dgamma, dbeta);

    // dx = gamma / deviation * (g - mean of g - xhat * mean of g * xhat)
    let rows = (x.len() / channels) as f32;
    let slope = |channel: usize| {
        let root = settings.root(variance[channel]);
        -gamma[channel] * root * root * dgamma[channel] / rows
    };
    let shift =
        |channel: usize| -gamma[channel] * settings.root(variance[channel]) * dbeta[channel] / rows;
    let line = Line {
        slope: tile.of(&(0..channels).map(slope).collect::<Vec<_>>()),
        shift: tile.of(&(0..channels).map(shift).collect::<Vec<_>>()),
    };
    // The residual's gradient, where it was written, is `dy` with the mask already.
    let (gradient, y) = match &dresidual {
        Some(dresidual) => (&**dresidual, None),
        None => (dy, y),
    };
    // Backwards, since the cache still holds what was read last.
    let length = part_length(tile.width);
    let parts = x
        .chunks(length)
        .zip(chunks_of(y, x.len(), length))
        .zip(gradient.chunks(length))
        .zip(dx.chunks_mut(length));
    let parts: Vec<_> = parts.collect();
    pool::parallel_for_each(parts.into_iter().rev(), |(((x, y), gradient), dx)| {
        input_gradient(isa, x, y, gradient, &tile, &line, dx);
    });
}

/// As [`batch_norm_train`], with the statistics that are given.
///
/// # Panics
/// The lengths are not those of the shapes.
pub fn batch_norm_eval<T: Element>(
    settings: BatchNormSettings,
    x: &[T],
    gamma: &[f32],
    beta: &[f32],
    mean: &[f32],
    variance: &[f32],
    residual: Option<&[T]>,
    y: &mut [T],
) {
    settings.check(x.len(), &[gamma, beta, mean, variance]);
    assert_eq!(y.len(), x.len(), "y is as long as x");
    assert!(
        residual.is_none_or(|residual| residual.len() == x.len()),
        "the residual is as long as x"
    );
    let isa = isa();
    let tile = Tile::new(settings, gamma, mean, variance);
    let beta = tile.of(beta);
    let floor = if settings.relu {
        0.0
    } else {
        f32::NEG_INFINITY
    };
    let length = part_length(tile.width);
    let parts = x
        .chunks(length)
        .zip(chunks_of(residual, x.len(), length))
        .zip(y.chunks_mut(length));
    // Backwards, since the cache still holds what the statistics were made of last.
    let parts: Vec<_> = parts.collect();
    pool::parallel_for_each(parts.into_iter().rev(), |((x, residual), y)| {
        normalise(isa, x, &tile, &beta, residual, floor, y);
    });
}

/// The gradients of [`batch_norm_eval`], from that of `y`; `y` and `dresidual` as in [`batch_norm_train_backward`].
///
/// # Panics
/// The lengths are not those of the shapes.
pub fn batch_norm_eval_backward<T: Element>(
    settings: BatchNormSettings,
    x: &[T],
    y: &[T],
    dy: &[T],
    gamma: &[f32],
    mean: &[f32],
    variance: &[f32],
    dx: &mut [T],
    dresidual: Option<&mut [T]>,
    dgamma: &mut [f32],
    dbeta: &mut [f32],
) {
    settings.check(x.len(), &[gamma, mean, variance, dgamma, dbeta]);
    settings.check_gradients(x.len(), y, dy, dx, &dresidual);
    let isa = isa();
    let channels = settings.channels;
    let tile = Tile::new(settings, gamma, mean, variance);
    let none = Line {
        slope: vec![0.0; tile.width],
        shift: vec![0.0; tile.width],
    };
    let length = settings.part_length();
    let mut partials = vec![0.0_f64; x.len().div_ceil(length) * 2 * channels];
    let y = settings.relu.then_some(y);
    let parts = x
        .chunks(length)
        .zip(chunks_of(y, x.len(), length))
        .zip(dy.chunks(length))
        .zip(dx.chunks_mut(length))
        .zip(chunks_of_mut(dresidual, x.len(), length))
        .zip(partials.chunks_mut(2 * channels));
    pool::parallel_for_each(parts, |(((((x, y), dy), dx), dresidual), partial)| {
        part_sums(isa, x, y, dy, dresidual, &tile, partial);
        // The part is in the cache.
        input_gradient(isa, x, y, dy, &tile, &none, dx);
    });
    finish_sums(settings, variance, &partials, dgamma, dbeta);
}

impl BatchNormSettings {
    fn check(&self, length: usize, of_channels: &[&[f32]]) {
        assert!(
            self.channels > 0 && length.is_multiple_of(self.channels),
            "whole rows of {} channels, not {length} numbers",
            self.channels
        );
        for values in of_channels {
            assert_eq!(values.len(), self.channels, "a number for each channel");
        }
    }

    fn check_gradients<T>(
        &self,
        length: usize,
        y: &[T],
        dy: &[T],
        dx: &[T],
        dresidual: &Option<&mut [T]>,
    ) {
        assert!(!self.relu || y.len() == length, "y is as long as x");
        assert_eq!(dy.len(), length, "dy is as long as x");
        assert_eq!(dx.len(), length, "dx is as long as x");
        assert!(
            dresidual
                .as_ref()
                .is_none_or(|dresidual| dresidual.len() == length),
            "dresidual is as long as x"
        );
    }

    /// `1 / sqrt(variance + epsilon)`
    fn root(&self, variance: f32) -> f32 {
        1.0 / (variance + self.epsilon).sqrt()
    }

    /// Elements of a part that sums are kept of.
    fn part_length(&self) -> usize {
        let width = tile_width(self.channels);
        part_length_of_at_least(LEAST_ROWS * self.channels / width, width)
    }
}

/// What the kernels know of each channel, repeated to a tile's row.
struct Tile {
    width: usize,
    mean: Vec<f32>,
    /// `gamma / sqrt(variance + epsilon)`
    scale: Vec<f32>,
}

impl Tile {
    fn new(settings: BatchNormSettings, gamma: &[f32], mean: &[f32], variance: &[f32]) -> Self {
        let width = tile_width(settings.channels);
        let scale = |(gamma, variance): (&f32, &f32)| gamma * settings.root(*variance);
        let scale: Vec<f32> = gamma.iter().zip(variance).map(scale).collect();
        Self {
            width,
            mean: repeat(mean, width),
            scale: repeat(&scale, width),
        }
    }

    fn of(&self, values: &[f32]) -> Vec<f32> {
        repeat(values, self.width)
    }
}

fn repeat(values: &[f32], width: usize) -> Vec<f32> {
    values.repeat(width / values.len())
}

for_each_isa! {
    fn normalise<T: Element>(
        x: &[T], tile: &Tile, beta: &[f32], residual: Option<&[T]>, floor: f32, y: &mut [T],
    ) {
        let width = tile.width;
        let rows = x.chunks(width).zip(y.chunks_mut(width));
        let of_channel = || tile.mean.iter().zip(&tile.scale).zip(beta);
        match residual {
            None => {
                for (x, y) in rows {
                    for ((y, x), ((mean, scale), beta)) in y.iter_mut().zip(x).zip(of_channel()) {
                        let value = (x.to_f32() - mean) * scale + beta;
                        *y = T::from_f32(at_least(floor, value));
                    }
                }
            }
            Some(residual) => {
                for ((x, y), residual) in rows.zip(residual.chunks(width)) {
                    let numbers = y.iter_mut().zip(x).zip(residual);
                    for (((y, x), residual), ((mean, scale), beta)) in numbers.zip(of_channel()) {
                        let value = (x.to_f32() - mean) * scale + beta + residual.to_f32();
                        *y = T::from_f32(at_least(floor, value));
                    }
                }
            }
        }
    }
}
