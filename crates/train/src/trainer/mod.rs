mod finish;
mod keep;
mod memory;
mod step;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use strata_data::{Dataset, Images, Loader, Origin, Preparer, TrainingRows, permutation};
use strata_nn::{LevelWeights, Network, Optimizer, Plan};
use strata_spec::{
    Augmentation, DataDigest, FeatureCache as Where, Level, MonitoredMetric, Name,
    Optimizer as Rule, Precision, Preparation, Recipe, Strategy, Task,
    networks::{Auxiliary, NamedNetwork},
};

use self::memory::MostBytes;
use crate::{
    EventKind, HeadMetrics, LevelMemory, Metrics, Run, StopReason, TrainError,
    cache::FeatureCache,
    checkpoint::{Exact, Partial, State},
    curriculum::Curriculum,
    evaluate::evaluate,
    targets::{self, classes_of},
};

/// A checkpoint is written at the end of an epoch if the last one is at least this old, ...
const BETWEEN_EPOCH_CHECKPOINTS: Duration = Duration::from_secs(5);
/// ... and within an epoch if it is at least this old.
const BETWEEN_CHECKPOINTS: Duration = Duration::from_secs(60);

/// Threads that augment rows: the kernels use every core.
const LOADER_THREADS: usize = 1;

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
    /// The heads below the top, from the lowest.
    pub heads: Vec<HeadMetrics>,
    /// The file of the weights that it began with, if there was one.
    pub given: Option<DataDigest>,
    /// What learning needed in memory, from the lowest levels up; nothing where it was not measured.
    pub memory: Vec<LevelMemory>,
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
    /// The highest level that has an objective: what the figures are of.
    pub level: &'a Name,
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
    let source = data.source.clone();
    let mut trainer = Trainer::new(run, data)?;
    match trainer.newest_checkpoint()? {
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
    let below_top = &recipe.levels[..recipe.levels.len() - 1];
    let is_top_only = !recipe.train.strategy.has_objectives_below_top();
    if let Some(level) = below_top.iter().find(|level| level.head.is_some())
        && is_top_only
    {
        return Err(TrainError::UnlearnedHead {
            level: level.name.clone(),
            strategy: recipe.train.strategy.word(),
            advice: advice(recipe, &level.name),
        });
    }
    let mixes = recipe
        .data
        .augmentation
        .iter()
        .any(Augmentation::mixes_rows);
    let is_cached =
        recipe.train.strategy == Strategy::Greedy && recipe.train.greedy.cache != Where::None;
    if mixes && is_cached {
        let value = "mixup or cutmix of rows whose features are kept".to_owned();
        return not("data.augmentation", value, "train.greedy.cache = \"none\"");
    }
    Ok(())
}

/// What to write where the strategy does not learn the head of a level below the top.
fn advice(recipe: &Recipe, level: &Name) -> String {
    let published = recipe.network.as_ref().and_then(NamedNetwork::auxiliary);
    let published = published.filter(|auxiliary| auxiliary.stages.contains(&level.as_str()));
    let Some(Auxiliary {
        network,
        stages,
        weight,
    }) = published
    else {
        return "use `deep-supervision`, `local` or `greedy`, or leave the head out".to_owned();
    };
    let weights: String = stages
        .iter()
        .map(|stage| format!(", `train.levels.{stage}.weight = {weight:?}`"))
        .collect();
    format!(
        "write `auxiliary = false` in `[network.{network}]` to learn without it, or, for the auxiliary losses that it is \
         published with, `train.strategy = \"deep-supervision\"`, `network.{network}.cuts = {stages:?}`{weights}"
    )
}

struct Trainer<'a> {
    run: &'a mut Run,
    recipe: Recipe,
    curriculum: Curriculum,
    /// The phase in force, and what its frozen levels make of the rows if that is kept.
    phase: Option<usize>,
    cache: Option<FeatureCache>,
    preparer: Arc<Preparer>,
    train: Arc<TrainingRows>,
    /// Makes augmented batches ahead.
    loader: Option<Loader>,
    /// The sources of rows.
    origins: Vec<Origin>,
    validation: Option<Images>,
    test: Images,
    network: Network,
    optimizer: Optimizer,
    state: State,
    /// Learning rate of the last step.
    rate: f64,
    best: Option<Vec<LevelWeights>>,
    /// The most bytes that steps needed for levels from the first to before the second.
    bytes: BTreeMap<(usize, usize), MostBytes>,
    /// Since when the seconds of `state` are not counted yet.
    clock: Instant,
}

