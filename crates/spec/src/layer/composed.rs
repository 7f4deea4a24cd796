use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Layer, ShapeError, shape_through};

/// Settings of [`Layer::Residual`]: `layers(x) + shortcut(x)` (He et al. 2016).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Residual {
    /// What is learned beside the shortcut, at least one layer.
    pub layers: Vec<Layer>,
    /// What makes the shapes agree where they do not by themselves. Default: nothing, so `x` itself is added.
    #[serde(default)]
    pub shortcut: Vec<Layer>,
}

/// Settings of [`Layer::Branches`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Branches {
    /// The layers of each branch, 1 to 64 branches; one without layers is `x` itself.
    pub branches: Vec<Vec<Layer>>,
}

impl Residual {
    pub(super) fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>, ShapeError> {
        let output = shape_through(&self.layers, ".residual.layers", input)?;
        let shortcut = shape_through(&self.shortcut, ".residual.shortcut", input)?;
        if output == shortcut {
            return Ok(output);
        }
        let expected =
            format!("adds rows of shape {output:?} and, from its shortcut, of shape {shortcut:?}");
        Err(ShapeError::new("residual", expected, input))
    }
}

impl Branches {
    /// The shape of what comes out of each branch.
    ///
    /// # Errors
    /// A layer does not fit what comes from below it.
    pub fn output_shapes(&self, input: &[usize]) -> Result<Vec<Vec<usize>>, ShapeError> {
        let through = |(index, layers): (usize, &Vec<Layer>)| {
            shape_through(layers, &format!(".branches.branches[{index}]"), input)
        };
        self.branches.iter().enumerate().map(through).collect()
    }

    pub(super) fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>, ShapeError> {
        let outputs = self.output_shapes(input)?;
        let Some(first) = outputs.first() else {
            return Err(ShapeError::new("branches", "has no branch", input));
        };
        let is_alike =
            |other: &Vec<usize>| matches!(other.len(), 1 | 3) && other.get(1..) == first.get(1..);
        if !outputs.iter().all(is_alike) {
            let expected =
                format!("puts channels together, but its branches give rows of {outputs:?}");
            return Err(ShapeError::new("branches", expected, input));
        }
        let mut shape = first.clone();
        shape[0] = outputs
            .iter()
            .fold(0, |sum: usize, output| sum.saturating_add(output[0]));
        Ok(shape)
    }
}
