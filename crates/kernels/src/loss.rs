/// Softmax cross-entropy of `logits` against `targets`, both `[rows, classes]`: how much of each class a row should have
/// been. A row of zeros has no target and does not count; others add up to 1.
///
/// Gives the sum of the rows' losses and writes the gradient of their **mean** with respect to the logits,
/// `(softmax - target) / rows`, to `gradient`.
///
/// # Panics
/// The lengths do not fit.
pub fn cross_entropy(
    logits: &[f32],
    targets: &[f32],
    classes: usize,
    gradient: &mut [f32],
) -> CrossEntropy {
    assert!(
        classes > 0 && logits.len().is_multiple_of(classes),
        "whole rows of logits"
    );
    assert_eq!(logits.len(), targets.len(), "a target for each logit");
    assert_eq!(logits.len(), gradient.len(), "a gradient for each logit");
    let has_target = |row: &&[f32]| row.iter().any(|share| *share != 0.0);
    let rows = targets.chunks(classes).filter(has_target).count();
    let scale = 1.0 / rows.max(1) as f32;
    let mut total = 0.0;
    for ((row, gradient), targets) in logits
        .chunks(classes)
        .zip(gradient.chunks_mut(classes))
        .zip(targets.chunks(classes))
    {
        if !has_target(&targets) {
            gradient.fill(0.0);
            continue;
        }
        let highest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut sum = 0.0;
        for (g, logit) in gradient.iter_mut().zip(row) {
            *g = (logit - highest).exp();
            sum += *g;
        }
        let log_sum = sum.ln();
        let factor = scale / sum;
        for ((g, logit), share) in gradient.iter_mut().zip(row).zip(targets) {
            *g *= factor;
            if *share != 0.0 {
                total += f64::from(*share) * f64::from(log_sum - (logit - highest));
                *g -= scale * share;
            }
        }
    }
    CrossEntropy { total, rows }
}

/// What [`cross_entropy`] adds up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CrossEntropy {
    /// Sum of the rows' losses.
    pub total: f64,
    /// Rows that have a target.
    pub rows: usize,
}

impl CrossEntropy {
    /// The rows' mean loss; 0 where no row has a target.
    pub fn mean(self) -> f64 {
        self.total / self.rows.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gradient_is_that_of_the_mean_loss() {
        let logits = [0.5_f32, -1.0, 2.0, 7.0, 8.0, 9.0, 0.1, 0.2, 0.3];
        // A class, no target, and shares of classes.
        let targets = [0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.7, 0.3, 0.0];
        let mut gradient = [f32::NAN; 9];
        let found = cross_entropy(&logits, &targets, 3, &mut gradient);
        // Closed form: log(sum(exp)) - target, in f64.
        let row = |x: [f64; 3], t: usize| (x.iter().map(|v| v.exp()).sum::<f64>()).ln() - x[t];
        let last = [0.1, 0.2, 0.3];
        let expected = row([0.5, -1.0, 2.0], 2) + 0.7 * row(last, 0) + 0.3 * row(last, 1);
        assert_eq!(found.rows, 2);
        assert!((found.total - expected).abs() < 1e-6);
        assert_eq!(gradient[3..6], [0.0; 3]);
        for index in 0..9 {
            let mut moved = logits;
            let step = 1e-2;
            moved[index] += step;
            let up = cross_entropy(&moved, &targets, 3, &mut [0.0; 9]).mean();
            moved[index] -= 2.0 * step;
            let down = cross_entropy(&moved, &targets, 3, &mut [0.0; 9]).mean();
            let slope = (up - down) / (2.0 * f64::from(step));
            assert!(
                (slope - f64::from(gradient[index])).abs() < 1e-4,
                "{slope} {}",
                gradient[index]
            );
        }
    }

    #[test]
    fn rows_without_a_target_lose_nothing() {
        let mut gradient = [f32::NAN; 4];
        let found = cross_entropy(&[1.0, 2.0, 3.0, 4.0], &[0.0; 4], 2, &mut gradient);
        assert_eq!((found.mean(), gradient), (0.0, [0.0; 4]));
    }

    #[test]
    fn huge_logits_stay_finite() {
        let mut gradient = [0.0; 2];
        let found = cross_entropy(&[1e30, -1e30], &[1.0, 0.0], 2, &mut gradient);
        assert_eq!(found.total, 0.0);
        assert!(gradient.iter().all(|g| g.is_finite()));
    }
}
