//! One step, and what is the same for all steps of a phase.

use strata_data::Mixed;
use strata_nn::{Lesson, StepResult};
use strata_spec::{FeatureCache as Where, Task, level_shapes};

use super::Trainer;
use crate::{
    TrainError,
    cache::{FeatureCache, Place},
    rate_factor,
    targets::{self, class_of, count_right, origin_of, shares},
};

/// What frozen levels make of the rows, in a run's folder.
const FEATURES: &str = "features.tmp";

/// What a task asks of the rows of a step.
struct Targets {
    /// Each row's own class.
    classes: Vec<Option<u32>>,
    /// How much of each class its head should answer, `[rows, classes]`.
    shares: Vec<f32>,
}

impl Trainer<'_> {
    /// Gives each level its role in an epoch, counted from 0, and keeps what the frozen ones make of the rows.
    pub(super) fn enter(&mut self, epoch: u64) -> Result<(), TrainError> {
        let number = self.curriculum.phase_of(epoch);
        if self.phase == Some(number) {
            return Ok(());
        }
        let phase = &self.curriculum.phases[number];
        let first = phase.first;
        self.network.assign(phase.roles.clone());
        self.phase = Some(number);
        // The old one is gone before the new one is filled.
        self.cache = None;
        if first == 0 {
            return Ok(());
        }
        let file = self.run.folder().join(FEATURES);
        let place = match self.recipe.train.greedy.cache {
            Where::Memory => Place::Memory,
            Where::Disk | Where::None => Place::File(&file),
        };
        let shapes = level_shapes(&self.recipe.input_shape(), &self.curriculum.levels);
        let width = shapes.expect("a checked recipe")[first]
            .input
            .iter()
            .product();
        let sizes = [
            self.recipe.train.greedy.views,
            self.train.images().len(),
            width,
        ];
        let filled = FeatureCache::fill(place, sizes, |view, rows| {
            let indices: Vec<u32> = rows.map(|row| row as u32).collect();
            let rows = self.rows(view as u64, &indices);
            Ok(self.network.features(rows, 0..first))
        })?;
        self.cache = Some(filled);
        Ok(())
    }

    /// One step on the given rows.
    pub(super) fn step(
        &mut self,
        indices: &[u32],
        epoch: u64,
        per_epoch: u64,
    ) -> Result<(), TrainError> {
        let train = &self.recipe.train;
        let phase = &self.curriculum.phases[self.phase.expect("a phase was entered")];
        let (begin, epochs) = phase.schedule;
        let (step, total) = (self.state.step - begin * per_epoch, epochs * per_epoch);
        let factor = rate_factor(&train.schedule, train.warm_up, step, total, per_epoch);
        let rate = factor * train.optimizer.learning_rate();
        let view = (epoch - phase.first_epoch) as usize % train.greedy.views;
        let (rows, mixed) = match (&self.cache, &mut self.loader) {
            (Some(cache), _) => (cache.read(view, indices)?, None),
            (None, Some(loader)) => {
                let batch = loader
                    .next_batch()
                    .expect("an epoch has a batch for each step");
                (batch.rows, batch.mixed)
            }
            (None, None) => (self.rows(epoch, indices), None),
        };
        let reconstructs = |role: &strata_nn::Role| {
            let objective = role.objective;
            objective.is_some_and(|objective| objective.reconstruction > 0.0)
        };
        let needs_images = self.cache.is_some() && phase.roles.iter().any(reconstructs);
        let images = needs_images.then(|| self.rows(view as u64, indices));

        let tasks = self.recipe.tasks.iter();
        let tasks: Vec<Targets> = tasks
            .map(|task| self.targets(task, indices, mixed.as_ref()))
            .collect();
        let task_of = |level: usize| {
            let name = &self.task_of(level).name;
            let index = self.recipe.tasks.iter().position(|task| task.name == *name);
            index.expect("a task of the recipe")
        };
        let targets = phase
            .roles
            .iter()
            .enumerate()
            .map(|(level, role)| match role.objective {
                Some(_) => &tasks[task_of(level)].shares[..],
                None => &[],
            });
        let lesson = Lesson {
            rows,
            first: phase.first,
            images: images.as_deref(),
            targets: targets.collect(),
            rate,
            progress: (step + 1) as f64 / total as f64,
            parts: train.accumulate,
            checkpointing: train.checkpointing,
        };
        let (top, of_top) = (phase.top(), &tasks[task_of(phase.top())].classes);
        self.network.seed_step(self.recipe.seed, self.state.step);
        let result = self.network.learn(lesson, &mut self.optimizer);
        self.state.step += 1;
        self.rate = rate;
        self.check_losses(&result)?;
        for (levels, bytes) in &result.bytes {
            let most = self.bytes.entry((levels.start, levels.end)).or_default();
            most.add(*bytes);
        }
        let seen = result.levels[top]
            .as_ref()
            .expect("the top has an objective");
        let (rows, right) = count_right(&seen.logits, of_top);
        let partial = &mut self.state.partial;
        partial.loss.0 += f64::from(seen.loss) * rows as f64;
        partial.correct += right;
        partial.rows += rows;
        Ok(())
    }

    fn check_losses(&self, result: &StepResult) -> Result<(), TrainError> {
        for (level, seen) in self.curriculum.levels.iter().zip(&result.levels) {
            if let Some(seen) = seen
                && !seen.loss.is_finite()
            {
                let what = format!("the loss of level `{}` was {}", level.name, seen.loss);
                return Err(self.diverged(what));
            }
        }
        Ok(())
    }

    /// Rows as they are in an epoch, by all cores.
    pub(super) fn rows(&self, epoch: u64, indices: &[u32]) -> Vec<f32> {
        let row_len = self.train.row_len();
        let mut rows = vec![0.0; indices.len() * row_len];
        let share = indices.len().div_ceil(strata_nn::threads()).max(1);
        let shares = indices.chunks(share).zip(rows.chunks_mut(share * row_len));
        strata_nn::parallel_for_each(shares, |(indices, rows)| {
            self.train.rows(epoch, indices, rows)
        });
        rows
    }

    /// What `task` asks of some training rows, with others mixed into them or not.
    fn targets(&self, task: &Task, indices: &[u32], mixed: Option<&Mixed>) -> Targets {
        let images = self.train.images();
        let of = |rows: &[u32]| -> Vec<Option<u32>> {
            let origin = origin_of(task, &self.origins);
            rows.iter()
                .map(|row| class_of(task, images, *row as usize, origin))
                .collect()
        };
        let classes = of(indices);
        let (count, smoothing) = (
            task.classification.classes,
            self.recipe.train.label_smoothing,
        );
        let mut shares = shares(count, &classes, smoothing);
        if let Some(mixed) = mixed {
            let partners = of(&mixed.partners);
            let of_partners = targets::shares(count, &partners, smoothing);
            targets::mix(&mut shares, &of_partners, &mixed.shares);
        }
        Targets { classes, shares }
    }
}
