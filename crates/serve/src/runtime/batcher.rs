use std::{
    cell::RefCell,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use strata_nn::{Answers, Plan, Scratch, Way, softmax};
use tokio::{sync::oneshot, time::timeout_at};

use super::{
    pace::Pace,
    queue::{Job, Priority, Queue},
    rows::Rows,
    statistics::{Statistics, Took},
};
use crate::metrics::BatchMetrics;

/// Answers rows with one plan. Each request has its own way through it; rows that are done leave their batch.
///
/// Rows that take longer than [`BatchLimits::inline`] go to an actor: a thread that owns the computing
/// and takes from a bounded queue whatever waits there, up to a batch. There is no delay that waits for a
/// batch to fill: while one is computed, the next one gathers. Callers that left or whose time is up are
/// skipped. A batch has no more rows than are of use, as measured: where a row takes no less time in a larger one, its rows
/// would only wait for each other. Nor has it more than the latency target allows: who comes waits at most for one batch
/// that is being computed, and then for its own, so each may take half of it.
///
/// Rows that take less are computed where they are: to hand a row to another thread and to be woken by it costs more than a
/// small network does. Where a row takes less in a batch, what else has arrived by then is read first, and whoever is back
/// first computes for all of them. In a flood most do not wait for others: who is before them has to get through first, and
/// callers have only so many requests at a time.
///
/// If the computation panics, which is a fault of this program, its batch gets no answer and nothing is computed from then
/// on: others in this process go on.
#[derive(Debug)]
pub(crate) struct Batcher {
    shared: Arc<Shared>,
    /// Measured when loaded: one row, alone.
    row_time: Duration,
}

#[derive(Clone, Debug)]
pub(crate) struct BatchLimits {
    /// Rows that may wait.
    pub(crate) queue_rows: usize,
    /// Rows computed together.
    pub(crate) batch_rows: usize,
    /// Bytes of the prepared rows that are computed together.
    pub(crate) batch_bytes: usize,
    /// To wait and to be computed, if batches are to be so small that it is kept.
    pub(crate) latency_target: Option<Duration>,
    /// What a request may compute on the thread that serves connections. Other connections wait for as long.
    pub(crate) inline: Duration,
}

/// What is asked of rows.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) rows: Rows,
    /// None for a plan with one head, where there is only one.
    pub(crate) way: Option<Way>,
    pub(crate) deadline: Instant,
    pub(crate) priority: Priority,
}

/// Why rows got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unanswered {
    /// The queue is full, and will be empty after this time.
    Full(Duration),
    /// Its time was up.
    Overdue,
    /// A number of the answer is not finite: the rows hold numbers that no prepared row has.
    NotFinite,
    /// The computation failed, which is a fault of this program.
    Failed,
    /// The computation failed before, so it is not tried again.
    Broken,
}

/// What the rows of a request were answered.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answered {
    /// Of the final task's classes, one row after the other; empty if the request was not for it.
    pub(crate) probabilities: Vec<f32>,
    /// For each row, which of the plan's exits answered for the final task; empty where the top is the only head, or where
    /// the request was not for it.
    pub(crate) exits: Vec<usize>,
    /// For each of the plan's heads: the probabilities of its task, where the request asked for them.
    pub(crate) heads: Vec<Vec<f32>>,
    /// To wait and to be computed.
    pub(crate) took: Took,
}

type Answer = Result<Answered, Unanswered>;

#[derive(Debug)]
struct Shared {
    plan: Plan,
    limits: BatchLimits,
    metrics: BatchMetrics,
    statistics: Statistics,
    pace: Pace,
    is_broken: AtomicBool,
    queue: Mutex<Queue>,
    filled: Condvar,
    /// What waits to be computed by the threads that serve connections.
    gathered: Mutex<Queue>,
    /// Requests that are computed so, from when they wait until they go on.
    gathering: AtomicUsize,
}

/// What a thread needs to compute.
#[derive(Debug, Default)]
pub(super) struct Desk {
    pub(super) scratch: Scratch,
    pub(super) answers: Answers,
    /// The rows of a batch, next to each other.
    rows: Vec<f32>,
}

