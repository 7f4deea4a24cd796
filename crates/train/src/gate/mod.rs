//! What is measured before a level takes another's place, and whether it may.
//!
//! Both networks answer the same held rows. Four figures are compared with what is allowed of each ([`Allowed`]): whether the
//! numbers that leave the level stay in the range that the levels above are used to, accuracy, rows that turn from right to
//! wrong (Yan et al. 2021, "Positive-Congruent Training"), and calibration (Guo et al. 2017). A change may keep the accuracy
//! and yet spoil each of the others; and it may keep one task and spoil another, so the last three are compared at every head
//! that the level can change: its own and those above it. A head whose task no held row has a class of cannot be compared,
//! and what is not known to be well is not let through.

mod range;

use strata_data::{Images, Preparer};
use strata_nn::{LevelWeights, Plan};
use strata_spec::{
    GateCheck, GateFigure, GateHead, Head, Layer, Level, Name, Precision, Preparation, level_shapes,
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
    /// The heads that the level can change, lowest first.
    pub heads: Vec<ComparedHead>,
    /// The numbers at the boundary above the level with the old one and with the new one; none for the top level.
    pub boundary: Option<[Range; 2]>,
}

/// A head with the old level and with the new one.
#[derive(Clone, Debug, PartialEq)]
pub struct ComparedHead {
    /// Which it is, and how many rows it was compared on.
    pub head: GateHead,
    /// Its figures with the old level and with the new one; none where no row has a class of its task.
    pub metrics: Option<[Metrics; 2]>,
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
    /// The data is not what the task is about.
    #[error(
        "task `{task}` has {classes} classes, but a held row is of class {found}, counted from 0"
    )]
    Class {
        /// The task.
        task: Name,
        /// How many classes it has.
        classes: usize,
        /// The class of the row.
        found: u32,
    },
}

/// Lets both networks answer the held rows, which the preparation's [`Preparer`] has fitted; `rows_of` gives those of them
/// that have a class of a task, with these classes as their labels.
///
/// # Errors
/// There are no rows, one is of a class that its task has not, or a network gives numbers that are not finite.
///
/// # Panics
/// The levels are not checked ones, or the weights are not theirs.
pub fn compare(
    change: &Change<'_>,
    fitted: &Images,
    rows_of: &dyn Fn(&Name) -> Images,
    allowed: &Allowed,
) -> Result<Compared, GateError> {
    if fitted.is_empty() {
        return Err(GateError::NoRows);
    }
    let Preparation::Image(setting) = change.preparation;
    let preparer = Preparer::new(setting);
    let boundary = boundary(change, &preparer, fitted)?;
    let outside = boundary.as_ref().map(|(_, share)| GateCheck {
        figure: GateFigure::OutsideRange,
        head: None,
        old: None,
        new: None,
        measured: *share,
        allowed: allowed.outside_range,
    });
    let mut compared = Compared {
        checks: outside.into_iter().collect(),
        heads: Vec::new(),
        boundary: boundary.map(|(ranges, _)| ranges),
    };
    for (index, level) in change.new.0.iter().enumerate().skip(change.level) {
        let Some(task) = level.head.as_ref().map(|head| &head.task) else {
            continue;
        };
        let rows = rows_of(task);
        let head = GateHead {
            level: level.name.clone(),
            task: task.clone(),
            rows: rows.len(),
        };
        let metrics = if rows.is_empty() {
            None
        } else {
            let (checks, metrics) = compare_head(change, index, &head, &rows, allowed)?;
            compared.checks.extend(checks);
            Some(metrics)
        };
        compared.heads.push(ComparedHead { head, metrics });
    }
    Ok(compared)
}

/// The checks of the head of level `index` on its rows, and its figures with the old level and with the new one.
fn compare_head(
    change: &Change<'_>,
    index: usize,
    head: &GateHead,
    rows: &Images,
    allowed: &Allowed,
) -> Result<(Vec<GateCheck>, [Metrics; 2]), GateError> {
    let Preparation::Image(setting) = change.preparation;
    let preparer = Preparer::new(setting);
    let input = change.preparation.output_shape();
    let plan = |(levels, weights): (&[Level], &[LevelWeights])| {
        let (levels, weights) = (&levels[..=index], &weights[..=index]);
        Plan::compile(&input, levels, weights, change.precision)
    };
    let (old, new) = (plan(change.old), plan(change.new));
    let classes = new.output_len();
    if let Some(found) = rows.labels.iter().find(|label| **label as usize >= classes) {
        return Err(GateError::Class {
            task: head.task.clone(),
            classes,
            found: *found,
        });
    }
    let answers = |plan: &Plan, which| {
        let logits = predict(plan, &preparer, rows);
        let is_finite = logits.iter().all(|value| value.is_finite());
        is_finite
            .then_some(logits)
            .ok_or(GateError::NotFinite(which))
    };
    let (old, new) = (answers(&old, "old")?, answers(&new, "new")?);
    Ok(judge(head, &old, &new, &rows.labels, classes, allowed))
}

/// The checks of a head's logits `[rows, classes]` with the old and with the new level, and the figures of both.
///
/// # Panics
/// There are no rows, or the lengths do not fit.
pub fn judge(
    head: &GateHead,
    old: &[f32],
    new: &[f32],
    targets: &[u32],
    classes: usize,
    allowed: &Allowed,
) -> (Vec<GateCheck>, [Metrics; 2]) {
    let metrics = [old, new].map(|logits| Metrics::of(logits, targets, classes));
    let [old_metrics, new_metrics] = &metrics;
    let [was_right, now_right] = [old, new].map(|logits| right(logits, targets, classes));
    let count = |rows: &[bool]| rows.iter().filter(|&&right| right).count() as f64;
    let both = was_right.iter().zip(&now_right);
    let flips = both.filter(|(was, now)| **was && !**now).count();
    let rows = targets.len() as f64;

    let check = |figure, sides: Option<[f64; 2]>, measured, allowed| GateCheck {
        figure,
        head: Some(head.level.clone()),
        old: sides.map(|[old, _]| old),
        new: sides.map(|[_, new]| new),
        measured,
        allowed,
    };
    let checks = vec![
        check(
            GateFigure::AccuracyLoss,
            Some([old_metrics.accuracy, new_metrics.accuracy]),
            // Of counts, so that a loss of exactly what is allowed passes.
            (count(&was_right) - count(&now_right)) / rows,
            allowed.accuracy_loss,
        ),
        check(
            GateFigure::NegativeFlips,
            None,
            flips as f64 / rows,
            allowed.negative_flips,
        ),
        check(
            GateFigure::CalibrationLoss,
            Some([old_metrics, new_metrics].map(|metrics| metrics.calibration_error)),
            new_metrics.calibration_error - old_metrics.calibration_error,
            allowed.calibration_loss,
        ),
    ];
    (checks, metrics)
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
