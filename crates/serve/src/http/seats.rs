//! Who has to leave when all connections are taken.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::sleep,
};

/// A caller that connects and sends its request has sent it by then.
const PATIENCE: Duration = Duration::from_secs(1);

/// When it is looked again for one that may leave.
const AGAIN: Duration = Duration::from_millis(20);

/// Which part of all leaves at a time.
const PART: usize = 64;

/// Of a connection whose request is being answered.
const BUSY: u64 = 0;

/// The connections that may be open at the same time.
///
/// A caller that sends nothing, or a byte now and then, keeps its connection only as long as nobody else wants one: then the
/// one that has kept the server waiting longest is closed. So callers that are slow, however many, keep no others out.
#[derive(Debug)]
pub(super) struct Seats {
    began: Instant,
    free: Arc<Semaphore>,
    taken: Mutex<Vec<Weak<Waiting>>>,
}

/// A connection's place, free again when this is gone.
#[derive(Debug)]
pub(super) struct Seat {
    waiting: Arc<Waiting>,
    _permit: OwnedSemaphorePermit,
}

#[derive(Debug)]
struct Waiting {
    began: Instant,
    /// Since when the server waits for a request, in milliseconds; [`BUSY`] while it answers one.
    since: AtomicU64,
    /// Whether an answer waits for the caller to take more of it.
    is_stuck: AtomicBool,
    leave: Notify,
}

/// Told by a connection's stream when the caller takes its time with an answer.
#[derive(Debug)]
pub(crate) struct Writes(Arc<Waiting>);

/// A request that is being answered.
pub(super) struct Busy<'a>(&'a Seat);

impl Seats {
    pub(super) fn new(most: usize) -> Self {
        Self {
            began: Instant::now(),
            free: Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))),
            taken: Mutex::new(Vec::new()),
        }
    }

    /// A place for a new connection, for which another may have to leave. None if the server ends.
    pub(super) async fn take(&self) -> Option<Seat> {
        let permit = loop {
            if let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() {
                break permit;
            }
            self.evict();
            let free = Arc::clone(&self.free).acquire_owned();
            if let Ok(permit) = tokio::time::timeout(AGAIN, free).await {
                break permit.ok()?;
            }
        };
        let waiting = Arc::new(Waiting {
            began: self.began,
            since: AtomicU64::new(now(self.began)),
            is_stuck: AtomicBool::new(false),
            leave: Notify::new(),
        });
        let mut taken = self.taken();
        // Places that are free again are forgotten when there are as many of them as others.
        if taken.len() == taken.capacity() {
            taken.retain(|seat| seat.strong_count() > 0);
        }
        taken.push(Arc::downgrade(&waiting));
        drop(taken);
        Some(Seat {
            waiting,
            _permit: permit,
        })
    }

    /// Asks those connections to leave that have kept the server waiting longest, if any have for long enough: a few at a
    /// time, since to find them all have to be looked at.
    pub(super) fn evict(&self) {
        let enough = now(self.began).saturating_sub(PATIENCE.as_millis() as u64);
        let taken = self.taken();
        let waiting = taken.iter().filter_map(Weak::upgrade);
        let waiting = waiting.map(|seat| (seat.since.load(Ordering::Relaxed), seat));
        let mut longest: Vec<_> = waiting
            .filter(|(since, _)| *since != BUSY && *since <= enough)
            .collect();
        let few = (taken.len() / PART).max(1);
        if longest.len() > few {
            longest.select_nth_unstable_by_key(few, |(since, _)| *since);
            longest.truncate(few);
        }
        for (_, seat) in longest {
            // The next look is for the next ones.
            seat.since.store(BUSY, Ordering::Relaxed);
            seat.leave.notify_one();
        }
    }

    fn taken(&self) -> MutexGuard<'_, Vec<Weak<Waiting>>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Its connection does not have to leave until this is gone.
    pub(super) fn busy(&self) -> Busy<'_> {
        self.waiting.since.store(BUSY, Ordering::Relaxed);
        Busy(self)
    }

    /// Until the connection has to leave.
    pub(super) async fn asked_to_leave(&self) {
        self.waiting.leave.notified().await;
    }

    /// Until the server has waited for a request for `limit`. A look now and then costs less than a timer for each request.
    pub(super) async fn waited(&self, limit: Duration) {
        let most = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        loop {
            let since = self.waiting.since.load(Ordering::Relaxed);
            let left = if since == BUSY || self.waiting.is_stuck.load(Ordering::Relaxed) {
                most.max(1)
            } else {
                since
                    .saturating_add(most)
                    .saturating_sub(now(self.waiting.began))
            };
            if left == 0 {
                return;
            }
            sleep(Duration::from_millis(left)).await;
        }
    }

    pub(super) fn writes(&self) -> Writes {
        Writes(self.waiting.clone())
    }
}

impl Writes {
    /// The caller takes nothing for now.
    pub(super) fn stuck(&self) {
        self.0.is_stuck.store(true, Ordering::Relaxed);
    }

    /// It has taken what was stuck: from now on the server waits for its next request, unless that is there already.
    pub(super) fn taken(&self) {
        let now = now(self.0.began);
        let wait = |since| (since != BUSY).then_some(now);
        let (set, fetch) = (Ordering::Relaxed, Ordering::Relaxed);
        // Fails while a request is answered, as it should.
        let _ = self.0.since.fetch_update(set, fetch, wait);
        self.0.is_stuck.store(false, Ordering::Relaxed);
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        let now = now(self.0.waiting.began);
        self.0.waiting.since.store(now, Ordering::Relaxed);
    }
}

/// Milliseconds since `began`, more than [`BUSY`].
fn now(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_one_that_waits_longest_leaves_and_no_busy_one() {
        let mut seats = Seats::new(3);
        let busy = seats.take().await.unwrap();
        let request = busy.busy();
        let [first, second] = [seats.take().await.unwrap(), seats.take().await.unwrap()];
        // Time here is that of the system: what is set back is as old as it would be later.
        for (seat, since) in [(&first, 2), (&second, 1)] {
            seat.waiting.since.store(since, Ordering::Relaxed);
        }
        seats.began -= 2 * PATIENCE;
        let left = async {
            second.asked_to_leave().await;
            drop(second);
        };
        let (seat, ()) = tokio::join!(seats.take(), left);
        assert!(seat.is_some());
        let never = tokio::time::timeout(Duration::from_millis(20), busy.asked_to_leave()).await;
        assert!(never.is_err());
        drop(request);
    }

    #[tokio::test]
    async fn a_request_is_waited_for_so_long_and_neither_work_nor_a_slow_reader_counts() {
        const LIMIT: Duration = Duration::from_millis(50);
        let seats = Seats::new(1);
        let seat = seats.take().await.unwrap();
        let is_over = || async {
            let long = Duration::from_millis(300);
            tokio::time::timeout(long, seat.waited(LIMIT)).await.is_ok()
        };
        assert!(is_over().await);
        let request = seat.busy();
        assert!(!is_over().await);
        drop(request);
        let writes = seat.writes();
        writes.stuck();
        assert!(!is_over().await);
        writes.taken();
        let began = Instant::now();
        assert!(is_over().await && began.elapsed() >= LIMIT - Duration::from_millis(2));
        // What was stuck is taken while the next request is answered.
        let request = seat.busy();
        writes.stuck();
        writes.taken();
        assert!(!is_over().await);
        drop(request);
    }
}
