//! The way of rows through levels that learn, and back.

use std::ops::Range;

use burn::{optim::GradientsParams, tensor::Tensor};
use strata_kernels::Format;

use super::{Learns, LevelResult, track};
use crate::{
    Network,
    forward::{Batch, Pass, Statistics},
    layers::{Running, read_tensor},
    objective::{reconstruction_loss, similarity_loss},
    ops,
    precision::format_of_maps,
};

/// Some rows of a lesson, on their way up.
pub(super) struct Part<'a> {
    /// What enters the next segment.
    pub(super) input: Batch,
    pub(super) targets: Vec<&'a [f32]>,
    pub(super) images: Option<&'a [f32]>,
    /// Share of the lesson's rows.
    pub(super) share: f32,
    /// Decides what is random.
    pub(super) seed: u64,
}

/// What a part gave a segment.
pub(super) struct Passed {
    /// The gradients of its levels.
    pub(super) gradients: Vec<GradientsParams>,
    /// What its levels saw.
    pub(super) levels: Vec<Option<LevelResult>>,
    /// What leaves it, off the tape.
    pub(super) output: Batch,
}

/// An objective's value, and what is told of it.
struct Lost {
    loss: Tensor<1>,
    logits: Tensor<2>,
}

impl Network {
    /// A part's way through a segment, and back.
    pub(super) fn pass(&mut self, segment: Range<usize>, part: &Part<'_>) -> Passed {
        let mut x = part.input.clone();
        let mut losses = Vec::new();
        let mut levels = Vec::new();
        for index in segment.clone() {
            x = self.through_body(index, x, part.seed, true);
            levels.push(self.lose(index, &x, part).map(|lost| {
                losses.push(lost.loss.clone());
                lost.read()
            }));
        }
        let output = x.detach();
        let Some(loss) = losses.into_iter().reduce(|sum, loss| sum + loss) else {
            return Passed {
                gradients: Vec::new(),
                levels,
                output,
            };
        };
        let mut gradients = part.scaled(loss).backward();
        let of_level = |level| GradientsParams::from_module(&mut gradients, level);
        Passed {
            gradients: self.levels.levels[segment].iter().map(of_level).collect(),
            levels,
            output,
        }
    }

    /// The same with no more on the tape than one level at a time: what enters each is kept, the rest is computed again on the
    /// way back (Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost").
    pub(super) fn pass_twice(&mut self, segment: Range<usize>, part: &Part<'_>) -> Passed {
        let mut inputs = vec![part.input.clone()];
        for index in segment.start..segment.end - 1 {
            let x = inputs[index - segment.start].clone();
            // On a tape, what the weights' gradients need would stay until the way back.
            track(&mut self.levels.levels[index].body, false);
            inputs.push(self.through_body(index, x, part.seed, false));
            let learns = self.roles[index].learns == Learns::All;
            track(&mut self.levels.levels[index].body, learns);
        }
        let mut gradients = Vec::new();
        let mut levels = Vec::new();
        let mut from_above: Option<Batch> = None;
        let mut output = None;
        for index in segment.clone().rev() {
            let input = inputs.pop().expect("an input of each level");
            let input = if index > segment.start {
                input.require_grad()
            } else {
                input
            };
            let y = self.through_body(index, input.clone(), part.seed, true);
            output.get_or_insert_with(|| y.clone().detach());
            let lost = self.lose(index, &y, part);
            let own = lost.as_ref().map(|lost| part.scaled(lost.loss.clone()));
            levels.push(lost.map(Lost::read));
            // Its gradient is what came from above.
            let above = from_above.take().map(|gradient| y.inner_product(gradient));
            let loss = match (above, own) {
                (Some(above), Some(own)) => above + own,
                (Some(loss), None) | (None, Some(loss)) => loss,
                (None, None) => {
                    gradients.push(GradientsParams::new());
                    continue;
                }
            };
            let mut found = loss.backward();
            from_above = (index > segment.start)
                .then(|| input.gradient(&found))
                .flatten();
            let level = &self.levels.levels[index];
            gradients.push(GradientsParams::from_module(&mut found, level));
        }
        gradients.reverse();
        levels.reverse();
        Passed {
            gradients,
            levels,
            output: output.expect("a segment has a level"),
        }
    }

    /// `x` after a level's body. A body that learns uses the statistics of the batch, and moves the running ones if `moves`
    /// says so.
    fn through_body(&mut self, index: usize, x: Batch, seed: u64, moves: bool) -> Batch {
        let format = format_of_maps(self.precision);
        let learns = self.roles[index].learns == Learns::All;
        let mut pass = pass_of(&mut self.running, format, seed, learns.then_some(moves));
        pass.through(&self.levels.levels[index].body, x)
    }

    /// What a level loses on what its body gave.
    fn lose(&mut self, index: usize, x: &Batch, part: &Part<'_>) -> Option<Lost> {
        let role = self.roles[index];
        let objective = role.objective?;
        let level = &self.levels.levels[index];
        let learns = role.learns != Learns::Nothing;
        let (format, moves) = (format_of_maps(self.precision), learns.then_some(true));
        let mut pass = pass_of(&mut self.running, format, part.seed, moves);
        let logits = pass.through(&level.head, x.clone()).into_rows();
        let targets = part.targets[index];
        let prediction = ops::cross_entropy(logits.clone(), targets);
        let mut loss = times(prediction, objective.prediction);
        if objective.similarity > 0.0 {
            let features = pass.through(&level.side, x.clone());
            loss = loss + times(similarity_loss(features, targets), objective.similarity);
        }
        if objective.reconstruction > 0.0 {
            let made = pass.through(&level.side, x.clone());
            let images = part.images.expect("what enters the network");
            let lost = reconstruction_loss(made, images, &self.shapes[0].input);
            loss = loss + times(lost, objective.reconstruction);
        }
        Some(Lost { loss, logits })
    }
}

impl Part<'_> {
    /// The part's share in the mean over all rows.
    fn scaled(&self, loss: Tensor<1>) -> Tensor<1> {
        times(loss, f64::from(self.share))
    }
}

impl Lost {
    fn read(self) -> LevelResult {
        LevelResult {
            loss: read_tensor(self.loss.inner()).values[0],
            logits: read_tensor(self.logits.inner()).values,
        }
    }
}

/// A pass of layers that learn, and move the running statistics or not; or, where `moves` is nothing, of frozen ones.
fn pass_of(running: &mut [Running], format: Format, seed: u64, moves: Option<bool>) -> Pass<'_> {
    let statistics = match moves {
        Some(moves) => Statistics::OfBatch { running, moves },
        None => Statistics::Running(running),
    };
    Pass {
        format,
        seed,
        statistics,
    }
}

/// As it is where the factor is 1: no further operation on the tape.
fn times(loss: Tensor<1>, factor: f64) -> Tensor<1> {
    if factor == 1.0 { loss } else { loss * factor }
}
