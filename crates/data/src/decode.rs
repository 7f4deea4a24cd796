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
/// Palettes become RGB, 16 bits are rounded to 8, CMYK becomes RGB. What is transparent is laid on black, the
/// background of most digits and of padding. Pixels are taken as they are stored: the orientation and the colour
/// profile that a file may name are not applied, as in Pillow and Keras.
///
/// # Errors
/// The bytes are no image, are cut or damaged, or claim more than [`MOST_SIDE`] or [`MOST_PIXELS`]. The size is read
/// from the header, before memory is taken for the pixels.
pub fn decode(bytes: &[u8]) -> Result<Image, PrepareError> {
    if bytes.starts_with(PNG_START) {
        // The header chunk comes first, at a fixed place; the decoder would take memory for a row before it tells.
        if let Some(&[a, b, c, d, e, f, g, h]) = bytes.get(16..24) {
            check_size(u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]))?;
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
        return Err(PrepareError::Empty { width: width as usize, height: height as usize });
    }
    if wide.max(high) > MOST_SIDE as u64 || wide * high > MOST_PIXELS as u64 {
        return Err(PrepareError::TooLarge { width: wide, height: high });
    }
    Ok(())
}

fn read(decoder: impl ImageDecoder) -> Result<Image, PrepareError> {
    let (width, height) = decoder.dimensions();
    check_size(width, height)?;
    let color = decoder.color_type();
    let samples = usize::from(color.channel_count());
    let mut stored = vec![0; width as usize * height as usize * usize::from(color.bytes_per_pixel())];
    decoder.read_image(&mut stored).map_err(broken)?;
    if usize::from(color.bytes_per_pixel()) == 2 * samples {
        stored = to_8_bits(&stored);
    }
    let pixels = if color.has_alpha() { on_black(&stored, samples) } else { stored };
    let channels = if color.has_color() { 3 } else { 1 };
    Ok(Image { height: height as usize, width: width as usize, channels, pixels })
}

/// Rounds 16-bit samples, in the machine's byte order, to 8 bits: `v / 257`, to the nearest.
fn to_8_bits(samples: &[u8]) -> Vec<u8> {
    let (pairs, _) = samples.as_chunks::<2>();
    pairs.iter().map(|&pair| ((u32::from(u16::from_ne_bytes(pair)) + 128) / 257) as u8).collect()
}

/// Drops the last sample of each pixel, alpha, after the others were multiplied by it.
fn on_black(pixels: &[u8], samples: usize) -> Vec<u8> {
    let blend = |pixel: &[u8]| -> Vec<u8> {
        let (&alpha, colors) = pixel.split_last().unwrap_or((&0, &[]));
        colors.iter().map(|&color| ((u32::from(color) * u32::from(alpha) + 127) / 255) as u8).collect()
    };
    pixels.chunks_exact(samples).flat_map(blend).collect()
}

/// Whether the end marker comes after the first scan. The decoder would fill what a cut file lacks with grey.
///
/// Segments before the scan are stepped over, because a thumbnail within them has an end marker of its own
/// (ITU-T T.81, B.1.1).
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
