use fast_image_resize::{
    FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer,
    images::{Image as Target, ImageRef},
};
use strata_spec::{Crop, ImagePreparation};

use crate::{Image, Images, PrepareError, decode, decode::check_size};

/// Size of the buffer for rows that are fetched together: a part of a first-level cache.
const GATHERED_BYTES: usize = 8 << 10;

/// Turns images into what a network takes, by the same steps for training rows and for requests:
///
/// 1. Channels: RGB to grey by the luma of Rec. 601 (in 16-bit fixed point, as Pillow's `L`), grey
///    to RGB by repetition.
/// 2. Size: resized with a triangle filter that widens when it shrinks (Pillow's `BILINEAR`);
///    [`Crop::Centre`] takes the largest centred part with the target's aspect ratio. An image of
///    the right size keeps its bytes.
/// 3. Numbers: `(pixel / 255 - mean) / std` in 32-bit floating point, channel after channel (planar).
///
/// Steps 1 and 2 stay in 8 bits and are done once for training ([`Preparer::fit`]); step 3 is done
/// for each batch ([`Preparer::rows`]).
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

    /// The same rows in the channels and the size that the network takes, still in 8 bits. Rows that fit already are not
    /// copied.
    ///
    /// # Errors
    /// The images have an impossible size, or the fitted rows do not fit into memory.
    pub fn fit(&self, images: Images) -> Result<Images, PrepareError> {
        let (height, width, channels) = (images.height, images.width, images.channels);
        if (height, width, channels) == (self.height, self.width, self.channels) {
            return Ok(images);
        }
        let mut pixels = Vec::new();
        let rows = images.len();
        let too_large = PrepareError::Memory {
            rows,
            bytes: self.row_len(),
        };
        let total = rows.checked_mul(self.row_len()).ok_or(too_large.clone())?;
        pixels.try_reserve_exact(total).map_err(|_| too_large)?;
        let mut resizer = Resizer::new();
        for row in 0..rows {
            pixels.extend(self.fit_one(&mut resizer, height, width, channels, images.row(row))?);
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
        assert_eq!(
            fitted.row_len(),
            self.row_len(),
            "images were not fitted by this preparer"
        );
        assert_eq!(
            out.len(),
            indices.len() * self.row_len(),
            "expected a row for each index"
        );
        // Shuffled rows lie far apart in memory. Copying a few of them at once lets the processor
        // wait for all of these at the same time, which halves the time of a batch of MNIST.
        let len = self.row_len();
        let at_once = (GATHERED_BYTES / len).clamp(1, indices.len().max(1));
        let mut gathered = vec![0; at_once * len];
        for (indices, rows) in indices.chunks(at_once).zip(out.chunks_mut(at_once * len)) {
            for (&index, pixels) in indices.iter().zip(gathered.chunks_exact_mut(len)) {
                pixels.copy_from_slice(fitted.row(index as usize));
            }
            for (pixels, row) in gathered.chunks_exact(len).zip(rows.chunks_exact_mut(len)) {
                self.normalise(pixels, row);
            }
        }
    }

    /// The row of an encoded image: a PNG or JPEG file.
    ///
    /// # Errors
    /// Those of [`decode`].
    pub fn request(&self, bytes: &[u8]) -> Result<Vec<f32>, PrepareError> {
        let Image {
            height,
            width,
            channels,
            pixels,
        } = decode(bytes)?;
        self.pixels(height, width, channels, &pixels)
    }

    /// The row of a plain image: height x width x channels bytes, the channels of a pixel next to
    /// each other.
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
            return Err(PrepareError::Length {
                expected,
                found: pixels.len(),
            });
        }

        let converted = converted(pixels);
        if (height, width) == (self.height, self.width) {
            return Ok(converted);
        }
        let kind = if self.channels == 1 {
            PixelType::U8
        } else {
            PixelType::U8x3
        };
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

/// Grey from red, green and blue: 0.299, 0.587 and 0.114 (ITU-R BT.601), in 16-bit fixed point,
/// rounded.
fn luma(pixels: &[u8]) -> Vec<u8> {
    let (pixels, _) = pixels.as_chunks::<3>();
    let grey = |&[red, green, blue]: &[u8; 3]| {
        let weighted =
            19_595 * u32::from(red) + 38_470 * u32::from(green) + 7_471 * u32::from(blue);
        ((weighted + 0x8000) >> 16) as u8
    };
    pixels.iter().map(grey).collect()
}

