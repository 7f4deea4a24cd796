//! One step of learning: which levels learn from what, and how far each gradient goes.

use std::ops::Range;

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    optim::GradientsParams,
    tensor::Tensor,
};
use strata_kernels::{Format, bytes_in_use, derive_seed, forget_peak, peak_bytes_in_use};
use strata_spec::Boundary;

use crate::{
    Network, Objective, Optimizer,
    forward::{Batch, Pass, Statistics},
    layers::{LayerModule, Running, read_tensor},
    objective::{reconstruction_loss, similarity_loss},
    ops,
    precision::format_of_maps,
};

/// What a level does while the network learns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Role {
    /// What of it learns. What does not is in evaluation mode: normalizations use their running statistics.
    pub learns: Learns,
    /// What a gradient does at the boundary below it.
    pub below: Boundary,
    /// What it loses, if it has an objective.
    pub objective: Option<Objective>,
    /// What the step's learning rate is multiplied by for it.
    pub rate: f64,
}

/// What of a level learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learns {
    /// Nothing: it is frozen.
    Nothing,
    /// Its head, and what its objective needs beside it.
    Head,
    /// Its body, too.
    All,
}

impl Role {
    /// A frozen level, through which a gradient passes.
    pub const FROZEN: Self = Self {
        learns: Learns::Nothing,
        below: Boundary::Pass,
        objective: None,
        rate: 1.0,
    };

    /// The roles of `levels` that learn end to end: the top one has the objective.
    pub fn end_to_end(levels: usize) -> Vec<Self> {
        let role = |index| Self {
            learns: Learns::All,
            objective: (index + 1 == levels).then_some(Objective::CROSS_ENTROPY),
            ..Self::FROZEN
        };
        (0..levels).map(role).collect()
    }
}

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

/// Some rows of a lesson, on their way up.
struct Part<'a> {
    /// What enters the next segment.
    input: Batch,
    targets: Vec<&'a [f32]>,
    images: Option<&'a [f32]>,
    /// Share of the lesson's rows.
    share: f32,
    /// Decides what is random.
    seed: u64,
}

/// What a part gave a segment.
struct Passed {
    /// The gradients of its levels.
    gradients: Vec<GradientsParams>,
    /// What its levels saw.
    levels: Vec<Option<LevelResult>>,
    /// What leaves it, off the tape.
    output: Batch,
}

/// An objective's value, and what is told of it.
struct Lost {
    loss: Tensor<1>,
    logits: Tensor<2>,
}

impl Network {
    /// Says what each level does in the steps to come. A new network learns end to end.
    ///
    /// # Panics
    /// There is not a role for each level, or a level with an objective has no head.
    pub fn assign(&mut self, roles: Vec<Role>) {
        let levels = &mut self.levels.levels;
        assert_eq!(roles.len(), levels.len(), "a role for each level");
        for (role, level) in roles.iter().zip(levels) {
            assert!(
                role.objective.is_none() || !level.head.is_empty(),
                "an objective needs a head"
            );
            track(&mut level.body, role.learns == Learns::All);
            track(&mut level.head, role.learns != Learns::Nothing);
            track(&mut level.side, role.learns != Learns::Nothing);
        }
        self.roles = roles;
    }

    /// One step of learning, by the roles that [`Network::assign`] gave. A gradient goes down to the first boundary that
    /// stops it, and what it needed is gone before the levels above begin.
    ///
    /// # Panics
    /// The lengths do not fit.
    pub fn learn(&mut self, lesson: Lesson<'_>, optimizer: &mut Optimizer) -> StepResult {
        let segments = self.segments(lesson.first);
        let (rate, progress) = (lesson.rate, lesson.progress);
        let checkpointing = lesson.checkpointing;
        let own_images = (lesson.first == 0 && self.reconstructs()).then(|| lesson.rows.clone());
        let mut parts = self.parts(lesson, own_images.as_deref());
        let mut levels = vec![None; self.roles.len()];
        let mut squares = None;
        let mut bytes = Vec::new();
        for segment in segments {
            let before = bytes_in_use();
            forget_peak();
            let mut gradients: Option<Vec<GradientsParams>> = None;
            for part in &mut parts {
                let passed = if checkpointing {
                    self.pass_twice(segment.clone(), part)
                } else {
                    self.pass(segment.clone(), part)
                };
                part.input = passed.output;
                for (index, seen) in segment.clone().zip(passed.levels) {
                    let share = part.share;
                    LevelResult::add(&mut levels[index], seen, share);
                }
                gradients = Some(match gradients {
                    None => passed.gradients,
                    Some(sums) => self.sums(segment.clone(), sums, passed.gradients),
                });
            }
            let rates = self.roles[segment.clone()]
                .iter()
                .map(|role| rate * role.rate);
            let rates: Vec<f64> = rates.collect();
            let norm = optimizer.step(
                &mut self.levels.levels[segment.clone()],
                segment.start,
                gradients.unwrap_or_default(),
                &rates,
                progress,
            );
            bytes.push((segment, peak_bytes_in_use().saturating_sub(before)));
            if let Some(norm) = norm {
                *squares.get_or_insert(0.0) += norm * norm;
            }
        }
        StepResult {
            levels,
            bytes,
            gradient_norm: squares.map(f32::sqrt),
        }
    }

