//! Networks by name, as levels.

mod resnet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use resnet::{Resnet, Stem, resnet18};

use crate::{Level, Name};

/// A network by its name: `[network.resnet]` in a recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NamedNetwork {
    /// Residual networks (He et al. 2016), as torchvision defines them.
    Resnet(Resnet),
}

impl NamedNetwork {
    /// Its levels, with a head for `classes` classes of `task` on the last one.
    ///
    /// # Errors
    /// The field and what is wrong with it, where there is no such network.
    pub fn levels(&self, task: &Name, classes: usize) -> Result<Vec<Level>, (String, String)> {
        match self {
            Self::Resnet(resnet) => resnet.levels(task, classes),
        }
    }
}
