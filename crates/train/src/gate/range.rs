/// The range of numbers, channel by channel.
#[derive(Clone, Debug)]
pub struct Ranges {
    channels: Vec<Range>,
    /// Numbers of one row in each channel.
    plane: usize,
}

/// The range of some numbers and how they spread.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// The least of them.
    pub min: f32,
    /// The most of them.
    pub max: f32,
    /// How many.
    pub count: u64,
    sum: f64,
    squares: f64,
}

impl Ranges {
    /// Of no numbers yet; rows of `numbers` numbers, channel after channel.
    ///
    /// # Panics
    /// The numbers are not the same number in every channel.
    pub fn new(channels: usize, numbers: usize) -> Self {
        assert!(
            channels > 0 && numbers > 0 && numbers.is_multiple_of(channels),
            "whole channels"
        );
        Self {
            channels: vec![Range::default(); channels],
            plane: numbers / channels,
        }
    }

    /// Takes rows in.
    pub fn add(&mut self, rows: &[f32]) {
        let count = self.channels.len();
        for (index, plane) in rows.chunks_exact(self.plane).enumerate() {
            let range = &mut self.channels[index % count];
            plane.iter().for_each(|value| range.add(*value));
        }
    }

    /// How many numbers of `rows` are outside of their channel's range.
    pub fn count_outside(&self, rows: &[f32]) -> usize {
        let planes = rows.chunks_exact(self.plane);
        let outside = |(index, plane): (usize, &[f32])| {
            let range = &self.channels[index % self.channels.len()];
            let is_outside = |value: &&f32| !(range.min..=range.max).contains(*value);
            plane.iter().filter(is_outside).count()
        };
        planes.enumerate().map(outside).sum()
    }

    /// The range of the numbers of all channels.
    pub fn all(&self) -> Range {
        let join = |all: Range, one: &Range| Range {
            min: all.min.min(one.min),
            max: all.max.max(one.max),
            count: all.count + one.count,
            sum: all.sum + one.sum,
            squares: all.squares + one.squares,
        };
        self.channels.iter().fold(Range::default(), join)
    }
}

impl Default for Range {
    /// Of no numbers.
    fn default() -> Self {
        Self {
            min: f32::INFINITY,
            max: f32::NEG_INFINITY,
            count: 0,
            sum: 0.0,
            squares: 0.0,
        }
    }
}

impl Range {
    /// Whether all of them are finite, and there are any.
    pub fn is_finite(&self) -> bool {
        self.count > 0 && self.sum.is_finite() && self.squares.is_finite()
    }

    /// Their mean.
    pub fn mean(&self) -> f64 {
        self.sum / self.count as f64
    }

    /// Their standard deviation.
    pub fn std(&self) -> f64 {
        let mean = self.mean();
        (self.squares / self.count as f64 - mean * mean)
            .max(0.0)
            .sqrt()
    }

    fn add(&mut self, value: f32) {
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        self.count += 1;
        let value = f64::from(value);
        self.sum += value;
        self.squares += value * value;
    }
}
