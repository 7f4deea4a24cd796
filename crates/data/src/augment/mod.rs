//! Random changes of the rows that are learned from.
//!
//! Names, ranges and results are those of torchvision 0.29 on Pillow images (13.0); a script in `tests/references`
//! printed what the tests compare with. Which change a row gets depends on nothing but the seed, the epoch and the row's
//! number, so threads and resumed trainings make the same bytes.

mod colour;
mod frame;
mod mix;
mod rand_augment;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use strata_spec::{Augmentation, ColourJitter, RandomResizedCrop};

use self::frame::{Frame, Part};
use crate::{Images, Preparer, random::Random};

pub use mix::Mixed;

/// Attempts to find a part that fits into the image (torchvision's `RandomResizedCrop.get_params`).
const ATTEMPTS: usize = 10;

/// The rows of a training, each augmented and made into numbers when it is asked for.
#[derive(Debug)]
pub struct TrainingRows {
    images: Arc<Images>,
    preparer: Arc<Preparer>,
    /// What happens to each row, in this order.
    each: Vec<Augmentation>,
    /// How rows of a batch are mixed: one of these.
    mixes: Vec<Augmentation>,
    seed: u64,
    /// The colour that becomes about 0.
    mean: Vec<u8>,
}

impl TrainingRows {
    /// Rows of `images`, which `preparer` fitted, by [`Preparer::fit_for_crops`] if a random resized crop is among the
    /// augmentations of a checked recipe.
    ///
    /// # Panics
    /// The images have neither the preparer's size nor are resized by an augmentation.
    pub fn new(
        images: Arc<Images>,
        preparer: Arc<Preparer>,
        augmentation: &[Augmentation],
        seed: u64,
    ) -> Self {
        let (mixes, each): (Vec<_>, Vec<_>) = augmentation
            .iter()
            .cloned()
            .partition(Augmentation::mixes_rows);
        let [height, width, channels] = preparer.shape();
        let is_resized = each
            .iter()
            .any(|one| matches!(one, Augmentation::RandomResizedCrop(_)));
        assert!(
            images.channels == channels
                && (is_resized || (images.height, images.width) == (height, width)),
            "images were not fitted by this preparer"
        );
        let mean = preparer.mean_pixel();
        Self {
            images,
            preparer,
            each,
            mixes,
            seed,
            mean,
        }
    }

    /// The images.
    pub fn images(&self) -> &Images {
        &self.images
    }

    /// Numbers of one row.
    pub fn row_len(&self) -> usize {
        self.preparer.row_len()
    }

    /// Writes the given rows, as they are in `epoch`, as `[rows, channels, height, width]`. They may be a part of a batch.
    ///
    /// # Panics
    /// A row does not exist, or `out` has not `indices.len() * row_len()` numbers.
    pub fn rows(&self, epoch: u64, indices: &[u32], out: &mut [f32]) {
        if self.each.is_empty() {
            return self.preparer.rows(&self.images, indices, out);
        }
        let row_len = self.row_len();
        assert_eq!(
            out.len(),
            indices.len() * row_len,
            "expected a row for each index"
        );
        let mut frame = Frame::default();
        for (&index, row) in indices.iter().zip(out.chunks_exact_mut(row_len)) {
            let (height, width) = (self.images.height, self.images.width);
            frame.load(
                height,
                width,
                self.images.channels,
                self.images.row(index as usize),
            );
            let mut random = Random::of_row(b"augment\0", self.seed, epoch, u64::from(index));
            for augmentation in &self.each {
                if *augmentation == Augmentation::AlternatingFlip {
                    if self.flips(epoch, index) {
                        frame.flip();
                    }
                    continue;
                }
                self.apply(augmentation, &mut frame, &mut random);
            }
            self.preparer.normalise(&frame.pixels, row);
        }
    }