impl<'a> Trainer<'a> {
    fn new(run: &'a mut Run, data: Dataset) -> Result<Self, TrainError> {
        let recipe = run.recipe().clone();
        let Preparation::Image(setting) = &recipe.preparation;
        let preparer = Preparer::new(setting);
        let data = data.prepared(&recipe.data, &preparer)?;
        let (validation, test, origins) = (data.validation, data.test, data.origins);
        if recipe.train.early_stopping.is_some() && validation.is_none() {
            let text = "`train.early_stopping` needs validation rows, and the data has none: set \
                         `data.validation = { fraction = 0.1 }`";
            return Err(TrainError::Data(text.to_owned()));
        }
        for task in &recipe.tasks {
            let parts = [
                ("training", Some(&data.train)),
                ("validation", validation.as_ref()),
                ("test", Some(&test)),
            ];
            for (part, images) in parts {
                if let Some(images) = images {
                    targets::check(task, part, &classes_of(task, images, &origins))?;
                }
            }
        }
        let preparer = Arc::new(preparer);
        let train = Arc::new(TrainingRows::new(
            Arc::new(data.train),
            Arc::clone(&preparer),
            &recipe.data.augmentation,
            recipe.seed,
        ));
        // What is no more than a table to look up is quicker by all cores at once, when it is wanted.
        let loader = (!recipe.data.augmentation.is_empty())
            .then(|| Loader::new(Arc::clone(&train), recipe.train.batch, LOADER_THREADS));
        let curriculum = Curriculum::of(&recipe);
        let mut network = Network::new(
            &recipe.input_shape(),
            &curriculum.levels,
            recipe.seed,
            recipe.train.precision,
        );
        network.add_sides(curriculum.sides.clone(), recipe.seed);
        let optimizer = Optimizer::new(recipe.train.optimizer.clone(), recipe.train.clip.clone())
            .with_rates(recipe.train.rates)
            .with_lookahead(recipe.train.lookahead);
        let state = State {
            recipe: run.recipe_digest(),
            precision: network.precision(),
            data: data.digests,
            given: None,
            step: 0,
            optimizer_steps: Vec::new(),
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
            curriculum,
            phase: None,
            cache: None,
            preparer,
            train,
            loader,
            origins,
            validation,
            test,
            network,
            optimizer,
            state,
            rate: 0.0,
            best: None,
            bytes: BTreeMap::new(),
            clock,
        })
    }

    fn learn(
        mut self,
        stop: &dyn Fn() -> bool,
        observe: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Outcome, TrainError> {
        let rows = self.train.images().len();
        let batch = self.recipe.train.batch;
        let per_epoch = rows.div_ceil(batch) as u64;
        let steps = per_epoch * self.curriculum.epochs();
        let mut last_checkpoint = Instant::now();
        let mut reason = StopReason::Epochs;
        self.clock = Instant::now();
        while self.state.step < steps {
            if self.out_of_patience() {
                reason = StopReason::EarlyStopping;
                break;
            }
            let epoch = self.state.step / per_epoch;
            self.enter(epoch)?;
            let order = permutation(rows, self.recipe.seed, epoch);
            let done = (self.state.step % per_epoch) as usize;
            if let (Some(loader), None) = (&mut self.loader, &self.cache) {
                loader.start(epoch, order.clone(), done);
            }
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
                self.step(indices, epoch, per_epoch)?;
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
                    level: &self.curriculum.levels[self.top()].name,
                    loss: partial.loss(),
                    accuracy: partial.accuracy(),
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

    fn end_epoch(&mut self, epoch: u64) -> Result<Option<Metrics>, TrainError> {
        let weights = self.finite_weights()?;
        let validation = match &self.validation {
            Some(held) => {
                let top = self.top();
                let plan = self.plan(&self.curriculum.levels[..=top], &weights);
                Some(self.validate(&plan, held, self.task_of(top))?)
            }
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
            level: Some(self.curriculum.levels[self.top()].name.clone()),
            loss: partial.loss(),
            accuracy: partial.accuracy(),
            validation: validation.clone().map(Metrics::without_confusion),
            seconds: partial.seconds,
        })?;
        Ok(validation)
    }

    fn out_of_patience(&self) -> bool {
        let stopping = self.recipe.train.early_stopping.as_ref();
        stopping.is_some_and(|stopping| self.state.waited >= stopping.patience as u64)
    }

    fn count_seconds(&mut self) {
        let seconds = self.clock.elapsed().as_secs_f64();
        self.clock = Instant::now();
        self.state.seconds += seconds;
        self.state.partial.seconds += seconds;
    }

    /// The level whose answers are measured.
    fn top(&self) -> usize {
        self.curriculum.phases[self.phase.unwrap_or_default()].top()
    }

    /// The task of a level that has a head while it learns.
    fn task_of(&self, level: usize) -> &Task {
        let head = self.curriculum.levels[level].head.as_ref();
        let head = head.expect("a level with an objective has a head");
        let task = self.recipe.tasks.iter().find(|task| task.name == head.task);
        task.expect("a checked recipe: the head's task exists")
    }

    /// What answers by the head of the last of `levels`, which are the lowest of the network.
    fn plan(&self, levels: &[Level], weights: &[LevelWeights]) -> Plan {
        Plan::compile(
            &self.recipe.input_shape(),
            levels,
            &weights[..levels.len()],
            self.state.precision,
        )
    }

    /// Metrics of the rows that have a class in `task`.
    fn evaluate(&self, plan: &Plan, images: &Images, task: &Task) -> Metrics {
        evaluate(plan, &self.preparer, images, task, &self.origins)
    }

    /// Metrics on the validation rows.
    fn validate(&self, plan: &Plan, held: &Images, task: &Task) -> Result<Metrics, TrainError> {
        let metrics = self.evaluate(plan, held, task);
        if !metrics.loss.is_finite() {
            return Err(self.diverged(format!("the validation loss was {}", metrics.loss)));
        }
        Ok(metrics)
    }

    /// The network's weights. A step can spoil them with a loss, computed before it, that was fine.
    fn finite_weights(&self) -> Result<Vec<LevelWeights>, TrainError> {
        let weights = self.network.weights();
        let sides = self.network.side_weights();
        if weights.iter().chain(&sides).all(LevelWeights::is_finite) {
            return Ok(weights);
        }
        Err(self.diverged("weights are no longer finite numbers".to_owned()))
    }

    fn diverged(&self, what: String) -> TrainError {
        let per_epoch = self.train.images().len().div_ceil(self.recipe.train.batch) as u64;
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
