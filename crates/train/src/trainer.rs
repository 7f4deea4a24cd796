use std::time::{Duration, Instant};

use strata_data::{Dataset, Images, Preparer, permutation, stratified};
use strata_nn::{LevelWeights, Network, Optimizer, Plan, highest};
use strata_spec::{
    DataDigest, MonitoredMetric, Optimizer as Rule, Precision, Preparation, Recipe, Strategy,
};

use crate::{
    EventKind, Metrics, Run, StopReason, TrainError,
    checkpoint::{Checkpoint, Exact, Partial, State},
    evaluate::{evaluate, predict},
    rate_factor, report,
};

/// A checkpoint is written at the end of an epoch if the last one is at least this old, ...
const BETWEEN_EPOCH_CHECKPOINTS: Duration = Duration::from_secs(5);
/// ... and within an epoch if it is at least this old.
const BETWEEN_CHECKPOINTS: Duration = Duration::from_secs(60);

/// How a call of [`train`] ended.
#[derive(Debug)]
pub enum Outcome {
    /// The training is done.
    Finished(Box<Trained>),
    /// It was asked to stop, and wrote a checkpoint.
    Stopped {
        /// Steps done so far.
        step: u64,
    },
}

/// What a training learned.
#[derive(Clone, Debug)]
pub struct Trained {
    /// One set for each level.
    pub weights: Vec<LevelWeights>,
    /// On the test rows.
    pub test: Metrics,
    /// On the validation rows, with these weights, if there are any.
    pub validation: Option<Metrics>,
    /// Epoch that the weights are of, from 1.
    pub best_epoch: u64,
    /// Seconds of learning and evaluation, those before a resume included.
    pub seconds: f64,
    /// Number format of the training; never `auto`.
    pub precision: Precision,
    /// What it learned from.
    pub data: Vec<DataDigest>,
}

/// Where a training stands, told after each step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress<'a> {
    /// Epoch, from 1.
    pub epoch: u64,
    /// Steps done.
    pub step: u64,
    /// Steps of the whole training.
    pub steps: u64,
    /// Rows learned from in this step.
    pub rows: usize,
    /// Mean loss so far in this epoch.
    pub loss: f64,
    /// Share of right answers so far in this epoch.
    pub accuracy: f64,
    /// Whether this was the last step of its epoch.
    pub ends_epoch: bool,
    /// After the last step of an epoch: the metrics on the validation rows, if there are any.
    pub validation: Option<&'a Metrics>,
}

/// Trains until the recipe is fulfilled or `stop` says so, from the run's newest checkpoint if it has one.
///
/// # Errors
/// The recipe asks for what is not available, the data does not fit it or is not that of the checkpoint, the training
/// diverges, or the disk refuses. The newest checkpoint stays.
pub fn train(
    run: &mut Run,
    data: Dataset,
    stop: &dyn Fn() -> bool,
    observe: &mut dyn FnMut(Progress<'_>),
) -> Result<Outcome, TrainError> {
    check_available(run.recipe())?;
    if run.is_finished() {
        return Err(TrainError::RunFinished(run.folder().to_owned()));
    }
    let checkpoint = run.newest_checkpoint()?;
    let source = data.source.clone();
    let mut trainer = Trainer::new(run, data)?;
    match checkpoint {
        Some(checkpoint) => trainer.restore(checkpoint)?,
        None => trainer.start(source)?,
    }
    trainer.learn(stop, observe)
}

/// Whether this version can learn what a recipe asks for; [`train`] checks it too.
///
/// # Errors
/// It cannot; the error names the field and what can be used instead.
pub fn check_available(recipe: &Recipe) -> Result<(), TrainError> {
    let not = |field, value: String, instead| {
        Err(TrainError::NotAvailable {
            field,
            value,
            instead,
        })
    };
    if recipe.train.strategy != Strategy::EndToEnd {
        return not(
            "train.strategy",
            recipe.train.strategy.word().to_owned(),
            "end-to-end",
        );
    }
    let below_top = &recipe.levels[..recipe.levels.len() - 1];
    if let Some(level) = below_top.iter().find(|level| level.head.is_some()) {
        let value = format!(
            "a head on level {}, which `end-to-end` does not learn",
            level.name
        );
        return not("levels", value, "a head on the last level only");
    }
    Ok(())
}

struct Trainer<'a> {
    run: &'a mut Run,
    recipe: Recipe,
    preparer: Preparer,
    train: Images,
    validation: Option<Images>,
    test: Images,
    network: Network,
    optimizer: Optimizer,
    state: State,
    /// Learning rate of the last step.
    rate: f64,
    best: Option<Vec<LevelWeights>>,
    /// Since when the seconds of `state` are not counted yet.
    clock: Instant,
}

