//! One level of a network learns anew; the others stay as they are.

use std::sync::Arc;

use strata_data::{Dataset, Loader, Preparer, TrainingRows, permutation};
use strata_nn::{Learns, Lesson, LevelWeights, Network, Objective, Optimizer, Role};
use strata_spec::{Augmentation, Boundary, DataSpec, Manifest, Name, Preparation, Task, Train};

use crate::{
    TrainError, rate_factor,
    targets::{check, held_classes, shares},
};

/// What a level learns from.
#[derive(Debug)]
pub struct Retraining<'a> {
    /// The model.
    pub manifest: &'a Manifest,
    /// The weights of each of its levels.
    pub weights: &'a [LevelWeights],
    /// Which of them learns.
    pub level: usize,
    /// How: epochs, batch, optimizer, schedule, clipping, label smoothing. The strategy has no say.
    pub train: &'a Train,
    /// What happens to the rows by chance; not mixed.
    pub augmentation: &'a [Augmentation],
    /// Seed of all that is random.
    pub seed: u64,
}

/// The new weights of the level. It learns for its own head where it has one; else for the lowest head above it, through
/// levels that stay as they are, in evaluation mode. `observe` gets each epoch, from 1, and the mean loss of its rows.
///
/// # Errors
/// The rows do not fit, none has a class of the head's task, or the training diverges.
///
/// # Panics
/// The manifest was not checked, or the weights are of others.
pub fn retrain(
    job: &Retraining<'_>,
    data: Dataset,
    observe: &mut dyn FnMut(usize, f64),
) -> Result<LevelWeights, TrainError> {
    let manifest = job.manifest;
    let Preparation::Image(setting) = &manifest.preparation;
    let preparer = Preparer::new(setting);
    let spec = DataSpec {
        augmentation: job.augmentation.to_vec(),
        ..DataSpec::of("")
    };
    let data = data.prepared(&spec, &preparer)?;
    let (top, task) = lesson_of(job);
    let count = task.classification.classes;
    let classes = held_classes(task, &data.train, &data.origins, manifest);
    check(task, "training", &classes)?;

    let levels = &manifest.architecture()[..=top];
    let input = manifest.preparation.output_shape();
    let weights = &job.weights[..=top];
    let mut network = Network::with_weights(&input, levels, weights, manifest.precision);
    network.assign(roles(job.level, top));
    let mut optimizer = Optimizer::new(job.train.optimizer.clone(), job.train.clip.clone())
        .with_rates(job.train.rates)
        .with_lookahead(job.train.lookahead);
    let rows = Arc::new(TrainingRows::new(
        Arc::new(data.train),
        Arc::new(preparer),
        job.augmentation,
        job.seed,
    ));
    let mut loader = Loader::new(Arc::clone(&rows), job.train.batch, 1);
    let per_epoch = classes.len().div_ceil(job.train.batch) as u64;
    let total = per_epoch * job.train.epochs as u64;
    let mut step = 0;
    for epoch in 0..job.train.epochs as u64 {
        let (mut loss, mut seen) = (0.0, 0_usize);
        loader.start(epoch, permutation(classes.len(), job.seed, epoch), 0);
        while let Some(batch) = loader.next_batch() {
            let of_rows: Vec<Option<u32>> = batch
                .indices
                .iter()
                .map(|row| classes[*row as usize])
                .collect();
            let targets = shares(count, &of_rows, job.train.label_smoothing);
            let train = job.train;
            let factor = rate_factor(&train.schedule, train.warm_up, step, total, per_epoch);
            let rate = factor * train.optimizer.learning_rate();
            network.seed_step(job.seed, step);
            let lesson = Lesson {
                progress: (step + 1) as f64 / total as f64,
                ..Lesson::new(batch.rows, &targets, levels.len(), rate)
            };
            let found = network.learn(lesson, &mut optimizer).highest().loss;
            step += 1;
            if !found.is_finite() {
                let level = levels[job.level].name.as_str();
                return Err(TrainError::Data(format!(
                    "level `{level}` diverged in epoch {}: its loss was {found}; lower the learning rate",
                    epoch + 1
                )));
            }
            loss += f64::from(found) * of_rows.len() as f64;
            seen += of_rows.len();
        }
        observe(epoch as usize + 1, loss / seen.max(1) as f64);
    }
    Ok(network.weights().swap_remove(job.level))
}

/// The level whose head says what is learned, and its task.
fn lesson_of<'a>(job: &Retraining<'a>) -> (usize, &'a Task) {
    let heads = job.manifest.levels.iter().enumerate().skip(job.level);
    let mut heads =
        heads.filter_map(|(index, level)| Some((index, &level.architecture.head.as_ref()?.task)));
    let (index, name): (usize, &Name) = heads
        .next()
        .expect("checked levels: the last one has a head");
    let task = job.manifest.tasks.iter().find(|task| task.name == *name);
    (index, task.expect("checked levels: the head's task exists"))
}

fn roles(level: usize, top: usize) -> Vec<Role> {
    let role = |index| Role {
        learns: if index == level {
            Learns::All
        } else {
            Learns::Nothing
        },
        below: if index <= level {
            Boundary::Stop
        } else {
            Boundary::Pass
        },
        objective: (index == top).then_some(Objective::CROSS_ENTROPY),
        rate: 1.0,
    };
    (0..=top).map(role).collect()
}
