//! Networks by name, as levels, with the names that their weights are published under.

mod alexnet;
mod densenet;
mod googlenet;
mod inception;
mod perceptron;
mod resnet;
mod squeezenet;
mod stack;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use alexnet::Alexnet;
pub use densenet::Densenet;
pub use googlenet::Googlenet;
pub use inception::InceptionV3;
pub use perceptron::Perceptron;
pub use resnet::{Resnet, resnet18};
pub use squeezenet::{Squeezenet, SqueezenetVersion};

use crate::{Level, Name, level_shapes};
use stack::levels_of;

/// A network by its name: `[network.resnet]` in a recipe.
///
/// Its weights begin as torchvision's constructor has them where that is another rule than for layers that are written out: in
/// AlexNet, GoogLeNet, Inception v3 and SqueezeNet.
///
/// It is cut into levels at its stages. Every network takes `cuts`, the names of the stages after which a level ends instead;
/// a level has the name of its last stage, and the last stage always ends one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NamedNetwork {
    /// Dense layers with ReLU between them. Stages: `hidden1`, `hidden2` and so on.
    Perceptron(Perceptron),
    /// AlexNet (Krizhevsky 2014, "One weird trick"), as torchvision defines it. Stages: `conv1` to `conv5`, `fc6`, `fc7`.
    Alexnet(Alexnet),
    /// GoogLeNet (Szegedy et al. 2015) with batch normalization, as torchvision defines it. Stages: `stem`, `inception3`,
    /// `inception4a` (auxiliary head), `inception4d` (auxiliary head), `inception4e`, `inception5`.
    Googlenet(Googlenet),
    /// Inception v3 (Szegedy et al. 2016), as torchvision defines it; images of at least 299x299, or 75x75 without the
    /// auxiliary head. Stages: `stem`, `mixed5`, `mixed6` (auxiliary head), `mixed7`.
    InceptionV3(InceptionV3),
    /// Residual networks (He et al. 2016): as torchvision defines them, or for depths of 20, 32, 44, 56 and 110 the small
    /// ones for images of 32x32 (section 4.2). Stages: `stem`, `layer1` to `layer4`, of the small ones to `layer3`.
    Resnet(Resnet),
    /// Densely connected networks (Huang et al. 2017), as torchvision defines them. Stages: `stem`, `denseblock1` to
    /// `denseblock4`, each with the transition above it.
    Densenet(Densenet),
    /// SqueezeNet (Iandola et al. 2016), as torchvision defines it. Stages: `stem`, then up to the fire module that ends
    /// them `fire4`, `fire8`, `fire9` (1.0) or `fire3`, `fire5`, `fire9` (1.1).
    Squeezenet(Squeezenet),
}

/// For which images the first layers are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Stem {
    /// Images of some 224x224: the first layers as published, which make maps of about a quarter of the height and width.
    #[default]
    Imagenet,
    /// Images of some 32x32: the first convolution is one of 3x3 with stride 1, and the pooling before the first stage is
    /// left out.
    Cifar,
}

/// What the tensors of a level are called in the published network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LevelKeys {
    /// The level's name.
    pub level: Name,
    /// For each of its tensors, by its path such as `layers.0.residual.layers.0.weight`, the key in a PyTorch state
    /// dictionary, such as `layer1.0.conv1.weight`. Shapes are the same. PyTorch keeps one more number beside each
    /// `running_mean`, `num_batches_tracked`, which says nothing about the network.
    pub tensors: BTreeMap<String, String>,
}

/// Heads below the top that a network learns with, as it was published.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Auxiliary {
    /// The word that a recipe uses for the network.
    pub network: &'static str,
    /// The stages that they stand on.
    pub stages: &'static [&'static str],
    /// What the loss of each counts beside that of the top, which counts 1.
    pub weight: f64,
}

impl NamedNetwork {
    /// Its auxiliary heads: those of GoogLeNet (Szegedy et al. 2015, section 5) and of Inception v3, which is learned with
    /// a weight of 0.4 where it is torchvision's.
    pub fn auxiliary(&self) -> Option<Auxiliary> {
        let (stages, weight): (&[&str], f64) = match self {
            Self::Googlenet(_) => (&["inception4a", "inception4d"], 0.3),
            Self::InceptionV3(_) => (&["mixed6"], 0.4),
            _ => return None,
        };
        Some(Auxiliary {
            network: self.word(),
            stages,
            weight,
        })
    }

