//! When rows may leave early: thresholds that keep a promise on accuracy.
//!
//! Distribution-free risk control by *Learn then Test* (Angelopoulos, Bates, Candès, Jordan & Lei 2021) with fixed-sequence
//! testing, as "Fast yet Safe: Early-Exiting with Risk Control" (Jazbec et al. 2024) does it for exits. The loss of a row is 1
//! where the full network is right and the exit that it leaves at is wrong, else 0: its mean is at least what accuracy loses. A
//! threshold for each exit makes many settings; so a third of the rows, drawn, is used to find a path of settings, each of
//! which lets more rows leave than the one before (as in Pareto testing, Laufer-Goldshtein et al. 2023). The others test the
//! settings in that order, until one is not safe. Since the loss is 0 or 1, the p-value of "this setting loses more than
//! epsilon" is the exact tail of the binomial distribution, which the Hoeffding-Bentkus p-value bounds from above.

mod path;
#[cfg(test)]
mod tests;

use statrs::distribution::{Binomial, DiscreteCDF};
use strata_data::permutation;

/// The method and its source, for people.
pub const METHOD: &str = "Learn then Test (Angelopoulos et al. 2021): fixed-sequence test with exact binomial p-values \
    of the loss \"wrong where the full network is right\", along a path of thresholds found on a third of the rows";

/// What the exits of a network say of some rows, which are independent draws from what it will be asked.
#[derive(Clone, Debug, PartialEq)]
pub struct ExitRows {
    /// How sure each exit below the top is of each row: `[exit][row]`, lowest exit first.
    pub confidences: Vec<Vec<f32>>,
    /// Whether it is right, also for the top, which comes last.
    pub right: Vec<Vec<bool>>,
    /// What a row takes that leaves at each of them, as shares of what it takes to the top; ascending, the last one is 1.
    pub work: Vec<f64>,
}

/// Thresholds that keep the promise.
#[derive(Clone, Debug, PartialEq)]
pub struct Thresholds {
    /// The least confidence at which a row leaves, for each exit below the top; none where no row does.
    pub confidences: Vec<Option<f32>>,
    /// Share of the tested rows whose answer turned from right to wrong.
    pub lost: f64,
    /// What the tested rows took on average, as a share of what they take to the top.
    pub work: f64,
}

/// Why there are no thresholds.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CalibrationError {
    /// `epsilon` or `delta` is no useful probability.
    #[error("{name}: expected more than 0 and at most 0.5, found {found}")]
    Range {
        /// Which of them.
        name: &'static str,
        /// What was asked for.
        found: f64,
    },
    /// No row could leave, even if none of them was lost.
    #[error(
        "{found} rows are too few to promise a loss of at most {epsilon} except with probability {delta}: at least {needed} are needed"
    )]
    TooFew {
        /// How many there are.
        found: usize,
        /// How many there must be.
        needed: usize,
        /// The promised loss.
        epsilon: f64,
        /// The probability that the promise is not held.
        delta: f64,
    },
    /// There is no exit below the top.
    #[error("there is no exit below the top")]
    NoExits,
    /// The exits are wrong too often where they are surest.
    #[error(
        "no threshold keeps the loss at most {epsilon} except with probability {delta}: of {rows} tested rows {lost} were lost by the first that leave. Allow a larger epsilon, or let the exits learn longer"
    )]
    Unsafe {
        /// The promised loss.
        epsilon: f64,
        /// The probability that the promise is not held.
        delta: f64,
        /// Rows that were tested.
        rows: usize,
        /// How many the first setting lost.
        lost: usize,
    },
}

