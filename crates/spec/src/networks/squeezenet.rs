use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Stem,
    stack::{Stack, Stage},
};
use crate::{Conv, DenseStart, Dropout, Layer, MaxPool, Name, Start};

/// Settings of SqueezeNet. A ReLU stands above its last convolution, so from fresh weights a rate that is too high soon makes all
/// logits 0, and it learns no more: the loss stays at the logarithm of the number of classes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Squeezenet {
    /// Default: `1.1`, which computes less than half of what `1.0` does, as accurately.
    #[serde(default)]
    pub version: SqueezenetVersion,
    /// Default: `imagenet`.
    #[serde(default)]
    pub stem: Stem,
    /// Zeros around the map that the last convolution takes: 0, or 1 as in the weights that were published for Caffe.
    /// Default: 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub classifier_padding: usize,
    /// Stages after which a level ends. Default: each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cuts: Option<Vec<Name>>,
}

/// Which SqueezeNet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SqueezenetVersion {
    /// That of the paper.
    #[serde(rename = "1.0")]
    V1_0,
    /// With a smaller stem, and poolings lower down.
    #[default]
    #[serde(rename = "1.1")]
    V1_1,
}

impl Squeezenet {
    pub(super) fn stages(&self, classes: usize) -> Vec<Stage> {
        let (channels, kernel, pooled) = match self.version {
            SqueezenetVersion::V1_0 => (96, 7, [4, 8]),
            SqueezenetVersion::V1_1 => (64, 3, [3, 5]),
        };
        let stem = match self.stem {
            Stem::Imagenet => Conv {
                stride: 2.into(),
                ..Conv::square(channels, kernel)
            },
            Stem::Cifar => Conv {
                padding: 1.into(),
                ..Conv::square(channels, 3)
            },
        };
        let stem = Stack::new().conv("features.0", stem).relu();
        let mut stages = vec![Stage::new(
            "stem",
            match self.stem {
                Stem::Imagenet => stem.add(pool()),
                Stem::Cifar => stem,
            },
        )];
        // Modules are numbered from 2 in the paper; in torchvision they count with the poolings between them.
        let mut module = 3;
        let mut body = Stack::new();
        for number in 2..=9 {
            let eighth = number / 2;
            body = body.and(fire(16 * eighth, 64 * eighth).under(&format!("features.{module}")));
            module += 1;
            if pooled.contains(&number) {
                body = body.add(pool());
                module += 1;
            }
            if pooled.contains(&number) || number == 9 {
                let body = std::mem::take(&mut body);
                stages.push(Stage::new(format!("fire{number}"), body));
            }
        }
        let head = Stack::new()
            .add(Layer::Dropout(Dropout { rate: 0.5 }))
            .conv(
                "classifier.1",
                Conv {
                    padding: self.classifier_padding.into(),
                    start: Start::Normal(0.01),
                    ..Conv::square(classes, 1)
                },
            )
            .relu()
            .add(Layer::GlobalAveragePool);
        let top = stages.pop().expect("the last fire module ends a stage");
        stages.push(top.with_head(head));
        let begun = stages.into_iter();
        begun
            .map(|stage| stage.starting(Start::HeUniform, DenseStart::Random))
            .collect()
    }
}

fn fire(squeezed: usize, expanded: usize) -> Stack {
    let of_three = Conv {
        padding: 1.into(),
        ..Conv::square(expanded, 3)
    };
    Stack::new()
        .conv("squeeze", Conv::square(squeezed, 1))
        .relu()
        .branches([
            Stack::new()
                .conv("expand1x1", Conv::square(expanded, 1))
                .relu(),
            Stack::new().conv("expand3x3", of_three).relu(),
        ])
}

fn is_zero(padding: &usize) -> bool {
    *padding == 0
}

fn pool() -> Layer {
    Layer::MaxPool(MaxPool {
        stride: Some(2.into()),
        ceil: true,
        ..MaxPool::square(3)
    })
}
