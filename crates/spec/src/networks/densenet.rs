use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Stem,
    stack::{Stack, Stage, same_conv},
};
use crate::{AveragePool, BatchNorm, Layer, MaxPool, Name};

/// Settings of a densely connected network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Densenet {
    /// Layers with weights: 121, 161, 169 or 201.
    pub depth: usize,
    /// Default: `imagenet`.
    #[serde(default)]
    pub stem: Stem,
    /// Stages after which a level ends. Default: each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cuts: Option<Vec<Name>>,
}

struct Known {
    depth: usize,
    /// Channels that each layer of a block adds.
    growth: usize,
    /// Layers of each block.
    blocks: [usize; 4],
}

#[rustfmt::skip]
const KNOWN: [Known; 4] = [
    Known { depth: 121, growth: 32, blocks: [6, 12, 24, 16] },
    Known { depth: 161, growth: 48, blocks: [6, 12, 36, 24] },
    Known { depth: 169, growth: 32, blocks: [6, 12, 32, 32] },
    Known { depth: 201, growth: 32, blocks: [6, 12, 48, 32] },
];

impl Densenet {
    pub(super) fn stages(&self, classes: usize) -> Result<Vec<Stage>, (String, String)> {
        let known = KNOWN.iter().find(|known| known.depth == self.depth);
        let Some(Known { growth, blocks, .. }) = known else {
            let depths = KNOWN.map(|known| known.depth.to_string()).join(", ");
            let text = format!("expected one of {depths}, found {}", self.depth);
            return Err(("depth".to_owned(), text));
        };
        let mut channels = 2 * growth;
        let mut stages = vec![Stage::new("stem", self.stem(channels).under("features"))];
        for (index, layers) in blocks.iter().enumerate() {
            let name = format!("denseblock{}", index + 1);
            let mut body = Stack::new();
            for number in 0..*layers {
                let layer = dense_layer(*growth).under(&format!("denselayer{}", number + 1));
                body = body.branches([Stack::new(), layer]);
            }
            body = body.under(&name);
            channels += layers * growth;
            if index + 1 < blocks.len() {
                channels /= 2;
                body = body.and(transition(channels).under(&format!("transition{}", index + 1)));
            } else {
                body = body.norm("norm5", BatchNorm::default()).relu();
            }
            stages.push(Stage::new(name, body.under("features")));
        }
        let head = Stack::new().add(Layer::GlobalAveragePool);
        let top = stages.pop().expect("four blocks");
        stages.push(top.with_head(head.dense("classifier", classes)));
        Ok(stages)
    }

    fn stem(&self, channels: usize) -> Stack {
        let norm = BatchNorm::default();
        match self.stem {
            Stem::Imagenet => Stack::new()
                .conv("conv0", same_conv(channels, 7, 2))
                .norm("norm0", norm)
                .relu()
                .add(Layer::MaxPool(MaxPool {
                    stride: Some(2.into()),
                    padding: 1.into(),
                    ..MaxPool::square(3)
                })),
            Stem::Cifar => Stack::new()
                .conv("conv0", same_conv(channels, 3, 1))
                .norm("norm0", norm)
                .relu(),
        }
    }
}

/// What one layer adds to the channels below it.
fn dense_layer(growth: usize) -> Stack {
    Stack::new()
        .norm("norm1", BatchNorm::default())
        .relu()
        .conv("conv1", same_conv(4 * growth, 1, 1))
        .norm("norm2", BatchNorm::default())
        .relu()
        .conv("conv2", same_conv(growth, 3, 1))
}

fn transition(channels: usize) -> Stack {
    let halves = AveragePool {
        kernel: 2.into(),
        stride: Some(2.into()),
        padding: 0.into(),
        count_padding: true,
    };
    Stack::new()
        .norm("norm", BatchNorm::default())
        .relu()
        .conv("conv", same_conv(channels, 1, 1))
        .add(Layer::AveragePool(halves))
}