    /// What comes out of level `to - 1` for rows that enter level `from`, as a network that answers.
    ///
    /// # Panics
    /// `rows` are not whole rows, or there are no such levels.
    pub fn features(&self, rows: Vec<f32>, levels: Range<usize>) -> Vec<f32> {
        let width = self.shapes[levels.start].input.iter().product();
        let mut x = Batch::Rows(self.rows_to_tensor(rows, width));
        for level in &self.levels.levels[levels] {
            let mut pass = Pass {
                format: format_of_maps(self.precision),
                seed: self.seed,
                statistics: Statistics::Running(&self.running),
            };
            x = pass.through(&level.body, x).detach();
        }
        read_tensor(x.into_rows().inner()).values
    }

    /// The levels from `first` to the highest with an objective, cut where a gradient stops.
    fn segments(&self, first: usize) -> Vec<Range<usize>> {
        let end = self.roles.iter().rposition(|role| role.objective.is_some());
        let end = end.expect("a level has an objective") + 1;
        let mut segments: Vec<Range<usize>> = Vec::new();
        for index in first..end {
            match segments.last_mut() {
                Some(segment) if self.roles[index].below == Boundary::Pass => segment.end += 1,
                _ => segments.push(index..index + 1),
            }
        }
        segments
    }

    fn reconstructs(&self) -> bool {
        let objectives = self.roles.iter().filter_map(|role| role.objective);
        objectives
            .into_iter()
            .any(|objective| objective.reconstruction > 0.0)
    }

    fn parts<'a>(&self, lesson: Lesson<'a>, own_images: Option<&'a [f32]>) -> Vec<Part<'a>> {
        let width: usize = self.shapes[lesson.first].input.iter().product();
        let count = lesson.rows.len() / width;
        let most = count.div_ceil(lesson.parts).max(1);
        let rows: Vec<Vec<f32>> = if lesson.parts == 1 {
            vec![lesson.rows]
        } else {
            lesson
                .rows
                .chunks(most * width)
                .map(<[f32]>::to_vec)
                .collect()
        };
        let images = own_images.or(lesson.images);
        let mut first = 0;
        let mut part = |rows: Vec<f32>| {
            let these = first..first + rows.len() / width;
            first = these.end;
            let of = |values: &'a [f32]| {
                let each = values.len() / count;
                assert_eq!(values.len(), each * count, "as many for each row");
                &values[these.start * each..these.end * each]
            };
            Part {
                input: Batch::Rows(self.rows_to_tensor(rows, width)),
                targets: lesson.targets.iter().map(|targets| of(targets)).collect(),
                images: images.map(of),
                share: these.len() as f32 / count as f32,
                seed: derive_seed(self.seed, these.start as u64),
            }
        };
        rows.into_iter().map(&mut part).collect()
    }

    /// A part's way through a segment, and back.
    fn pass(&mut self, segment: Range<usize>, part: &Part<'_>) -> Passed {
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
    fn pass_twice(&mut self, segment: Range<usize>, part: &Part<'_>) -> Passed {
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

    /// The sums of two parts' gradients.
    fn sums(
        &self,
        segment: Range<usize>,
        a: Vec<GradientsParams>,
        b: Vec<GradientsParams>,
    ) -> Vec<GradientsParams> {
        let levels = self.levels.levels[segment].iter();
        let mut sums = Vec::new();
        for ((level, a), b) in levels.zip(a).zip(b) {
            let mut sum = Sum {
                a,
                b,
                sum: GradientsParams::new(),
            };
            level.visit(&mut sum);
            sums.push(sum.sum);
        }
        sums
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

impl LevelResult {
    /// Adds what the next part saw, `share` of all rows.
    fn add(all: &mut Option<Self>, next: Option<Self>, share: f32) {
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

/// Says whether gradients of layers' weights are wanted.
fn track(layers: &mut Vec<LayerModule>, wanted: bool) {
    struct Track(bool);
    impl ModuleMapper for Track {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            param.set_require_grad(self.0)
        }
    }
    *layers = std::mem::take(layers).map(&mut Track(wanted));
}

struct Sum {
    a: GradientsParams,
    b: GradientsParams,
    sum: GradientsParams,
}

impl ModuleVisitor for Sum {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let sum = match (self.a.remove::<D>(param.id), self.b.remove::<D>(param.id)) {
            (Some(a), Some(b)) => a + b,
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => return,
        };
        self.sum.register(param.id, sum);
    }
}
