use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Layer, Name, ShapeError};

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
    /// Number of weights of body and head, given the level's shapes.
    pub fn parameters(&self, shapes: &LevelShapes) -> usize {
        let count = |layers: &[Layer], input: &[usize]| {
            let mut shape = input.to_vec();
            let mut total = 0_usize;
            for layer in layers {
                total = total.saturating_add(layer.parameters(&shape));
                shape = layer.output_shape(&shape).unwrap_or_default();
            }
            total
        };
        let head = self
            .head
            .as_ref()
            .map_or(0, |head| count(&head.layers, &shapes.output));
        count(&self.layers, &shapes.input).saturating_add(head)
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
/// The place (`levels[1].head.layers[0]`), the level's name and why the layer does not fit.
pub fn level_shapes(
    input: &[usize],
    levels: &[Level],
) -> Result<Vec<LevelShapes>, (String, Name, ShapeError)> {
    let mut shape = input.to_vec();
    let mut shapes = Vec::with_capacity(levels.len());
    for (index, level) in levels.iter().enumerate() {
        let through = |layers: &[Layer], place: &str, mut shape: Vec<usize>| {
            for (position, layer) in layers.iter().enumerate() {
                shape = layer.output_shape(&shape).map_err(|error| {
                    (
                        format!("levels[{index}].{place}[{position}]"),
                        level.name.clone(),
                        error,
                    )
                })?;
            }
            Ok(shape)
        };
        let output = through(&level.layers, "layers", shape.clone())?;
        let head = match &level.head {
            Some(head) => Some(through(&head.layers, "head.layers", output.clone())?),
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
