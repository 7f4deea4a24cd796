use strata_nn::LevelWeights;
use strata_spec::Level;

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
pub struct Explainer {}

impl Default for IntegratedGradients {
    fn default() -> Self {
        Self { steps: 50, baseline: Baseline::default(), target: None }
    }
}

impl Explainer {
    /// An explainer of the network with these levels and weights that takes rows of shape `input`
    /// (`[channels, ...]`); `normalisation` gives mean and standard deviation of each channel.
    pub fn new(_input: &[usize], _normalisation: &[(f32, f32)], _levels: &[Level], _weights: &[LevelWeights]) -> Self {
        Self {}
    }

    /// Integrated gradients of the target's logit with respect to `row`, a prepared row.
    ///
    /// # Errors
    /// The settings or the row do not fit the network.
    pub fn integrated_gradients(
        &self,
        row: &[f32],
        settings: &IntegratedGradients,
    ) -> Result<Attribution, ExplainError> {
        Err(ExplainError::Input { expected: settings.steps, found: row.len() })
    }
}
