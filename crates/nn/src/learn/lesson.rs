//! What a step learns from, and what it saw.

use std::ops::Range;

/// What a step learns from.
#[derive(Debug)]
pub struct Lesson<'a> {
    /// What enters level `first`, row by row.
    pub rows: Vec<f32>,
    /// The lowest level that takes part.
    pub first: usize,
    /// What enters the network, for objectives that reconstruct it; only needed where `first` is not 0.
    pub images: Option<&'a [f32]>,
    /// For each level how much of each class its head should have answered, `[rows, classes]`; see
    /// [`strata_kernels::cross_entropy`]. Empty where a level has no objective.
    pub targets: Vec<&'a [f32]>,
    /// The learning rate.
    pub rate: f64,
    /// The share of the training that ends with this step, 0 to 1.
    pub progress: f64,
    /// Parts that the rows are learned from in turn; their gradients are added up before the step.
    pub parts: usize,
    /// Whether only what enters each level is kept for the way back; the rest is computed once more.
    pub checkpointing: bool,
}

impl<'a> Lesson<'a> {
    /// A lesson for all levels, of which the top one has an objective; as if it were the last one.
    pub fn new(rows: Vec<f32>, targets: &'a [f32], levels: usize, rate: f64) -> Self {
        let mut of_levels: Vec<&[f32]> = vec![&[]; levels];
        of_levels[levels - 1] = targets;
        Self {
            rows,
            first: 0,
            images: None,
            targets: of_levels,
            rate,
            progress: 1.0,
            parts: 1,
            checkpointing: false,
        }
    }
}

/// Targets of rows that each are of one class, `[rows, classes]`.
///
/// # Panics
/// A target is no class.
pub fn one_hot(targets: &[u32], classes: usize) -> Vec<f32> {
    let mut shares = vec![0.0; targets.len() * classes];
    for (row, target) in shares.chunks_exact_mut(classes).zip(targets) {
        row[*target as usize] = 1.0;
    }
    shares
}

/// What one step of learning saw, before the step.
#[derive(Clone, Debug, PartialEq)]
pub struct StepResult {
    /// What each level saw that has an objective.
    pub levels: Vec<Option<LevelResult>>,
    /// The levels between which gradients passed, and how many bytes learning them needed at most beyond what was in use
    /// before; see [`strata_kernels::bytes_in_use`].
    pub bytes: Vec<(Range<usize>, usize)>,
    /// Euclidean norm of the gradient of all weights, before clipping; only computed where the norm is limited.
    pub gradient_norm: Option<f32>,
}

impl StepResult {
    /// What the highest level with an objective saw.
    pub fn highest(&self) -> &LevelResult {
        let highest = self.levels.iter().rev().flatten().next();
        highest.expect("a level has an objective")
    }
}

/// What a level's head saw.
#[derive(Clone, Debug, PartialEq)]
pub struct LevelResult {
    /// Mean loss of the rows.
    pub loss: f32,
    /// Logits, `[rows, classes]`.
    pub logits: Vec<f32>,
}

impl LevelResult {
    /// Adds what the next part saw, `share` of all rows.
    pub(super) fn add(all: &mut Option<Self>, next: Option<Self>, share: f32) {
        let Some(mut next) = next else {
            return;
        };
        next.loss *= share;
        match all {
            None => *all = Some(next),
            Some(all) => {
                all.loss += next.loss;
                all.logits.extend(next.logits);
            }
        }
    }
}