    /// The same network with every auxiliary head that it was published with.
    #[must_use]
    pub fn with_all_heads(&self) -> Self {
        let mut whole = self.clone();
        match &mut whole {
            Self::Googlenet(network) => (network.auxiliary, network.cuts) = (true, None),
            Self::InceptionV3(network) => (network.auxiliary, network.cuts) = (true, None),
            _ => {}
        }
        whole
    }

    /// Its levels, with a head for `classes` classes of `task` on the last one and, in networks with auxiliary heads, on
    /// those that end where these stand.
    ///
    /// # Errors
    /// The field and what is wrong with it, where there is no such network.
    pub fn levels(&self, task: &Name, classes: usize) -> Result<Vec<Level>, (String, String)> {
        let built = self.build(task, classes)?;
        Ok(built.into_iter().map(|(level, _)| level).collect())
    }

    /// For each of its [levels](Self::levels) the published names of its tensors: torchvision's, for the small residual
    /// networks those of `akamaster/pytorch_resnet_cifar10`, for perceptrons those of a `Sequential(Flatten, Linear, ReLU,
    /// …, Linear)`. Heads that a recipe adds to a level have no published names.
    ///
    /// # Errors
    /// The field and what is wrong with it, where there is no such network.
    pub fn keys(&self, task: &Name, classes: usize) -> Result<Vec<LevelKeys>, (String, String)> {
        let built = self.build(task, classes)?;
        Ok(built.into_iter().map(|(_, keys)| keys).collect())
    }

    /// Whether images of shape `input` are large enough for its `levels`.
    ///
    /// # Errors
    /// The field, and the size that images must have.
    pub(crate) fn check_input(
        &self,
        levels: &[Level],
        input: &[usize],
    ) -> Result<(), (String, String)> {
        let &[channels, height, width] = input else {
            return Ok(());
        };
        if level_shapes(input, levels).is_ok() {
            return Ok(());
        }
        let fits = |size: &usize| level_shapes(&[channels, *size, *size], levels).is_ok();
        // Where no size fits, or the images are too large, the shapes of the layers say more.
        let Some(least) = (height.min(width) + 1..=512).find(fits) else {
            return Ok(());
        };
        let advice = match self {
            Self::InceptionV3(inception) if inception.auxiliary => {
                "; `auxiliary = false` takes smaller ones"
            }
            Self::Alexnet(Alexnet { stem, .. })
            | Self::Googlenet(Googlenet { stem, .. })
            | Self::Densenet(Densenet { stem, .. })
            | Self::Squeezenet(Squeezenet { stem, .. })
                if *stem == Stem::Imagenet =>
            {
                "; `stem = \"cifar\"` takes smaller ones"
            }
            _ => "",
        };
        let text = format!(
            "takes images of at least {least}x{least}, found {height}x{width} (`preparation.image` sets the size){advice}"
        );
        Err((self.word().to_owned(), text))
    }

    fn build(
        &self,
        task: &Name,
        classes: usize,
    ) -> Result<Vec<(Level, LevelKeys)>, (String, String)> {
        let (stages, cuts) = match self {
            Self::Perceptron(network) => (network.stages(classes), &network.cuts),
            Self::Alexnet(network) => (Ok(network.stages(classes)), &network.cuts),
            Self::Googlenet(network) => (Ok(network.stages(classes)), &network.cuts),
            Self::InceptionV3(network) => (Ok(network.stages(classes)), &network.cuts),
            Self::Resnet(network) => (network.stages(classes), &network.cuts),
            Self::Densenet(network) => (network.stages(classes), &network.cuts),
            Self::Squeezenet(network) => (Ok(network.stages(classes)), &network.cuts),
        };
        stages
            .and_then(|stages| levels_of(stages, cuts.as_deref(), task))
            .map_err(|(field, text)| (format!("{}.{field}", self.word()), text))
    }

    /// The word that a recipe uses for it.
    fn word(&self) -> &'static str {
        match self {
            Self::Perceptron(_) => "perceptron",
            Self::Alexnet(_) => "alexnet",
            Self::Googlenet(_) => "googlenet",
            Self::InceptionV3(_) => "inception-v3",
            Self::Resnet(_) => "resnet",
            Self::Densenet(_) => "densenet",
            Self::Squeezenet(_) => "squeezenet",
        }
    }
}

/// Auxiliary heads are there if nothing is said.
const fn yes() -> bool {
    true
}