    /// Mixes the finished rows of a whole batch with each other, if the recipe says so. `batch` is its number within the
    /// epoch.
    ///
    /// # Panics
    /// `rows` has not `indices.len() * row_len()` numbers.
    pub fn mix(&self, epoch: u64, batch: u64, indices: &[u32], rows: &mut [f32]) -> Option<Mixed> {
        assert_eq!(
            rows.len(),
            indices.len() * self.row_len(),
            "expected a row for each index"
        );
        let mut random = Random::of_row(b"mix\0\0\0\0\0", self.seed, epoch, batch);
        let chosen = self.mixes.get(random.below(self.mixes.len()))?;
        let [height, width, _] = self.preparer.shape();
        let share = match chosen {
            Augmentation::Mixup(setting) => {
                let share = random.beta(setting.alpha);
                mix::blend(rows, self.row_len(), share as f32);
                share
            }
            Augmentation::CutMix(setting) => {
                let share = random.beta(setting.alpha);
                let centre = [random.below(height), random.below(width)];
                let part = mix::rectangle([height, width], centre, share);
                mix::paste(rows, self.row_len(), [height, width], part);
                1.0 - (part.height * part.width) as f64 / (height * width) as f64
            }
            _ => return None,
        };
        Some(Mixed::with_the_row_before(indices, share as f32))
    }

    /// Whether a row is one that alternating flips turn in `epoch`.
    fn flips(&self, epoch: u64, index: u32) -> bool {
        let mut random = Random::of_row(b"flip\0\0\0\0", self.seed, 0, u64::from(index));
        random.below(2) as u64 == epoch % 2
    }

    fn apply(&self, augmentation: &Augmentation, frame: &mut Frame, random: &mut Random) {
        match augmentation {
            Augmentation::Flip => {
                if random.below(2) == 1 {
                    frame.flip();
                }
            }
            Augmentation::VerticalFlip => {
                if random.below(2) == 1 {
                    frame.flip_vertically();
                }
            }
            Augmentation::Crop(crop) => {
                let places = 2 * crop.padding + 1;
                let corner = [random.below(places), random.below(places)];
                frame.crop_with_margin(crop.padding, crop.margin, corner);
            }
            Augmentation::RandomResizedCrop(setting) => {
                let part = part_of([frame.height, frame.width], setting, random);
                let [height, width, _] = self.preparer.shape();
                frame.resize_part(part, [height, width]);
            }
            Augmentation::ColourJitter(setting) => jitter(frame, setting, random),
            Augmentation::Cutout(cutout) => {
                let centre = [random.below(frame.height), random.below(frame.width)];
                frame.cut_out(centre, cutout.size, &self.mean);
            }
            Augmentation::RandAugment(setting) => {
                for _ in 0..setting.operations {
                    rand_augment::apply(frame, setting.magnitude, random);
                }
            }
            // By epoch and row; or at the end of a batch.
            Augmentation::AlternatingFlip | Augmentation::Mixup(_) | Augmentation::CutMix(_) => {}
        }
    }
}

/// A part of random area and aspect ratio; where none fits, the largest in the centre with the nearest ratio.
fn part_of([height, width]: [usize; 2], setting: &RandomResizedCrop, random: &mut Random) -> Part {
    let area = (height * width) as f64;
    let [lowest, highest] = setting.ratio;
    for _ in 0..ATTEMPTS {
        let wanted = area * random.between(setting.scale[0], setting.scale[1]);
        let ratio = random.between(lowest.ln(), highest.ln()).exp();
        let part_width = (wanted * ratio).sqrt().round() as usize;
        let part_height = (wanted / ratio).sqrt().round() as usize;
        if (1..=width).contains(&part_width) && (1..=height).contains(&part_height) {
            return Part {
                top: random.below(height - part_height + 1),
                left: random.below(width - part_width + 1),
                height: part_height,
                width: part_width,
            };
        }
    }
    let own = width as f64 / height as f64;
    let (part_height, part_width) = if own < lowest {
        (
            ((width as f64 / lowest).round() as usize).clamp(1, height),
            width,
        )
    } else if own > highest {
        (
            height,
            ((height as f64 * highest).round() as usize).clamp(1, width),
        )
    } else {
        (height, width)
    };
    Part {
        top: (height - part_height) / 2,
        left: (width - part_width) / 2,
        height: part_height,
        width: part_width,
    }
}

fn jitter(frame: &mut Frame, setting: &ColourJitter, random: &mut Random) {
    let mut order = [0, 1, 2, 3];
    random.shuffle(&mut order);
    for kind in order {
        let strength = [
            setting.brightness,
            setting.contrast,
            setting.saturation,
            setting.hue,
        ][kind];
        if strength == 0.0 {
            continue;
        }
        if kind == 3 {
            colour::turn_hue(frame, random.between(-strength, strength));
            continue;
        }
        let factor = random.between((1.0 - strength).max(0.0), 1.0 + strength) as f32;
        match kind {
            0 => colour::brighten(frame, factor),
            1 => colour::contrast(frame, factor),
            _ => colour::saturate(frame, factor),
        }
    }
}
