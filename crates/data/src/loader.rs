//! Batches that are ready when the trainer wants them.

use std::{
    any::Any,
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
};

use crate::{Mixed, TrainingRows};

/// Rows to learn from in one step.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// `[rows, channels, height, width]`.
    pub rows: Vec<f32>,
    /// The number of each row among the training rows, and so of its label.
    pub indices: Vec<u32>,
    /// How labels are mixed, if rows were.
    pub mixed: Option<Mixed>,
}

/// Makes the batches of an epoch, in their order, in threads of its own while the trainer computes.
///
/// As many batches as there are threads, and one more, are made ahead. What is in a batch does not depend on the number
/// of threads; with none, a batch is made by the thread that asks for it. A panic in a thread comes out where its batch
/// is asked for. Dropping a loader ends its threads.
#[derive(Debug)]
pub struct Loader {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    rows: Arc<TrainingRows>,
    batch: usize,
    ahead: usize,
    state: Mutex<State>,
    /// The state changed.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Counts calls of `start`, so that late batches of an epoch that was left are known.
    run: u64,
    epoch: u64,
    order: Arc<Vec<u32>>,
    /// Batch that is made next.
    to_make: usize,
    /// Batch that is asked for next.
    to_take: usize,
    made: BTreeMap<usize, Result<Batch, Box<dyn Any + Send>>>,
    is_closed: bool,
}

impl State {
    /// Whether an epoch has a batch of that number.
    fn has(&self, number: usize, batch: usize) -> bool {
        number < self.order.len().div_ceil(batch)
    }
}

impl Loader {
    /// A loader of batches of `batch` rows, which waits for [`Loader::start`].
    ///
    /// # Panics
    /// `batch` is 0, or the system gives no thread.
    pub fn new(rows: Arc<TrainingRows>, batch: usize, threads: usize) -> Self {
        assert!(batch > 0, "a batch has at least one row");
        let shared = Arc::new(Shared {
            rows,
            batch,
            ahead: threads + 1,
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let work = |number| {
            let shared = Arc::clone(&shared);
            let named = thread::Builder::new().name(format!("loader-{number}"));
            named
                .spawn(move || shared.work())
                .expect("the system gives threads")
        };
        let threads = (0..threads).map(work).collect();
        Self { shared, threads }
    }

    /// Begins with the batches of an epoch: those of `order`, from batch `first` on. What is left of another epoch is
    /// forgotten.
    pub fn start(&mut self, epoch: u64, order: Vec<u32>, first: usize) {
        let mut state = self.shared.lock();
        state.run += 1;
        state.epoch = epoch;
        state.order = Arc::new(order);
        (state.to_make, state.to_take) = (first, first);
        state.made.clear();
        drop(state);
        self.shared.changed.notify_all();
    }

    /// The next batch of the epoch, or none at its end.
    ///
    /// # Panics
    /// What the order names is no row.
    pub fn next_batch(&mut self) -> Option<Batch> {
        let mut state = self.shared.lock();
        let number = state.to_take;
        if !state.has(number, self.shared.batch) {
            return None;
        }
        state.to_take += 1;
        if self.threads.is_empty() {
            let (epoch, order) = (state.epoch, Arc::clone(&state.order));
            drop(state);
            return Some(self.shared.make(epoch, &order, number));
        }
        // There is room for one more.
        self.shared.changed.notify_all();
        loop {
            if let Some(made) = state.made.remove(&number) {
                drop(state);
                return Some(made.unwrap_or_else(|panic| resume_unwind(panic)));
            }
            state = self.shared.wait(state);
        }
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.shared.lock().is_closed = true;
        self.shared.changed.notify_all();
        for thread in self.threads.drain(..) {
            // Its panics were caught.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed
            .wait(state)
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// What a thread does until the loader is dropped.
    fn work(&self) {
        let mut state = self.lock();
        while !state.is_closed {
            let number = state.to_make;
            if !state.has(number, self.batch) || number >= state.to_take + self.ahead {
                state = self.wait(state);
                continue;
            }
            state.to_make += 1;
            let (run, epoch, order) = (state.run, state.epoch, Arc::clone(&state.order));
            drop(state);
            let make = || self.make(epoch, &order, number);
            let made = catch_unwind(AssertUnwindSafe(make));
            state = self.lock();
            if state.run == run {
                state.made.insert(number, made);
                self.changed.notify_all();
            }
        }
    }

    fn make(&self, epoch: u64, order: &[u32], number: usize) -> Batch {
        let rest = &order[number * self.batch..];
        let indices = rest[..rest.len().min(self.batch)].to_vec();
        let mut rows = vec![0.0; indices.len() * self.rows.row_len()];
        self.rows.rows(epoch, &indices, &mut rows);
        let mixed = self.rows.mix(epoch, number as u64, &indices, &mut rows);
        Batch {
            rows,
            indices,
            mixed,
        }
    }
}

#[cfg(test)]
#[path = "loader_tests.rs"]
mod tests;
