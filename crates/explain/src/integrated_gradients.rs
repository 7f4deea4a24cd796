use strata_nn::{LevelWeights, Network, highest};
use strata_spec::{Level, Precision};

use crate::quadrature::gauss_legendre;

/// The most steps that a caller can ask for.
pub const MOST_STEPS: usize = 500;

/// Settings of integrated gradients (Sundararajan, Taly & Yan 2017).
#[derive(Clone, Debug, PartialEq)]
pub struct IntegratedGradients {
    /// Points of the Gauss–Legendre rule on the way from the baseline to the input, 1 to [`MOST_STEPS`]. Default: 50.
    pub steps: usize,
    /// Where the way starts. Default: [`Baseline::Black`].
    pub baseline: Baseline,
    /// The class to explain. Default: the one that is predicted.
    pub target: Option<usize>,
}

/// The input that stands for "nothing there", as a pixel value before normalisation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Baseline {
    /// 0.
    #[default]
    Black,
    /// 255.
    White,
    /// 127.5.
    Grey,
}

/// How much each number of the input moved the target's logit.
#[derive(Clone, Debug, PartialEq)]
pub struct Attribution {
    /// One value for each number of the row, in its order.
    pub values: Vec<f32>,
    /// The class that was explained.
    pub target: usize,
    /// The target's logit for the input.
    pub prediction: f64,
    /// The target's logit for the baseline.
    pub baseline_prediction: f64,
    /// Sum of `values` less (`prediction` - `baseline_prediction`); 0 if the integral is exact.
    pub completeness_error: f64,
}

/// A question that cannot be answered.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ExplainError {
    /// The number of steps is out of range.
    #[error("steps: expected 1 to {MOST_STEPS}, found {0}")]
    Steps(usize),
    /// There is no such class.
    #[error("target: expected a class below {classes}, found {found}")]
    Target {
        /// The class asked for.
        found: usize,
        /// Number of classes.
        classes: usize,
    },
    /// The row is not one of the network's.
    #[error("input: expected {expected} numbers, found {found}")]
    Input {
        /// Numbers in a row.
        expected: usize,
        /// Numbers given.
        found: usize,
    },
}

/// Explains the answers of one network. Can be shared between threads.
#[derive(Debug)]
pub struct Explainer {
    network: Network,
    /// Mean and standard deviation of each channel.
    normalisation: Vec<(f32, f32)>,
}

/// Rows whose gradients are computed together, at most.
const BATCH: usize = 64;
/// Numbers that may pass through the network's layers together: 256 MiB. A gradient needs some times as many.
const MOST_NUMBERS: usize = 64 << 20;

impl Default for IntegratedGradients {
    fn default() -> Self {
        Self {
            steps: 50,
            baseline: Baseline::default(),
            target: None,
        }
    }
}

impl Baseline {
    /// The pixel's value, from 0 to 1.
    fn pixel(self) -> f32 {
        match self {
            Self::Black => 0.0,
            Self::White => 1.0,
            Self::Grey => 0.5,
        }
    }
}

impl Explainer {
    /// An explainer of the network with these levels and weights that takes rows of shape `input`
    /// (`[channels, ...]`); `normalisation` gives mean and standard deviation of each channel.
    ///
    /// # Panics
    /// `levels` are not checked ones, `weights` are of other levels, or there is no channel.
    pub fn new(
        input: &[usize],
        normalisation: &[(f32, f32)],
        levels: &[Level],
        weights: &[LevelWeights],
    ) -> Self {
        assert!(!normalisation.is_empty(), "at least one channel");
        Self {
            // Also of a network that learned in `bf16`: its gradients would be too coarse to add up.
            network: Network::fixed(input, levels, weights, Precision::F32),
            normalisation: normalisation.to_vec(),
        }
    }

