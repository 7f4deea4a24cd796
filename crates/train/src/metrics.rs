use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use strata_nn::highest;

/// The `k` of top-k accuracy.
pub const TOP_K: usize = 5;

/// Classes up to which a confusion matrix is kept: it grows with their square.
pub const MOST_CONFUSION_CLASSES: usize = 256;

/// Bins of the calibration error, of equal width in confidence (Guo et al. 2017).
const CALIBRATION_BINS: usize = 15;

/// How well logits agree with classes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Number of rows.
    pub rows: usize,
    /// Mean softmax cross-entropy, in nats.
    pub loss: f64,
    /// Share of rows whose highest logit is the right class.
    pub accuracy: f64,
    /// Share of rows whose right class is among the [`TOP_K`] highest logits; none where there are no more classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_k: Option<f64>,
    /// Mean of the F1 scores of all classes that occur or were predicted, as scikit-learn computes it.
    pub macro_f1: f64,
    /// Expected calibration error: mean distance between confidence and accuracy over 15 bins
    /// of equal width.
    pub calibration_error: f64,
    /// `confusion[right][predicted]`, number of rows; empty where there are more than [`MOST_CONFUSION_CLASSES`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub confusion: Vec<Vec<u32>>,
}

/// Whether the highest logit of each row is the right class.
pub(crate) fn right(logits: &[f32], targets: &[u32], classes: usize) -> Vec<bool> {
    let rows = logits.chunks_exact(classes).zip(targets);
    rows.map(|(row, target)| highest(row) == *target as usize)
        .collect()
}

impl Metrics {
    /// Metrics of `logits` `[rows, classes]`.
    ///
    /// # Panics
    /// There are no rows, the lengths do not fit, or a target is no class.
    pub fn of(logits: &[f32], targets: &[u32], classes: usize) -> Self {
        assert!(
            !targets.is_empty() && logits.len() == targets.len() * classes,
            "a row of logits for each target"
        );
        let rows = targets.len() as f64;
        let (mut loss, mut correct, mut in_top_k) = (0.0, 0_usize, 0_usize);
        let kept = if classes <= MOST_CONFUSION_CLASSES {
            classes
        } else {
            0
        };
        let mut confusion = vec![vec![0_u32; kept]; kept];
        let mut counts = vec![ClassCounts::default(); classes];
        let mut bins = [(0.0_f64, 0.0_f64); CALIBRATION_BINS];
        for (row, &target) in logits.chunks_exact(classes).zip(targets) {
            let target = target as usize;
            let predicted = highest(row);
            let top = f64::from(row[predicted]);
            let sum: f64 = row
                .iter()
                .map(|logit| (f64::from(*logit) - top).exp())
                .sum();
            loss += sum.ln() - (f64::from(row[target]) - top);
            let is_right = predicted == target;
            correct += usize::from(is_right);
            in_top_k += usize::from(rank(row, target) < TOP_K);
            counts[target].actual += 1;
            counts[predicted].predicted += 1;
            counts[target].right += u32::from(is_right);
            if kept > 0 {
                confusion[target][predicted] += 1;
            }
            let confidence = 1.0 / sum;
            let bin = ((confidence * CALIBRATION_BINS as f64).ceil() as usize)
                .clamp(1, CALIBRATION_BINS)
                - 1;
            bins[bin].0 += confidence;
            bins[bin].1 += f64::from(u8::from(is_right));
        }
        let gap: f64 = bins
            .iter()
            .map(|(confidence, right)| (confidence - right).abs())
            .sum();
        Self {
            rows: targets.len(),
            loss: loss / rows,
            accuracy: correct as f64 / rows,
            top_k: (classes > TOP_K).then_some(in_top_k as f64 / rows),
            macro_f1: macro_f1(&counts),
            calibration_error: gap / rows,
            confusion,
        }
    }

    /// The same figures without the matrix, for places where there are many of them.
    pub(crate) fn without_confusion(self) -> Self {
        Self {
            confusion: Vec::new(),
            ..self
        }
    }

    /// The figures by name, such as `test.accuracy` for the prefix `test`.
    pub fn named(&self, prefix: &str) -> BTreeMap<String, f64> {
        let mut named = BTreeMap::from([
            (format!("{prefix}.loss"), self.loss),
            (format!("{prefix}.accuracy"), self.accuracy),
            (format!("{prefix}.macro_f1"), self.macro_f1),
            (
                format!("{prefix}.calibration_error"),
                self.calibration_error,
            ),
        ]);
        if let Some(top_k) = self.top_k {
            named.insert(format!("{prefix}.top_{TOP_K}"), top_k);
        }
        named
    }
}

/// How many classes stand before `target` when the highest logit stands first; what is not a number stands last.
fn rank(row: &[f32], target: usize) -> usize {
    if row[target].is_nan() {
        return row.len();
    }
    let before =
        |class: usize| row[class] > row[target] || (row[class] == row[target] && class < target);
    (0..row.len()).filter(|&class| before(class)).count()
}

/// Rows of one class.
#[derive(Clone, Copy, Default)]
struct ClassCounts {
    actual: u32,
    predicted: u32,
    right: u32,
}

fn macro_f1(counts: &[ClassCounts]) -> f64 {
    let (mut sum, mut classes) = (0.0, 0_usize);
    for class in counts
        .iter()
        .filter(|class| class.actual + class.predicted > 0)
    {
        sum += 2.0 * f64::from(class.right) / f64::from(class.actual + class.predicted);
        classes += 1;
    }
    if classes == 0 {
        0.0
    } else {
        sum / classes as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The values are scikit-learn's and NumPy's, printed by tests/references/metrics.py.
    #[test]
    fn metrics_match_scikit_learn() {
        let targets: Vec<u32> = (0..40).map(|row| row * 7 % 6).collect();
        let logits: Vec<f32> = (0..240_u32)
            .map(|i| {
                let (row, class) = (i / 6, i % 6);
                let right = match targets[row as usize] == class {
                    true if row % 3 == 0 => -3.0,
                    true => 1.5,
                    false => 0.0,
                };
                ((row * 31 + class * 17) % 13) as f32 / 6.0 + right
            })
            .collect();
        let found = Metrics::of(&logits, &targets, 6);
        let near = |found: f64, expected: f64| {
            assert!(
                (found - expected).abs() < 1e-6,
                "{found}, expected {expected}"
            )
        };
        near(found.loss, 2.295507848);
        near(found.accuracy, 0.45);
        near(found.top_k.unwrap(), 0.65);
        near(found.macro_f1, 0.412854031);
        near(found.calibration_error, 0.19459175);
        assert_eq!(found.confusion.iter().flatten().sum::<u32>(), 40);
    }
}
