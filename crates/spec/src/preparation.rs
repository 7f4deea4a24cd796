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
/// `(pixel / 255 * scale - mean[channel]) / std[channel]`.
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
    /// The order in which the network takes colours. Default: `rgb`.
    #[serde(default, skip_serializing_if = "ChannelOrder::is_default")]
    pub order: ChannelOrder,
    /// What happens to an image of another size.
    #[serde(default)]
    pub crop: Crop,
    /// With `crop = "centre"`: the image is resized until its shorter side has so many pixels, of which the centre of
    /// `height` x `width` is cut out, as torchvision does with 256 and 224. At least `height` and `width`, at most 4,096.
    /// Default: the centre is as large as fits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4096))]
    pub resize: Option<usize>,
    /// What a full pixel is before the mean is subtracted: 1, or 255 for networks that take values from 0 to 255 (as
    /// Caffe's do). Default: 1.
    #[serde(default = "full", skip_serializing_if = "is_full")]
    pub scale: f32,
    /// Subtracted from each channel, in the network's order. Default: zeros.
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

/// In which order a network takes the channels of a colour image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ChannelOrder {
    /// Red, green, blue.
    #[default]
    Rgb,
    /// Blue, green, red, as Caffe's networks.
    Bgr,
}

impl ChannelOrder {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
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
    /// Images of this size, with the default of every other setting.
    pub fn new(height: usize, width: usize, channels: usize) -> Self {
        Self {
            height,
            width,
            channels,
            order: ChannelOrder::default(),
            crop: Crop::default(),
            resize: None,
            scale: full(),
            mean: Vec::new(),
            std: Vec::new(),
        }
    }

    /// Which channel of an image in red, green, blue (or grey) is the network's `channel`.
    pub fn source_channel(&self, channel: usize) -> usize {
        match self.order {
            ChannelOrder::Rgb => channel,
            ChannelOrder::Bgr => self.channels - 1 - channel,
        }
    }

    /// What the network gets for a pixel of its `channel`.
    pub fn number(&self, channel: usize, pixel: u8) -> f32 {
        let (mean, std) = self.mean_and_std(channel);
        (f32::from(pixel) / (255.0 / self.scale) - mean) / std
    }

    /// Mean and standard deviation of each of the network's channels, for pixels from 0 to 1.
    pub fn normalisations(&self) -> Vec<(f32, f32)> {
        (0..self.channels)
            .map(|channel| self.normalisation(channel))
            .collect()
    }

    /// Mean and standard deviation of one of the network's channels, for pixels from 0 to 1.
    pub fn normalisation(&self, channel: usize) -> (f32, f32) {
        let (mean, std) = self.mean_and_std(channel);
        (mean / self.scale, std / self.scale)
    }

    fn mean_and_std(&self, channel: usize) -> (f32, f32) {
        let mean = self.mean.get(channel).copied().unwrap_or(0.0);
        let std = self.std.get(channel).copied().unwrap_or(1.0);
        (mean, std)
    }
}

const fn one() -> usize {
    1
}

const fn full() -> f32 {
    1.0
}

fn is_full(scale: &f32) -> bool {
    *scale == full()
}
