//! Latencies in bounded memory.

use std::time::Duration;

/// Buckets for each power of two. A value is off by at most half a bucket: 1 in 512.
const PER_OCTAVE: u64 = 256;
/// Bits of a value that choose the bucket within its power of two.
const BITS: u32 = PER_OCTAVE.trailing_zeros();
/// One run of buckets for the values below [`PER_OCTAVE`], one for each power of two from there.
const BUCKETS: usize = (PER_OCTAVE * (64 - BITS as u64 + 1)) as usize;

/// Counts of durations in buckets whose width is relative to the value (as in HdrHistogram), from a nanosecond to
/// centuries. The smallest and the largest value are exact.
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    min: Duration,
    max: Duration,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self {
            counts: vec![0; BUCKETS],
            total: 0,
            min: Duration::MAX,
            max: Duration::ZERO,
        }
    }

    pub(crate) fn record(&mut self, value: Duration) {
        let nanoseconds = u64::try_from(value.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket(nanoseconds)] += 1;
        self.total += 1;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }

    /// How many values were recorded.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// The smallest value; `None` when nothing was recorded.
    pub(crate) fn min(&self) -> Option<Duration> {
        (self.total > 0).then_some(self.min)
    }

    /// The largest value; `None` when nothing was recorded.
    pub(crate) fn max(&self) -> Option<Duration> {
        (self.total > 0).then_some(self.max)
    }

    /// The value that the share `quantile` (0 to 1) of all values does not exceed, the nearest rank; `None` when nothing
    /// was recorded.
    pub(crate) fn quantile(&self, quantile: f64) -> Option<Duration> {
        let rank = ((quantile * self.total as f64).ceil() as u64).clamp(1, self.total.max(1));
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Some(middle(index).clamp(self.min, self.max));
            }
        }
        None
    }
}

fn bucket(value: u64) -> usize {
    let octave = (u64::BITS - value.leading_zeros()).saturating_sub(BITS);
    if octave == 0 {
        return value as usize;
    }
    // The top `BITS + 1` bits, of which the first is always set: a run of PER_OCTAVE buckets per power of two.
    let shift = octave - 1;
    (u64::from(octave) * PER_OCTAVE + ((value >> shift) - PER_OCTAVE)) as usize
}

/// The middle of a bucket.
fn middle(index: usize) -> Duration {
    let index = index as u64;
    let (octave, within) = (index / PER_OCTAVE, index % PER_OCTAVE);
    if octave == 0 {
        return Duration::from_nanos(within);
    }
    let width = 1_u64 << (octave - 1);
    let low = (PER_OCTAVE + within) * width;
    Duration::from_nanos(low + width / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_near_the_middle_of_its_bucket() {
        let mut value = 1_u64;
        while value < u64::MAX / 3 {
            for near in [value - 1, value, value + 1] {
                let found = middle(bucket(near)).as_nanos() as f64;
                assert!(
                    (found - near as f64).abs() <= near as f64 / 511.0,
                    "{near} became {found}"
                );
            }
            value = value * 3 / 2 + 1;
        }
        assert!(bucket(u64::MAX) < BUCKETS);
    }

    #[test]
    fn quantiles_are_those_of_the_values() {
        let mut histogram = Histogram::new();
        for microseconds in 1..=1000 {
            histogram.record(Duration::from_micros(microseconds));
        }
        for (quantile, expected) in [(0.0, 1.0), (0.5, 500.0), (0.99, 990.0), (1.0, 1000.0)] {
            let found = histogram.quantile(quantile).unwrap().as_secs_f64() * 1e6;
            assert!(
                (found - expected).abs() <= expected / 500.0,
                "{quantile} became {found}"
            );
        }
        assert_eq!(histogram.min(), Some(Duration::from_micros(1)));
        assert_eq!(histogram.max(), Some(Duration::from_millis(1)));
    }

    #[test]
    fn nothing_recorded_has_no_quantile() {
        let empty = Histogram::new();
        assert_eq!(
            (empty.min(), empty.quantile(0.5), empty.max()),
            (None, None, None)
        );
    }
}
