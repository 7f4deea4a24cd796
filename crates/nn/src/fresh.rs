//! Weights before the first step.

use std::collections::BTreeMap;

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};
use strata_spec::{DenseStart, Level, LevelShapes, Start};

use crate::{
    LevelWeights, WeightTensor,
    weights::{Role, tensors_of},
};

/// Fresh weights of level `index`. The same seed gives the same weights on every machine.
///
/// Dense: Glorot uniform (Glorot & Bengio 2010). Convolution: He normal over what it gives (He et al. 2015), as
/// torchvision's residual networks begin. Or as their start says; a kernel that is fitted begins as if it were not.
/// Normalization: factors 1, running mean 0, running variance 1. Biases: 0 but where a start says otherwise.
pub(crate) fn fresh_weights(
    level: &Level,
    shapes: &LevelShapes,
    index: usize,
    seed: u64,
) -> LevelWeights {
    // A stream for each level: a level starts the same whatever stands above or below it.
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(index as u64);
    let mut tensors = BTreeMap::new();
    for tensor in tensors_of(level, shapes) {
        let shape = tensor.shape;
        let count = shape.iter().product();
        let values = match tensor.role {
            Role::Dense(DenseStart::Random) => {
                uniform(&mut random, 6.0 / (shape[1] + shape[0]) as f32, count)
            }
            Role::Dense(DenseStart::Uniform) | Role::Kernel(Start::Uniform) => {
                uniform(&mut random, 1.0 / fan_in(&shape) as f32, count)
            }
            Role::UniformBias(inputs) => uniform(&mut random, 1.0 / inputs as f32, count),
            Role::Kernel(Start::HeUniform) => {
                uniform(&mut random, 6.0 / fan_in(&shape) as f32, count)
            }
            Role::Dense(DenseStart::Normal(deviation)) | Role::Kernel(Start::Normal(deviation)) => {
                normal(&mut random, deviation, count)
            }
            Role::Kernel(start) => {
                let fan_out = shape[0] * shape[2] * shape[3];
                let deviation = (2.0 / fan_out as f64).sqrt();
                let mut values = normal(&mut random, deviation, count);
                if start == Start::Identity {
                    pass_on(&mut values, &shape);
                }
                values
            }
            Role::Factor | Role::RunningVariance => vec![1.0; count],
            Role::Bias | Role::RunningMean => vec![0.0; count],
        };
        tensors.insert(tensor.name, WeightTensor { shape, values });
    }
    LevelWeights::unchecked(tensors, level, shapes)
}

/// Numbers that one output is a sum of, for weights `[outputs, …]`.
fn fan_in(shape: &[usize]) -> usize {
    shape[1..].iter().product()
}

/// Uniform numbers whose squares are at most `limit`.
fn uniform(random: &mut ChaCha8Rng, limit: f32, count: usize) -> Vec<f32> {
    let limit = limit.sqrt();
    let value = |_| limit * (2.0 * unit_interval(random) - 1.0);
    (0..count).map(value).collect()
}

fn normal(random: &mut ChaCha8Rng, deviation: f64, count: usize) -> Vec<f32> {
    let value = |_| (deviation * standard_normal(random)) as f32;
    (0..count).map(value).collect()
}

/// Makes the first output channels of a kernel `[channels out, channels in, height, width]` the input channels.
fn pass_on(kernel: &mut [f32], shape: &[usize]) {
    let (inputs, places) = (shape[1], shape[2] * shape[3]);
    let centre = shape[2] / 2 * shape[3] + shape[3] / 2;
    let channels = kernel.chunks_exact_mut(inputs * places).take(inputs);
    for (channel, kernel) in channels.enumerate() {
        kernel.fill(0.0);
        kernel[channel * places + centre] = 1.0;
    }
}

/// Uniform in [0, 1), with 24 bits: the same on every machine.
fn unit_interval(random: &mut ChaCha8Rng) -> f32 {
    (random.next_u32() >> 8) as f32 / (1 << 24) as f32
}

/// Mean 0, variance 1, nearly normal: the sum of twelve uniform numbers, which needs no function that differs from one
/// machine to the next. Values beyond 6 do not occur.
fn standard_normal(random: &mut ChaCha8Rng) -> f64 {
    let halves = |word: u32| u64::from(word >> 16) + u64::from(word & 0xffff);
    let sum: u64 = (0..6).map(|_| halves(random.next_u32())).sum();
    // A uniform number of 16 bits is at the middle of its interval.
    (sum as f64 + 6.0) / 65_536.0 - 6.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_numbers_have_the_moments_of_the_normal_distribution() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let values: Vec<f64> = (0..100_000).map(|_| standard_normal(&mut random)).collect();
        let moment =
            |power| values.iter().map(|value| value.powi(power)).sum::<f64>() / values.len() as f64;
        assert!(moment(1).abs() < 0.01, "{}", moment(1));
        assert!((moment(2) - 1.0).abs() < 0.015, "{}", moment(2));
        // Twelve uniform numbers give 2.9 instead of the 3 of a normal one.
        assert!((moment(4) - 2.9).abs() < 0.1, "{}", moment(4));
    }
}
