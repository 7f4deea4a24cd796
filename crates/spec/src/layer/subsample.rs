use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Pair, ShapeError, map_shape};

/// Settings of [`Layer::Subsample`](super::Layer::Subsample), a shortcut that has no weights where a residual network gets
/// narrower and deeper (He et al. 2015, section 4.1, option A).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Subsample {
    /// Distance from one place that is taken to the next, 1 to 255; the first place is taken.
    pub stride: Pair,
    /// Channels that come out, 1 to 65,536: those that go in, and as many channels of zeros before them as behind them.
    #[schemars(range(min = 1, max = 65_536))]
    pub channels: usize,
}

impl Subsample {
    pub(super) fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>, ShapeError> {
        let [channels, height, width] = map_shape("subsample", input)?;
        let added = self.channels.checked_sub(channels);
        if !added.is_some_and(|added| added.is_multiple_of(2)) {
            let expected = format!(
                "gives {} channels, which must be more than those that go in by an even number",
                self.channels
            );
            return Err(ShapeError::new("subsample", expected, input));
        }
        let [down, across] = self.stride.0;
        Ok(vec![
            self.channels,
            height.div_ceil(down.max(1)),
            width.div_ceil(across.max(1)),
        ])
    }
}
