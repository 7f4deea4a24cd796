use std::io::Cursor;

use image::{
    ImageDecoder, Limits,
    codecs::{jpeg::JpegDecoder, png::PngDecoder},
};

use crate::PrepareError;

/// The most pixels that an image may have on a side.
pub const MOST_SIDE: usize = 8192;

/// The most pixels that an image may have in all: 33,554,432. Decoding takes at most 12 bytes for each.
pub const MOST_PIXELS: usize = 1 << 25;

/// What chunks other than pixels (profiles, texts) of a PNG file may unpack to, in bytes.
const MOST_METADATA: u64 = 16 << 20;

const PNG_START: &[u8] = b"\x89PNG\r\n\x1a\n";
const JPEG_START: &[u8] = b"\xff\xd8\xff";

/// One image, 8 bits a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Height in pixels.
    pub height: usize,
    /// Width in pixels.
    pub width: usize,
    /// 1 for grey, 3 for red, green, blue.
    pub channels: usize,
    /// Height x width x channels, the channels of a pixel next to each other.
    pub pixels: Vec<u8>,
}

/// Decodes a PNG or JPEG file; the content says which.
///
/// Palettes become RGB, 16 bits are rounded to 8, CMYK becomes RGB. What is transparent is laid on
/// black, the background of most digits and of padding. Pixels are taken as they are stored: the
/// orientation and the colour profile that a file may name are not applied, as in Pillow and Keras.
///
/// # Errors
/// The bytes are no image, are cut or damaged, or claim more than [`MOST_SIDE`] or [`MOST_PIXELS`].
/// The size is read from the header, before memory is taken for the pixels.
pub fn decode(bytes: &[u8]) -> Result<Image, PrepareError> {
    if bytes.starts_with(PNG_START) {
        // The header chunk comes first, at a fixed place; the decoder would take memory for a row
        // before it tells.
        if let Some(&[a, b, c, d, e, f, g, h]) = bytes.get(16..24) {
            check_size(
                u32::from_be_bytes([a, b, c, d]),
                u32::from_be_bytes([e, f, g, h]),
            )?;
        }
        let mut limits = Limits::no_limits();
        limits.max_alloc = Some(MOST_METADATA);
        read(PngDecoder::with_limits(Cursor::new(bytes), limits).map_err(broken)?)
    } else if bytes.starts_with(JPEG_START) {
        if !is_whole_jpeg(bytes) {
            return Err(PrepareError::Broken("the JPEG file is cut".to_owned()));
        }
        read(JpegDecoder::new(Cursor::new(bytes)).map_err(broken)?)
    } else {
        Err(PrepareError::NotAnImage)
    }
}

/// Checks the sides of an image before memory is taken for it.
pub(crate) fn check_size(width: u32, height: u32) -> Result<(), PrepareError> {
    let (wide, high) = (u64::from(width), u64::from(height));
    if wide == 0 || high == 0 {
        return Err(PrepareError::Empty {
            width: width as usize,
            height: height as usize,
        });
    }
    if wide.max(high) > MOST_SIDE as u64 || wide * high > MOST_PIXELS as u64 {
        return Err(PrepareError::TooLarge {
            width: wide,
            height: high,
        });
    }
    Ok(())
}

fn read(decoder: impl ImageDecoder) -> Result<Image, PrepareError> {
    let (width, height) = decoder.dimensions();
    check_size(width, height)?;
    let color = decoder.color_type();
    let samples = usize::from(color.channel_count());
    let mut stored =
        vec![0; width as usize * height as usize * usize::from(color.bytes_per_pixel())];
    decoder.read_image(&mut stored).map_err(broken)?;
    if usize::from(color.bytes_per_pixel()) == 2 * samples {
        stored = to_8_bits(&stored);
    }
    let pixels = if color.has_alpha() {
        on_black(stored, samples)
    } else {
        stored
    };
    let channels = if color.has_color() { 3 } else { 1 };
    Ok(Image {
        height: height as usize,
        width: width as usize,
        channels,
        pixels,
    })
}

/// Rounds 16-bit samples, in the machine's byte order, to 8 bits: `v / 257`, to the nearest.
fn to_8_bits(samples: &[u8]) -> Vec<u8> {
    let (pairs, _) = samples.as_chunks::<2>();
    pairs
        .iter()
        .map(|&pair| ((u32::from(u16::from_ne_bytes(pair)) + 128) / 257) as u8)
        .collect()
}

