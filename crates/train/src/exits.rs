//! What the exits of a network say of data, and how long that takes.

use std::time::Instant;

use strata_data::{Images, Preparer};
use strata_nn::{Answers, Plan, Scratch, Way, confidence};
use strata_spec::{Level, level_shapes};

use crate::{Metrics, calibration::ExitRows, metrics::right};

/// Rows that are asked at a time, as many as the exits' figures are about.
const BATCH: usize = 32;

/// What rows were answered on some way.
#[derive(Clone, Debug)]
pub struct WayResult {
    /// Logits of the final task, `[rows, classes]`.
    pub logits: Vec<f32>,
    /// For each row, which of the plan's exits answered.
    pub exits: Vec<usize>,
    /// Seconds that the network took for all of them, in batches of 32.
    pub seconds: f64,
}

/// How one exit did.
#[derive(Clone, Debug, PartialEq)]
pub struct ExitResult {
    /// Share of the rows that left there.
    pub share: f64,
    /// Share of these that were answered rightly; none if no row left.
    pub accuracy: Option<f64>,
    /// Share of all rows that it answers rightly if all leave there.
    pub accuracy_alone: f64,
    /// Mean seconds of a row if all leave there, in batches of 32.
    pub seconds_alone: f64,
}

/// Asks the network on a way that is for the final task.
///
/// # Panics
/// Plan and preparer do not fit, or the way is not for the final task.
pub fn follow(plan: &Plan, way: &Way, preparer: &Preparer, fitted: &Images) -> WayResult {
    let (mut answers, mut scratch) = (Answers::default(), Scratch::default());
    let mut result = WayResult {
        logits: Vec::with_capacity(fitted.len() * plan.output_len()),
        exits: Vec::with_capacity(fitted.len()),
        seconds: 0.0,
    };
    in_batches(plan, preparer, fitted, |rows| {
        let start = Instant::now();
        let count = rows.len() / plan.input_len();
        plan.run_ways(rows, &[(count, way)], &mut answers, &mut scratch);
        result.seconds += start.elapsed().as_secs_f64();
        result.logits.extend_from_slice(&answers.logits);
        let exits = answers.exits.iter();
        result
            .exits
            .extend(exits.map(|exit| exit.expect("a way for the final task")));
    });
    result
}

/// How each exit did in `result`, lowest first, and what it would do alone.
///
/// # Panics
/// As [`follow`].
pub fn exit_results(
    plan: &Plan,
    result: &WayResult,
    preparer: &Preparer,
    fitted: &Images,
) -> Vec<ExitResult> {
    let classes = plan.output_len();
    let rows = fitted.len() as f64;
    let is_right: Vec<bool> = right(&result.logits, &fitted.labels, classes);
    let exit = |exit| {
        let alone = follow(plan, &Way::to_exit(plan, exit), preparer, fitted);
        let left: Vec<bool> = is_right
            .iter()
            .zip(&result.exits)
            .filter(|(_, own)| **own == exit)
            .map(|(is_right, _)| *is_right)
            .collect();
        let answered = left.iter().filter(|is_right| **is_right).count() as f64;
        ExitResult {
            share: left.len() as f64 / rows,
            accuracy: (!left.is_empty()).then(|| answered / left.len() as f64),
            accuracy_alone: Metrics::of(&alone.logits, &fitted.labels, classes).accuracy,
            seconds_alone: alone.seconds / rows,
        }
    };
    (0..plan.exits().len()).map(exit).collect()
}

/// What every exit says of every row, for [`calibrate`](crate::calibrate). `levels` are those of the plan, which take rows of
/// shape `input`.
///
/// # Panics
/// Plan and preparer do not fit, or `levels` are not the plan's.
pub fn exit_rows(
    plan: &Plan,
    levels: &[Level],
    input: &[usize],
    preparer: &Preparer,
    fitted: &Images,
) -> ExitRows {
    let (exits, classes) = (plan.exits(), plan.output_len());
    let way = exits.iter().copied().fold(Way::nowhere(plan), Way::and);
    let mut rows = ExitRows {
        confidences: vec![Vec::new(); exits.len() - 1],
        right: vec![Vec::new(); exits.len()],
        work: work(plan, levels, input),
    };
    let (mut answers, mut scratch) = (Answers::default(), Scratch::default());
    let mut first = 0;
    in_batches(plan, preparer, fitted, |batch| {
        let count = batch.len() / plan.input_len();
        plan.run_ways(batch, &[(count, &way)], &mut answers, &mut scratch);
        let labels = &fitted.labels[first..first + count];
        first += count;
        for (index, head) in exits.iter().enumerate() {
            let logits = &answers.heads[*head];
            rows.right[index].extend(right(logits, labels, classes));
            if let Some(confidences) = rows.confidences.get_mut(index) {
                confidences.extend(logits.chunks_exact(classes).map(confidence));
            }
        }
    });
    rows
}

/// What a row takes that leaves at each exit, with the exits that it passes, as shares of what it takes to the top.
fn work(plan: &Plan, levels: &[Level], input: &[usize]) -> Vec<f64> {
    let shapes = level_shapes(input, levels).expect("checked levels");
    let each: Vec<(f64, f64)> = levels
        .iter()
        .zip(&shapes)
        .map(|(level, shapes)| level.work(shapes))
        .collect();
    let levels_of_exits: Vec<usize> = plan
        .exits()
        .iter()
        .map(|head| plan.heads()[*head].level)
        .collect();
    let to = |level: &usize| {
        let bodies: f64 = each[..=*level].iter().map(|(body, _)| body).sum();
        let passed = levels_of_exits.iter().filter(|own| *own <= level);
        bodies + passed.map(|own| each[*own].1).sum::<f64>()
    };
    let top = to(levels_of_exits.last().expect("a top level")).max(f64::MIN_POSITIVE);
    levels_of_exits
        .iter()
        .map(|level| to(level) / top)
        .collect()
}

fn in_batches(plan: &Plan, preparer: &Preparer, fitted: &Images, mut ask: impl FnMut(&[f32])) {
    let indices: Vec<u32> = (0..fitted.len() as u32).collect();
    let mut rows = vec![0.0; BATCH * plan.input_len()];
    for indices in indices.chunks(BATCH) {
        let rows = &mut rows[..indices.len() * plan.input_len()];
        preparer.rows(fitted, indices, rows);
        ask(rows);
    }
}
