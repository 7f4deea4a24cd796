//! The end of a training.

use strata_nn::LevelWeights;

use super::{Outcome, Trained, Trainer};
use crate::{
    EventKind, HeadMetrics, LevelMemory, StopReason, TrainError,
    evaluate::{measure, predict},
    report,
    targets::classes_of,
};

impl Trainer<'_> {
    pub(super) fn finish(mut self, reason: StopReason) -> Result<Outcome, TrainError> {
        let epochs = self
            .state
            .step
            .div_ceil((self.train.images().len().div_ceil(self.recipe.train.batch)) as u64);
        let weights = match self.best.take() {
            Some(best) => best,
            None => self.finite_weights()?,
        };
        let best_epoch = self.state.best.map_or(epochs, |(_, epoch)| epoch);
        let weights = self.kept(weights);
        let top = self.recipe.levels.len() - 1;
        let mut heads = Vec::new();
        for (index, level) in self.recipe.levels[..top].iter().enumerate() {
            if level.head.is_none() {
                continue;
            }
            let plan = self.plan(&self.recipe.levels[..=index], &weights);
            let task = self.task_of(index);
            let held = self.validation.as_ref();
            heads.push(HeadMetrics {
                level: level.name.clone(),
                task: task.name.clone(),
                test: self.evaluate(&plan, &self.test, task),
                validation: held.map(|held| self.evaluate(&plan, held, task)),
            });
        }
        let plan = self.plan(&self.recipe.levels, &weights);
        let task = self.recipe.final_task();
        let validation = match &self.validation {
            Some(held) => Some(self.validate(&plan, held, task)?),
            None => None,
        };
        let logits = predict(&plan, &self.preparer, &self.test);
        let targets = classes_of(task, &self.test, &self.origins);
        let test = measure(&logits, &targets);
        if !test.loss.is_finite() {
            return Err(self.diverged(format!("the test loss was {}", test.loss)));
        }
        self.count_seconds();
        let seconds = self.state.seconds;
        let measured = self.bytes.iter().map(|(levels, most)| (levels, most.get()));
        let memory: Vec<LevelMemory> = measured
            .filter(|(_, bytes)| *bytes > 0)
            .map(|((start, end), bytes)| LevelMemory {
                levels: self.recipe.levels[*start..*end]
                    .iter()
                    .map(|level| level.name.clone())
                    .collect(),
                bytes,
            })
            .collect();
        self.run.log(EventKind::Finished {
            reason,
            best_epoch,
            test: test.clone(),
            heads: heads.clone(),
            memory: memory.clone(),
            seconds,
        })?;
        let mistakes = report::worst_mistakes(
            &logits,
            &self.test,
            &targets,
            &self.recipe.final_task().classification,
        );
        let data = self.state.data.clone();
        let trained = Trained {
            weights,
            test,
            validation,
            heads,
            given: self.state.given.clone(),
            memory,
            best_epoch,
            seconds,
            precision: self.state.precision,
            data,
        };
        self.run.finish(&trained, &mistakes)?;
        Ok(Outcome::Finished(Box::new(trained)))
    }

    /// The weights that the model keeps: not those of auxiliary heads.
    fn kept(&self, weights: Vec<LevelWeights>) -> Vec<LevelWeights> {
        let levels = self.recipe.levels.iter().zip(weights);
        let kept = levels.map(|(level, weights)| match level.head {
            Some(_) => weights,
            None => weights.without_head(),
        });
        kept.collect()
    }
}
