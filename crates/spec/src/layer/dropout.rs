use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of [`Layer::Dropout`](super::Layer::Dropout) (Srivastava et al. 2014): while a network learns, each number becomes
/// zero with probability `rate`, and `1 / (1 - rate)` times itself otherwise. A network that answers leaves numbers as they
/// are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dropout {
    /// From 0 to 0.99.
    #[schemars(range(min = 0.0, max = 0.99))]
    pub rate: f64,
}
