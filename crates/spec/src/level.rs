use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Layer, Name, ShapeError,
    layer::{parameters_of, shape_through},
};

/// A contiguous part of a network with its own name, weights and version digest and, if it has one, its own head.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Level {
    /// Unique within the network.
    pub name: Name,
    /// The body: layers whose output goes to the head and to the level above. May be empty if there is a head.
    #[serde(default)]
    pub layers: Vec<Layer>,
    /// What turns the body's output into the prediction of one task. The last level must have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<Head>,
}

/// The layers that turn a level's output into the prediction of one task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// Name of the task that it predicts.
    pub task: Name,
    /// Its layers; the last one's output are the task's logits.
    pub layers: Vec<Layer>,
}

/// The shapes of one row as it passes through a level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LevelShapes {
    /// What enters the level.
    pub input: Vec<usize>,
    /// What leaves its body, and enters the head and the level above.
    pub output: Vec<usize>,
    /// What leaves its head.
    pub head: Option<Vec<usize>>,
}

impl Level {
    /// Number of weights of body and head that are learned, given the level's shapes.
    pub fn parameters(&self, shapes: &LevelShapes) -> usize {
        let head = self
            .head
            .as_ref()
            .map_or(0, |head| parameters_of(&head.layers, &shapes.output));
        parameters_of(&self.layers, &shapes.input).saturating_add(head)
    }

    /// Its layers in one line for people, with the shapes of one row: `digits: [784] -> [128]  dense relu`.
    pub fn summary(&self, shapes: &LevelShapes) -> String {
        let words = |layers: &[Layer]| {
            let words: Vec<&str> = layers.iter().map(Layer::word).collect();
            words.join(" ")
        };
        let mut line = format!("{}: {:?} -> {:?}", self.name, shapes.input, shapes.output);
        if !self.layers.is_empty() {
            line.push_str("  ");
            line.push_str(&words(&self.layers));
        }
        if let (Some(head), Some(output)) = (&self.head, &shapes.head) {
            line.push_str(&format!(
                "  head {} -> {output:?}  {}",
                head.task,
                words(&head.layers)
            ));
        }
        line
    }
}

/// Shapes through a stack of levels that takes rows of shape `input`.
///
/// # Errors
/// The level's name and why a layer does not fit, with its place (`levels[1].head.layers[0]`).
pub fn level_shapes(
    input: &[usize],
    levels: &[Level],
) -> Result<Vec<LevelShapes>, (Name, ShapeError)> {
    let mut shape = input.to_vec();
    let mut shapes = Vec::with_capacity(levels.len());
    for (index, level) in levels.iter().enumerate() {
        let through = |layers: &[Layer], place: &str, shape: &[usize]| {
            let place = format!("levels[{index}].{place}");
            shape_through(layers, &place, shape).map_err(|error| (level.name.clone(), error))
        };
        let output = through(&level.layers, "layers", &shape)?;
        let head = match &level.head {
            Some(head) => Some(through(&head.layers, "head.layers", &output)?),
            None => None,
        };
        shapes.push(LevelShapes {
            input: shape,
            output: output.clone(),
            head,
        });
        shape = output;
    }
    Ok(shapes)
}
