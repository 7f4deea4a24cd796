use fast_image_resize::{
    FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer,
    images::{Image as Target, ImageRef},
};
use strata_spec::{Crop, ImagePreparation};

use crate::{Image, Images, PrepareError, decode, decode::check_size};

/// Turns images into what a network takes, by the same steps for training rows and for requests:
///
/// 1. Channels: RGB to grey by the luma of Rec. 601 (in 16-bit fixed point, as Pillow's `L`), grey to RGB by repetition.
/// 2. Size: resized with a triangle filter that widens when it shrinks (Pillow's `BILINEAR`); [`Crop::Centre`] takes the
///    largest centred part with the target's aspect ratio. An image of the right size keeps its bytes.
/// 3. Numbers: `(pixel / 255 - mean) / std` in 32-bit floating point, channel after channel (planar).
///
/// Steps 1 and 2 stay in 8 bits and are done once for training ([`Preparer::fit`]); step 3 is done for each batch
/// ([`Preparer::rows`]).
#[derive(Clone, Debug)]
pub struct Preparer {
    height: usize,
    width: usize,
    channels: usize,
    crop: Crop,
    /// For each channel, the number of each pixel value.
    tables: Vec<[f32; 256]>,
}

impl Preparer {
    /// The preparation that a recipe or a manifest asks for.
    pub fn new(setting: &ImagePreparation) -> Self {
        let table = |channel| {
            let (mean, std) = setting.normalisation(channel);
            std::array::from_fn(|pixel| (pixel as f32 / 255.0 - mean) / std)
        };
        Self {
            height: setting.height,
            width: setting.width,
            channels: setting.channels,
            crop: setting.crop,
            tables: (0..setting.channels).map(table).collect(),
        }
    }

    /// Numbers of one prepared row: channels x height x width.
    pub fn row_len(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// The same rows in the channels and the size that the network takes, still in 8 bits.
    ///
    /// # Errors
    /// The images have an impossible size, or the fitted rows do not fit into memory.
    pub fn fit(&self, images: &Images) -> Result<Images, PrepareError> {
        let mut pixels = Vec::new();
        let rows = images.len();
        let too_large = PrepareError::Memory { rows, bytes: self.row_len() };
        let total = rows.checked_mul(self.row_len()).ok_or(too_large.clone())?;
        pixels.try_reserve_exact(total).map_err(|_| too_large)?;

        let (height, width, channels) = (images.height, images.width, images.channels);
        if (height, width, channels) == (self.height, self.width, self.channels) {
            pixels.extend_from_slice(&images.pixels);
        } else {
            let mut resizer = Resizer::new();
            for row in 0..rows {
                pixels.extend(self.fit_one(&mut resizer, height, width, channels, images.row(row))?);
            }
        }
        Ok(Images {
            height: self.height,
            width: self.width,
            channels: self.channels,
            pixels,
            labels: images.labels.clone(),
        })
    }

    /// Writes the given rows of fitted images as `[rows, channels, height, width]`.
    ///
    /// # Panics
    /// `fitted` does not come from [`Preparer::fit`], a row does not exist, or `out` has not
    /// `indices.len() * row_len()` numbers.
    pub fn rows(&self, fitted: &Images, indices: &[u32], out: &mut [f32]) {
        assert_eq!(fitted.row_len(), self.row_len(), "images were not fitted by this preparer");
        assert_eq!(out.len(), indices.len() * self.row_len(), "expected a row for each index");
        for (&index, row) in indices.iter().zip(out.chunks_exact_mut(self.row_len())) {
            self.normalise(fitted.row(index as usize), row);
        }
    }

    /// The row of an encoded image: a PNG or JPEG file.
    ///
    /// # Errors
    /// Those of [`decode`].
    pub fn request(&self, bytes: &[u8]) -> Result<Vec<f32>, PrepareError> {
        let Image { height, width, channels, pixels } = decode(bytes)?;
        self.pixels(height, width, channels, &pixels)
    }

    /// The row of a plain image: height x width x channels bytes, the channels of a pixel next to each other.
    ///
    /// # Errors
    /// The size is zero or too large, the channels are neither 1 nor 3, or the bytes are more or fewer.
    pub fn pixels(
        &self,
        height: usize,
        width: usize,
        channels: usize,
        pixels: &[u8],
    ) -> Result<Vec<f32>, PrepareError> {
        let fitted = self.fit_one(&mut Resizer::new(), height, width, channels, pixels)?;
        let mut row = vec![0.0; self.row_len()];
        self.normalise(&fitted, &mut row);
        Ok(row)
    }

    /// Steps 1 and 2 for one image.
    fn fit_one(
        &self,
        resizer: &mut Resizer,
        height: usize,
        width: usize,
        channels: usize,
        pixels: &[u8],
    ) -> Result<Vec<u8>, PrepareError> {
        let side = |side: usize| u32::try_from(side).unwrap_or(u32::MAX);
        check_size(side(width), side(height))?;
        let converted = match (channels, self.channels) {
            (1, 3) => |grey: &[u8]| grey.iter().flat_map(|&level| [level; 3]).collect(),
            (3, 1) => luma,
            (1, _) | (3, _) => <[u8]>::to_vec,
            (found, _) => return Err(PrepareError::Channels { found }),
        };
        let expected = height * width * channels;
        if pixels.len() != expected {
            return Err(PrepareError::Length { expected, found: pixels.len() });
        }

        let converted = converted(pixels);
        if (height, width) == (self.height, self.width) {
            return Ok(converted);
        }
        let kind = if self.channels == 1 { PixelType::U8 } else { PixelType::U8x3 };
        let source = ImageRef::new(side(width), side(height), &converted, kind)
            .map_err(|error| PrepareError::Broken(error.to_string()))?;
        let mut target = Target::new(side(self.width), side(self.height), kind);
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
        let options = match self.crop {
            Crop::Stretch => options,
            Crop::Centre => options.fit_into_destination(Some((0.5, 0.5))),
        };
        resizer
            .resize(&source, &mut target, Some(&options))
            .map_err(|error| PrepareError::Broken(error.to_string()))?;
        Ok(target.into_vec())
    }

    /// Step 3 for one fitted row.
    fn normalise(&self, pixels: &[u8], row: &mut [f32]) {
        if let [table] = self.tables.as_slice() {
            for (value, &pixel) in row.iter_mut().zip(pixels) {
                *value = table[usize::from(pixel)];
            }
            return;
        }
        let planes = row.chunks_exact_mut(self.height * self.width);
        for (channel, (plane, table)) in planes.zip(&self.tables).enumerate() {
            for (value, pixel) in plane.iter_mut().zip(pixels.chunks_exact(self.channels)) {
                *value = table[usize::from(pixel[channel])];
            }
        }
    }
}

/// Grey from red, green and blue: 0.299, 0.587 and 0.114 (ITU-R BT.601), in 16-bit fixed point, rounded.
fn luma(pixels: &[u8]) -> Vec<u8> {
    let (pixels, _) = pixels.as_chunks::<3>();
    let grey = |&[red, green, blue]: &[u8; 3]| {
        let weighted = 19_595 * u32::from(red) + 38_470 * u32::from(green) + 7_471 * u32::from(blue);
        ((weighted + 0x8000) >> 16) as u8
    };
    pixels.iter().map(grey).collect()
}
