use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Stem,
    stack::{Stack, Stage},
};
use crate::{AdaptiveAveragePool, Conv, DenseStart, Dropout, Layer, MaxPool, Name, Start};

/// Settings of AlexNet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Alexnet {
    /// Default: `imagenet`. With `cifar` the dense layers stand above maps of 3x3 instead of 6x6.
    #[serde(default)]
    pub stem: Stem,
    /// Stages after which a level ends. Default: each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cuts: Option<Vec<Name>>,
}

impl Alexnet {
    pub(super) fn stages(&self, classes: usize) -> Vec<Stage> {
        let pool = Layer::MaxPool(MaxPool {
            stride: Some(2.into()),
            ..MaxPool::square(3)
        });
        let (first, size) = match self.stem {
            Stem::Imagenet => {
                let strided = Conv {
                    stride: 4.into(),
                    ..conv(64, 11, 2)
                };
                (strided, 6)
            }
            Stem::Cifar => (conv(64, 3, 1), 3),
        };
        let features = |index: usize, conv: Conv| {
            let module = format!("features.{index}");
            Stack::new().conv(&module, conv).relu()
        };
        let dropout = || Layer::Dropout(Dropout { rate: 0.5 });
        let parts = Layer::AdaptiveAveragePool(AdaptiveAveragePool {
            height: size,
            width: size,
        });
        let fc6 = Stack::new().add(parts).add(Layer::Flatten).add(dropout());
        let fc6 = fc6.dense("classifier.1", 4096).relu();
        let fc7 = Stack::new().add(dropout()).dense("classifier.4", 4096);
        let stages = vec![
            Stage::new("conv1", features(0, first).add(pool.clone())),
            Stage::new("conv2", features(3, conv(192, 5, 2)).add(pool.clone())),
            Stage::new("conv3", features(6, conv(384, 3, 1))),
            Stage::new("conv4", features(8, conv(256, 3, 1))),
            Stage::new("conv5", features(10, conv(256, 3, 1)).add(pool)),
            Stage::new("fc6", fc6),
            Stage::new("fc7", fc7.relu()).with_head(Stack::new().dense("classifier.6", classes)),
        ];
        let begun = stages.into_iter();
        begun
            .map(|stage| stage.starting(Start::Uniform, DenseStart::Uniform))
            .collect()
    }
}

fn conv(channels: usize, kernel: usize, padding: usize) -> Conv {
    Conv {
        padding: padding.into(),
        ..Conv::square(channels, kernel)
    }
}
