//! When requests are due that do not wait for each other.

use std::thread;
use std::time::{Duration, Instant};

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};
use tokio::sync::mpsc::Sender;

/// Times at which requests are due, from the start on: a Poisson process, so the gaps are exponentially distributed and
/// independent. It ends with the duration.
#[derive(Clone)]
pub(crate) struct Arrivals {
    random: ChaCha8Rng,
    mean_gap: Duration,
    last: Duration,
    duration: Duration,
}

impl Arrivals {
    /// `rate` requests a second on average, for `duration`. Equal seeds give equal times.
    pub(crate) fn new(rate: f64, duration: Duration, seed: u64) -> Self {
        Self {
            random: ChaCha8Rng::seed_from_u64(seed),
            mean_gap: Duration::from_secs_f64(1.0 / rate),
            last: Duration::ZERO,
            duration,
        }
    }
}

impl Iterator for Arrivals {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        // Above 0 and at most 1: no gap is infinite.
        let share = ((self.random.next_u64() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        self.last += self.mean_gap.mul_f64(-share.ln());
        (self.last < self.duration).then_some(self.last)
    }
}

/// Hands out each arrival when it is due, until nobody wants them any more. Needs a thread of its own: the runtime's timers
/// are a millisecond late.
///
/// An arrival keeps its time when those before it are not taken as fast as they come.
pub(crate) fn pace(
    arrivals: impl Iterator<Item = Duration>,
    start: Instant,
    turns: &Sender<Instant>,
) {
    for arrival in arrivals {
        let due = start + arrival;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if turns.blocking_send(due).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(1000);

    #[test]
    fn as_many_come_as_the_rate_says() {
        let count = Arrivals::new(50.0, LONG, 1).count() as f64;
        // Four standard deviations of a Poisson variable.
        let expected: f64 = 50_000.0;
        assert!((count - expected).abs() < 4.0 * expected.sqrt(), "{count}");
    }

    #[test]
    fn the_gaps_are_exponentially_distributed() {
        let times: Vec<Duration> = Arrivals::new(50.0, LONG, 2).collect();
        assert!(times.is_sorted());
        let gaps = times.windows(2).map(|pair| pair[1] - pair[0]);
        let longer = |than: f64| {
            let long = gaps.clone().filter(|gap| gap.as_secs_f64() * 50.0 > than);
            long.count() as f64 / (times.len() - 1) as f64
        };
        for than in [0.1_f64, 0.5, 1.0, 3.0] {
            assert!((longer(than) - (-than).exp()).abs() < 0.01, "{than}");
        }
    }

    #[test]
    fn equal_seeds_give_equal_times() {
        let times = |seed| {
            Arrivals::new(10.0, LONG, seed)
                .take(100)
                .collect::<Vec<_>>()
        };
        assert_eq!(times(3), times(3));
        assert_ne!(times(3), times(4));
    }
}
