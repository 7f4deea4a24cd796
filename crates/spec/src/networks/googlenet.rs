use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Stem,
    stack::{Stack, Stage, inception_unit},
};
use crate::{AdaptiveAveragePool, Conv, DenseStart, Dropout, Layer, MaxPool, Name, Pair, Start};

/// Settings of GoogLeNet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Googlenet {
    /// Default: `imagenet`.
    #[serde(default)]
    pub stem: Stem,
    /// Whether the levels that end with `inception4a` and `inception4d` have heads for the final task. Default: true.
    #[serde(default = "super::yes")]
    pub auxiliary: bool,
    /// Stages after which a level ends; auxiliary heads elsewhere are left out. Default: each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cuts: Option<Vec<Name>>,
}

impl Googlenet {
    pub(super) fn stages(&self, classes: usize) -> Vec<Stage> {
        let stem = match self.stem {
            Stem::Imagenet => {
                let strided = Conv {
                    stride: 2.into(),
                    ..Conv::square(64, 7)
                };
                unit("conv1", strided)
                    .add(pool(3))
                    .and(unit("conv2", Conv::square(64, 1)))
                    .and(unit("conv3", Conv::square(192, 3)))
                    .add(pool(3))
            }
            Stem::Cifar => unit("conv1", Conv::square(64, 3))
                .and(unit("conv2", Conv::square(64, 1)))
                .and(unit("conv3", Conv::square(192, 3))),
        };
        let auxiliary = |stage: Stage, module: &str| {
            if self.auxiliary {
                stage.with_head(auxiliary_head(classes).under(module))
            } else {
                stage
            }
        };
        let inception3 = inception("3a", 64, [96, 128], [16, 32], 32).and(inception(
            "3b",
            128,
            [128, 192],
            [32, 96],
            64,
        ));
        let inception4a = inception("4a", 192, [96, 208], [16, 48], 64);
        let inception4d = inception("4b", 160, [112, 224], [24, 64], 64)
            .and(inception("4c", 128, [128, 256], [24, 64], 64))
            .and(inception("4d", 112, [144, 288], [32, 64], 64));
        let inception4e = inception("4e", 256, [160, 320], [32, 128], 128);
        let inception5 = inception("5a", 256, [160, 320], [32, 128], 128).and(inception(
            "5b",
            384,
            [192, 384],
            [48, 128],
            128,
        ));
        let head = Stack::new()
            .add(Layer::GlobalAveragePool)
            .add(Layer::Dropout(Dropout { rate: 0.2 }))
            .dense("fc", classes);
        let stages = vec![
            Stage::new("stem", stem),
            Stage::new("inception3", inception3.add(pool(3))),
            auxiliary(Stage::new("inception4a", inception4a), "aux1"),
            auxiliary(Stage::new("inception4d", inception4d), "aux2"),
            Stage::new("inception4e", inception4e.add(pool(2))),
            Stage::new("inception5", inception5).with_head(head),
        ];
        let begun = stages.into_iter();
        begun
            .map(|stage| stage.starting(Start::Normal(0.01), DenseStart::Normal(0.01)))
            .collect()
    }
}

/// Four branches: of 1x1; of two convolutions, twice (channels of each; torchvision has 3x3 where the paper has 5x5); of a
/// pooling with `pooled` channels above it.
fn inception(
    name: &str,
    of_one: usize,
    of_two: [usize; 2],
    of_two_more: [usize; 2],
    pooled: usize,
) -> Stack {
    let two = |module: &str, [inner, outer]: [usize; 2]| {
        unit("0", Conv::square(inner, 1))
            .and(unit("1", Conv::square(outer, 3)))
            .under(module)
    };
    let pool = Layer::MaxPool(MaxPool {
        stride: Some(1.into()),
        padding: 1.into(),
        ceil: true,
        ..MaxPool::square(3)
    });
    let branches = [
        unit("branch1", Conv::square(of_one, 1)),
        two("branch2", of_two),
        two("branch3", of_two_more),
        Stack::new()
            .add(pool)
            .and(unit("branch4.1", Conv::square(pooled, 1))),
    ];
    Stack::new()
        .branches(branches)
        .under(&format!("inception{name}"))
}

fn auxiliary_head(classes: usize) -> Stack {
    let parts = AdaptiveAveragePool {
        height: 4,
        width: 4,
    };
    Stack::new()
        .add(Layer::AdaptiveAveragePool(parts))
        .and(unit("conv", Conv::square(128, 1)))
        .add(Layer::Flatten)
        .dense("fc1", 1024)
        .relu()
        .add(Layer::Dropout(Dropout { rate: 0.7 }))
        .dense("fc2", classes)
}

/// A convolution that keeps the size but for the stride, normalized.
fn unit(module: &str, conv: Conv) -> Stack {
    let padding = Pair(conv.kernel.0.map(|size| size / 2));
    inception_unit(module, Conv { padding, ..conv })
}

/// A pooling that halves the size, rounded up.
fn pool(kernel: usize) -> Layer {
    Layer::MaxPool(MaxPool {
        stride: Some(2.into()),
        ceil: true,
        ..MaxPool::square(kernel)
    })
}