    /// Integrated gradients of the target's logit with respect to `row`, a prepared row.
    ///
    /// Value `i` is `(x_i - b_i)` times the mean of the gradient's `i` on the straight way from the baseline `b` to the
    /// row `x` (equation 1 of the paper), by the Gauss-Legendre rule.
    ///
    /// # Errors
    /// The settings or the row do not fit the network.
    pub fn integrated_gradients(
        &self,
        row: &[f32],
        settings: &IntegratedGradients,
    ) -> Result<Attribution, ExplainError> {
        let (expected, classes) = (self.network.input_len(), self.network.output_len());
        if row.len() != expected {
            return Err(ExplainError::Input {
                expected,
                found: row.len(),
            });
        }
        if !(1..=MOST_STEPS).contains(&settings.steps) {
            return Err(ExplainError::Steps(settings.steps));
        }
        let target = match settings.target {
            Some(found) if found >= classes => return Err(ExplainError::Target { found, classes }),
            Some(target) => target,
            None => self.predicted(row),
        };

        let baseline = self.baseline(settings.baseline);
        let ends = self
            .network
            .input_gradient([row, &baseline[..]].concat(), target)
            .logits;
        let mut mean_gradient = vec![0.0_f64; row.len()];
        let batch = (MOST_NUMBERS / self.network.numbers_of_a_row()).clamp(1, BATCH);
        for points in gauss_legendre(settings.steps).chunks(batch) {
            let on_the_way = |(share, _): &(f64, f64)| {
                let share = *share;
                let between = move |(x, b): (&f32, &f32)| {
                    (f64::from(*b) + share * (f64::from(*x) - f64::from(*b))) as f32
                };
                row.iter().zip(&baseline).map(between)
            };
            let rows: Vec<f32> = points.iter().flat_map(on_the_way).collect();
            let gradients = self.network.input_gradient(rows, target).gradient;
            for (gradient, (_, weight)) in gradients.chunks_exact(row.len()).zip(points) {
                mean_gradient
                    .iter_mut()
                    .zip(gradient)
                    .for_each(|(mean, g)| *mean += weight * f64::from(*g));
            }
        }
        let distance = row
            .iter()
            .zip(&baseline)
            .map(|(x, b)| f64::from(*x) - f64::from(*b));
        let values: Vec<f64> = distance
            .zip(&mean_gradient)
            .map(|(distance, mean)| distance * mean)
            .collect();
        let (prediction, baseline_prediction) = (f64::from(ends[0]), f64::from(ends[1]));
        let completeness_error = values.iter().sum::<f64>() - (prediction - baseline_prediction);
        let values = values.iter().map(|value| *value as f32).collect();
        Ok(Attribution {
            values,
            target,
            prediction,
            baseline_prediction,
            completeness_error,
        })
    }

    /// The class with the highest logit; the first of them if there are several.
    fn predicted(&self, row: &[f32]) -> usize {
        highest(&self.network.logits(row.to_vec()))
    }

