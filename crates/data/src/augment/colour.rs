//! What changes colours, byte for byte as Pillow's `ImageEnhance`, `ImageOps` and HSV conversion.

use super::frame::Frame;

/// `low + factor * (high - low)`, without its fraction (Pillow's `Image.blend`).
pub(super) fn blend(low: u8, high: u8, factor: f32) -> u8 {
    let (low, high) = (f32::from(low), f32::from(high));
    // The conversion saturates.
    (low + factor * (high - low)) as u8
}

/// Blends with black.
pub(super) fn brighten(frame: &mut Frame, factor: f32) {
    frame.map(|_, value| blend(0, value, factor));
}

/// Blends with the mean grey.
pub(super) fn contrast(frame: &mut Frame, factor: f32) {
    let greys = frame.pixels.chunks_exact(frame.channels).map(grey);
    let sum: u64 = greys.map(u64::from).sum();
    let count = (frame.height * frame.width) as u64;
    let mean = (sum as f64 / count as f64 + 0.5) as u8;
    frame.map(|_, value| blend(mean, value, factor));
}

/// Blends each pixel with its grey.
pub(super) fn saturate(frame: &mut Frame, factor: f32) {
    let (pixels, []) = frame.pixels.as_chunks_mut::<3>() else {
        return;
    };
    if frame.channels != 3 {
        return;
    }
    for pixel in pixels {
        let grey = grey(pixel);
        *pixel = pixel.map(|value| blend(grey, value, factor));
    }
}

/// Turns the hue by a part of the circle, -0.5 to 0.5, in 255 steps.
pub(super) fn turn_hue(frame: &mut Frame, turn: f64) {
    if frame.channels != 3 {
        return;
    }
    let steps = (turn * 255.0) as i32 as u8;
    for pixel in frame.pixels.as_chunks_mut::<3>().0 {
        let [hue, saturation, value] = to_hsv(*pixel);
        *pixel = to_rgb([hue.wrapping_add(steps), saturation, value]);
    }
}

/// Keeps the highest bits.
pub(super) fn posterize(frame: &mut Frame, bits: u32) {
    let mask = !(0xff_u32 >> bits) as u8;
    frame.map(|_, value| value & mask);
}

/// Turns what is at least as bright as `threshold` into its negative.
pub(super) fn solarize(frame: &mut Frame, threshold: f64) {
    frame.map(|_, value| {
        if f64::from(value) < threshold {
            value
        } else {
            255 - value
        }
    });
}

/// Stretches each channel to 0 to 255.
pub(super) fn auto_contrast(frame: &mut Frame) {
    let scales: Vec<(f64, f64)> = histograms(frame)
        .iter()
        .map(|histogram| {
            let low = histogram.iter().position(|&count| count > 0).unwrap_or(0);
            let high = histogram.iter().rposition(|&count| count > 0).unwrap_or(0);
            if high <= low {
                return (1.0, 0.0);
            }
            let scale = 255.0 / (high - low) as f64;
            (scale, -(low as f64) * scale)
        })
        .collect();
    frame.map(|channel, value| {
        let (scale, offset) = scales[channel];
        (f64::from(value) * scale + offset) as u8
    });
}

/// Makes all values of each channel about equally frequent.
pub(super) fn equalize(frame: &mut Frame) {
    let tables: Vec<[u8; 256]> = histograms(frame)
        .iter()
        .map(|histogram| {
            let identity = std::array::from_fn(|value| value as u8);
            let last = histogram
                .iter()
                .rfind(|&&count| count > 0)
                .copied()
                .unwrap_or(0);
            let total: usize = histogram.iter().sum();
            let step = (total - last) / 255;
            if step == 0 {
                return identity;
            }
            let mut sum = step / 2;
            histogram.map(|count| {
                let value = (sum / step).min(255) as u8;
                sum += count;
                value
            })
        })
        .collect();
    frame.map(|channel, value| tables[channel][usize::from(value)]);
}

fn histograms(frame: &Frame) -> Vec<[usize; 256]> {
    let mut histograms = vec![[0; 256]; frame.channels];
    for pixel in frame.pixels.chunks_exact(frame.channels) {
        for (histogram, &value) in histograms.iter_mut().zip(pixel) {
            histogram[usize::from(value)] += 1;
        }
    }
    histograms
}

/// The luma of a pixel of one or three channels.
fn grey(pixel: &[u8]) -> u8 {
    match pixel {
        &[red, green, blue] => crate::prepare::grey(&[red, green, blue]),
        _ => pixel[0],
    }
}

/// Hue, saturation and value of 8 bits each. The mixture of precisions is Pillow's (`rgb2hsv_row` in `Convert.c`).
fn to_hsv([red, green, blue]: [u8; 3]) -> [u8; 3] {
    let (most, least) = (red.max(green).max(blue), red.min(green).min(blue));
    if most == least {
        return [0, 0, most];
    }
    let range = f32::from(most - least);
    let saturation = range / f32::from(most);
    let [r, g, b] = [red, green, blue].map(|value| f32::from(most - value) / range);
    let hue = if red == most {
        b - g
    } else if green == most {
        (2.0 + f64::from(r) - f64::from(b)) as f32
    } else {
        (4.0 + f64::from(g) - f64::from(r)) as f32
    };
    let hue = ((f64::from(hue) / 6.0 + 1.0) % 1.0) as f32;
    let to_8_bits = |part: f32| (f64::from(part) * 255.0) as u8;
    [to_8_bits(hue), to_8_bits(saturation), most]
}

/// The way back (`hsv2rgb` in `Convert.c`).
fn to_rgb([hue, saturation, value]: [u8; 3]) -> [u8; 3] {
    if saturation == 0 {
        return [value; 3];
    }
    let sextant = (f64::from(hue) * 6.0 / 255.0).floor();
    let rest = f64::from((f64::from(hue) * 6.0 / 255.0 - sextant) as f32);
    let full = f64::from((f64::from(saturation) / 255.0) as f32);
    let level = |share: f64| (f64::from(value) * (1.0 - share)).round() as u8;
    let (p, q, t) = (level(full), level(full * rest), level(full * (1.0 - rest)));
    match sextant as u8 % 6 {
        0 => [value, t, p],
        1 => [q, value, p],
        2 => [p, value, t],
        3 => [p, q, value],
        4 => [t, p, value],
        _ => [value, p, q],
    }
}