/// Of so many batches one takes all rows that it may.
const TRIAL_EVERY: u64 = 64;

/// What it costs to wait for others on a thread that serves connections, about.
const GATHERING: Duration = Duration::from_micros(2);

/// Requests that wait so at a time, at most.
const MOST_GATHERING: usize = 64;

thread_local! {
    /// For rows that are computed on the threads that serve connections.
    static DESK: RefCell<Desk> = RefCell::default();
}

impl Batcher {
    /// Runs a batch of each size, then starts the actor, which ends when the batcher is dropped.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(crate) fn start(
        plan: Plan,
        limits: BatchLimits,
        metrics: BatchMetrics,
    ) -> std::io::Result<Self> {
        let mut desk = Desk::default();
        let shared = Arc::new(Shared::new(plan, limits, metrics, &mut desk));
        let row_time = shared.pace.of(1, 1);
        let actor = shared.clone();
        thread::Builder::new()
            .name("strata-batches".to_owned())
            .spawn(move || actor.run(desk))?;
        Ok(Self { shared, row_time })
    }

    /// The plan that answers.
    pub(crate) fn plan(&self) -> &Plan {
        &self.shared.plan
    }

    /// An answer was looked for among those that were given before.
    pub(crate) fn looked_up(&self, is_found: bool, took: Duration) {
        let Shared {
            statistics,
            metrics,
            ..
        } = &*self.shared;
        statistics.looked_up(is_found, took);
        let counter = if is_found {
            &metrics.cache_hits
        } else {
            &metrics.cache_misses
        };
        counter.inc();
    }

    /// What is shown of it.
    pub(crate) fn metrics(&self) -> &BatchMetrics {
        &self.shared.metrics
    }

    /// What was counted since it was started.
    pub(crate) fn statistics(&self) -> &Statistics {
        &self.shared.statistics
    }

    /// Whether a computation failed, so that there will be no more.
    pub(crate) fn is_broken(&self) -> bool {
        self.shared.is_broken.load(Ordering::Relaxed)
    }

    /// Computes, or waits until it is computed.
    pub(crate) async fn answer(&self, ask: Ask) -> Answer {
        let deadline = ask.deadline;
        if deadline <= Instant::now() {
            return Err(Unanswered::Overdue);
        }
        if self.is_broken() {
            return Err(Unanswered::Broken);
        }
        let shared = &self.shared;
        let count = shared.count(&ask.rows);
        let time = self
            .row_time
            .saturating_mul(u32::try_from(count).unwrap_or(u32::MAX));
        if time <= shared.limits.inline {
            if shared.pace.saved_together() > GATHERING {
                return shared.gather(ask).await;
            }
            let (rows, way) = (&ask.rows, ask.way.as_ref());
            return DESK.with_borrow_mut(|desk| {
                let compute = shared.compute(rows, &[(count, way)], desk)?;
                let took = Took {
                    compute,
                    ..Took::default()
                };
                shared.take(&desk.answers, 0, count, way, took)
            });
        }
        let reply = shared.append(ask)?;
        match timeout_at(deadline.into(), reply).await {
            Ok(Ok(answer)) => answer,
            // The actor dropped the job without a word.
            Ok(Err(_)) => Err(Unanswered::Failed),
            Err(_) => Err(Unanswered::Overdue),
        }
    }
}

impl Shared {
    fn new(plan: Plan, mut limits: BatchLimits, metrics: BatchMetrics, desk: &mut Desk) -> Self {
        let row_bytes = plan.input_len() * size_of::<f32>();
        let fit = limits.batch_bytes / row_bytes.max(1);
        limits.batch_rows = limits.batch_rows.min(fit).max(1);
        Self {
            pace: Pace::measure(&plan, limits.batch_rows, desk),
            plan,
            limits,
            metrics,
            statistics: Statistics::default(),
            is_broken: AtomicBool::new(false),
            queue: Mutex::new(Queue::new()),
            filled: Condvar::new(),
            gathered: Mutex::new(Queue::new()),
            gathering: AtomicUsize::new(0),
        }
    }

