//! Threads that wait for kernels.
//!
//! A kernel takes some ten microseconds, and one follows the other. Waking a sleeping thread takes as long, so a worker
//! that has just worked looks for more for a moment before it goes to sleep. Work is cut into parts by its caller;
//! whoever is free takes the next one, the caller too, so a worker that comes late delays nobody. Who computes a part
//! has no influence on its result.

use std::{
    any::Any,
    cell::UnsafeCell,
    fmt, hint,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Mutex, OnceLock, PoisonError, TryLockError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread::{self, Thread},
};

use crate::cores::physical_cores;

/// How often a worker looks for work before it sleeps: some fifty microseconds.
const LOOKS_BEFORE_SLEEP: u32 = 4_000;
/// How often a caller looks whether the last part is done before it lets others have the processor.
const LOOKS_BEFORE_YIELD: u32 = 2_000;

/// The most parts that [`run`] takes: they have 16 bits in [`Turn`].
const MOST_PARTS: usize = u16::MAX as usize;

/// The most threads that somebody may ask for.
const MOST_THREADS: usize = 1024;

type Work<'a> = dyn Fn(usize) + Sync + 'a;

/// Which work it is, how many parts it has, and which one is next, in one word: so that whoever takes a part, by
/// changing the word from what it was, knows that all three were still true.
#[derive(Clone, Copy)]
struct Turn(u64);

impl Turn {
    fn new(number: u64, parts: usize) -> Self {
        Self(number << 32 | (parts as u64) << 16)
    }

    fn number(self) -> u64 {
        self.0 >> 32
    }

    fn parts(self) -> usize {
        (self.0 >> 16) as usize & MOST_PARTS
    }

    fn next_part(self) -> usize {
        self.0 as usize & MOST_PARTS
    }
}

/// Threads that the kernels use, the caller's included: what [`set_threads`] said, else as many as there are physical
/// cores that the process may use (control groups and affinity are respected).
pub fn threads() -> usize {
    pool().workers.len() + 1
}

/// Says how many threads the kernels use, the caller's included; 0 counts as 1, and more than 1,024 as 1,024.
///
/// # Errors
/// A kernel has run, with another number of threads.
pub fn set_threads(count: usize) -> Result<(), TooLate> {
    let count = count.clamp(1, MOST_THREADS);
    let mut started = false;
    let pool = POOL.get_or_init(|| {
        started = true;
        Pool::start(count)
    });
    let threads = pool.workers.len() + 1;
    if started || threads == count {
        Ok(())
    } else {
        Err(TooLate { threads })
    }
}

/// The number of threads was settled when the first kernel ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLate {
    /// Threads that are in use.
    pub threads: usize,
}

impl fmt::Display for TooLate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "the kernels run already, with {} threads: their number must be set before",
            self.threads
        )
    }
}

impl std::error::Error for TooLate {}

/// Calls `work` with each number below `parts`, on as many threads as there are, and returns when all are done.
///
/// Where the pool is busy with another caller, this thread does it all.
///
/// # Panics
/// `work` panics; it is told on once the parts that others have begun have ended.
pub(crate) fn run(parts: usize, work: &Work<'_>) {
    let pool = pool();
    let in_turn = |work: &Work<'_>| (0..parts).for_each(work);
    if parts < 2 || pool.workers.is_empty() {
        return in_turn(work);
    }
    // There is a limit to the parts of a turn: beyond it, one of them is several of the caller's.
    let together = parts.div_ceil(MOST_PARTS);
    if together > 1 {
        return run(parts.div_ceil(together), &|part| {
            (part * together..parts.min((part + 1) * together)).for_each(work);
        });
    }
    let _turn = match pool.shared.turn.try_lock() {
        Ok(turn) => turn,
        // Work that panicked before says nothing of this one.
        Err(TryLockError::Poisoned(turn)) => turn.into_inner(),
        Err(TryLockError::WouldBlock) => return in_turn(work),
    };
    pool.shared.run(parts, work, &pool.workers);
}

/// Calls `work` with each item, on as many of the kernels' threads as are free, and returns when all are done.
///
/// # Panics
/// `work` panics; it is told on once what others have begun is done.
pub fn parallel_for_each<T: Send>(items: impl Iterator<Item = T>, work: impl Fn(T) + Sync) {
    let items: Vec<Mutex<Option<T>>> = items.map(|item| Mutex::new(Some(item))).collect();
    run(items.len(), &|part| {
        let item = items[part]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        work(item.expect("each part is done once, and takes its own item"));
    });
}

struct Pool {
    shared: &'static Shared,
    workers: Vec<Thread>,
}

struct Shared {
    /// Held by the caller whose work is being done.
    turn: Mutex<()>,
    /// A [`Turn`].
    next: AtomicU64,
    /// The current work. Written only while `next` has no part to take.
    work: UnsafeCell<Option<*const Work<'static>>>,
    /// Parts of the current work that have ended.
    done: AtomicUsize,
    /// What the first part that panicked said.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    /// Whether the worker of this number sleeps, or is about to.
    asleep: Vec<AtomicBool>,
}

// SAFETY: `work` is the only field that is not `Sync` by itself. It is written by the caller that holds `turn`, before
// `next` is stored with the new number, and read only by a thread that took a part under that number; the caller does
// not leave, and so nobody writes again, before that part is counted in `done`. What it points to is `Sync`.
unsafe impl Sync for Shared {}
// SAFETY: as above; nothing in it belongs to a thread.
unsafe impl Send for Shared {}

static POOL: OnceLock<Pool> = OnceLock::new();

fn pool() -> &'static Pool {
    POOL.get_or_init(|| Pool::start(physical_cores()))
}

