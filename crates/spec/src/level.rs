use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Dense, Layer, Name, ShapeError,
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
    /// Whether an answer is the mean of the logits of a row and of the row with left and right exchanged (Krizhevsky et al.
    /// 2012), which takes twice as long. Only for the one head of a network that takes images. Default: false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mirrored: bool,
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

    /// Multiplications that body and head take for one row, about, given the level's shapes: the weights of each layer as
    /// often as its output has places.
    pub fn work(&self, shapes: &LevelShapes) -> (f64, f64) {
        let head = self.head.as_ref();
        let head = head.map_or(0.0, |head| work_of(&head.layers, &shapes.output));
        (work_of(&self.layers, &shapes.input), head)
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

/// A head that every output has room for: the mean of each map, if there are maps, and a dense layer.
pub fn default_head(output: &[usize], classes: usize) -> Vec<Layer> {
    let mut layers = Vec::new();
    if output.len() > 1 {
        layers.push(Layer::GlobalAveragePool);
    }
    layers.push(Layer::Dense(Dense::new(classes)));
    layers
}

fn work_of(layers: &[Layer], input: &[usize]) -> f64 {
    let mut shape = input.to_vec();
    let mut work = 0.0;
    for layer in layers {
        let weights = layer.parameters(&shape);
        shape = layer.output_shape(&shape).unwrap_or_default();
        let places = if let [_, height, width] = shape[..] {
            height * width
        } else {
            1
        };
        work += weights as f64 * places as f64;
    }
    work
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Conv, Dense};

    #[test]
    fn work_counts_each_weight_as_often_as_it_is_used() {
        let level = Level {
            name: "low".parse().unwrap(),
            layers: vec![Layer::Conv(Conv::square(4, 3)), Layer::Relu],
            head: Some(Head {
                task: "task".parse().unwrap(),
                layers: vec![Layer::GlobalAveragePool, Layer::Dense(Dense::new(5))],
                mirrored: false,
            }),
        };
        let shapes = level_shapes(&[2, 8, 7], std::slice::from_ref(&level)).unwrap();
        let weights = level.layers[0].parameters(&[2, 8, 7]) as f64;
        let places: usize = shapes[0].output[1..].iter().product();
        assert_eq!(level.work(&shapes[0]), (weights * places as f64, 25.0));
    }
}
