use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of [`Layer::Scale`](super::Layer::Scale): `y = by x`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scale {
    /// From 1e-6 to 1e6.
    #[schemars(range(min = 1e-6, max = 1e6))]
    pub by: f64,
}