    /// The actor's command to take a job.
    fn append(&self, ask: Ask) -> Result<oneshot::Receiver<Answer>, Unanswered> {
        let (job, priority, receiver) = self.job(ask);
        let mut queue = lock(&self.queue);
        if queue.rows() + job.count > self.limits.queue_rows {
            let wait = self.pace.of(queue.rows(), self.batch_rows());
            return Err(Unanswered::Full(wait));
        }
        queue.push(job, priority);
        self.metrics.queue.set(queue.rows() as i64);
        drop(queue);
        self.filled.notify_one();
        Ok(receiver)
    }

    fn job(&self, ask: Ask) -> (Job, Priority, oneshot::Receiver<Answer>) {
        let (reply, receiver) = oneshot::channel();
        let job = Job {
            count: self.count(&ask.rows),
            rows: ask.rows,
            way: ask.way,
            deadline: ask.deadline,
            since: Instant::now(),
            reply,
        };
        (job, ask.priority, receiver)
    }

    /// Computes on this thread, together with what others have by the time that they were read.
    async fn gather(&self, ask: Ask) -> Answer {
        let (job, priority, mut answer) = self.job(ask);
        let gathering = Gathering::one_more(&self.gathering);
        lock(&self.gathered).push(job, priority);
        if gathering.before < MOST_GATHERING {
            tokio::task::yield_now().await;
        }
        loop {
            // Another may have computed for this one, or be about to.
            if let Ok(answer) = answer.try_recv() {
                return answer;
            }
            let most = self.pace.within(self.limits.inline, self.most_rows());
            let batch = lock(&self.gathered).take(most);
            if batch.is_empty() {
                break;
            }
            DESK.with_borrow_mut(|desk| self.answer_all(batch, desk));
        }
        answer.await.unwrap_or(Err(Unanswered::Failed))
    }

