use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use strata_nn::Plan;

use super::batcher::Desk;

/// What the batches of a version take: measured when it is loaded, and with each batch from then on.
#[derive(Debug)]
pub(super) struct Pace {
    /// Nanoseconds for a row, in batches of up to 1, 2, 4 … rows.
    of_row: Vec<AtomicU64>,
}

/// How much a new measurement counts, as a part of one.
const WEIGHT: u64 = 8;

/// What part of a row's time is given up for smaller batches.
const HARDLY: u64 = 64;

/// No further size is measured when the ones before took so long: a large network must not keep a server from starting.
const MEASURE_TIME: Duration = Duration::from_secs(2);

/// A single row is measured so often, since the first runs warm up.
const RUNS: usize = 5;

impl Pace {
    /// Runs a batch of each size up to `most` rows, so that `desk` has its buffers before the first request.
    pub(super) fn measure(plan: &Plan, most: usize, desk: &mut Desk) -> Self {
        let began = Instant::now();
        let mut run = |rows: usize| {
            let input = vec![0.5; rows * plan.input_len()];
            desk.answers.logits.resize(rows * plan.output_len(), 0.0);
            let start = Instant::now();
            plan.run(&input, &mut desk.answers.logits, &mut desk.scratch);
            nanoseconds(start.elapsed()) / rows as u64
        };
        let one = (0..RUNS).map(|_| run(1)).min().unwrap_or_default();
        let mut of_row = vec![one];
        for class in 1..=class(most) {
            let before = of_row[class - 1];
            of_row.push(if began.elapsed() < MEASURE_TIME {
                run(most.min(1 << class))
            } else {
                before
            });
        }
        Self {
            of_row: of_row.into_iter().map(AtomicU64::new).collect(),
        }
    }

    /// A batch was computed.
    pub(super) fn observe(&self, rows: usize, took: Duration) {
        let Some(new) = nanoseconds(took).checked_div(rows as u64) else {
            return;
        };
        let class = self.class(rows);
        let old = self.of_row[class].load(Ordering::Relaxed);
        let average = old - old / WEIGHT + new.div_ceil(WEIGHT);
        // What another thread stores meanwhile may get lost, which does no harm.
        self.of_row[class].store(average, Ordering::Relaxed);
        // More rows together hardly take longer each. So a size that was slow once is tried again, else it would never be
        // measured anew.
        if let Some(next) = self.of_row.get(class + 1) {
            next.fetch_min(average, Ordering::Relaxed);
        }
    }

    /// What `rows` rows take in batches of at most `most`.
    pub(super) fn of(&self, rows: usize, most: usize) -> Duration {
        let of_row = self.of_row[self.class(rows.min(most))].load(Ordering::Relaxed);
        Duration::from_nanos(of_row.saturating_mul(rows as u64))
    }

    /// The fewest rows up to `most` with which a row takes hardly longer than with any other number of them: more together
    /// would only make all of them wait for the last.
    pub(super) fn enough(&self, most: usize) -> usize {
        let of_row = self.of_row[..=self.class(most)].iter();
        let of_row: Vec<_> = of_row.map(|time| time.load(Ordering::Relaxed)).collect();
        let least = of_row.iter().copied().min().unwrap_or_default();
        let hardly_longer = least.saturating_add(least / HARDLY);
        let class = of_row.iter().position(|time| *time <= hardly_longer);
        class.map_or(most, |class| most.min(1 << class))
    }

    /// What a row takes less in the best batch than alone.
    pub(super) fn saved_together(&self) -> Duration {
        let mut of_row = self.of_row.iter().map(|time| time.load(Ordering::Relaxed));
        let alone = of_row.next().unwrap_or_default();
        Duration::from_nanos(alone.saturating_sub(of_row.min().unwrap_or(alone)))
    }

    /// The most rows up to `most` that are computed within `time`; at least one.
    pub(super) fn within(&self, time: Duration, most: usize) -> usize {
        let time = nanoseconds(time);
        let fits = |class: usize| {
            let of_row = self.of_row[class].load(Ordering::Relaxed).max(1);
            let rows = usize::try_from(time / of_row).unwrap_or(usize::MAX);
            // Not less than the class before could have, nor more than is known of this one.
            (rows.min(1 << class) > (1 << class) / 2).then(|| rows.min(1 << class))
        };
        let best = (0..self.of_row.len()).filter_map(fits).max();
        best.unwrap_or(1).clamp(1, most.max(1))
    }

    fn class(&self, rows: usize) -> usize {
        class(rows).min(self.of_row.len() - 1)
    }
}

/// The place of the smallest power of two that is not less.
fn class(rows: usize) -> usize {
    rows.max(1)
        .checked_next_power_of_two()
        .map_or(0, |power| power.trailing_zeros() as usize)
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_has_the_rows_that_fit_into_the_time() {
        // One row takes 100 ns, and a larger batch less for each.
        let pace = Pace {
            of_row: [100, 80, 60, 50].map(AtomicU64::new).into(),
        };
        let check = |time: u64, most: usize, expected: usize| {
            let time = Duration::from_nanos(time);
            assert_eq!(pace.within(time, most), expected, "{time:?} {most}");
        };
        check(0, 8, 1);
        check(100, 8, 1);
        check(170, 8, 2);
        check(200, 8, 3);
        check(300, 8, 6);
        check(u64::MAX, 8, 8);
        check(u64::MAX, 5, 5);
        assert_eq!(pace.saved_together(), Duration::from_nanos(50));
        assert_eq!([1, 2, 5, 8].map(|most| pace.enough(most)), [1, 2, 5, 8]);
        assert_eq!(pace.of(16, 8), Duration::from_nanos(800));
        assert_eq!(pace.of(16, 2), Duration::from_nanos(1280));
        assert_eq!(pace.of(0, 8), Duration::ZERO);
        (0..100).for_each(|_| pace.observe(8, Duration::from_micros(8)));
        assert!(pace.of(8, 8) > Duration::from_micros(7));
        pace.observe(0, Duration::ZERO);
        // What was slow for a while is tried again when the next smaller size is fast.
        assert_eq!(pace.within(Duration::from_nanos(400), 8), 4);
        pace.observe(4, Duration::from_nanos(160));
        assert_eq!(pace.within(Duration::from_nanos(400), 8), 6);
        // More rows that gain nothing only wait for each other.
        let pace = Pace {
            of_row: [1000, 900, 890, 891].map(AtomicU64::new).into(),
        };
        assert_eq!([1, 2, 8].map(|most| pace.enough(most)), [1, 2, 2]);
    }
}
