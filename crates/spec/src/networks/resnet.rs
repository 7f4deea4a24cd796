use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    NamedNetwork, Stem,
    stack::{Stack, Stage, same_conv},
};
use crate::{BatchNorm, Layer, Level, MaxPool, Name, Subsample};

/// Settings of a residual network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Resnet {
    /// Layers with weights: 18, 34, 50, 101 or 152; or 20, 32, 44, 56 or 110 for the small networks, which are for images
    /// of 32x32.
    pub depth: usize,
    /// Default: `imagenet`; the small networks have `cifar` and no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stem: Option<Stem>,
    /// Stages after which a level ends. Default: each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cuts: Option<Vec<Name>>,
}

/// Depth, and the number of blocks in each stage: of two convolutions, ...
const BASIC: [(usize, [usize; 4]); 2] = [(18, [2, 2, 2, 2]), (34, [3, 4, 6, 3])];
/// ... and of three.
const BOTTLENECK: [(usize, [usize; 4]); 3] = [
    (50, [3, 4, 6, 3]),
    (101, [3, 4, 23, 3]),
    (152, [3, 8, 36, 3]),
];
/// Depths of the small networks, which have three stages of `(depth - 2) / 6` blocks.
const SMALL: [usize; 5] = [20, 32, 44, 56, 110];

/// ResNet-18: torchvision's definition with the stem `Imagenet`. Its levels are `stem` and `layer1` to `layer4`; the last
/// one has the head for `classes` classes of `task`.
pub fn resnet18(stem: Stem, task: &Name, classes: usize) -> Vec<Level> {
    let resnet = Resnet {
        depth: 18,
        stem: Some(stem),
        cuts: None,
    };
    NamedNetwork::Resnet(resnet)
        .levels(task, classes)
        .expect("there is a network of depth 18")
}

impl Resnet {
    pub(super) fn stages(&self, classes: usize) -> Result<Vec<Stage>, (String, String)> {
        let stem = self.stem.unwrap_or_default();
        let blocks_of = |known: &[(usize, [usize; 4])]| {
            let known = known.iter().find(|(depth, _)| *depth == self.depth);
            known.map(|(_, blocks)| *blocks)
        };
        if let Some(blocks) = blocks_of(&BASIC) {
            return Ok(large(blocks, stem, classes, 1, basic_block));
        }
        if let Some(blocks) = blocks_of(&BOTTLENECK) {
            return Ok(large(blocks, stem, classes, 4, bottleneck));
        }
        if !SMALL.contains(&self.depth) {
            let large = BASIC.iter().chain(&BOTTLENECK).map(|(depth, _)| depth);
            let depths: Vec<String> = large.chain(&SMALL).map(usize::to_string).collect();
            let text = format!(
                "expected one of {}, found {}",
                depths.join(", "),
                self.depth
            );
            return Err(("depth".to_owned(), text));
        }
        if self.stem == Some(Stem::Imagenet) {
            let text = format!("a network of depth {} has the stem `cifar`", self.depth);
            return Err(("stem".to_owned(), text));
        }
        Ok(small((self.depth - 2) / 6, classes))
    }
}

/// A block of so many channels in its middle above `below` channels, with its stride.
type Block = fn(below: usize, channels: usize, stride: usize) -> Stack;

fn large(
    blocks: [usize; 4],
    stem: Stem,
    classes: usize,
    expansion: usize,
    block: Block,
) -> Vec<Stage> {
    let norm = BatchNorm::default();
    let first = match stem {
        Stem::Imagenet => same_conv(64, 7, 2),
        Stem::Cifar => same_conv(64, 3, 1),
    };
    let mut body = Stack::new().conv("conv1", first).norm("bn1", norm).relu();
    if stem == Stem::Imagenet {
        body = body.add(Layer::MaxPool(MaxPool {
            stride: Some(2.into()),
            padding: 1.into(),
            ..MaxPool::square(3)
        }));
    }
    let mut stages = vec![Stage::new("stem", body)];
    let mut below = 64;
    for (index, blocks) in blocks.into_iter().enumerate() {
        let name = format!("layer{}", index + 1);
        let channels = 64 << index;
        let mut body = Stack::new();
        for number in 0..blocks {
            let stride = if index > 0 && number == 0 { 2 } else { 1 };
            body = body.and(block(below, channels, stride).under(&format!("{name}.{number}")));
            below = channels * expansion;
        }
        stages.push(Stage::new(name, body));
    }
    with_head(stages, "fc", classes)
}

/// The networks of section 4.2 of the paper, whose shortcuts have no weights (option A).
fn small(blocks: usize, classes: usize) -> Vec<Stage> {
    let body = Stack::new().conv("conv1", same_conv(16, 3, 1));
    let body = body.norm("bn1", BatchNorm::default()).relu();
    let mut stages = vec![Stage::new("stem", body)];
    for index in 0..3 {
        let name = format!("layer{}", index + 1);
        let channels = 16 << index;
        let mut body = Stack::new();
        for number in 0..blocks {
            let narrows = index > 0 && number == 0;
            let (stride, shortcut) = if narrows {
                let subsample = Subsample {
                    stride: 2.into(),
                    channels,
                };
                (2, Stack::new().add(Layer::Subsample(subsample)))
            } else {
                (1, Stack::new())
            };
            let block = Stack::new().residual(two_convolutions(channels, stride), shortcut);
            body = body.and(block.relu().under(&format!("{name}.{number}")));
        }
        stages.push(Stage::new(name, body));
    }
    with_head(stages, "linear", classes)
}

fn with_head(mut stages: Vec<Stage>, module: &str, classes: usize) -> Vec<Stage> {
    let head = Stack::new().add(Layer::GlobalAveragePool);
    let top = stages.pop().expect("a network has stages");
    stages.push(top.with_head(head.dense(module, classes)));
    stages
}

fn basic_block(below: usize, channels: usize, stride: usize) -> Stack {
    let shortcut = shortcut(below, channels, stride);
    Stack::new()
        .residual(two_convolutions(channels, stride), shortcut)
        .relu()
}

fn two_convolutions(channels: usize, stride: usize) -> Stack {
    Stack::new()
        .conv("conv1", same_conv(channels, 3, stride))
        .norm("bn1", BatchNorm::default())
        .relu()
        .conv("conv2", same_conv(channels, 3, 1))
        .norm("bn2", BatchNorm::default())
}

/// The stride is that of the convolution of 3x3, as in torchvision (the paper has it in the one before).
fn bottleneck(below: usize, channels: usize, stride: usize) -> Stack {
    let layers = Stack::new()
        .conv("conv1", same_conv(channels, 1, 1))
        .norm("bn1", BatchNorm::default())
        .relu()
        .conv("conv2", same_conv(channels, 3, stride))
        .norm("bn2", BatchNorm::default())
        .relu()
        .conv("conv3", same_conv(4 * channels, 1, 1))
        .norm("bn3", BatchNorm::default());
    Stack::new()
        .residual(layers, shortcut(below, 4 * channels, stride))
        .relu()
}

fn shortcut(below: usize, channels: usize, stride: usize) -> Stack {
    if below == channels && stride == 1 {
        return Stack::new();
    }
    Stack::new()
        .conv("downsample.0", same_conv(channels, 1, stride))
        .norm("downsample.1", BatchNorm::default())
}