    /// The actor's command to give the jobs of the next batch; none when it is to end.
    fn next_batch(&self, is_trial: bool) -> Option<Vec<Job>> {
        let mut queue = lock(&self.queue);
        loop {
            let batch = queue.take(if is_trial {
                self.most_rows()
            } else {
                self.batch_rows()
            });
            self.metrics.queue.set(queue.rows() as i64);
            if !batch.is_empty() {
                return Some(batch);
            }
            if !queue.is_open {
                return None;
            }
            queue = self
                .filled
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The rows of a batch at this moment: as many as are of use.
    fn batch_rows(&self) -> usize {
        self.pace.enough(self.most_rows())
    }

    /// The most rows of a batch at this moment.
    fn most_rows(&self) -> usize {
        let most = self.limits.batch_rows;
        match self.limits.latency_target {
            Some(target) => self.pace.within(target / 2, most),
            None => most,
        }
    }

    fn run(&self, mut desk: Desk) {
        // What larger batches take is measured now and then, also if they are of no use.
        for number in 0_u64.. {
            let Some(batch) = self.next_batch(number.is_multiple_of(TRIAL_EVERY)) else {
                return;
            };
            self.answer_all(batch, &mut desk);
        }
    }

    /// Computes a batch and tells everybody who waits for a part of it.
    fn answer_all(&self, batch: Vec<Job>, desk: &mut Desk) {
        let mut together = std::mem::take(&mut desk.rows);
        let rows = match &batch[..] {
            // Large ones mostly come alone, and are not copied.
            [only] => &only.rows[..],
            several => {
                together.clear();
                let rows = several.iter().map(|job| &job.rows);
                rows.for_each(|rows| together.extend_from_slice(rows));
                &together
            }
        };
        let ways: Vec<_> = batch
            .iter()
            .map(|job| (job.count, job.way.as_ref()))
            .collect();
        let began = Instant::now();
        let computed = self.compute(rows, &ways, desk);
        let mut first = 0;
        for job in batch {
            let count = job.count;
            let take = |compute| {
                let took = Took {
                    queue: began.saturating_duration_since(job.since),
                    compute,
                    ..Took::default()
                };
                self.take(&desk.answers, first, count, job.way.as_ref(), took)
            };
            // Fails if the caller left meanwhile.
            let _ = job.reply.send(computed.and_then(take));
            first += count;
        }
        desk.rows = together;
    }

    /// Computes the logits of some rows, of which so many in a row have the same way; how long that took.
    fn compute(
        &self,
        rows: &[f32],
        ways: &[(usize, Option<&Way>)],
        desk: &mut Desk,
    ) -> Result<Duration, Unanswered> {
        if self.is_broken.load(Ordering::Relaxed) {
            return Err(Unanswered::Broken);
        }
        let count = self.count(rows);
        self.metrics.rows.observe(count as f64);
        let Desk {
            scratch, answers, ..
        } = &mut *desk;
        let began = Instant::now();
        // A fault in a kernel must cost one batch, not the actor and with it the model.
        let ran = catch_unwind(AssertUnwindSafe(|| {
            let all: Option<Vec<(usize, &Way)>> = ways
                .iter()
                .map(|(count, way)| Some((*count, (*way)?)))
                .collect();
            if let Some(ways) = all {
                self.plan.run_ways(rows, &ways, answers, scratch);
            } else {
                answers.logits.resize(count * self.plan.output_len(), 0.0);
                self.plan.run(rows, &mut answers.logits, scratch);
                answers.exits.clear();
                answers.heads.clear();
            }
        }));
        if ran.is_err() {
            *desk = Desk::default();
            self.is_broken.store(true, Ordering::Relaxed);
            return Err(Unanswered::Failed);
        }
        for (index, counter) in self.metrics.exits.iter().enumerate() {
            let left = answers.exits.iter().filter(|exit| **exit == Some(index));
            counter.inc_by(left.count() as u64);
        }
        let took = began.elapsed();
        self.statistics.computed(count, took);
        self.pace.observe(count, took);
        Ok(took)
    }

    /// What `count` rows from the row `first` of a batch were answered, as far as they were asked.
    fn take(
        &self,
        answers: &Answers,
        first: usize,
        count: usize,
        way: Option<&Way>,
        took: Took,
    ) -> Answer {
        let probabilities = |logits: &[f32], classes: usize| {
            let mut own = logits[first * classes..(first + count) * classes].to_vec();
            own.chunks_exact_mut(classes).for_each(softmax);
            own
        };
        let is_final = way.is_none_or(Way::is_for_final_task);
        let heads = self.plan.heads().iter().zip(&answers.heads).enumerate();
        let answered = Answered {
            probabilities: if is_final {
                probabilities(&answers.logits, self.plan.output_len())
            } else {
                Vec::new()
            },
            exits: match way {
                Some(_) => answers.exits[first..first + count]
                    .iter()
                    .copied()
                    .flatten()
                    .collect(),
                None => Vec::new(),
            },
            heads: heads
                .map(|(index, (head, logits))| {
                    if way.is_some_and(|way| way.is_for(index)) {
                        probabilities(logits, head.outputs)
                    } else {
                        Vec::new()
                    }
                })
                .collect(),
            took,
        };
        let parts = || answered.heads.iter().chain([&answered.probabilities]);
        let is_finite = parts().flatten().all(|value| value.is_finite());
        if is_finite {
            Ok(answered)
        } else {
            Err(Unanswered::NotFinite)
        }
    }

    fn count(&self, rows: &[f32]) -> usize {
        rows.len() / self.plan.input_len()
    }
}

/// One of the requests that are computed together on the threads that serve connections.
struct Gathering<'a> {
    all: &'a AtomicUsize,
    /// How many there were before.
    before: usize,
}

impl<'a> Gathering<'a> {
    fn one_more(all: &'a AtomicUsize) -> Self {
        let before = all.fetch_add(1, Ordering::Relaxed);
        Self { all, before }
    }
}

impl Drop for Gathering<'_> {
    fn drop(&mut self) {
        self.all.fetch_sub(1, Ordering::Relaxed);
    }
}

fn lock(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    // Every change of a queue is complete before anything that could panic.
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Batcher {
    fn drop(&mut self) {
        lock(&self.shared.queue).is_open = false;
        self.shared.filled.notify_all();
    }
}

#[cfg(test)]
mod tests;