    fn baseline(&self, baseline: Baseline) -> Vec<f32> {
        let numbers = self.network.input_len() / self.normalisation.len();
        let channel = |(mean, std): &(f32, f32)| {
            std::iter::repeat_n((baseline.pixel() - mean) / std, numbers)
        };
        self.normalisation.iter().flat_map(channel).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use strata_nn::WeightTensor;
    use strata_spec::{BatchNorm, Conv, Dense, Head, Layer, level_shapes};

    use super::*;

    /// 4-3-2 with weights from a formula that the reference script repeats.
    fn explainer() -> Explainer {
        let dense = |units| Layer::Dense(Dense::new(units));
        let levels = vec![
            Level {
                name: "a".parse().unwrap(),
                layers: vec![dense(3), Layer::Relu],
                head: None,
            },
            Level {
                name: "b".parse().unwrap(),
                layers: Vec::new(),
                head: Some(Head {
                    task: "t".parse().unwrap(),
                    layers: vec![dense(2)],
                    mirrored: false,
                }),
            },
        ];
        let shapes = level_shapes(&[4], &levels).unwrap();
        let tensor = |salt: usize, shape: &[usize]| {
            let count = shape.iter().product::<usize>();
            let value = |i: usize| ((i * 7 + salt * 3) % 11) as f32 / 5.0 - 1.0;
            WeightTensor {
                shape: shape.to_vec(),
                values: (0..count).map(value).collect(),
            }
        };
        let weights = |level: usize, place: &str, outputs: usize, inputs: usize| {
            let tensors = BTreeMap::from([
                (
                    format!("{place}.0.weight"),
                    tensor(2 * level, &[outputs, inputs]),
                ),
                (format!("{place}.0.bias"), tensor(2 * level + 1, &[outputs])),
            ]);
            LevelWeights::new(tensors, &levels[level], &shapes[level]).unwrap()
        };
        Explainer::new(
            &[4],
            &[(0.25, 0.5)],
            &levels,
            &[weights(0, "layers", 3, 4), weights(1, "head", 2, 3)],
        )
    }

    const ROW: [f32; 4] = [0.9, -0.4, 1.5, 0.3];

    // The values are Captum's, printed by tests/references/integrated_gradients.py.
    #[test]
    fn attributions_match_captum() {
        let explainer = explainer();
        let check = |baseline, target, expected: [f64; 4]| {
            let settings = IntegratedGradients {
                steps: 50,
                baseline,
                target: Some(target),
            };
            let found = explainer.integrated_gradients(&ROW, &settings).unwrap();
            for (found, expected) in found.values.iter().zip(expected) {
                assert!(
                    (f64::from(*found) - expected).abs() < 1e-5,
                    "{baseline:?}: {found}, expected {expected}"
                );
            }
        };
        check(
            Baseline::Black,
            0,
            [-0.532865296, 0.055546358, -1.090309084, -0.260618058],
        );
        check(
            Baseline::Black,
            1,
            [-0.497648978, 0.062659769, -1.377731815, -0.195463548],
        );
        check(Baseline::White, 0, [0.072000004, -0.684000055, -0.0, -0.0]);
        check(Baseline::White, 1, [0.096000003, -0.91200005, -0.0, -0.0]);
        check(
            Baseline::Grey,
            0,
            [-0.048000003, -0.324000026, -0.480000027, -0.0],
        );
        check(
            Baseline::Grey,
            1,
            [-0.064000002, -0.432000024, -0.64000002, -0.0],
        );
    }

    #[test]
    fn the_values_add_up_to_what_they_explain() {
        let found = explainer()
            .integrated_gradients(&ROW, &IntegratedGradients::default())
            .unwrap();
        let sum: f64 = found.values.iter().map(|value| f64::from(*value)).sum();
        let error = sum - (found.prediction - found.baseline_prediction);
        assert!((error - found.completeness_error).abs() < 1e-5);
        assert!(error.abs() < 0.05, "{error}");
    }

    #[test]
    fn the_values_of_a_convolutional_network_add_up_too() {
        let conv = Conv {
            padding: 1.into(),
            ..Conv::square(4, 3)
        };
        let level = Level {
            name: "only".parse().unwrap(),
            layers: vec![
                Layer::Conv(conv),
                Layer::BatchNorm(BatchNorm::default()),
                Layer::Relu,
                Layer::GlobalAveragePool,
            ],
            head: Some(Head {
                task: "t".parse().unwrap(),
                layers: vec![Layer::Dense(Dense::new(2))],
                mirrored: false,
            }),
        };
        let (input, levels) = ([1, 5, 4], [level]);
        let weights = Network::new(&input, &levels, 7, Precision::F32).weights();
        let explainer = Explainer::new(&input, &[(0.0, 1.0)], &levels, &weights);
        let row: Vec<f32> = (0..20).map(|i| (i * 7 % 11) as f32 / 5.0).collect();
        let settings = IntegratedGradients {
            steps: 200,
            ..IntegratedGradients::default()
        };
        let found = explainer.integrated_gradients(&row, &settings).unwrap();
        let change = found.prediction - found.baseline_prediction;
        assert!(change.abs() > 0.05, "{change}");
        let error = found.completeness_error;
        assert!(error.abs() < 0.01 * change.abs(), "{error} of {change}");
    }

    #[test]
    fn the_same_question_has_the_same_answer() {
        let settings = IntegratedGradients {
            steps: 130,
            ..IntegratedGradients::default()
        };
        let ask = || explainer().integrated_gradients(&ROW, &settings).unwrap();
        assert_eq!(ask(), ask());
    }

    #[test]
    fn questions_that_make_no_sense_are_refused() {
        let ask = |row: &[f32], steps, target| {
            let settings = IntegratedGradients {
                steps,
                baseline: Baseline::Grey,
                target,
            };
            explainer()
                .integrated_gradients(row, &settings)
                .unwrap_err()
        };
        assert_eq!(
            ask(&ROW[..3], 50, None),
            ExplainError::Input {
                expected: 4,
                found: 3
            }
        );
        assert_eq!(ask(&ROW, 0, None), ExplainError::Steps(0));
        assert_eq!(ask(&ROW, MOST_STEPS + 1, None), ExplainError::Steps(501));
        assert_eq!(
            ask(&ROW, 50, Some(2)),
            ExplainError::Target {
                found: 2,
                classes: 2
            }
        );
    }

    #[test]
    fn an_explainer_can_be_shared_between_threads() {
        fn shared<T: Send + Sync>() {}
        shared::<Explainer>();
    }
}
