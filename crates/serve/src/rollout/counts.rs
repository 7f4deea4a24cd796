use std::sync::{
    Arc,
    atomic::{AtomicU32, AtomicU64, Ordering},
};

use strata_package::{Compared, Figures, Side};
use tokio::sync::Semaphore;

use super::{compare::Comparison, histogram::Histogram, metrics::Shown, trial::Part};
use crate::runtime::{Answered, Unanswered};

/// Copies that are asked at the same time.
const COPIES: usize = 16;

/// What a server measured of one rollout. Counting takes no lock.
#[derive(Debug)]
pub(super) struct Counts {
    shown: Shown,
    /// Of the base and the candidate.
    times: [Histogram; 2],
    /// In billionths.
    distance: AtomicU64,
    /// The bits of a number that is not negative, which are in the order of the numbers.
    most: AtomicU32,
    /// Requests that were picked by themselves.
    pub(super) turns: AtomicU64,
    /// One permit for each copy that may be on its way.
    pub(super) copies: Arc<Semaphore>,
    is_shadow: bool,
}

impl Counts {
    pub(super) fn new(shown: Shown, is_shadow: bool) -> Self {
        Self {
            shown,
            times: [Histogram::new(), Histogram::new()],
            distance: AtomicU64::new(0),
            most: AtomicU32::new(0),
            turns: AtomicU64::new(0),
            copies: Arc::new(Semaphore::new(COPIES)),
            is_shadow,
        }
    }

    /// A version was asked; how often it was by now. Where copies are made, waits are not counted: copies wait longest.
    pub(super) fn count(&self, part: Part, outcome: Result<&Answered, Unanswered>) -> u64 {
        let side = part as usize;
        let before = self.shown.requests[side].inc();
        match outcome {
            Ok(answered) if self.is_shadow => self.times[side].add(answered.took.compute),
            Ok(answered) => self.times[side].add(answered.took.queue + answered.took.compute),
            Err(_) => {
                self.shown.errors[side].inc();
            }
        }
        before + 1
    }

    pub(super) fn compared(&self, comparison: &Comparison) {
        let Comparison {
            rows,
            agreeing,
            distance,
            most,
        } = *comparison;
        self.shown.agreeing.inc_by(agreeing);
        self.shown.differing.inc_by(rows - agreeing);
        self.distance
            .fetch_add((distance * 1e9) as u64, Ordering::Relaxed);
        self.most.fetch_max(most.to_bits(), Ordering::Relaxed);
    }

    /// A copy was not made or not answered.
    pub(super) fn dropped(&self) {
        self.shown.dropped.inc();
    }

    pub(super) fn figures(&self) -> Figures {
        Figures {
            base: self.side(Part::Base),
            candidate: self.side(Part::Candidate),
            compared: self.is_shadow.then(|| self.comparison()),
        }
    }

    fn side(&self, part: Part) -> Side {
        let side = part as usize;
        let (mean_ms, [p50_ms, p95_ms, p99_ms]) = self.times[side].read([0.5, 0.95, 0.99]);
        // In this order, so that there are never more errors than requests.
        let errors = self.shown.errors[side].get();
        Side {
            requests: self.shown.requests[side].get(),
            errors,
            mean_ms,
            p50_ms,
            p95_ms,
            p99_ms,
        }
    }

    fn comparison(&self) -> Compared {
        let (agreeing, differing) = (self.shown.agreeing.get(), self.shown.differing.get());
        let rows = agreeing + differing;
        let share = |part: f64| part / rows.max(1) as f64;
        Compared {
            rows,
            agreeing,
            agreement: 1.0 - share(differing as f64),
            mean_distance: share(self.distance.load(Ordering::Relaxed) as f64 / 1e9),
            max_distance: f32::from_bits(self.most.load(Ordering::Relaxed)).into(),
            dropped: self.shown.dropped.get(),
        }
    }
}
