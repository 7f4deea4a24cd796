use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Level, Name};

/// What is predicted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// Unique within the recipe.
    pub name: Name,
    /// One of several classes.
    pub classification: Classification,
}

/// Settings of a classification task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Classification {
    /// Number of classes, 2 to 100,000.
    #[schemars(range(min = 2, max = 100_000))]
    pub classes: usize,
    /// A label for each class, in the order of the class numbers. Default: the numbers.
    #[serde(default)]
    pub labels: Vec<String>,
}

impl Classification {
    /// The label of a class; its number where no labels were given.
    pub fn label(&self, class: usize) -> String {
        self.labels
            .get(class)
            .cloned()
            .unwrap_or_else(|| class.to_string())
    }
}

/// The task of the top level's head, among checked levels and tasks.
pub(crate) fn final_task<'a>(
    levels: impl DoubleEndedIterator<Item = &'a Level>,
    tasks: &'a [Task],
) -> &'a Task {
    let mut from_top = levels.rev();
    let head = from_top.next().and_then(|level| level.head.as_ref());
    let named = head.and_then(|head| tasks.iter().find(|task| task.name == head.task));
    named.expect("checked when parsed: the top level has a head and its task exists")
}
