use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use strata_data::{
    Dataset, Images, Loader, Mixed, Origin, Preparer, TrainingRows, file_digest, permutation,
};
use strata_nn::{
    Lesson, LevelWeights, Network, Optimizer, Plan, StepResult,
    foreign::{Target, read_weights},
};
use strata_spec::{
    Augmentation, DataDigest, FeatureCache as Where, Level, MonitoredMetric, Name,
    Optimizer as Rule, Precision, Preparation, Recipe, Strategy, Task, level_shapes,
};

use crate::{
    EventKind, HeadMetrics, LevelMemory, Metrics, Run, StopReason, TrainError,
    cache::{FeatureCache, Place},
    checkpoint::{Checkpoint, Exact, Partial, State},
    curriculum::Curriculum,
    evaluate::{evaluate, measure, predict},
    rate_factor, report,
    targets::{self, class_of, classes_of, count_right, origin_of, shares},
};

/// A checkpoint is written at the end of an epoch if the last one is at least this old, ...
const BETWEEN_EPOCH_CHECKPOINTS: Duration = Duration::from_secs(5);
/// ... and within an epoch if it is at least this old.
const BETWEEN_CHECKPOINTS: Duration = Duration::from_secs(60);

/// What frozen levels make of the rows, in a run's folder.
const FEATURES: &str = "features.tmp";
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
    let is_top_only = matches!(recipe.train.strategy, Strategy::EndToEnd | Strategy::Staged);
    if let Some(level) = below_top
        .iter()
        .find(|level| level.head.is_some() && is_top_only)
    {
        let value = format!(
            "a head on level {}, which `{}` does not learn",
            level.name,
            recipe.train.strategy.word()
        );
        return not("levels", value, "deep-supervision`, `local` or `greedy");
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

/// What a task asks of the rows of a step.
struct Targets {
    /// Each row's own class.
    classes: Vec<Option<u32>>,
    /// How much of each class its head should answer, `[rows, classes]`.
    shares: Vec<f32>,
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
    bytes: BTreeMap<(usize, usize), usize>,
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
        let optimizer = Optimizer::new(recipe.train.optimizer.clone(), recipe.train.clip.clone());
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

    fn start(&mut self, source: String) -> Result<(), TrainError> {
        // Events of an attempt that was killed before its first checkpoint.
        self.run.cut_events(0)?;
        let fresh_heads = self.take_given_weights()?;
        self.run.log(EventKind::Started {
            train_rows: self.train.images().len(),
            validation_rows: self.validation.as_ref().map_or(0, Images::len),
            test_rows: self.test.len(),
            data: source,
            precision: self.state.precision,
            threads: strata_nn::threads(),
            parameters: self.network.parameters(),
            given: self.state.given.clone(),
            fresh_heads,
        })
    }

    /// Begins with the weights that the recipe names, if it does; gives the levels whose heads are not among them.
    fn take_given_weights(&mut self) -> Result<Vec<Name>, TrainError> {
        let Some(path) = &self.recipe.train.weights else {
            return Ok(Vec::new());
        };
        let path = self.run.base().join(path);
        let input = self.recipe.input_shape();
        let target = Target {
            input: &input,
            levels: &self.curriculum.levels,
            network: self.recipe.network.as_ref(),
        };
        let given = read_weights(&path, target, Some(self.recipe.seed))?;
        self.state.given = Some(file_digest(&path).map_err(TrainError::io(&path))?);
        self.network = Network::with_weights(
            &input,
            &self.curriculum.levels,
            &given.levels,
            self.state.precision,
        );
        self.network
            .add_sides(self.curriculum.sides.clone(), self.recipe.seed);
        Ok(given.fresh_heads)
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
            &self.curriculum.levels,
            &checkpoint.weights,
            state.precision,
        );
        self.network
            .add_sides(self.curriculum.sides.clone(), self.recipe.seed);
        self.network.set_side_weights(&checkpoint.sides);
        self.optimizer
            .restore(
                &self.network,
                state.optimizer_steps.clone(),
                checkpoint.optimizer,
            )
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

    /// Gives each level its role in an epoch, counted from 0, and keeps what the frozen ones make of the rows.
    fn enter(&mut self, epoch: u64) -> Result<(), TrainError> {
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

    /// The level whose answers are measured.
    fn top(&self) -> usize {
        self.curriculum.phases[self.phase.unwrap_or_default()].top()
    }

    /// One step on the given rows.
    fn step(&mut self, indices: &[u32], epoch: u64, per_epoch: u64) -> Result<(), TrainError> {
        let train = &self.recipe.train;
        let phase = &self.curriculum.phases[self.phase.expect("a phase was entered")];
        let (begin, epochs) = phase.schedule;
        let factor = rate_factor(
            &train.schedule,
            train.warm_up,
            self.state.step - begin * per_epoch,
            epochs * per_epoch,
            per_epoch,
        );
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
            let head = self.curriculum.levels[level].head.as_ref();
            let head = head.expect("a level with an objective has a head");
            let mut tasks = self.recipe.tasks.iter();
            let index = tasks.position(|task| task.name == head.task);
            index.expect("a checked recipe: the head's task exists")
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
            *most = (*most).max(*bytes);
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
    fn rows(&self, epoch: u64, indices: &[u32]) -> Vec<f32> {
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

    fn finish(mut self, reason: StopReason) -> Result<Outcome, TrainError> {
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
        let measured = self.bytes.iter().filter(|(_, bytes)| **bytes > 0);
        let memory: Vec<LevelMemory> = measured
            .map(|((start, end), bytes)| LevelMemory {
                levels: self.recipe.levels[*start..*end]
                    .iter()
                    .map(|level| level.name.clone())
                    .collect(),
                bytes: *bytes,
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
            sides: self.network.side_weights(),
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

    /// What answers by the head of the last of `levels`, which are the lowest of the network.
    fn plan(&self, levels: &[Level], weights: &[LevelWeights]) -> Plan {
        Plan::compile(
            &self.recipe.input_shape(),
            levels,
            &weights[..levels.len()],
            self.state.precision,
        )
    }

    /// The task of a level that has a head while it learns.
    fn task_of(&self, level: usize) -> &Task {
        let head = self.curriculum.levels[level].head.as_ref();
        let head = head.expect("a level with an objective has a head");
        let task = self.recipe.tasks.iter().find(|task| task.name == head.task);
        task.expect("a checked recipe: the head's task exists")
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

    /// The newest checkpoint of the run, if there is any.
    fn newest_checkpoint(&self) -> Result<Option<Checkpoint>, TrainError> {
        let levels = &self.curriculum.levels;
        let shapes = level_shapes(&self.recipe.input_shape(), levels).expect("a checked recipe");
        let levels: Vec<_> = levels.iter().cloned().zip(shapes).collect();
        let folder = self.run.checkpoint_folder();
        Checkpoint::newest(&folder, &levels, self.network.sides())
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
