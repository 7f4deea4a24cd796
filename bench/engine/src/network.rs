use clap::{Args, ValueEnum};
use strata_spec::{Dense, Head, Layer, Level, Name, networks};

use crate::positive;

/// A network for square colour images.
#[derive(Args)]
pub(crate) struct Network {
    /// Which one.
    #[arg(long, default_value = "resnet18")]
    network: Known,
    /// What stands below its first stage.
    #[arg(long, default_value = "imagenet")]
    stem: Stem,
    /// Height and width of an image.
    #[arg(long, default_value_t = 224, value_parser = positive)]
    size: usize,
    /// Classes that it tells apart.
    #[arg(long, default_value_t = 1000, value_parser = positive)]
    pub(crate) classes: usize,
}

#[derive(Clone, Copy, ValueEnum)]
enum Known {
    Resnet18,
}

#[derive(Clone, Copy, ValueEnum)]
enum Stem {
    /// 7x7 with stride 2 and a max pooling.
    Imagenet,
    /// 3x3 with stride 1.
    Cifar,
}

impl Network {
    /// The shape of a row.
    pub(crate) fn input(&self) -> [usize; 3] {
        [3, self.size, self.size]
    }

    pub(crate) fn levels(&self) -> Vec<Level> {
        let stem = match self.stem {
            Stem::Imagenet => networks::Stem::Imagenet,
            Stem::Cifar => networks::Stem::Cifar,
        };
        match self.network {
            Known::Resnet18 => networks::resnet18(stem, &name("image"), self.classes),
        }
    }
}

/// 784-128-10, for rows of [`PIXELS`] numbers.
pub(crate) fn perceptron() -> Vec<Level> {
    let dense = |units| Layer::Dense(Dense::new(units));
    vec![Level {
        name: name("digits"),
        layers: vec![dense(128), Layer::Relu],
        head: Some(Head {
            task: name("digit"),
            layers: vec![dense(DIGITS)],
            mirrored: false,
        }),
    }]
}

/// Numbers in a row of the perceptron.
pub(crate) const PIXELS: usize = 784;
/// Its classes.
pub(crate) const DIGITS: usize = 10;

fn name(text: &str) -> Name {
    text.parse().expect("a name of letters")
}
