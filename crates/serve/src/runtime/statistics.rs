//! What was counted and measured of one version, for the protocols' calls about statistics.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time,
};

use jiff::Timestamp;

/// Since the version was loaded.
#[derive(Debug, Default)]
pub(crate) struct Statistics {
    success: Sum,
    fail: Sum,
    queue: Sum,
    input: Sum,
    compute: Sum,
    output: Sum,
    cache_hit: Sum,
    cache_miss: Sum,
    rows: AtomicU64,
    last_milliseconds: AtomicU64,
    /// Of each number of rows that were computed together. There are as many as batches and requests may have rows.
    batches: Mutex<BTreeMap<usize, Duration>>,
}

/// How often something happened, and how long it took altogether.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Duration {
    pub(crate) count: u64,
    pub(crate) ns: u64,
}

/// What a request took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Took {
    /// To read it and to prepare its rows.
    pub(crate) input: time::Duration,
    /// To wait for its batch.
    pub(crate) queue: time::Duration,
    /// To compute its batch.
    pub(crate) compute: time::Duration,
    /// To write the answer.
    pub(crate) output: time::Duration,
}

/// The statistics of a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) success: Duration,
    pub(crate) fail: Duration,
    pub(crate) queue: Duration,
    pub(crate) input: Duration,
    pub(crate) compute: Duration,
    pub(crate) output: Duration,
    /// To look for answers that were given before, with and without success.
    pub(crate) cache_hit: Duration,
    pub(crate) cache_miss: Duration,
    /// Rows that were answered.
    pub(crate) rows: u64,
    /// When the last request was answered, since 1970; 0 if none was.
    pub(crate) last_milliseconds: u64,
    pub(crate) batches: BTreeMap<usize, Duration>,
}

#[derive(Debug, Default)]
struct Sum {
    count: AtomicU64,
    ns: AtomicU64,
}

impl Statistics {
    /// A batch of `rows` rows was computed.
    pub(crate) fn computed(&self, rows: usize, took: time::Duration) {
        let mut batches = self.batches.lock().unwrap_or_else(PoisonError::into_inner);
        let batch = batches.entry(rows).or_default();
        batch.count += 1;
        batch.ns += nanoseconds(took);
    }

    /// A request was answered, for which `rows` rows were computed: none if its answer was kept from one before.
    pub(crate) fn succeeded(&self, rows: usize, took: &Took, all: time::Duration) {
        self.success.add(all);
        if rows > 0 {
            self.queue.add(took.queue);
            self.input.add(took.input);
            self.compute.add(took.compute);
            self.output.add(took.output);
        }
        self.rows.fetch_add(rows as u64, Ordering::Relaxed);
        let now = Timestamp::now().as_millisecond().unsigned_abs();
        self.last_milliseconds.store(now, Ordering::Relaxed);
    }

    /// An answer was looked for among those that were given before.
    pub(crate) fn looked_up(&self, is_found: bool, took: time::Duration) {
        if is_found {
            self.cache_hit.add(took);
        } else {
            self.cache_miss.add(took);
        }
    }

    /// A request was refused.
    pub(crate) fn failed(&self, all: time::Duration) {
        self.fail.add(all);
    }

    pub(crate) fn read(&self) -> Counted {
        let batches = self.batches.lock().unwrap_or_else(PoisonError::into_inner);
        Counted {
            success: self.success.read(),
            fail: self.fail.read(),
            queue: self.queue.read(),
            input: self.input.read(),
            compute: self.compute.read(),
            output: self.output.read(),
            cache_hit: self.cache_hit.read(),
            cache_miss: self.cache_miss.read(),
            rows: self.rows.load(Ordering::Relaxed),
            last_milliseconds: self.last_milliseconds.load(Ordering::Relaxed),
            batches: batches.clone(),
        }
    }
}

impl Counted {
    /// Batches that were computed.
    pub(crate) fn executions(&self) -> u64 {
        self.batches.values().map(|batch| batch.count).sum()
    }
}

impl Sum {
    fn add(&self, took: time::Duration) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.ns.fetch_add(nanoseconds(took), Ordering::Relaxed);
    }

    fn read(&self) -> Duration {
        Duration {
            count: self.count.load(Ordering::Relaxed),
            ns: self.ns.load(Ordering::Relaxed),
        }
    }
}

fn nanoseconds(took: time::Duration) -> u64 {
    u64::try_from(took.as_nanos()).unwrap_or(u64::MAX)
}
