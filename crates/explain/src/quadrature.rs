use std::f64::consts::PI;

/// Points and weights of the Gauss–Legendre rule with `count` points on [0, 1], in rising order.
///
/// The points are the roots of the Legendre polynomial, found by Newton's method from Chebyshev's guess
/// (Press et al., Numerical Recipes, 3rd edition, section 4.6.1).
pub(crate) fn gauss_legendre(count: usize) -> Vec<(f64, f64)> {
    let n = count as f64;
    let point = |index: usize| {
        let mut x = (PI * (index as f64 + 0.75) / (n + 0.5)).cos();
        let mut slope = 1.0;
        // Newton's method doubles the digits each time; from this guess it is done in five steps.
        for _ in 0..100 {
            let (mut value, mut before) = (1.0, 0.0);
            for degree in 1..=count {
                let degree = degree as f64;
                let next = ((2.0 * degree - 1.0) * x * value - (degree - 1.0) * before) / degree;
                (before, value) = (value, next);
            }
            slope = n * (x * value - before) / (x * x - 1.0);
            let step = value / slope;
            x -= step;
            if step.abs() < 1e-15 {
                break;
            }
        }
        ((1.0 + x) / 2.0, 1.0 / ((1.0 - x * x) * slope * slope))
    };
    (0..count).rev().map(point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_is_exact_for_polynomials_of_its_degree() {
        for count in [1, 2, 3, 7, 50, 500] {
            let rule = gauss_legendre(count);
            assert!(rule.windows(2).all(|pair| pair[0].0 < pair[1].0));
            for degree in [0, 1, 2 * count - 1] {
                let integral: f64 = rule
                    .iter()
                    .map(|(x, weight)| weight * x.powi(degree as i32))
                    .sum();
                let expected = 1.0 / (degree as f64 + 1.0);
                assert!(
                    (integral - expected).abs() < 1e-12,
                    "{count} points, degree {degree}: {integral}"
                );
            }
        }
    }
}
