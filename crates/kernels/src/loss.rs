/// Softmax cross-entropy of `logits` `[rows, classes]` against `targets` `[rows]`.
///
/// Gives the sum of the rows' losses and writes the gradient of the rows' **mean** loss with respect to the logits,
/// `(softmax - one_hot) / rows`, to `gradient`.
///
/// # Panics
/// The lengths do not fit, or a target is no class.
pub fn cross_entropy(logits: &[f32], targets: &[u32], gradient: &mut [f32]) -> f64 {
    assert!(
        !targets.is_empty() && logits.len().is_multiple_of(targets.len()),
        "a row of logits for each target"
    );
    assert_eq!(logits.len(), gradient.len(), "a gradient for each logit");
    let classes = logits.len() / targets.len();
    let scale = 1.0 / targets.len() as f32;
    let mut total = 0.0;
    for ((row, gradient), &target) in logits
        .chunks(classes)
        .zip(gradient.chunks_mut(classes))
        .zip(targets)
    {
        let highest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut sum = 0.0;
        for (g, logit) in gradient.iter_mut().zip(row) {
            *g = (logit - highest).exp();
            sum += *g;
        }
        let target = target as usize;
        total += f64::from(sum.ln() - (row[target] - highest));
        let factor = scale / sum;
        for g in gradient.iter_mut() {
            *g *= factor;
        }
        gradient[target] -= scale;
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gradient_is_that_of_the_mean_loss() {
        let logits = [0.5_f32, -1.0, 2.0, 0.1, 0.2, 0.3];
        let targets = [2, 0];
        let mut gradient = [f32::NAN; 6];
        let total = cross_entropy(&logits, &targets, &mut gradient);
        // Closed form: log(sum(exp)) - target, in f64.
        let row = |x: [f64; 3], t: usize| (x.iter().map(|v| v.exp()).sum::<f64>()).ln() - x[t];
        let expected = row([0.5, -1.0, 2.0], 2) + row([0.1, 0.2, 0.3], 0);
        assert!((total - expected).abs() < 1e-6);
        for index in 0..6 {
            let mut moved = logits;
            let step = 1e-2;
            moved[index] += step;
            let up = cross_entropy(&moved, &targets, &mut [0.0; 6]);
            moved[index] -= 2.0 * step;
            let down = cross_entropy(&moved, &targets, &mut [0.0; 6]);
            let slope = (up - down) / (2.0 * f64::from(step)) / 2.0;
            assert!(
                (slope - f64::from(gradient[index])).abs() < 1e-4,
                "{slope} {}",
                gradient[index]
            );
        }
    }

    #[test]
    fn huge_logits_stay_finite() {
        let mut gradient = [0.0; 2];
        let total = cross_entropy(&[1e30, -1e30], &[0], &mut gradient);
        assert_eq!(total, 0.0);
        assert!(gradient.iter().all(|g| g.is_finite()));
    }
}
