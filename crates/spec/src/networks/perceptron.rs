use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::stack::{Stack, Stage};
use crate::{Layer, Name};

/// Settings of a multilayer perceptron.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Perceptron {
    /// Units of each hidden layer, 1 to 64 layers of 1 to 1,048,576 units.
    #[schemars(length(min = 1, max = 64))]
    pub hidden: Vec<usize>,
    /// Stages after which a level ends. Default: each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cuts: Option<Vec<Name>>,
}

impl Perceptron {
    pub(super) fn stages(&self, classes: usize) -> Result<Vec<Stage>, (String, String)> {
        let wrong = |field: String, text: String| Err((field, text));
        if !(1..=64).contains(&self.hidden.len()) {
            let text = format!(
                "expected 1 to 64 hidden layers, found {}",
                self.hidden.len()
            );
            return wrong("hidden".to_owned(), text);
        }
        let is_wrong = |units: &usize| !(1..=1 << 20).contains(units);
        if let Some(index) = self.hidden.iter().position(is_wrong) {
            let text = format!("expected 1 to {}, found {}", 1 << 20, self.hidden[index]);
            return wrong(format!("hidden[{index}]"), text);
        }
        let stage = |(index, units): (usize, &usize)| {
            let stack = if index == 0 {
                Stack::new().add(Layer::Flatten)
            } else {
                Stack::new()
            };
            let body = stack.dense(&module(index), *units).relu();
            Stage::new(format!("hidden{}", index + 1), body)
        };
        let mut stages: Vec<Stage> = self.hidden.iter().enumerate().map(stage).collect();
        let top = stages.pop().expect("at least one hidden layer");
        stages.push(top.with_head(Stack::new().dense(&module(self.hidden.len()), classes)));
        Ok(stages)
    }
}

/// Where dense layer `index` stands in a `Sequential` of PyTorch, behind a `Flatten` and with a `ReLU` after each.
fn module(index: usize) -> String {
    (2 * index + 1).to_string()
}