impl<'a> Trainer<'a> {
    fn new(run: &'a mut Run, data: Dataset) -> Result<Self, TrainError> {
        let recipe = run.recipe().clone();
        let Preparation::Image(setting) = &recipe.preparation;
        let preparer = Preparer::new(setting);
        let (train, validation) = match &recipe.data.validation {
            None => (preparer.fit(data.train)?, None),
            Some(validation) => {
                let (train, held) =
                    stratified(&data.train.labels, validation.fraction, validation.seed);
                if train.is_empty() || held.is_empty() {
                    let rows = data.train.len();
                    let share = validation.fraction;
                    return Err(TrainError::Data(format!(
                        "{rows} rows are too few to keep {share} for validation"
                    )));
                }
                let held = preparer.fit(data.train.select(&held))?;
                (preparer.fit(data.train.select(&train))?, Some(held))
            }
        };
        let test = preparer.fit(data.test)?;
        let network = Network::new(
            &recipe.input_shape(),
            &recipe.levels,
            recipe.seed,
            recipe.train.precision,
        );
        let optimizer = Optimizer::new(recipe.train.optimizer.clone(), recipe.train.clip.clone());
        let state = State {
            recipe: run.recipe_digest(),
            precision: network.precision(),
            data: data.digests,
            step: 0,
            optimizer_steps: 0,
            partial: Partial::default(),
            best: None,
            waited: 0,
            seconds: 0.0,
            events: 0,
        };
        let clock = Instant::now();
        Ok(Self {
            run,
            recipe,
            preparer,
            train,
            validation,
            test,
            network,
            optimizer,
            state,
            rate: 0.0,
            best: None,
            clock,
        })
    }

    fn start(&mut self, source: String) -> Result<(), TrainError> {
        // Events of an attempt that was killed before its first checkpoint.
        self.run.cut_events(0)?;
        self.run.log(EventKind::Started {
            train_rows: self.train.len(),
            validation_rows: self.validation.as_ref().map_or(0, Images::len),
            test_rows: self.test.len(),
            data: source,
            precision: self.state.precision,
            threads: strata_nn::threads(),
            parameters: self.network.parameters(),
        })
    }

    fn restore(&mut self, checkpoint: Checkpoint) -> Result<(), TrainError> {
        let state = checkpoint.state;
        if state.recipe != self.state.recipe {
            let text =
                "its recipe.toml was changed after the training began: start a new run instead"
                    .to_owned();
            return Err(TrainError::Damaged {
                file: self.run.folder().to_owned(),
                problem: text,
            });
        }
        if state.data != self.state.data {
            let text =
                "not the data that this run began with (other files, or changed ones)".to_owned();
            return Err(TrainError::Data(text));
        }
        self.run.cut_events(state.events)?;
        self.run.log(EventKind::Resumed { step: state.step })?;
        self.network = Network::with_weights(
            &self.recipe.input_shape(),
            &self.recipe.levels,
            &checkpoint.weights,
            state.precision,
        );
        self.optimizer
            .restore(&self.network, state.optimizer_steps, checkpoint.optimizer)
            .map_err(|problem| TrainError::Damaged {
                file: self.run.checkpoint_folder(),
                problem: format!("the optimizer's state: {problem}"),
            })?;
        self.best = checkpoint.best;
        self.state = state;
        Ok(())
    }

