use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{BatchNorm, Conv, Dense, Head, Layer, Level, MaxPool, Name, Pair, Residual};

/// Settings of a residual network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Resnet {
    /// Layers with weights: 18 or 34.
    pub depth: usize,
    /// Default: `imagenet`.
    #[serde(default)]
    pub stem: Stem,
}

/// What stands below the first stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Stem {
    /// A convolution of 7x7 with stride 2, and a max pooling of 3x3 with stride 2: for images of some 224x224.
    #[default]
    Imagenet,
    /// A convolution of 3x3 with stride 1: for images of some 32x32.
    Cifar,
}

/// Depth, and the number of blocks in each stage, of those made of basic blocks.
const BASIC: [(usize, [usize; 4]); 2] = [(18, [2, 2, 2, 2]), (34, [3, 4, 6, 3])];

/// ResNet-18: torchvision's definition with the stem `Imagenet`. Its levels are `stem` and `stage1` to `stage4`; the last
/// one has the head for `classes` classes of `task`.
pub fn resnet18(stem: Stem, task: &Name, classes: usize) -> Vec<Level> {
    basic(BASIC[0].1, stem, task, classes)
}

impl Resnet {
    pub(super) fn levels(
        &self,
        task: &Name,
        classes: usize,
    ) -> Result<Vec<Level>, (String, String)> {
        let known = BASIC.iter().find(|(depth, _)| *depth == self.depth);
        let (_, blocks) = known.ok_or_else(|| {
            let depths = BASIC.map(|(depth, _)| depth.to_string()).join(" or ");
            let text = format!("expected {depths}, found {}", self.depth);
            ("resnet.depth".to_owned(), text)
        })?;
        Ok(basic(*blocks, self.stem, task, classes))
    }
}

fn basic(blocks: [usize; 4], stem: Stem, task: &Name, classes: usize) -> Vec<Level> {
    let level = |name: String, layers| Level {
        name: name.parse().expect("a name of letters and a digit"),
        layers,
        head: None,
    };
    let mut levels = vec![level("stem".to_owned(), stem_layers(stem))];
    let mut below = 64;
    for (stage, blocks) in blocks.into_iter().enumerate() {
        let channels = 64 << stage;
        let mut layers = Vec::new();
        for block in 0..blocks {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            layers.extend([basic_block(below, channels, stride), Layer::Relu]);
            below = channels;
        }
        levels.push(level(format!("stage{}", stage + 1), layers));
    }
    let top = levels.last_mut().expect("four stages");
    top.head = Some(Head {
        task: task.clone(),
        layers: vec![
            Layer::GlobalAveragePool,
            Layer::Dense(Dense { units: classes }),
        ],
    });
    levels
}

fn stem_layers(stem: Stem) -> Vec<Layer> {
    let norm = Layer::BatchNorm(BatchNorm::default());
    match stem {
        Stem::Imagenet => vec![
            conv(64, 7, 2),
            norm,
            Layer::Relu,
            Layer::MaxPool(MaxPool {
                kernel: 3.into(),
                stride: Some(2.into()),
                padding: 1.into(),
                dilation: 1.into(),
            }),
        ],
        Stem::Cifar => vec![conv(64, 3, 1), norm, Layer::Relu],
    }
}

/// Two convolutions beside a shortcut; the ReLU over their sum is the layer above.
fn basic_block(below: usize, channels: usize, stride: usize) -> Layer {
    let norm = || Layer::BatchNorm(BatchNorm::default());
    let layers = vec![
        conv(channels, 3, stride),
        norm(),
        Layer::Relu,
        conv(channels, 3, 1),
        norm(),
    ];
    let shortcut = if below == channels && stride == 1 {
        Vec::new()
    } else {
        vec![conv(channels, 1, stride), norm()]
    };
    Layer::Residual(Residual { layers, shortcut })
}

/// A convolution that keeps the size but for the stride, without bias.
fn conv(channels: usize, kernel: usize, stride: usize) -> Layer {
    Layer::Conv(Conv {
        stride: stride.into(),
        padding: Pair::from(kernel / 2),
        bias: false,
        ..Conv::square(channels, kernel)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level_shapes;

    fn check(depth: usize, stem: Stem, input: usize, output: [usize; 3], parameters: usize) {
        let task = "object".parse().unwrap();
        let levels = Resnet { depth, stem }.levels(&task, 1000).unwrap();
        let shapes = level_shapes(&[3, input, input], &levels).unwrap();
        assert_eq!(shapes[4].output, output);
        assert_eq!(shapes[4].head, Some(vec![1000]));
        let counts = levels.iter().zip(&shapes);
        let count: usize = counts.map(|(level, shapes)| level.parameters(shapes)).sum();
        assert_eq!(count, parameters);
    }

    #[test]
    fn sizes_are_those_of_torchvision() {
        check(18, Stem::Imagenet, 224, [512, 7, 7], 11_689_512);
        check(34, Stem::Imagenet, 224, [512, 7, 7], 21_797_672);
        // The kernel of the first convolution has 9 places where it had 49.
        check(18, Stem::Cifar, 32, [512, 4, 4], 11_689_512 - 40 * 3 * 64);
    }

    #[test]
    fn other_depths_are_refused_with_the_known_ones() {
        let resnet = Resnet {
            depth: 19,
            stem: Stem::Cifar,
        };
        let (field, problem) = resnet.levels(&"object".parse().unwrap(), 10).unwrap_err();
        assert_eq!(field, "resnet.depth");
        assert_eq!(problem, "expected 18 or 34, found 19");
    }
}
