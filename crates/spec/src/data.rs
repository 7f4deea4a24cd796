use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Augmentation;

/// Where the rows come from, and what happens to those that are learned from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DataSpec {
    /// A name of the catalogue (`mnist`, `fashion-mnist`, `cifar10`, `cifar100`), `digits` for digits that Strata draws
    /// by itself, or the path of a folder, relative to the recipe (it must hold a `/`): with IDX files, or with one
    /// folder of PNG and JPEG files a class, also within `train/`, `val/` and `test/`.
    pub source: String,
    /// Further sources, each written as `source` is, whose rows are mixed with its own; all become rows of the same shape.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub also: Vec<String>,
    /// Rows of the training part to keep aside for validation. Default: none, or the images in `val/` of a folder that
    /// also has `test/`.
    #[serde(default)]
    pub validation: Option<Validation>,
    /// What happens by chance to the rows that are learned from, in this order. Default: nothing.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub augmentation: Vec<Augmentation>,
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

impl DataSpec {
    /// The rows of one source, as they are.
    pub fn of(source: &str) -> Self {
        Self {
            source: source.to_owned(),
            also: Vec::new(),
            validation: None,
            augmentation: Vec::new(),
        }
    }

    /// Every source: `source`, then those of `also`.
    pub fn sources(&self) -> impl Iterator<Item = &str> {
        [&self.source]
            .into_iter()
            .chain(&self.also)
            .map(String::as_str)
    }

    /// Whether there are, or may be, validation rows: asked for, or brought by a folder.
    pub(crate) fn may_have_validation(&self) -> bool {
        self.validation.is_some() || self.sources().any(|source| source.contains('/'))
    }
}
