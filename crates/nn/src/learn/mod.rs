//! One step of learning: which levels learn from what, and how far each gradient goes.

mod lesson;
mod pass;
mod role;

use std::ops::Range;

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    optim::GradientsParams,
    tensor::Tensor,
};
use strata_kernels::{bytes_in_use, derive_seed, forget_peak, peak_bytes_in_use};
use strata_spec::Boundary;

use crate::{
    Network, Optimizer,
    forward::{Batch, Pass, Statistics},
    layers::{LayerModule, read_tensor},
    precision::format_of_maps,
};
pub use lesson::{Lesson, LevelResult, StepResult, one_hot};
use pass::Part;
pub use role::{Learns, Role};

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

/// Says whether gradients of layers' weights are wanted.
pub(crate) fn track(layers: &mut Vec<LayerModule>, wanted: bool) {
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
