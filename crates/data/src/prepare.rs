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
///    [`Crop::Centre`] takes the largest centred part with the target's aspect ratio, or, with
///    `resize`, the centre of the image whose shorter side was made that long (torchvision's
///    `Resize` and `CenterCrop`). An image of the right size keeps its bytes.
/// 3. Numbers: `(pixel / 255 * scale - mean) / std` in 32-bit floating point, channel after channel
///    (planar), in the network's order of colours.
///
/// Steps 1 and 2 stay in 8 bits and are done once for training ([`Preparer::fit`]); step 3 is done
/// for each batch ([`Preparer::rows`]).
#[derive(Clone, Debug)]
pub struct Preparer {
    height: usize,
    width: usize,
    channels: usize,
    crop: Crop,
    /// The shorter side of which the centre is cut out.
    resize: Option<usize>,
    /// For each of the network's channels, the image's channel and the number of each pixel value.
    tables: Vec<(usize, [f32; 256])>,
}

impl Preparer {
    /// The preparation that a recipe or a manifest asks for.
    pub fn new(setting: &ImagePreparation) -> Self {
        let table = |channel| {
            let numbers = std::array::from_fn(|pixel| setting.number(channel, pixel as u8));
            (setting.source_channel(channel), numbers)
        };
        Self {
            height: setting.height,
            width: setting.width,
            channels: setting.channels,
            crop: setting.crop,
            resize: setting.resize,
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
        if self.fits(height, width) && channels == self.channels {
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
            origins: images.origins,
            ..self.images(pixels, images.labels)
        })
    }

    /// As [`Preparer::fit`], but for rows of which random parts are taken: 8/7 as high and wide (256 for 224), or as
    /// large as they are if that is smaller.
    ///
    /// # Errors
    /// Those of [`Preparer::fit`].
    pub fn fit_for_crops(&self, images: Images) -> Result<Images, PrepareError> {
        let mut larger = self.for_crops();
        if images.height <= larger.height && images.width <= larger.width {
            (larger.height, larger.width) = (images.height, images.width);
        }
        larger.fit(images)
    }

    /// The same for images of which random parts are taken.
    pub(crate) fn for_crops(&self) -> Self {
        Self {
            height: self.height * 8 / 7,
            width: self.width * 8 / 7,
            ..self.clone()
        }
    }

    /// Rows that it made.
    pub(crate) fn images(&self, pixels: Vec<u8>, labels: Vec<u32>) -> Images {
        Images {
            height: self.height,
            width: self.width,
            channels: self.channels,
            pixels,
            labels,
            origins: Vec::new(),
        }
    }

    /// Steps 1 and 2 for one image.
    pub(crate) fn image(
        &self,
        image: &Image,
        resizer: &mut Resizer,
    ) -> Result<Vec<u8>, PrepareError> {
        let Image {
            height,
            width,
            channels,
            ref pixels,
        } = *image;
        self.fit_one(resizer, height, width, channels, pixels)
    }

    /// Height, width and channels of one prepared row.
    pub(crate) fn shape(&self) -> [usize; 3] {
        [self.height, self.width, self.channels]
    }