    fn learn(
        mut self,
        stop: &dyn Fn() -> bool,
        observe: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Outcome, TrainError> {
        let rows = self.train.len();
        let batch = self.recipe.train.batch;
        let per_epoch = rows.div_ceil(batch) as u64;
        let steps = per_epoch * self.recipe.train.epochs as u64;
        let mut last_checkpoint = Instant::now();
        let mut reason = StopReason::Epochs;
        self.clock = Instant::now();
        while self.state.step < steps {
            if self.out_of_patience() {
                reason = StopReason::EarlyStopping;
                break;
            }
            let epoch = self.state.step / per_epoch;
            let order = permutation(rows, self.recipe.seed, epoch);
            let done = (self.state.step % per_epoch) as usize;
            for indices in order.chunks(batch).skip(done) {
                if stop() {
                    self.checkpoint()?;
                    return Ok(Outcome::Stopped {
                        step: self.state.step,
                    });
                }
                if last_checkpoint.elapsed() >= BETWEEN_CHECKPOINTS {
                    self.checkpoint()?;
                    last_checkpoint = Instant::now();
                }
                self.step(indices, per_epoch, steps)?;
                let is_last = self.state.step.is_multiple_of(per_epoch);
                let partial = self.state.partial.clone();
                let validation = if is_last {
                    self.end_epoch(epoch + 1)?
                } else {
                    None
                };
                observe(Progress {
                    epoch: epoch + 1,
                    step: self.state.step,
                    steps,
                    rows: indices.len(),
                    loss: partial.loss.0 / partial.rows as f64,
                    accuracy: partial.correct as f64 / partial.rows as f64,
                    ends_epoch: is_last,
                    validation: validation.as_ref(),
                });
            }
            if last_checkpoint.elapsed() >= BETWEEN_EPOCH_CHECKPOINTS {
                self.checkpoint()?;
                last_checkpoint = Instant::now();
            }
        }
        self.finish(reason)
    }

    /// One step on the given rows.
    fn step(&mut self, indices: &[u32], per_epoch: u64, steps: u64) -> Result<(), TrainError> {
        let train = &self.recipe.train;
        let factor = rate_factor(
            &train.schedule,
            train.warm_up,
            self.state.step,
            steps,
            per_epoch,
        );
        let rate = factor * train.optimizer.learning_rate();
        let mut rows = vec![0.0; indices.len() * self.preparer.row_len()];
        let share = indices.len().div_ceil(strata_nn::threads());
        let shares = indices
            .chunks(share)
            .zip(rows.chunks_mut(share * self.preparer.row_len()));
        strata_nn::parallel_for_each(shares, |(indices, rows)| {
            self.preparer.rows(&self.train, indices, rows)
        });
        let targets: Vec<u32> = indices
            .iter()
            .map(|&index| self.train.labels[index as usize])
            .collect();
        let result = self
            .network
            .learn(rows, &targets, &mut self.optimizer, rate);
        self.state.step += 1;
        self.rate = rate;
        if !result.loss.is_finite() {
            return Err(self.diverged(format!("the loss was {}", result.loss)));
        }
        let classes = self.network.output_len();
        let is_right = |(logits, target): (&[f32], &u32)| highest(logits) == *target as usize;
        let right = result
            .logits
            .chunks_exact(classes)
            .zip(&targets)
            .filter(|pair| is_right(*pair))
            .count();
        let partial = &mut self.state.partial;
        partial.loss.0 += f64::from(result.loss) * targets.len() as f64;
        partial.correct += right as u64;
        partial.rows += targets.len() as u64;
        Ok(())
    }

    fn end_epoch(&mut self, epoch: u64) -> Result<Option<Metrics>, TrainError> {
        let weights = self.finite_weights()?;
        let validation = match &self.validation {
            Some(held) => Some(self.validate(&self.plan(&weights), held)?),
            None => None,
        };
        self.count_seconds();
        let partial = std::mem::take(&mut self.state.partial);
        if let (Some(stopping), Some(metrics)) = (&self.recipe.train.early_stopping, &validation) {
            // Larger is better.
            let value = match stopping.metric {
                MonitoredMetric::Loss => -metrics.loss,
                MonitoredMetric::Accuracy => metrics.accuracy,
                MonitoredMetric::MacroF1 => metrics.macro_f1,
            };
            let is_better = self
                .state
                .best
                .is_none_or(|(best, _)| value > best.0 + stopping.min_delta);
            if is_better {
                self.state.best = Some((Exact(value), epoch));
                self.state.waited = 0;
                self.best = Some(weights);
            } else {
                self.state.waited += 1;
            }
        }
        self.run.log(EventKind::Epoch {
            epoch,
            step: self.state.step,
            rate: self.rate,
            loss: partial.loss.0 / partial.rows as f64,
            accuracy: partial.correct as f64 / partial.rows as f64,
            validation: validation.clone().map(Metrics::without_confusion),
            seconds: partial.seconds,
        })?;
        Ok(validation)
    }

    fn out_of_patience(&self) -> bool {
        let stopping = self.recipe.train.early_stopping.as_ref();
        stopping.is_some_and(|stopping| self.state.waited >= stopping.patience as u64)
    }

    fn finish(mut self, reason: StopReason) -> Result<Outcome, TrainError> {
        let epochs = self
            .state
            .step
            .div_ceil((self.train.len().div_ceil(self.recipe.train.batch)) as u64);
        let weights = match self.best.take() {
            Some(best) => best,
            None => self.finite_weights()?,
        };
        let best_epoch = self.state.best.map_or(epochs, |(_, epoch)| epoch);
        let plan = self.plan(&weights);
        let validation = match &self.validation {
            Some(held) => Some(self.validate(&plan, held)?),
            None => None,
        };
        let logits = predict(&plan, &self.preparer, &self.test);
        let test = Metrics::of(&logits, &self.test.labels, plan.output_len());
        if !test.loss.is_finite() {
            return Err(self.diverged(format!("the test loss was {}", test.loss)));
        }
        self.count_seconds();
        let seconds = self.state.seconds;
        self.run.log(EventKind::Finished {
            reason,
            best_epoch,
            test: test.clone(),
            seconds,
        })?;
        let mistakes = report::worst_mistakes(
            &logits,
            &self.test,
            &self.recipe.final_task().classification,
        );
        let data = self.state.data.clone();
        let trained = Trained {
            weights,
            test,
            validation,
            best_epoch,
            seconds,
            precision: self.state.precision,
            data,
        };
        self.run.finish(&trained, &mistakes)?;
        Ok(Outcome::Finished(Box::new(trained)))
    }

    fn checkpoint(&mut self) -> Result<(), TrainError> {
        // The last good checkpoint must not make room for one that cannot be gone on from.
        let weights = self.finite_weights()?;
        self.count_seconds();
        let (optimizer_steps, optimizer) = self.optimizer.state();
        self.state.optimizer_steps = optimizer_steps;
        self.state.events = self.run.events_length()?;
        let checkpoint = Checkpoint {
            state: self.state.clone(),
            weights,
            best: self.best.clone(),
            optimizer,
        };
        checkpoint.write(&self.run.checkpoint_folder())
    }

    fn count_seconds(&mut self) {
        let seconds = self.clock.elapsed().as_secs_f64();
        self.clock = Instant::now();
        self.state.seconds += seconds;
        self.state.partial.seconds += seconds;
    }

    fn plan(&self, weights: &[LevelWeights]) -> Plan {
        Plan::compile(
            &self.recipe.input_shape(),
            &self.recipe.levels,
            weights,
            self.state.precision,
        )
    }

    /// Metrics on the validation rows.
    fn validate(&self, plan: &Plan, held: &Images) -> Result<Metrics, TrainError> {
        let metrics = evaluate(plan, &self.preparer, held);
        if !metrics.loss.is_finite() {
            return Err(self.diverged(format!("the validation loss was {}", metrics.loss)));
        }
        Ok(metrics)
    }

    /// The network's weights. A step can spoil them with a loss, computed before it, that was fine.
    fn finite_weights(&self) -> Result<Vec<LevelWeights>, TrainError> {
        let weights = self.network.weights();
        if weights.iter().all(LevelWeights::is_finite) {
            return Ok(weights);
        }
        Err(self.diverged("weights are no longer finite numbers".to_owned()))
    }

    fn diverged(&self, what: String) -> TrainError {
        let per_epoch = self.train.len().div_ceil(self.recipe.train.batch) as u64;
        TrainError::Diverged {
            what,
            epoch: self.state.step.div_ceil(per_epoch),
            step: self.state.step,
            rate: self.rate,
            rate_field: match self.recipe.train.optimizer {
                Rule::Sgd(_) => "train.optimizer.sgd.learning_rate",
                Rule::Adam(_) => "train.optimizer.adam.learning_rate",
                Rule::AdamW(_) => "train.optimizer.adamw.learning_rate",
            },
        }
    }
}
