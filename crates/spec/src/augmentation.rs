//! What happens by chance to images that are learned from. Names and meanings are those of torchvision
//! (<https://pytorch.org/vision/0.29/transforms.html>).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One random change of training rows, written as a word (`"flip"`) or as a word with settings
/// (`{ crop = { padding = 4 } }`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Augmentation {
    /// Left and right change places in every second image (`RandomHorizontalFlip`).
    Flip,
    /// The same in every second epoch of each image; which ones is random (Jordan 2024, "94% on CIFAR-10 in 3.29 seconds on a
    /// single GPU").
    AlternatingFlip,
    /// Top and bottom change places in every second image (`RandomVerticalFlip`).
    VerticalFlip,
    /// A part of the network's size from the image with a margin around it (`RandomCrop`).
    Crop(PaddedCrop),
    /// A part of random size and aspect ratio, resized to the network's size (`RandomResizedCrop`).
    RandomResizedCrop(RandomResizedCrop),
    /// Brightness, contrast, saturation and hue, in random order (`ColorJitter`).
    ColourJitter(ColourJitter),
    /// A square in the mean colour (DeVries and Taylor 2017).
    Cutout(Cutout),
    /// A few of fourteen changes, equally strong (`RandAugment`, Cubuk et al. 2020).
    RandAugment(RandAugment),
    /// Each image and its label blended with those of the image before it in the batch (`MixUp`, Zhang et al. 2018).
    Mixup(Mix),
    /// A rectangle of each image from the image before it in the batch, the labels blended by its area (`CutMix`, Yun et
    /// al. 2019).
    #[serde(rename = "cutmix")]
    CutMix(Mix),
}

/// Settings of [`Augmentation::Crop`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PaddedCrop {
    /// Pixels on each side, 1 to 1,024.
    #[schemars(range(min = 1, max = 1024))]
    pub padding: usize,
    /// What is in them. Default: black.
    #[serde(default)]
    pub margin: Margin,
}

/// What lies around an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Margin {
    /// Zeros.
    #[default]
    Black,
    /// The image in a mirror; the pixels at the edge are not repeated.
    Reflect,
}

/// Settings of [`Augmentation::RandomResizedCrop`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RandomResizedCrop {
    /// Lowest and highest share of the image's area. Default: 0.08 and 1.
    pub scale: [f64; 2],
    /// Lowest and highest ratio of width to height; its logarithm is uniform. Default: 3/4 and 4/3.
    pub ratio: [f64; 2],
}

/// Settings of [`Augmentation::ColourJitter`]. A strength `s` gives a factor from `1 - s`, at least 0, to `1 + s`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ColourJitter {
    /// Strength, 0 to 10. Default: 0.
    pub brightness: f64,
    /// Strength, 0 to 10. Default: 0.
    pub contrast: f64,
    /// Strength, 0 to 10. Default: 0.
    pub saturation: f64,
    /// Largest turn of the hue in either direction, 0 to 0.5 (half of the circle). Default: 0.
    pub hue: f64,
}

/// Settings of [`Augmentation::Cutout`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cutout {
    /// Side of the square in pixels, 1 to 4,096. Its centre is anywhere in the image, so a part may lie outside.
    #[schemars(range(min = 1, max = 4096))]
    pub size: usize,
}

/// Settings of [`Augmentation::RandAugment`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RandAugment {
    /// Changes of each image, 1 to 14. Default: 2.
    #[schemars(range(min = 1, max = 14))]
    pub operations: usize,
    /// Their strength, 0 to 30. Default: 9.
    #[schemars(range(max = 30))]
    pub magnitude: usize,
}

/// Settings of [`Augmentation::Mixup`] and [`Augmentation::CutMix`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Mix {
    /// The share of an image in the blend is drawn, for each batch, from a beta distribution with both parameters this
    /// number, 0.01 to 4. Default: 1.
    pub alpha: f64,
}

impl Default for RandomResizedCrop {
    fn default() -> Self {
        Self {
            scale: [0.08, 1.0],
            ratio: [3.0 / 4.0, 4.0 / 3.0],
        }
    }
}

impl Default for RandAugment {
    fn default() -> Self {
        Self {
            operations: 2,
            magnitude: 9,
        }
    }
}

impl Default for Mix {
    fn default() -> Self {
        Self { alpha: 1.0 }
    }
}

impl Augmentation {
    /// Whether it mixes rows of a batch with each other, and so their labels.
    pub fn mixes_rows(&self) -> bool {
        matches!(self, Self::Mixup(_) | Self::CutMix(_))
    }
}
