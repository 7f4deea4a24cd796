use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use strata_data::{Places, Preparer, load, permutation};
use strata_nn::Plan;
use strata_spec::Preparation;
use strata_train::{CalibrationError, ExitRows, Run, calibrate, exit_rows, rows_of_task};

use crate::{Exits, SEED};

/// Calibrates the exits of a finished run on random halves of its validation rows, and looks at what each calibration loses on
/// the other half.
pub(crate) fn splits(exits: &Exits) -> Result<Value> {
    let rows = held_rows(&exits.run)?;
    let count = rows.right[0].len();
    let (mut lost, mut work, mut without) = (Vec::new(), Vec::new(), 0);
    for split in 0..exits.splits {
        let order = permutation(count, SEED, split as u64);
        let (calibrated, judged) = order.split_at(count / 2);
        let thresholds = match calibrate(&chosen(&rows, calibrated), exits.epsilon, exits.delta) {
            Ok(thresholds) => thresholds.confidences,
            // Then every row goes to the top.
            Err(CalibrationError::Unsafe { .. }) => {
                without += 1;
                vec![None; rows.confidences.len()]
            }
            Err(error) => return Err(error.into()),
        };
        let (loss, taken) = outcome(&rows, judged, &thresholds);
        lost.push(loss);
        work.push(taken);
    }
    let held = lost.iter().filter(|loss| **loss <= exits.epsilon).count();
    Ok(json!({
        "splits": exits.splits, "held": held, "without_thresholds": without, "lost": lost, "work": work,
        "rows": count / 2, "judged": count - count / 2,
    }))
}

/// What every exit says of the validation rows of a finished run.
fn held_rows(folder: &Path) -> Result<ExitRows> {
    let run = Run::open(folder)?;
    let trained = run.result()?.context("the run is not finished")?;
    let recipe = run.recipe();
    let Preparation::Image(image) = &recipe.preparation;
    let preparer = Preparer::new(image);
    let places = Places::from_env();
    let classes = recipe.data_classes();
    let mut data = load(
        &recipe.data,
        &preparer,
        run.base(),
        classes,
        &places,
        &mut |_| (),
    )?;
    if let Some(validation) = &recipe.data.validation {
        data = data.with_validation(validation)?;
    }
    let held = data.validation.context("the run has no validation rows")?;
    let fitted = rows_of_task(&preparer.fit(held)?, recipe.final_task(), &data.origins);
    let input = recipe.input_shape();
    let plan = Plan::compile(&input, &recipe.levels, &trained.weights, trained.precision);
    Ok(exit_rows(&plan, &recipe.levels, &input, &preparer, &fitted))
}

fn chosen(rows: &ExitRows, chosen: &[u32]) -> ExitRows {
    fn of<T: Copy>(values: &[Vec<T>], chosen: &[u32]) -> Vec<Vec<T>> {
        let pick = |values: &Vec<T>| chosen.iter().map(|row| values[*row as usize]).collect();
        values.iter().map(pick).collect()
    }
    ExitRows {
        confidences: of(&rows.confidences, chosen),
        right: of(&rows.right, chosen),
        work: rows.work.clone(),
    }
}

/// What of the top's accuracy is lost on `judged`, and what a row takes on average.
fn outcome(rows: &ExitRows, judged: &[u32], thresholds: &[Option<f32>]) -> (f64, f64) {
    let top = thresholds.len();
    let (mut right, mut right_at_top, mut work) = (0, 0, 0.0);
    for row in judged.iter().map(|row| *row as usize) {
        let leaves = |exit: &usize| {
            thresholds[*exit].is_some_and(|threshold| rows.confidences[*exit][row] >= threshold)
        };
        let exit = (0..top).find(leaves).unwrap_or(top);
        right += usize::from(rows.right[exit][row]);
        right_at_top += usize::from(rows.right[top][row]);
        work += rows.work[exit];
    }
    let count = judged.len() as f64;
    ((right_at_top as f64 - right as f64) / count, work / count)
}