/// Drops the last sample of each pixel, alpha, after the others were multiplied by it. In place: what is written never
/// overtakes what is read.
fn on_black(mut pixels: Vec<u8>, samples: usize) -> Vec<u8> {
    let colors = samples - 1;
    let count = pixels.len() / samples;
    for pixel in 0..count {
        let alpha = u32::from(pixels[pixel * samples + colors]);
        for color in 0..colors {
            let value = u32::from(pixels[pixel * samples + color]);
            pixels[pixel * colors + color] = ((value * alpha + 127) / 255) as u8;
        }
    }
    pixels.truncate(count * colors);
    pixels
}

/// Whether the end marker comes after the first scan. The decoder would fill what a cut file lacks
/// with grey.
///
/// Segments before the scan are stepped over, because a thumbnail within them has an end marker of
/// its own (ITU-T T.81, B.1.1).
fn is_whole_jpeg(bytes: &[u8]) -> bool {
    let mut rest = &bytes[2..];
    while let [0xff, marker, after @ ..] = rest {
        match (marker, after) {
            // Bytes that fill up, and markers without a length.
            (0xff, _) => rest = &rest[1..],
            (0x01 | 0xd0..=0xd8, _) => rest = after,
            // Start of scan. A marker's second byte never follows 0xff within a scan's data.
            (0xda, _) => return after.windows(2).any(|pair| pair == [0xff, 0xd9]),
            (_, [high, low, ..]) => {
                let len = usize::from(u16::from_be_bytes([*high, *low]));
                match after.get(len..) {
                    Some(next) if len >= 2 => rest = next,
                    _ => return false,
                }
            }
            _ => return false,
        }
    }
    // No marker where one must be: the decoder says what is wrong.
    !rest.is_empty()
}

fn broken(error: image::ImageError) -> PrepareError {
    PrepareError::Broken(error.to_string())
}

#[cfg(test)]
mod tests {
    use image::{
        ExtendedColorType, ImageEncoder, codecs::jpeg::JpegEncoder, codecs::png::PngEncoder,
    };
    use proptest::prelude::*;

    use super::*;

    fn png(samples: &[u8], width: u32, height: u32, color: ExtendedColorType) -> Vec<u8> {
        let mut file = Vec::new();
        PngEncoder::new(&mut file)
            .write_image(samples, width, height, color)
            .unwrap();
        file
    }

    fn jpeg(color: ExtendedColorType, samples: usize) -> Vec<u8> {
        let mut file = Vec::new();
        JpegEncoder::new_with_quality(&mut file, 95)
            .write_image(&vec![200; 64 * 48 * samples], 64, 48, color)
            .unwrap();
        file
    }

    fn check(file: &[u8], channels: usize, pixels: &[u8]) {
        let image = decode(file).unwrap();
        assert_eq!(
            (image.channels, image.pixels.as_slice()),
            (channels, pixels)
        );
        assert_eq!(
            image.pixels.len(),
            image.height * image.width * image.channels
        );
    }

    fn check_refused(file: &[u8], start: &str) {
        let message = decode(file).unwrap_err().to_string();
        assert!(
            message.starts_with(start),
            "`{message}` does not start with `{start}`"
        );
    }

    #[test]
    fn a_png_keeps_its_bytes() {
        check(
            &png(&[1, 2, 3, 4, 5, 6], 3, 2, ExtendedColorType::L8),
            1,
            &[1, 2, 3, 4, 5, 6],
        );
        check(
            &png(&[1, 2, 3, 4, 5, 6], 1, 2, ExtendedColorType::Rgb8),
            3,
            &[1, 2, 3, 4, 5, 6],
        );
    }

    #[test]
    fn transparency_is_laid_on_black() {
        check(
            &png(&[200, 255, 200, 0, 200, 128], 3, 1, ExtendedColorType::La8),
            1,
            &[200, 0, 100],
        );
        check(
            &png(&[9, 99, 255, 51], 1, 1, ExtendedColorType::Rgba8),
            3,
            &[2, 20, 51],
        );
    }