impl Pool {
    /// A pool of so many threads, one of which is the caller's.
    fn start(threads: usize) -> Self {
        let workers = threads - 1;
        let shared: &'static Shared = Box::leak(Box::new(Shared {
            turn: Mutex::new(()),
            next: AtomicU64::new(0),
            work: UnsafeCell::new(None),
            done: AtomicUsize::new(0),
            panic: Mutex::new(None),
            asleep: (0..workers).map(|_| AtomicBool::new(false)).collect(),
        }));
        let start = |number: usize| {
            let builder = thread::Builder::new().name(format!("kernels-{number}"));
            // A worker that the system refuses is one that the others do without.
            Some(
                builder
                    .spawn(move || shared.serve(number))
                    .ok()?
                    .thread()
                    .clone(),
            )
        };
        Self {
            shared,
            workers: (0..workers).map_while(start).collect(),
        }
    }
}

impl Shared {
    fn run(&self, parts: usize, work: &Work<'_>, workers: &[Thread]) {
        let number = Turn(self.next.load(Ordering::Relaxed)).number() + 1;
        // SAFETY: see `Sync` above: every part of the work before this one was taken and has ended. The lifetime is
        // forgotten, but no part of this work is taken after this function returns.
        unsafe {
            *self.work.get() =
                Some(std::mem::transmute::<*const Work<'_>, *const Work<'static>>(work))
        };
        self.done.store(0, Ordering::Relaxed);
        self.next.store(
            Turn::new(number & u64::from(u32::MAX), parts).0,
            Ordering::SeqCst,
        );
        for (thread, asleep) in workers.iter().zip(&self.asleep) {
            if asleep.swap(false, Ordering::SeqCst) {
                thread.unpark();
            }
        }
        while self.take() {}
        let mut looks = 0;
        while self.done.load(Ordering::Acquire) < parts {
            looks += 1;
            if looks < LOOKS_BEFORE_YIELD {
                hint::spin_loop()
            } else {
                thread::yield_now()
            }
        }
        let panic = self
            .panic
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }

    /// Takes the next part, if there is one, and does it.
    fn take(&self) -> bool {
        let turn = Turn(self.next.load(Ordering::SeqCst));
        let part = turn.next_part();
        if part >= turn.parts() {
            return false;
        }
        if self
            .next
            .compare_exchange_weak(turn.0, turn.0 + 1, Ordering::SeqCst, Ordering::Relaxed)
            .is_err()
        {
            // Somebody else took it.
            return true;
        }
        // SAFETY: this thread took a part of the current work, see `Sync` above.
        let work = unsafe { (*self.work.get()).map(|work| &*work) };
        let result = catch_unwind(AssertUnwindSafe(|| {
            work.into_iter().for_each(|work| work(part))
        }));
        if let Err(panic) = result {
            self.panic
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get_or_insert(panic);
        }
        self.done.fetch_add(1, Ordering::Release);
        true
    }

    /// The life of a worker.
    fn serve(&self, number: usize) {
        let mut looks = 0;
        loop {
            if self.take() {
                looks = 0;
                continue;
            }
            looks += 1;
            if looks < LOOKS_BEFORE_SLEEP {
                hint::spin_loop();
                continue;
            }
            self.asleep[number].store(true, Ordering::SeqCst);
            // Work that came before the line above was not told to this worker; work that comes after it will be.
            if !self.take() {
                thread::park();
            }
            self.asleep[number].store(false, Ordering::SeqCst);
            looks = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_done_once() {
        for round in 0..3_000_usize {
            let parts = round % 9;
            let counts: Vec<AtomicUsize> = (0..parts).map(|_| AtomicUsize::new(0)).collect();
            run(parts, &|part| {
                counts[part].fetch_add(1, Ordering::Relaxed);
            });
            assert!(
                counts
                    .iter()
                    .all(|count| count.load(Ordering::Relaxed) == 1),
                "round {round}"
            );
            if round % 1_000 == 0 {
                // Long enough for the workers to fall asleep.
                thread::sleep(std::time::Duration::from_millis(20));
            }
        }
    }

    #[test]
    fn the_number_of_threads_is_settled_once() {
        let threads = threads();
        assert_eq!(set_threads(threads), Ok(()));
        assert_eq!(set_threads(threads + 1), Err(TooLate { threads }));
    }

    #[test]
    fn there_may_be_more_parts_than_a_turn_has() {
        let counts: Vec<AtomicUsize> = (0..200_001).map(|_| AtomicUsize::new(0)).collect();
        run(counts.len(), &|part| {
            counts[part].fetch_add(1, Ordering::Relaxed);
        });
        assert!(
            counts
                .iter()
                .all(|count| count.load(Ordering::Relaxed) == 1)
        );
    }

    #[test]
    fn callers_do_not_wait_for_each_other() {
        let total = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        run(3, &|_| {
                            // A kernel within a kernel runs where it is called.
                            run(2, &|_| {
                                total.fetch_add(1, Ordering::Relaxed);
                            });
                        });
                    }
                });
            }
        });
        assert_eq!(total.load(Ordering::Relaxed), 4 * 500 * 6);
    }

    #[test]
    fn a_part_that_panics_is_told_on_and_leaves_the_pool_working() {
        let result = catch_unwind(|| run(4, &|part| assert!(part != 2, "part two")));
        assert!(result.is_err());
        // The workers still come. Other tests use the pool too, so not at every attempt.
        let two_threads_came = |_| {
            let seen = Mutex::new(std::collections::HashSet::new());
            run(2, &|_| {
                seen.lock().unwrap().insert(thread::current().id());
                thread::sleep(std::time::Duration::from_millis(2));
            });
            seen.into_inner().unwrap().len() == 2
        };
        assert!(threads() == 1 || (0..5_000).any(two_threads_came));
    }
}
