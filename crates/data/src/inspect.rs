use crate::Images;

/// Figures of a set of images.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Number of rows.
    pub rows: usize,
    /// Channels, height, width of a row.
    pub shape: [usize; 3],
    /// Rows of each class, from class 0 to the highest that occurs.
    pub class_counts: Vec<usize>,
    /// Mean of each channel, pixels scaled to 0 to 1: what `preparation.image.mean` takes.
    pub mean: Vec<f64>,
    /// Standard deviation of each channel over all pixels, scaled alike: what
    /// `preparation.image.std` takes.
    pub std: Vec<f64>,
}

/// Counts and averages a set of images.
pub fn inspect(images: &Images) -> Summary {
    let highest = images
        .labels
        .iter()
        .max()
        .map_or(0, |&label| label as usize + 1);
    let mut class_counts = vec![0; highest];
    for &label in &images.labels {
        class_counts[label as usize] += 1;
    }

    let mut histograms = Histograms::new(images.channels);
    histograms.count(images.channels, &images.pixels);
    let (mean, std) = histograms.mean_and_std();
    let shape = [images.channels, images.height, images.width];
    Summary {
        rows: images.len(),
        shape,
        class_counts,
        mean,
        std,
    }
}

/// How often each value occurs in each channel: exact sums in one pass.
pub(crate) struct Histograms(Vec<[u64; 256]>);

impl Histograms {
    pub(crate) fn new(channels: usize) -> Self {
        Self(vec![[0; 256]; channels])
    }

    /// Counts the pixels of an image; grey counts for each channel.
    pub(crate) fn count(&mut self, channels: usize, pixels: &[u8]) {
        for pixel in pixels.chunks_exact(channels.max(1)) {
            for (histogram, &value) in self.0.iter_mut().zip(pixel.iter().cycle()) {
                histogram[usize::from(value)] += 1;
            }
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (sum, count) in self.0.iter_mut().flatten().zip(other.0.iter().flatten()) {
            *sum += count;
        }
    }

    /// Of each channel, pixels scaled to 0 to 1.
    pub(crate) fn mean_and_std(&self) -> (Vec<f64>, Vec<f64>) {
        self.0.iter().map(mean_and_std).unzip()
    }
}

/// Zeros for a channel without pixels.
fn mean_and_std(histogram: &[u64; 256]) -> (f64, f64) {
    let count = histogram.iter().sum::<u64>().max(1) as f64;
    let weigh = |value: &dyn Fn(f64) -> f64| -> f64 {
        let terms = histogram
            .iter()
            .enumerate()
            .map(|(pixel, &times)| value(pixel as f64 / 255.0) * times as f64);
        terms.sum::<f64>() / count
    };
    let mean = weigh(&|value| value);
    let variance = weigh(&|value| (value - mean) * (value - mean));
    (mean, variance.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_counts_classes_and_averages_channels() {
        let pixels = vec![0, 255, 51, 255, 255, 51, 0, 255, 51, 255, 255, 51];
        let images = Images {
            height: 1,
            width: 2,
            channels: 3,
            pixels,
            labels: vec![2, 0],
            origins: vec![],
        };
        let summary = inspect(&images);
        assert_eq!((summary.rows, summary.shape), (2, [3, 1, 2]));
        assert_eq!(summary.class_counts, [1, 0, 1]);
        assert_eq!(summary.mean, [0.5, 1.0, 0.2]);
        assert_eq!(summary.std, [0.5, 0.0, 0.0]);
    }

    #[test]
    fn a_set_without_rows_has_a_summary() {
        let images = Images {
            height: 1,
            width: 1,
            channels: 1,
            pixels: vec![],
            labels: vec![],
            origins: vec![],
        };
        assert_eq!(inspect(&images).mean, [0.0]);
    }
}
