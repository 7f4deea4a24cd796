use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where the rows come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DataSpec {
    /// A name of the catalogue (`mnist`, `fashion-mnist`), `digits` for digits that Strata draws by itself,
    /// or the path of a folder with IDX files, relative to the recipe (it must hold a `/`).
    pub source: String,
    /// Rows of the training part to keep aside for validation. Default: none.
    #[serde(default)]
    pub validation: Option<Validation>,
}

/// A stratified part of the training rows: each class gives the same share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Validation {
    /// Share of the rows, more than 0 and at most 0.5.
    #[schemars(range(max = 0.5))]
    pub fraction: f64,
    /// Seed of the split. Default: 0. It is not the training's seed, so that several seeds share one split.
    #[serde(default)]
    pub seed: u64,
}
