use strata_data::{Images, Preparer};
use strata_nn::{Plan, Scratch};

use crate::Metrics;

/// Rows that are prepared at a time.
const BATCH: usize = 512;

/// Metrics of a compiled network on images that `preparer` fitted.
///
/// This runs the plan that a server runs, so the figures are those of the service.
///
/// # Panics
/// There are no rows, or plan and preparer do not fit.
pub fn evaluate(plan: &Plan, preparer: &Preparer, fitted: &Images) -> Metrics {
    let logits = predict(plan, preparer, fitted);
    Metrics::of(&logits, &fitted.labels, plan.output_len())
}

/// Logits of every row.
pub(crate) fn predict(plan: &Plan, preparer: &Preparer, fitted: &Images) -> Vec<f32> {
    let mut logits = vec![0.0; fitted.len() * plan.output_len()];
    let mut rows = vec![0.0; BATCH * plan.input_len()];
    let mut scratch = Scratch::default();
    let indices: Vec<u32> = (0..fitted.len() as u32).collect();
    for (indices, logits) in indices
        .chunks(BATCH)
        .zip(logits.chunks_mut(BATCH * plan.output_len()))
    {
        let rows = &mut rows[..indices.len() * plan.input_len()];
        preparer.rows(fitted, indices, rows);
        plan.run(rows, logits, &mut scratch);
    }
    logits
}
