//! The fourteen changes of `RandAugment`, as strong as torchvision makes them with 31 magnitudes.

use super::{colour, frame::Frame};
use crate::random::Random;

/// The highest magnitude.
const MOST: f64 = 30.0;

/// One of the changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Identity,
    ShearX,
    ShearY,
    TranslateX,
    TranslateY,
    Rotate,
    Brightness,
    Colour,
    Contrast,
    Sharpness,
    Posterize,
    Solarize,
    AutoContrast,
    Equalize,
}

pub(super) const OPERATIONS: [Operation; 14] = [
    Operation::Identity,
    Operation::ShearX,
    Operation::ShearY,
    Operation::TranslateX,
    Operation::TranslateY,
    Operation::Rotate,
    Operation::Brightness,
    Operation::Colour,
    Operation::Contrast,
    Operation::Sharpness,
    Operation::Posterize,
    Operation::Solarize,
    Operation::AutoContrast,
    Operation::Equalize,
];

/// A random change, to either side where it has two.
pub(super) fn apply(frame: &mut Frame, magnitude: usize, random: &mut Random) {
    let operation = OPERATIONS[random.below(OPERATIONS.len())];
    let sign = if random.below(2) == 1 { -1.0 } else { 1.0 };
    operation.apply(frame, magnitude, sign);
}

impl Operation {
    /// Changes an image by a magnitude of 0 to 30; `sign` (1 or -1) counts where there are two sides.
    pub(super) fn apply(self, frame: &mut Frame, magnitude: usize, sign: f64) {
        let strength = magnitude as f64 / MOST;
        let factor = (1.0 + sign * 0.9 * strength) as f32;
        let shear = sign * 0.3 * strength;
        let shift = |side: usize| (sign * strength * 150.0 / 331.0 * side as f64).trunc();
        match self {
            Self::Identity => {}
            Self::ShearX => frame.transform([1.0, shear, 0.0, 0.0, 1.0, 0.0]),
            Self::ShearY => frame.transform([1.0, 0.0, 0.0, shear, 1.0, 0.0]),
            Self::TranslateX => {
                frame.transform([1.0, 0.0, -shift(frame.width), 0.0, 1.0, 0.0]);
            }
            Self::TranslateY => {
                frame.transform([1.0, 0.0, 0.0, 0.0, 1.0, -shift(frame.height)]);
            }
            Self::Rotate => rotate(frame, sign * 30.0 * strength),
            Self::Brightness => colour::brighten(frame, factor),
            Self::Colour => colour::saturate(frame, factor),
            Self::Contrast => colour::contrast(frame, factor),
            Self::Sharpness => frame.sharpen(factor),
            Self::Posterize => {
                colour::posterize(frame, 8 - (4.0 * strength).round_ties_even() as u32)
            }
            Self::Solarize => colour::solarize(frame, 255.0 * (1.0 - strength)),
            Self::AutoContrast => colour::auto_contrast(frame),
            Self::Equalize => colour::equalize(frame),
        }
    }
}

/// Turns an image around its centre, against the clock.
fn rotate(frame: &mut Frame, degrees: f64) {
    if degrees == 0.0 {
        return;
    }
    let (sin, cos) = (-degrees.to_radians()).sin_cos();
    let (x, y) = (frame.width as f64 / 2.0, frame.height as f64 / 2.0);
    frame.transform([
        cos,
        sin,
        x - cos * x - sin * y,
        -sin,
        cos,
        y + sin * x - cos * y,
    ]);
}
