//! Weights with a batch normalization in them.

use strata_spec::BatchNorm;

use crate::{LevelWeights, layers::kernel_in_kernels_order};

/// What an answering batch normalization, or a factor, does to each channel: `x scale + shift`.
pub(super) struct Line {
    scale: Vec<f64>,
    shift: Vec<f64>,
}

impl Line {
    pub(super) fn of(norm: &BatchNorm, weights: &LevelWeights, path: &str) -> Self {
        let values = |name| &weights.of(path, name).values;
        let channels = values("weight").iter().zip(values("bias"));
        let statistics = values("running_mean").iter().zip(values("running_var"));
        let (scale, shift) = channels
            .zip(statistics)
            .map(|((weight, bias), (mean, variance))| {
                let deviation = (f64::from(*variance) + norm.epsilon).sqrt();
                let scale = f64::from(*weight) / deviation;
                (scale, f64::from(*bias) - f64::from(*mean) * scale)
            })
            .unzip();
        Self { scale, shift }
    }

    /// The same factor for each channel.
    pub(super) fn times(factor: f64, channels: usize) -> Self {
        Self {
            scale: vec![factor; channels],
            shift: vec![0.0; channels],
        }
    }

    /// Puts it into the weights before it, in which each output has `run` numbers next to each other, output after output.
    fn into_weights(self, weight: &mut [f32], bias: &mut [f32], run: usize) {
        let outputs = self.scale.len();
        for (index, value) in weight.iter_mut().enumerate() {
            let scale = self.scale[index / run % outputs];
            *value = (f64::from(*value) * scale) as f32;
        }
        for (bias, (scale, shift)) in bias.iter_mut().zip(self.scale.iter().zip(&self.shift)) {
            *bias = (f64::from(*bias) * scale + shift) as f32;
        }
    }
}

/// The kernel `[height, width, channels in / groups, channels out]` and the bias `[channels out]` of the convolution at
/// `path`, with what normalizes its output.
pub(super) fn conv_weights(
    weights: &LevelWeights,
    path: &str,
    has_bias: bool,
    norm: Option<Line>,
) -> (Vec<f32>, Vec<f32>) {
    let (mut weight, [.., channels]) = kernel_in_kernels_order(weights.of(path, "weight"));
    let mut bias = if has_bias {
        weights.of(path, "bias").values.clone()
    } else {
        vec![0.0; channels]
    };
    if let Some(norm) = norm {
        norm.into_weights(&mut weight, &mut bias, 1);
    }
    (weight, bias)
}

/// The weight `[outputs, inputs]` and the bias `[outputs]` of the dense layer at `path`, with what normalizes its output.
pub(super) fn dense_weights(
    weights: &LevelWeights,
    path: &str,
    norm: Option<Line>,
) -> (Vec<f32>, Vec<f32>) {
    let weight = weights.of(path, "weight");
    let inputs = weight.shape[1];
    let (mut weight, mut bias) = (
        weight.values.clone(),
        weights.of(path, "bias").values.clone(),
    );
    if let Some(norm) = norm {
        norm.into_weights(&mut weight, &mut bias, inputs);
    }
    (weight, bias)
}
