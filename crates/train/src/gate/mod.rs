//! What is measured before a level takes another's place, and whether it may.
//!
//! Both networks answer the same held rows. Four figures are compared with what is allowed of each ([`Allowed`]): whether the
//! numbers that leave the level stay in the range that the levels above are used to, accuracy, rows that turn from right to
//! wrong (Yan et al. 2021, "Positive-Congruent Training"), and calibration (Guo et al. 2017). A change may keep the accuracy
//! and yet spoil each of the others.

mod range;

use strata_data::{Images, Preparer};
use strata_nn::{LevelWeights, Plan};
use strata_spec::{
    GateCheck, GateFigure, Head, Layer, Level, Name, Precision, Preparation, level_shapes,
};

use crate::{
    Metrics,
    evaluate::{in_blocks, predict},
    metrics::right,
};
pub use range::{Range, Ranges};

/// The most that each figure of the gate may be.
#[derive(Clone, Debug, PartialEq)]
pub struct Allowed {
    /// [`GateFigure::OutsideRange`]. Default: 0.01.
    pub outside_range: f64,
    /// [`GateFigure::AccuracyLoss`]. Default: 0.
    pub accuracy_loss: f64,
    /// [`GateFigure::NegativeFlips`]. Default: 0.01.
    pub negative_flips: f64,
    /// [`GateFigure::CalibrationLoss`]. Default: 0.01.
    pub calibration_loss: f64,
}

impl Default for Allowed {
    fn default() -> Self {
        Self {
            outside_range: 0.01,
            accuracy_loss: 0.0,
            negative_flips: 0.01,
            calibration_loss: 0.01,
        }
    }
}

/// Two networks that differ in one level.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// What both take.
    pub preparation: &'a Preparation,
    /// What both compute in.
    pub precision: Precision,
    /// Levels and weights with the old level.
    pub old: (&'a [Level], &'a [LevelWeights]),
    /// The same with the new one.
    pub new: (&'a [Level], &'a [LevelWeights]),
    /// Which level it is.
    pub level: usize,
}

/// What the gate measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Compared {
    /// Each figure with what is allowed.
    pub checks: Vec<GateCheck>,
    /// Figures of the final task with the old level.
    pub old: Metrics,
    /// The same with the new one.
    pub new: Metrics,
    /// The numbers at the boundary above the level with the old one and with the new one; none for the top level.
    pub boundary: Option<[Range; 2]>,
}

/// Networks that cannot be compared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GateError {
    /// There is nothing to compare them on.
    #[error("there are no held rows to measure the change on")]
    NoRows,
    /// Something that was computed is not a finite number.
    #[error("with the {0} level, the held rows give numbers that are not finite")]
    NotFinite(&'static str),
}

/// Lets both networks answer the held rows, which the preparation's [`Preparer`] has fitted.
///
/// # Errors
/// There are no rows, or a network gives numbers that are not finite.
///
/// # Panics
/// The levels are not checked ones, the weights are not theirs, or a label is no class of the final task.
pub fn compare(
    change: &Change<'_>,
    fitted: &Images,
    allowed: &Allowed,
) -> Result<Compared, GateError> {
    if fitted.is_empty() {
        return Err(GateError::NoRows);
    }
    let Preparation::Image(setting) = change.preparation;
    let preparer = Preparer::new(setting);
    let boundary = boundary(change, &preparer, fitted)?;
    let plan = |(levels, weights)| {
        let input = change.preparation.output_shape();
        Plan::compile(&input, levels, weights, change.precision)
    };
    let (old, new) = (plan(change.old), plan(change.new));
    let classes = new.output_len();
    let answers = |plan: &Plan, which| {
        let logits = predict(plan, &preparer, fitted);
        let is_finite = logits.iter().all(|value| value.is_finite());
        is_finite
            .then_some(logits)
            .ok_or(GateError::NotFinite(which))
    };
    let (old, new) = (answers(&old, "old")?, answers(&new, "new")?);
    let outside = boundary.as_ref().map(|(_, outside)| *outside);
    let (checks, old, new) = judge(&old, &new, &fitted.labels, classes, outside, allowed);
    Ok(Compared {
        checks,
        old,
        new,
        boundary: boundary.map(|(ranges, _)| ranges),
    })
}

