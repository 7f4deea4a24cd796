use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How what a caller has becomes what the network takes. Fitted in training, it travels inside the package.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Preparation {
    /// Images: decoded, made grey or RGB, resized, cropped, scaled and normalised.
    Image(ImagePreparation),
}

/// Settings of [`Preparation::Image`]. The network gets rows of shape `[channels, height, width]`, where each value is
/// `(pixel / 255 - mean[channel]) / std[channel]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImagePreparation {
    /// Height in pixels that the network takes, 1 to 4,096.
    #[schemars(range(min = 1, max = 4096))]
    pub height: usize,
    /// Width in pixels that the network takes, 1 to 4,096.
    #[schemars(range(min = 1, max = 4096))]
    pub width: usize,
    /// 1 for grey, 3 for red, green, blue.
    #[serde(default = "one")]
    #[schemars(extend("enum" = [1, 3]))]
    pub channels: usize,
    /// What happens to an image of another size.
    #[serde(default)]
    pub crop: Crop,
    /// Subtracted from each channel after division by 255. Default: zeros.
    #[serde(default)]
    pub mean: Vec<f32>,
    /// Each channel is divided by it, after the mean was subtracted. Default: ones.
    #[serde(default)]
    pub std: Vec<f32>,
}

/// How an image of another size is made to fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Crop {
    /// Resize both sides, without regard to the aspect ratio.
    #[default]
    Stretch,
    /// Resize the image to cover the target, keeping its aspect ratio, and cut out the centre.
    Centre,
}

impl Preparation {
    /// The shape of one prepared row.
    pub fn output_shape(&self) -> Vec<usize> {
        match self {
            Self::Image(image) => vec![image.channels, image.height, image.width],
        }
    }
}

impl ImagePreparation {
    /// Mean and standard deviation of every channel.
    pub fn normalisations(&self) -> Vec<(f32, f32)> {
        (0..self.channels)
            .map(|channel| self.normalisation(channel))
            .collect()
    }

    /// Mean and standard deviation of a channel.
    pub fn normalisation(&self, channel: usize) -> (f32, f32) {
        let mean = self.mean.get(channel).copied().unwrap_or(0.0);
        let std = self.std.get(channel).copied().unwrap_or(1.0);
        (mean, std)
    }
}

const fn one() -> usize {
    1
}
