use crate::{
    isa::{for_each_isa, isa},
    pool,
};

/// Weights that one thread steps at a time. The result does not depend on it: every weight is on its own.
const CHUNK: usize = 1 << 15;

/// One step of stochastic gradient descent, as PyTorch does it.
#[derive(Clone, Copy, Debug)]
pub struct SgdStep {
    /// Learning rate.
    pub rate: f32,
    /// Share of the last step's velocity that is kept.
    pub momentum: f32,
    /// Whether to look ahead along the velocity.
    pub nesterov: bool,
    /// Share of the weight that is added to its gradient.
    pub weight_decay: f32,
    /// The gradient is multiplied by it first, for clipping.
    pub gradient_scale: f32,
}

/// One step of Adam or AdamW.
#[derive(Clone, Copy, Debug)]
pub struct AdamStep {
    /// Learning rate.
    pub rate: f32,
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// `1 - beta1`, computed before rounding.
    pub rest1: f32,
    /// `1 - beta2`, computed before rounding.
    pub rest2: f32,
    /// Keeps the divisor from 0.
    pub epsilon: f32,
    /// Decoupled weight decay (0 for Adam).
    pub weight_decay: f32,
    /// `1 - beta1^t` at step `t`, from 1.
    pub correction1: f32,
    /// `1 - beta2^t`.
    pub correction2: f32,
    /// The gradient is multiplied by it first, for clipping.
    pub gradient_scale: f32,
}

/// Steps `weights` along `gradients` and updates `velocity`, in one pass. On the first step `velocity` is all zeros.
///
/// # Panics
/// The lengths differ.
pub fn sgd(weights: &mut [f32], gradients: &[f32], velocity: &mut [f32], step: SgdStep) {
    assert!(
        weights.len() == gradients.len() && weights.len() == velocity.len(),
        "one gradient a weight"
    );
    let isa = isa();
    let chunks = weights
        .chunks_mut(CHUNK)
        .zip(gradients.chunks(CHUNK))
        .zip(velocity.chunks_mut(CHUNK));
    pool::parallel_for_each(chunks, |((weights, gradients), velocity)| {
        sgd_chunk(isa, weights, gradients, velocity, step)
    });
}

/// Steps `weights` along `gradients` and updates both moments, in one pass. On the first step the moments are zeros.
///
/// # Panics
/// The lengths differ.
pub fn adam(
    weights: &mut [f32],
    gradients: &[f32],
    moment1: &mut [f32],
    moment2: &mut [f32],
    step: AdamStep,
) {
    assert!(weights.len() == gradients.len(), "one gradient a weight");
    assert!(
        weights.len() == moment1.len() && weights.len() == moment2.len(),
        "two moments a weight"
    );
    let isa = isa();
    let moments = moment1.chunks_mut(CHUNK).zip(moment2.chunks_mut(CHUNK));
    let chunks = weights
        .chunks_mut(CHUNK)
        .zip(gradients.chunks(CHUNK))
        .zip(moments);
    pool::parallel_for_each(chunks, |((weights, gradients), (moment1, moment2))| {
        adam_chunk(isa, weights, gradients, moment1, moment2, step);
    });
}

for_each_isa! {
    fn sgd_chunk(weights: &mut [f32], gradients: &[f32], velocity: &mut [f32], step: SgdStep) {
        for ((w, g), v) in weights.iter_mut().zip(gradients).zip(velocity) {
            let g = g * step.gradient_scale + step.weight_decay * *w;
            *v = step.momentum * *v + g;
            let direction = if step.nesterov { g + step.momentum * *v } else { *v };
            *w -= step.rate * direction;
        }
    }
}

for_each_isa! {
    fn adam_chunk(weights: &mut [f32], gradients: &[f32], moment1: &mut [f32], moment2: &mut [f32], step: AdamStep) {
        let keep = 1.0 - step.rate * step.weight_decay;
        let rate = step.rate / step.correction1;
        let root = 1.0 / step.correction2.sqrt();
        for (((w, g), m), v) in weights.iter_mut().zip(gradients).zip(moment1).zip(moment2) {
            let g = g * step.gradient_scale;
            *m = step.beta1 * *m + step.rest1 * g;
            *v = step.beta2 * *v + step.rest2 * g * g;
            *w = *w * keep - rate * *m / (v.sqrt() * root + step.epsilon);
        }
    }
}
