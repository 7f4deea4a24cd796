//! What a task asks of rows.

use strata_data::{Images, Origin};
use strata_spec::{Manifest, Task};

use crate::TrainError;

/// The source whose labels a task predicts, a place in `origins`: the one that it names, or else the first.
pub fn origin_of(task: &Task, origins: &[Origin]) -> usize {
    let named = |data: &String| origins.iter().position(|origin| origin.name == *data);
    task.data.as_ref().and_then(named).unwrap_or(0)
}

/// The class of each row in a task of a packaged model; `origins` are the sources of the rows, whose names say whether they
/// have classes of the task (see [`Manifest::has_labels_of`]).
pub(crate) fn held_classes(
    task: &Task,
    images: &Images,
    origins: &[Origin],
    manifest: &Manifest,
) -> Vec<Option<u32>> {
    let has_labels: Vec<bool> = origins
        .iter()
        .map(|origin| manifest.has_labels_of(task, &origin.name))
        .collect();
    let class = |row: usize| {
        let origin = images.origin(row);
        has_labels[origin].then(|| task.classification.target(images.labels[row]))?
    };
    (0..images.len()).map(class).collect()
}

/// The class of a row in a task that predicts the labels of `origin`; nothing where it has none.
pub(crate) fn class_of(task: &Task, images: &Images, row: usize, origin: usize) -> Option<u32> {
    let is_its_own = images.origin(row) == origin;
    is_its_own.then(|| task.classification.target(images.labels[row]))?
}

/// The class of each row in a task.
pub(crate) fn classes_of(task: &Task, images: &Images, origins: &[Origin]) -> Vec<Option<u32>> {
    let origin = origin_of(task, origins);
    (0..images.len())
        .map(|row| class_of(task, images, row, origin))
        .collect()
}

/// A task must have rows, and no more classes than it says.
pub(crate) fn check(task: &Task, part: &str, classes: &[Option<u32>]) -> Result<(), TrainError> {
    let most = task.classification.classes;
    match classes.iter().flatten().max() {
        None => Err(TrainError::Data(format!(
            "no {part} row has a class of task `{}`",
            task.name
        ))),
        Some(class) if *class as usize >= most => Err(TrainError::Data(format!(
            "task `{}` has {most} classes, but a {part} row is of class {class}, counted from 0",
            task.name
        ))),
        Some(_) => Ok(()),
    }
}

/// The rows that have a class in a task, with these classes as their labels.
pub fn rows_of_task(images: &Images, task: &Task, origins: &[Origin]) -> Images {
    rows_with(images, classes_of(task, images, origins))
}

/// The same for a task of a packaged model, which says of which sources' rows the labels are classes of the task; see
/// [`Manifest::has_labels_of`].
pub fn held_rows_of_task(
    images: &Images,
    task: &Task,
    origins: &[Origin],
    manifest: &Manifest,
) -> Images {
    rows_with(images, held_classes(task, images, origins, manifest))
}

fn rows_with(images: &Images, classes: Vec<Option<u32>>) -> Images {
    let rows: Vec<u32> = (0..images.len() as u32)
        .filter(|row| classes[*row as usize].is_some())
        .collect();
    let mut found = images.select(&rows);
    found.labels = classes.into_iter().flatten().collect();
    found
}

/// How much of each class a task's head should answer for some rows, `[rows, classes]`: all of a row's class, or none of any
/// where it has no class; `smoothing` of it is spread over all classes.
pub(crate) fn shares(classes: usize, targets: &[Option<u32>], smoothing: f64) -> Vec<f32> {
    let mut shares = vec![0.0; targets.len() * classes];
    for (row, target) in shares.chunks_exact_mut(classes).zip(targets) {
        if let Some(target) = target {
            row.fill((smoothing / classes as f64) as f32);
            row[*target as usize] += (1.0 - smoothing) as f32;
        }
    }
    shares
}

/// Mixes the shares of classes of other rows in: of each row `own` of its own. Where one of the two has no class, the other's
/// counts alone.
pub(crate) fn mix(shares: &mut [f32], others: &[f32], own: &[f32]) {
    let classes = shares.len() / own.len().max(1);
    let rows = shares.chunks_exact_mut(classes.max(1));
    for ((row, other), own) in rows.zip(others.chunks_exact(classes.max(1))).zip(own) {
        let is_empty = |row: &[f32]| row.iter().all(|share| *share == 0.0);
        let own = match (is_empty(row), is_empty(other)) {
            (false, false) => *own,
            (false, true) => 1.0,
            (true, _) => 0.0,
        };
        for (share, other) in row.iter_mut().zip(other) {
            *share = own * *share + (1.0 - own) * other;
        }
    }
}

/// How many rows have a class, and of how many it has the highest logit.
pub(crate) fn count_right(logits: &[f32], targets: &[Option<u32>]) -> (u64, u64) {
    let classes = logits.len() / targets.len().max(1);
    let mut counts = (0, 0);
    for (row, target) in logits.chunks_exact(classes.max(1)).zip(targets) {
        if let Some(target) = target {
            counts.0 += 1;
            counts.1 += u64::from(strata_nn::highest(row) == *target as usize);
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_smoothed_mixed_and_left_out() {
        let mut own = shares(4, &[Some(1), None, Some(0)], 0.2);
        assert_eq!(own[..8], [0.05, 0.85, 0.05, 0.05, 0.0, 0.0, 0.0, 0.0]);
        let others = shares(4, &[Some(2), Some(3), None], 0.0);
        mix(&mut own, &others, &[0.75, 0.75, 0.75]);
        let near = |found: &[f32], expected: [f32; 4]| {
            let off = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
            assert!(off.fold(0.0, f32::max) < 1e-6, "{found:?} {expected:?}");
        };
        near(&own[..4], [0.0375, 0.6375, 0.2875, 0.0375]);
        near(&own[4..8], [0.0, 0.0, 0.0, 1.0]);
        near(&own[8..], [0.85, 0.05, 0.05, 0.05]);
        assert_eq!(
            count_right(&[0.0, 1.0, 1.0, 0.0, 9.0, 0.0], &[Some(1), Some(1), None]),
            (2, 1)
        );
    }
}
