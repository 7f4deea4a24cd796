use serde::{Deserialize, Serialize};
use strata_data::{Images, Origin, Preparer};
use strata_nn::{Plan, Scratch};
use strata_spec::{Name, Task};

use crate::{Metrics, targets::classes_of};

/// Rows that are prepared at a time.
const BATCH: usize = 512;

/// How well a head below the top does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeadMetrics {
    /// Its level.
    pub level: Name,
    /// What it predicts.
    pub task: Name,
    /// On the test rows.
    pub test: Metrics,
    /// On the validation rows, if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<Metrics>,
}

/// Metrics of a compiled network on the images that have a class in `task`, which `preparer` fitted; `origins` are
/// the sources of the data set that they are from.
///
/// This runs the plan that a server runs, so the figures are those of the service.
///
/// # Panics
/// No row has a class in the task, or plan and preparer do not fit.
pub fn evaluate(
    plan: &Plan,
    preparer: &Preparer,
    fitted: &Images,
    task: &Task,
    origins: &[Origin],
) -> Metrics {
    let logits = predict(plan, preparer, fitted);
    measure(&logits, &classes_of(task, fitted, origins))
}

/// Metrics of the logits of the rows that have a class.
pub(crate) fn measure(logits: &[f32], classes: &[Option<u32>]) -> Metrics {
    let width = logits.len() / classes.len();
    let mut kept = Vec::with_capacity(logits.len());
    for (row, _) in logits
        .chunks_exact(width)
        .zip(classes)
        .filter(|(_, class)| class.is_some())
    {
        kept.extend(row);
    }
    let targets: Vec<u32> = classes.iter().copied().flatten().collect();
    Metrics::of(&kept, &targets, width)
}

/// Logits of every row.
pub(crate) fn predict(plan: &Plan, preparer: &Preparer, fitted: &Images) -> Vec<f32> {
    let mut logits = Vec::with_capacity(fitted.len() * plan.output_len());
    in_blocks(plan, preparer, fitted, |block| {
        logits.extend_from_slice(block);
    });
    logits
}

/// Gives what the plan gives for all rows, some rows at a time.
pub(crate) fn in_blocks(
    plan: &Plan,
    preparer: &Preparer,
    fitted: &Images,
    mut take: impl FnMut(&[f32]),
) {
    let mut rows = vec![0.0; BATCH * plan.input_len()];
    let mut outputs = vec![0.0; BATCH * plan.output_len()];
    let mut scratch = Scratch::default();
    let indices: Vec<u32> = (0..fitted.len() as u32).collect();
    for indices in indices.chunks(BATCH) {
        let rows = &mut rows[..indices.len() * plan.input_len()];
        let outputs = &mut outputs[..indices.len() * plan.output_len()];
        preparer.rows(fitted, indices, rows);
        plan.run(rows, outputs, &mut scratch);
        take(outputs);
    }
}
