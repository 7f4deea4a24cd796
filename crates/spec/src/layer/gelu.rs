use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of [`Layer::Gelu`](super::Layer::Gelu), after Hendrycks and Gimpel 2016.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Gelu {
    /// How the normal distribution is computed. Default: `none`.
    pub approximation: Approximation,
}

/// How [`Gelu`] computes the normal distribution, in PyTorch's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Approximation {
    /// As it is, by the error function.
    #[default]
    None,
    /// By a hyperbolic tangent, as GPT-2 does.
    Tanh,
}