    /// For each channel, the pixel value whose number is nearest to 0: the mean that the preparation subtracts.
    pub(crate) fn mean_pixel(&self) -> Vec<u8> {
        let nearest = |table: &[f32; 256]| {
            let nearer = |a: &u8, b: &u8| {
                table[usize::from(*a)]
                    .abs()
                    .total_cmp(&table[usize::from(*b)].abs())
            };
            (0..=255).min_by(nearer).unwrap_or(0)
        };
        // In the order of the pixels' channels, which may be another one than that of the row's.
        let mut pixel = vec![0; self.tables.len()];
        for (channel, table) in &self.tables {
            pixel[*channel] = nearest(table);
        }
        pixel
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

    /// Whether an image of this size stays as it is.
    fn fits(&self, height: usize, width: usize) -> bool {
        (height, width) == (self.height, self.width)
            && self
                .resize
                .is_none_or(|shorter| shorter == height.min(width))
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
        if self.fits(height, width) {
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
        let options = match (self.crop, self.resize) {
            (Crop::Stretch, _) => options,
            (Crop::Centre, None) => options.fit_into_destination(Some((0.5, 0.5))),
            (Crop::Centre, Some(shorter)) => {
                let [top, rows] = centre(height, height.min(width), shorter, self.height);
                let [left, columns] = centre(width, height.min(width), shorter, self.width);
                options.crop(left, top, columns, rows)
            }
        };
        resizer
            .resize(&source, &mut target, Some(&options))
            .map_err(|error| PrepareError::Broken(error.to_string()))?;
        Ok(target.into_vec())
    }

    /// Step 3 for one fitted row.
    pub(crate) fn normalise(&self, pixels: &[u8], row: &mut [f32]) {
        if let [(_, table)] = self.tables.as_slice() {
            for (value, &pixel) in row.iter_mut().zip(pixels) {
                *value = table[usize::from(pixel)];
            }
            return;
        }
        let planes = row.chunks_exact_mut(self.height * self.width);
        for (plane, (channel, table)) in planes.zip(&self.tables) {
            for (value, pixel) in plane.iter_mut().zip(pixels.chunks_exact(self.channels)) {
                *value = table[usize::from(pixel[*channel])];
            }
        }
    }
}

/// Where the centre of `target` pixels begins along a side of an image and how long it is, in the image's own pixels, when
/// its shorter side becomes `resized`. Roundings are those of torchvision: a longer side down, the place of the centre to
/// the nearest, halves to even. What will not be seen is never resized: of a narrow image that could be very long.
fn centre(side: usize, shorter: usize, resized: usize, target: usize) -> [f64; 2] {
    let whole = resized * side / shorter;
    let before = ((whole - target) as f64 / 2.0).round_ties_even();
    let pixel = side as f64 / whole as f64;
    [before * pixel, target as f64 * pixel]
}

/// Grey from red, green and blue: 0.299, 0.587 and 0.114 (ITU-R BT.601), in 16-bit fixed point,
/// rounded.
fn luma(pixels: &[u8]) -> Vec<u8> {
    let (pixels, _) = pixels.as_chunks::<3>();
    pixels.iter().map(grey).collect()
}

/// The luma of one pixel.
pub(crate) fn grey(&[red, green, blue]: &[u8; 3]) -> u8 {
    let weighted = 19_595 * u32::from(red) + 38_470 * u32::from(green) + 7_471 * u32::from(blue);
    ((weighted + 0x8000) >> 16) as u8
}

#[cfg(test)]
mod tests {
    use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};

    use strata_spec::ChannelOrder;

    use super::*;

    fn setting(channels: usize, height: usize, width: usize, crop: Crop) -> ImagePreparation {
        let mean = [0.1307, 0.4, 0.5][..channels].to_vec();
        let std = [0.3081, 0.2, 0.3][..channels].to_vec();
        ImagePreparation {
            crop,
            mean,
            std,
            ..ImagePreparation::new(height, width, channels)
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
            origins: vec![],
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
            origins: vec![],
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

    /// `tests/references/prepare.py`, which resizes and cuts with Pillow as torchvision does. Pixels may differ by one level:
    /// here, what will be cut out is all that is resized.
    #[test]
    fn a_centre_of_a_resized_image_is_that_of_torchvision() {
        let check = |from: [usize; 2], shorter, to: [usize; 2], expected: [u8; 12]| {
            let [height, width] = from;
            let pixels: Vec<u8> = (0..height * width).map(|i| (i * 37 % 256) as u8).collect();
            let setting = ImagePreparation {
                resize: Some(shorter),
                ..setting(1, to[0], to[1], Crop::Centre)
            };
            let fitted = Preparer::new(&setting)
                .fit_one(&mut Resizer::new(), height, width, 1, &pixels)
                .unwrap();
            let is_near = |(found, expected): (&u8, u8)| found.abs_diff(expected) <= 1;
            assert!(
                fitted.iter().zip(expected).all(is_near),
                "{from:?} {shorter} {to:?}: {fitted:?}"
            );
        };
        check(
            [40, 60],
            16,
            [8, 12],
            [122, 144, 129, 118, 119, 130, 120, 125, 133, 119, 134, 134],
        );
        check(
            [60, 40],
            16,
            [13, 9],
            [114, 124, 139, 111, 135, 138, 112, 144, 138, 130, 131, 105],
        );
        check(
            [9, 7],
            16,
            [8, 8],
            [61, 78, 94, 110, 126, 142, 158, 175, 63, 80, 96, 112],
        );
        check(
            [16, 16],
            16,
            [16, 16],
            [0, 37, 74, 111, 148, 185, 222, 3, 40, 77, 114, 151],
        );
        check(
            [33, 47],
            33,
            [10, 11],
            [30, 67, 104, 141, 178, 215, 252, 33, 70, 107, 144, 233],
        );
    }

    #[test]
    fn networks_of_caffe_get_blue_first_and_numbers_to_255() {
        let setting = ImagePreparation {
            order: ChannelOrder::Bgr,
            scale: 255.0,
            mean: vec![104.0, 117.0, 123.0],
            ..ImagePreparation::new(1, 2, 3)
        };
        let images = Images {
            height: 1,
            width: 2,
            channels: 3,
            pixels: vec![0, 51, 255, 254, 102, 1],
            labels: vec![4],
            origins: vec![],
        };
        let row = check(&setting, &images);
        assert_eq!(row, [151.0, -103.0, -66.0, -15.0, -123.0, 131.0]);
        // What explanations call black.
        let (mean, std) = setting.normalisation(2);
        assert!(((0.0 - mean) / std + 123.0).abs() < 1e-4);
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
            origins: vec![],
        };
        assert!(matches!(
            preparer.fit(many),
            Err(PrepareError::Memory { .. })
        ));
    }
}
