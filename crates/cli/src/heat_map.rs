//! An attribution as a picture beside its input.

use std::io::Cursor;

use image::{ImageFormat, Rgb, RgbImage, imageops};
use strata_spec::ImagePreparation;

/// Pixels between the two pictures.
const GAP: u32 = 8;
/// Small images are enlarged to about this many pixels a side, in whole steps.
const SIDE: u32 = 280;

/// The input on the left; on the right what spoke for the class (red) and against it (blue), on white. The colours are
/// scaled to the largest value; channels are added up.
pub(crate) fn png(
    image: &ImagePreparation,
    row: &[f32],
    values: &[f32],
) -> image::ImageResult<Vec<u8>> {
    let (height, width) = (image.height as u32, image.width as u32);
    let pixels = image.height * image.width;
    let input = RgbImage::from_fn(width, height, |x, y| {
        let at = (y * width + x) as usize;
        let channel = |colour: usize| {
            // The order of colours is its own inverse.
            let channel = image.source_channel(colour.min(image.channels - 1));
            let (mean, std) = image.normalisation(channel);
            ((row[channel * pixels + at] * std + mean) * 255.0)
                .round()
                .clamp(0.0, 255.0) as u8
        };
        Rgb([channel(0), channel(1), channel(2)])
    });
    let sums: Vec<f32> = (0..pixels)
        .map(|at| {
            (0..image.channels)
                .map(|channel| values[channel * pixels + at])
                .sum()
        })
        .collect();
    let largest = sums
        .iter()
        .fold(f32::MIN_POSITIVE, |largest, value| largest.max(value.abs()));
    let heat = RgbImage::from_fn(width, height, |x, y| {
        let share = sums[(y * width + x) as usize] / largest;
        let faded = (255.0 * (1.0 - share.abs())).round() as u8;
        if share >= 0.0 {
            Rgb([255, faded, faded])
        } else {
            Rgb([faded, faded, 255])
        }
    });

    let scale = (SIDE / width.max(height)).max(1);
    let enlarge = |picture: &RgbImage| {
        imageops::resize(
            picture,
            width * scale,
            height * scale,
            imageops::FilterType::Nearest,
        )
    };
    let mut both = RgbImage::from_pixel(
        2 * width * scale + GAP,
        height * scale,
        Rgb([255, 255, 255]),
    );
    imageops::replace(&mut both, &enlarge(&input), 0, 0);
    imageops::replace(
        &mut both,
        &enlarge(&heat),
        i64::from(width * scale + GAP),
        0,
    );
    let mut file = Cursor::new(Vec::new());
    both.write_to(&mut file, ImageFormat::Png)?;
    Ok(file.into_inner())
}