/// Rows that are needed for a promise: with fewer, not even a setting that loses none of them would be known to be safe.
///
/// # Errors
/// `epsilon` or `delta` is out of range.
pub fn rows_needed(epsilon: f64, delta: f64) -> Result<usize, CalibrationError> {
    for (name, found) in [("epsilon", epsilon), ("delta", delta)] {
        if !(found > 0.0 && found <= 0.5) {
            return Err(CalibrationError::Range { name, found });
        }
    }
    // (1 - epsilon)^tested <= delta
    let tested = (delta.ln() / (-epsilon).ln_1p()).ceil() as usize;
    Ok(tested.saturating_add(tested.saturating_sub(1) / 2))
}

/// The probability that at most `lost` of `rows` rows are lost where each is with probability `epsilon`: how well what was
/// seen agrees with a loss of more than `epsilon`.
///
/// # Panics
/// `epsilon` is no probability.
pub fn p_value(lost: usize, rows: usize, epsilon: f64) -> f64 {
    let binomial = Binomial::new(epsilon, rows as u64);
    binomial.expect("a probability").cdf(lost as u64)
}

/// The thresholds that save most among those that lose at most `epsilon` of accuracy against the full network, except with
/// probability `delta` over the choice of `rows`. Equal arguments give equal thresholds.
///
/// # Errors
/// `epsilon` or `delta` is out of range, there are too few rows or no exits, or no setting is safe.
///
/// # Panics
/// The parts of `rows` are not of as many exits and rows.
pub fn calibrate(
    rows: &ExitRows,
    epsilon: f64,
    delta: f64,
) -> Result<Thresholds, CalibrationError> {
    let needed = rows_needed(epsilon, delta)?;
    let exits = rows.confidences.len();
    if exits == 0 {
        return Err(CalibrationError::NoExits);
    }
    assert!(
        rows.right.len() == exits + 1 && rows.work.len() == exits + 1,
        "one for each exit, and one for the top"
    );
    let found = rows.right[0].len();
    if found < needed {
        return Err(CalibrationError::TooFew {
            found,
            needed,
            epsilon,
            delta,
        });
    }
    let order = permutation(found, 0, 0);
    let (learned, tested) = order.split_at(found / 3);
    let (mut safe, mut first) = (None, None);
    for setting in path::find(rows, learned) {
        let outcome = outcome(rows, tested, &setting);
        first.get_or_insert(outcome.lost);
        if p_value(outcome.lost, tested.len(), epsilon) > delta {
            break;
        }
        safe = Some((setting, outcome));
    }
    let Some((setting, outcome)) = safe else {
        let (rows, lost) = (tested.len(), first.unwrap_or(0));
        return Err(CalibrationError::Unsafe {
            epsilon,
            delta,
            rows,
            lost,
        });
    };
    Ok(Thresholds {
        confidences: setting,
        lost: outcome.lost as f64 / tested.len() as f64,
        work: outcome.work / tested.len() as f64,
    })
}

/// The least confidence at each exit below the top; none for never.
type Setting = Vec<Option<f32>>;

/// Sums over rows.
#[derive(Clone, Copy, Debug, Default)]
struct Outcome {
    lost: usize,
    work: f64,
}

fn outcome(rows: &ExitRows, chosen: &[u32], setting: &Setting) -> Outcome {
    let mut sum = Outcome::default();
    for row in chosen {
        let row = *row as usize;
        let exit = exit_of(rows, row, setting);
        sum.lost += usize::from(is_lost(rows, row, exit));
        sum.work += rows.work[exit];
    }
    sum
}

/// Where a row leaves; the top is the last exit.
fn exit_of(rows: &ExitRows, row: usize, setting: &Setting) -> usize {
    let mut exits = setting.iter().zip(&rows.confidences);
    let leaves = |(threshold, confidences): (&Option<f32>, &Vec<f32>)| {
        threshold.is_some_and(|threshold| confidences[row] >= threshold)
    };
    exits.position(leaves).unwrap_or(setting.len())
}

fn is_lost(rows: &ExitRows, row: usize, exit: usize) -> bool {
    rows.right[rows.right.len() - 1][row] && !rows.right[exit][row]
}
