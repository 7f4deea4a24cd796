use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Level, Name};

/// What is predicted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// Unique within the recipe.
    pub name: Name,
    /// The source whose labels it predicts, as `data.source` or `data.also` names it. Default: `data.source`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
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
    /// The data's classes that each class is made of. Rows of a class that is named nowhere have no target of this task.
    /// Default: the classes are the data's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Vec<u32>>,
}

impl Task {
    /// A task on the labels of the first source.
    pub fn new(name: Name, classification: Classification) -> Self {
        Self {
            name,
            data: None,
            classification,
        }
    }
}

impl Classification {
    /// One of the data's `classes` classes.
    pub fn new(classes: usize, labels: Vec<String>) -> Self {
        Self {
            classes,
            labels,
            groups: Vec::new(),
        }
    }

    /// The class that a row of the data's class `label` has in this task, if any.
    pub fn target(&self, label: u32) -> Option<u32> {
        if self.groups.is_empty() {
            return Some(label);
        }
        let group = self.groups.iter().position(|group| group.contains(&label));
        group.map(|class| class as u32)
    }

    /// The label of a class; its number where no labels were given.
    pub fn label(&self, class: usize) -> String {
        self.labels
            .get(class)
            .cloned()
            .unwrap_or_else(|| class.to_string())
    }
}

/// The most classes that a task has.
const MOST_CLASSES: usize = 100_000;

/// Classes that the data may have, at most.
pub(crate) fn data_classes(tasks: &[Task]) -> usize {
    let as_they_are = tasks
        .iter()
        .filter(|task| task.classification.groups.is_empty());
    let most = as_they_are.map(|task| task.classification.classes).max();
    most.unwrap_or(MOST_CLASSES)
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
