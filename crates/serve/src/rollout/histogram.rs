use std::{
    array,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// How long things took: counts in steps of at most an eighth, and the sum. Counting takes no lock.
#[derive(Debug)]
pub(super) struct Histogram {
    counts: [AtomicU64; BUCKETS],
    nanoseconds: AtomicU64,
}

/// Parts of each doubling.
const PARTS: u32 = 8;
/// From a nanosecond to an hour.
const BUCKETS: usize = 42 * PARTS as usize;

impl Histogram {
    pub(super) fn new() -> Self {
        Self {
            counts: array::from_fn(|_| AtomicU64::new(0)),
            nanoseconds: AtomicU64::new(0),
        }
    }

    pub(super) fn add(&self, took: Duration) {
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket(nanoseconds)].fetch_add(1, Ordering::Relaxed);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// Milliseconds on average, and those within which the given shares of all lie; 0 where there is none.
    pub(super) fn read<const N: usize>(&self, shares: [f64; N]) -> (f64, [f64; N]) {
        let counts: Vec<u64> = self
            .counts
            .iter()
            .map(|count| count.load(Ordering::Relaxed))
            .collect();
        let all: u64 = counts.iter().sum();
        let mean = self.nanoseconds.load(Ordering::Relaxed) as f64 / all.max(1) as f64;
        let quantile = |share: f64| {
            let wanted = ((all as f64 * share).ceil() as u64).max(1);
            let mut seen = 0;
            let found = counts.iter().position(|count| {
                seen += count;
                seen >= wanted
            });
            found.map_or(0.0, |bucket| middle(bucket) / 1e6)
        };
        (mean / 1e6, shares.map(quantile))
    }
}

fn bucket(nanoseconds: u64) -> usize {
    let octave = nanoseconds.max(1).ilog2();
    let part = match octave.checked_sub(PARTS.ilog2()) {
        Some(shift) => nanoseconds >> shift,
        None => nanoseconds.max(1) << (PARTS.ilog2() - octave),
    };
    let part = part as usize % PARTS as usize;
    (octave as usize * PARTS as usize + part).min(BUCKETS - 1)
}

/// Nanoseconds in the middle of a bucket.
fn middle(bucket: usize) -> f64 {
    let (octave, part) = (bucket / PARTS as usize, bucket % PARTS as usize);
    let start = 1.0 + part as f64 / f64::from(PARTS);
    (start + 0.5 / f64::from(PARTS)) * 2_f64.powi(octave as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_kept_within_a_tenth() {
        for nanoseconds in [1, 2, 7, 8, 9, 1000, 123_456, 5_000_000_000] {
            let histogram = Histogram::new();
            histogram.add(Duration::from_nanos(nanoseconds));
            let (mean, [median]) = histogram.read([0.5]);
            let expected = nanoseconds as f64 / 1e6;
            assert!((mean - expected).abs() < 1e-9);
            // Of the smallest ones, a nanosecond is more than that.
            assert!(
                (median / expected - 1.0).abs() <= 0.1,
                "{nanoseconds}: {median}"
            );
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn percentiles_are_those_of_what_was_added() {
        let histogram = Histogram::new();
        assert_eq!(histogram.read([0.5]), (0.0, [0.0]));
        (1..=1000).for_each(|number| histogram.add(Duration::from_micros(number)));
        let (mean, found) = histogram.read([0.5, 0.95, 0.99]);
        assert!((mean - 0.5005).abs() < 1e-9);
        for (found, expected) in found.into_iter().zip([0.5, 0.95, 0.99]) {
            assert!((found / expected - 1.0).abs() < 0.1, "{found}");
        }
    }
}