    #[test]
    fn sixteen_bits_are_rounded_to_eight() {
        let samples: Vec<u8> = [0_u16, 128, 129, 32_768, 65_535]
            .iter()
            .flat_map(|v| v.to_ne_bytes())
            .collect();
        check(
            &png(&samples, 5, 1, ExtendedColorType::L16),
            1,
            &[0, 0, 1, 128, 255],
        );
        let samples: Vec<u8> = [65_535_u16, 257, 0, 65_535]
            .iter()
            .flat_map(|v| v.to_ne_bytes())
            .collect();
        check(
            &png(&samples, 1, 1, ExtendedColorType::Rgba16),
            3,
            &[255, 1, 0],
        );
    }

    #[test]
    fn a_jpeg_is_grey_or_rgb() {
        let grey = decode(&jpeg(ExtendedColorType::L8, 1)).unwrap();
        assert_eq!((grey.height, grey.width, grey.channels), (48, 64, 1));
        let color = decode(&jpeg(ExtendedColorType::Rgb8, 3)).unwrap();
        assert_eq!((color.height, color.width, color.channels), (48, 64, 3));
        assert!(color.pixels.iter().all(|&pixel| pixel.abs_diff(200) <= 2));
    }

    #[test]
    fn an_image_that_claims_too_much_is_refused_by_its_header() {
        let mut file = png(&[0; 4], 2, 2, ExtendedColorType::L8);
        file[16..24].copy_from_slice(&[0, 1, 0x86, 0xa0, 0, 1, 0x86, 0xa0]);
        check_refused(&file, "image too large: 100000x100000 pixels");
        file[16..24].copy_from_slice(&[0, 0, 0x20, 0, 0, 0, 0x20, 0]);
        check_refused(&file, "image too large: 8192x8192 pixels");
        file[16..24].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 2]);
        check_refused(&file, "image without pixels: 0x2");

        let mut file = jpeg(ExtendedColorType::L8, 1);
        let frame = file
            .windows(2)
            .position(|pair| pair == [0xff, 0xc0])
            .unwrap();
        file[frame + 5..frame + 9].copy_from_slice(&[0xff, 0xdc, 0xff, 0xdc]);
        check_refused(&file, "image too large: 65500x65500 pixels");
    }

    #[test]
    fn the_largest_image_decodes() {
        let file = png(
            &vec![7; 8192 * 4096 * 2],
            8192,
            4096,
            ExtendedColorType::L16,
        );
        assert_eq!(decode(&file).unwrap().pixels.len(), MOST_PIXELS);
    }

    #[test]
    fn what_is_no_image_is_refused() {
        for bytes in [
            b"".as_slice(),
            b"hello",
            b"GIF89a",
            b"\x89PNG",
            b"BM",
            &[0; 100],
        ] {
            check_refused(bytes, "not an image");
        }
    }

    #[test]
    fn a_cut_image_is_refused() {
        for file in [
            png(&[5; 64 * 64], 64, 64, ExtendedColorType::L8),
            jpeg(ExtendedColorType::Rgb8, 3),
        ] {
            for len in [8, 20, 40, file.len() / 2, file.len() - 14] {
                check_refused(&file[..len], "broken image");
            }
        }
    }

    #[test]
    fn photographs_decode() {
        let Some(data) = std::env::var_os("STRATA_DATA") else {
            println!("skipped: STRATA_DATA is not set");
            return;
        };
        for name in [
            "cat_720p.jpg",
            "hot_dog.jpg",
            "owl.jpg",
            "parrot.jpg",
            "zebra.jpg",
        ] {
            let path = std::path::Path::new(&data).join("images").join(name);
            let Ok(bytes) = std::fs::read(&path) else {
                println!("skipped: no {}", path.display());
                continue;
            };
            let image = decode(&bytes).unwrap();
            assert_eq!(image.channels, 3, "{name}");
            assert!(image.height >= 224 && image.width >= 224, "{name}");
            check_refused(&bytes[..bytes.len() - 2], "broken image");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(kind in 0_usize..4, bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let start = [PNG_START, JPEG_START, b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"\xff\xd8\xff\xc0"][kind];
            let _ = decode(&[start, &bytes].concat());
        }

        #[test]
        fn no_damage_makes_it_panic(place in 0_usize..2000, change in 1_u8.., is_png: bool) {
            let mut file = match is_png {
                true => png(&[5; 64 * 64], 64, 64, ExtendedColorType::L8),
                false => jpeg(ExtendedColorType::Rgb8, 3),
            };
            let place = place % file.len();
            file[place] ^= change;
            let _ = decode(&file);
        }
    }
}