#[cfg(test)]
mod tests {
    use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};

    use super::*;

    fn setting(channels: usize, height: usize, width: usize, crop: Crop) -> ImagePreparation {
        let mean = [0.1307, 0.4, 0.5][..channels].to_vec();
        let std = [0.3081, 0.2, 0.3][..channels].to_vec();
        ImagePreparation {
            height,
            width,
            channels,
            crop,
            mean,
            std,
        }
    }

    fn images(channels: usize, height: usize, width: usize, rows: usize) -> Images {
        let value = |i: usize| (i.wrapping_mul(2_654_435_761) >> 20) as u8;
        let pixels = (0..rows * height * width * channels).map(value).collect();
        Images {
            height,
            width,
            channels,
            pixels,
            labels: vec![0; rows],
        }
    }

    fn png(images: &Images, row: usize) -> Vec<u8> {
        let mut file = Vec::new();
        let color = if images.channels == 1 {
            ExtendedColorType::L8
        } else {
            ExtendedColorType::Rgb8
        };
        PngEncoder::new(&mut file)
            .write_image(
                images.row(row),
                images.width as u32,
                images.height as u32,
                color,
            )
            .unwrap();
        file
    }

    /// The numbers of each row by the three ways in, which must agree bit for bit.
    fn check(setting: &ImagePreparation, images: &Images) -> Vec<f32> {
        let preparer = Preparer::new(setting);
        let fitted = preparer.fit(images.clone()).unwrap();
        let indices: Vec<u32> = (0..images.len() as u32).rev().collect();
        let mut rows = vec![f32::NAN; images.len() * preparer.row_len()];
        preparer.rows(&fitted, &indices, &mut rows);
        for (&index, row) in indices.iter().zip(rows.chunks_exact(preparer.row_len())) {
            let plain = images.row(index as usize);
            let from_file = preparer.request(&png(images, index as usize)).unwrap();
            let from_bytes = preparer
                .pixels(images.height, images.width, images.channels, plain)
                .unwrap();
            assert!(
                row.iter()
                    .map(|value| value.to_bits())
                    .eq(from_file.iter().map(|value| value.to_bits()))
            );
            assert!(
                row.iter()
                    .map(|value| value.to_bits())
                    .eq(from_bytes.iter().map(|value| value.to_bits()))
            );
        }
        rows
    }

    #[test]
    fn training_and_requests_give_the_same_bits() {
        for (from, to) in [(1, 1), (1, 3), (3, 1), (3, 3)] {
            for crop in [Crop::Stretch, Crop::Centre] {
                check(&setting(to, 28, 28, crop), &images(from, 28, 28, 21));
                check(&setting(to, 17, 23, crop), &images(from, 40, 31, 3));
                check(&setting(to, 64, 48, crop), &images(from, 5, 9, 3));
            }
        }
    }

    #[test]
    fn rows_are_planar_and_normalised() {
        let images = Images {
            height: 1,
            width: 2,
            channels: 3,
            pixels: vec![0, 51, 255, 255, 102, 0],
            labels: vec![4],
        };
        let row = check(&setting(3, 1, 2, Crop::Stretch), &images);
        let expected = [
            (0.0 - 0.1307) / 0.3081,
            (1.0 - 0.1307) / 0.3081,
            (51.0 / 255.0 - 0.4) / 0.2,
            (102.0 / 255.0 - 0.4) / 0.2,
            (1.0 - 0.5) / 0.3,
            (0.0 - 0.5) / 0.3_f32,
        ];
        assert_eq!(row, expected);
    }

    /// Pillow 13.0.0: `Image.new("RGB", (1, 1), color).convert("L").getpixel((0, 0))`.
    #[test]
    fn grey_is_the_luma_of_pillow() {
        let colors = [
            ([255, 0, 0], 76),
            ([0, 255, 0], 150),
            ([0, 0, 255], 29),
            ([12, 200, 99], 132),
            ([255; 3], 255),
        ];
        for (color, grey) in colors {
            assert_eq!(luma(&color), [grey], "{color:?}");
        }
    }

    /// Pillow 13.0.0: `list(Image.frombytes("L", (7, 5), bytes(i * 37 % 256 for i in
    /// range(35))).resize((width, height), Image.BILINEAR).tobytes())`, the first twelve.
    #[test]
    fn a_resized_image_is_that_of_pillow() {
        let pixels: Vec<u8> = (0..35_u32).map(|i| (i * 37 % 256) as u8).collect();
        let check = |height, width, expected: [u8; 12]| {
            let preparer = Preparer::new(&setting(1, height, width, Crop::Stretch));
            let fitted = preparer
                .fit_one(&mut Resizer::new(), 5, 7, 1, &pixels)
                .unwrap();
            assert_eq!(fitted[..12], expected);
        };
        check(3, 4, [20, 78, 146, 204, 25, 83, 151, 209, 30, 88, 156, 214]);
        check(8, 9, [0, 25, 53, 82, 111, 140, 169, 197, 222, 1, 26, 54]);
    }

    #[test]
    fn stretch_keeps_all_and_centre_keeps_the_middle() {
        // Black, white, black, in thirds.
        let stripes: Vec<u8> = (0..30 * 90)
            .map(|i| if (30..60).contains(&(i % 90)) { 255 } else { 0 })
            .collect();
        let plain = |crop| {
            let setting = ImagePreparation {
                mean: vec![],
                std: vec![],
                ..setting(1, 30, 30, crop)
            };
            Preparer::new(&setting).pixels(30, 90, 1, &stripes).unwrap()
        };
        assert!(plain(Crop::Centre).iter().all(|&value| value == 1.0));
        let mean = plain(Crop::Stretch).iter().sum::<f32>() / 900.0;
        assert!((mean - 1.0 / 3.0).abs() < 0.01, "{mean}");
    }

    #[test]
    fn a_tensor_of_a_wrong_shape_is_refused() {
        let preparer = Preparer::new(&setting(1, 4, 4, Crop::Stretch));
        let check = |height, width, channels, bytes, message: &str| {
            let error = preparer
                .pixels(height, width, channels, &vec![0; bytes])
                .unwrap_err();
            assert_eq!(error.to_string(), message);
        };
        check(
            4,
            4,
            1,
            15,
            "expected 16 bytes (height x width x channels), found 15",
        );
        check(4, 4, 2, 32, "expected 1 channel (grey) or 3 (RGB), found 2");
        check(0, 4, 1, 0, "image without pixels: 4x0");
        let large = "image too large: 4294967295x4294967295 pixels, \
                     expected at most 8192 a side and 33554432 in all";
        check(usize::MAX, usize::MAX, 3, 0, large);
    }

    #[test]
    fn rows_that_exceed_memory_are_an_error() {
        let preparer = Preparer::new(&setting(3, 4096, 4096, Crop::Stretch));
        let many = Images {
            height: 0,
            width: 0,
            channels: 1,
            pixels: vec![],
            labels: vec![0; 60_000_000],
        };
        assert!(matches!(
            preparer.fit(many),
            Err(PrepareError::Memory { .. })
        ));
    }
}