/// The checks of logits `[rows, classes]` with the old and with the new level, and the figures of both; `outside` is the share
/// of numbers outside of the old range.
///
/// # Panics
/// There are no rows, or the lengths do not fit.
pub fn judge(
    old: &[f32],
    new: &[f32],
    targets: &[u32],
    classes: usize,
    outside: Option<f64>,
    allowed: &Allowed,
) -> (Vec<GateCheck>, Metrics, Metrics) {
    let metrics = [old, new].map(|logits| Metrics::of(logits, targets, classes));
    let [old_metrics, new_metrics] = metrics;
    let [was_right, now_right] = [old, new].map(|logits| right(logits, targets, classes));
    let count = |rows: &[bool]| rows.iter().filter(|&&right| right).count() as f64;
    let both = was_right.iter().zip(&now_right);
    let flips = both.filter(|(was, now)| **was && !**now).count();
    let rows = targets.len() as f64;

    let compared = |figure, measured, allowed, old, new| GateCheck {
        figure,
        old: Some(old),
        new: Some(new),
        measured,
        allowed,
    };
    let alone = |figure, measured, allowed| GateCheck {
        figure,
        old: None,
        new: None,
        measured,
        allowed,
    };
    let mut checks = Vec::new();
    if let Some(outside) = outside {
        checks.push(alone(
            GateFigure::OutsideRange,
            outside,
            allowed.outside_range,
        ));
    }
    checks.extend([
        compared(
            GateFigure::AccuracyLoss,
            // Of counts, so that a loss of exactly what is allowed passes.
            (count(&was_right) - count(&now_right)) / rows,
            allowed.accuracy_loss,
            old_metrics.accuracy,
            new_metrics.accuracy,
        ),
        alone(
            GateFigure::NegativeFlips,
            flips as f64 / rows,
            allowed.negative_flips,
        ),
        compared(
            GateFigure::CalibrationLoss,
            new_metrics.calibration_error - old_metrics.calibration_error,
            allowed.calibration_loss,
            old_metrics.calibration_error,
            new_metrics.calibration_error,
        ),
    ]);
    (checks, old_metrics, new_metrics)
}

/// The ranges at the boundary above the level, and the share of new numbers outside of the old ones.
fn boundary(
    change: &Change<'_>,
    preparer: &Preparer,
    fitted: &Images,
) -> Result<Option<([Range; 2], f64)>, GateError> {
    let input = change.preparation.output_shape();
    let shapes = level_shapes(&input, change.new.0).expect("checked levels");
    let output = &shapes[change.level].output;
    if change.level + 1 == change.new.0.len() {
        return Ok(None);
    }
    let plan = |stack| up_to(&input, stack, change.level, change.precision);
    let channels = output[0];
    let mut old = Ranges::new(channels, output.iter().product());
    in_blocks(&plan(change.old), preparer, fitted, |values| {
        old.add(values);
    });
    let mut new = Ranges::new(channels, output.iter().product());
    let (mut outside, mut all) = (0, 0);
    in_blocks(&plan(change.new), preparer, fitted, |values| {
        new.add(values);
        outside += old.count_outside(values);
        all += values.len();
    });
    let ranges = [old.all(), new.all()];
    for (range, which) in ranges.iter().zip(["old", "new"]) {
        if !range.is_finite() {
            return Err(GateError::NotFinite(which));
        }
    }
    Ok(Some((ranges, outside as f64 / all as f64)))
}

/// A plan that gives what leaves the body of a level: the levels up to it, with a head that only flattens.
fn up_to(
    input: &[usize],
    (levels, weights): (&[Level], &[LevelWeights]),
    level: usize,
    precision: Precision,
) -> Plan {
    let mut below = levels[..=level].to_vec();
    let task: Name = "boundary".parse().expect("a name");
    below[level].head = Some(Head {
        task,
        layers: vec![Layer::Flatten],
        mirrored: false,
    });
    Plan::compile(input, &below, &weights[..=level], precision)
}

#[cfg(test)]
mod tests;
