use std::{
    cell::RefCell,
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use strata_nn::{Answers, Plan, Scratch, Way, softmax};
use tokio::{sync::oneshot, time::timeout_at};

use super::statistics::{Statistics, Took};
use crate::metrics::BatchMetrics;

/// Answers rows with one plan. Each request has its own way through it; rows that are done leave their batch.
///
/// Rows that take longer than [`BatchLimits::inline`] go to an actor: a thread that owns the computing
/// and takes from a bounded queue whatever waits there, up to a batch. There is no delay that waits for a
/// batch to fill: while one is computed, the next one gathers. Callers that left or whose time is up are
/// skipped.
///
/// Rows that take less are computed where they are. To hand a row to another thread and to be woken by it
/// costs more than a small network does, so a batch could not win back what gathering it takes.
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
    /// What a request may compute on the thread that serves connections. Other connections wait for as long.
    pub(crate) inline: Duration,
}

/// Why rows got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unanswered {
    /// The queue is full.
    Full,
    /// Its time was up.
    Overdue,
    /// A number of the answer is not finite: the rows hold numbers that no prepared row has.
    NotFinite,
    /// The computation failed, which is a fault of this program.
    Failed,
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
    queue: Mutex<Queue>,
    filled: Condvar,
}

#[derive(Debug)]
struct Queue {
    jobs: VecDeque<Job>,
    rows: usize,
    is_open: bool,
}

#[derive(Debug)]
struct Job {
    rows: Vec<f32>,
    /// None where the plan has only one.
    way: Option<Way>,
    deadline: Instant,
    since: Instant,
    reply: oneshot::Sender<Answer>,
}

/// What a thread needs to compute.
#[derive(Debug, Default)]
struct Desk {
    scratch: Scratch,
    answers: Answers,
}

thread_local! {
    /// For rows that are computed on the threads that serve connections.
    static DESK: RefCell<Desk> = RefCell::default();
}

impl Batcher {
    /// Starts the actor, which ends when the batcher is dropped.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(crate) fn start(
        plan: Plan,
        limits: BatchLimits,
        metrics: BatchMetrics,
    ) -> std::io::Result<Self> {
        let row_time = time_of_a_row(&plan);
        let queue = Mutex::new(Queue {
            jobs: VecDeque::new(),
            rows: 0,
            is_open: true,
        });
        let shared = Arc::new(Shared {
            plan,
            limits,
            metrics,
            statistics: Statistics::default(),
            queue,
            filled: Condvar::new(),
        });
        let actor = shared.clone();
        thread::Builder::new()
            .name("strata-batches".to_owned())
            .spawn(move || actor.run())?;
        Ok(Self { shared, row_time })
    }

    /// The plan that answers.
    pub(crate) fn plan(&self) -> &Plan {
        &self.shared.plan
    }

    /// What was counted since it was started.
    pub(crate) fn statistics(&self) -> &Statistics {
        &self.shared.statistics
    }

    /// What `rows` are asked on their way; none for a plan with one head, where there is only one way.
    pub(crate) async fn answer(
        &self,
        rows: Vec<f32>,
        way: Option<Way>,
        deadline: Instant,
    ) -> Answer {
        if deadline <= Instant::now() {
            return Err(Unanswered::Overdue);
        }
        let shared = &self.shared;
        let count = shared.count(&rows);
        let time = self
            .row_time
            .saturating_mul(u32::try_from(count).unwrap_or(u32::MAX));
        if time <= shared.limits.inline {
            return DESK.with_borrow_mut(|desk| {
                let compute = shared.compute(&rows, &[(count, way.as_ref())], desk)?;
                let took = Took {
                    compute,
                    ..Took::default()
                };
                shared.take(&desk.answers, 0, count, way.as_ref(), took)
            });
        }
        let reply = shared.append(rows, way, deadline)?;
        match timeout_at(deadline.into(), reply).await {
            Ok(Ok(answer)) => answer,
            // The actor dropped the job without a word.
            Ok(Err(_)) => Err(Unanswered::Failed),
            Err(_) => Err(Unanswered::Overdue),
        }
    }
}

impl Shared {
    /// The actor's command to take a job.
    fn append(
        &self,
        rows: Vec<f32>,
        way: Option<Way>,
        deadline: Instant,
    ) -> Result<oneshot::Receiver<Answer>, Unanswered> {
        let count = self.count(&rows);
        let (reply, receiver) = oneshot::channel();
        let mut queue = self.lock();
        if queue.rows + count > self.limits.queue_rows {
            return Err(Unanswered::Full);
        }
        queue.rows += count;
        queue.jobs.push_back(Job {
            rows,
            way,
            deadline,
            since: Instant::now(),
            reply,
        });
        self.metrics.queue.set(queue.rows as i64);
        drop(queue);
        self.filled.notify_one();
        Ok(receiver)
    }

    /// The actor's command to give the jobs of the next batch; none when it is to end.
    fn next_batch(&self) -> Option<Vec<Job>> {
        let mut queue = self.lock();
        loop {
            let batch = queue.take(self.limits.batch_rows, |job| self.count(&job.rows));
            self.metrics.queue.set(queue.rows as i64);
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

    fn run(&self) {
        let mut desk = Desk::default();
        let mut input = Vec::new();
        while let Some(batch) = self.next_batch() {
            input.clear();
            batch
                .iter()
                .for_each(|job| input.extend_from_slice(&job.rows));
            let ways: Vec<_> = batch
                .iter()
                .map(|job| (self.count(&job.rows), job.way.as_ref()))
                .collect();
            let began = Instant::now();
            let computed = self.compute(&input, &ways, &mut desk);
            let mut first = 0;
            for job in batch {
                let count = self.count(&job.rows);
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
        }
    }

    /// Computes the logits of some rows, of which so many in a row have the same way; how long that took.
    fn compute(
        &self,
        rows: &[f32],
        ways: &[(usize, Option<&Way>)],
        desk: &mut Desk,
    ) -> Result<Duration, Unanswered> {
        let count = self.count(rows);
        self.metrics.rows.observe(count as f64);
        let Desk { scratch, answers } = &mut *desk;
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
            return Err(Unanswered::Failed);
        }
        for (index, counter) in self.metrics.exits.iter().enumerate() {
            let left = answers.exits.iter().filter(|exit| **exit == Some(index));
            counter.inc_by(left.count() as u64);
        }
        let took = began.elapsed();
        self.statistics.computed(count, took);
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

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Every change of the queue is complete before anything that could panic.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// The oldest jobs that fit into `most` rows (a larger one goes alone), less those that nobody waits
    /// for any more.
    fn take(&mut self, most: usize, count: impl Fn(&Job) -> usize) -> Vec<Job> {
        let now = Instant::now();
        let (mut batch, mut taken) = (Vec::new(), 0);
        while let Some(job) = self.jobs.front() {
            let is_wanted = !job.reply.is_closed() && job.deadline > now;
            let rows = count(job);
            if is_wanted && taken > 0 && taken + rows > most {
                break;
            }
            self.rows -= rows;
            let Some(job) = self.jobs.pop_front() else {
                break;
            };
            if is_wanted {
                taken += rows;
                batch.push(job);
            } else {
                let _ = job.reply.send(Err(Unanswered::Overdue));
            }
        }
        batch
    }
}

impl Drop for Batcher {
    fn drop(&mut self) {
        self.shared.lock().is_open = false;
        self.shared.filled.notify_all();
    }
}

/// The shortest of a few runs, since the first ones warm up.
fn time_of_a_row(plan: &Plan) -> Duration {
    let input = vec![0.5; plan.input_len()];
    let mut logits = vec![0.0; plan.output_len()];
    let mut scratch = Scratch::default();
    let run = |_| {
        let start = Instant::now();
        plan.run(&input, &mut logits, &mut scratch);
        start.elapsed()
    };
    (0..5).map(run).min().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{metrics::Metrics, testing};

    fn start(queue_rows: usize, batch_rows: usize, inline: Duration) -> Batcher {
        let metrics = Metrics::new().batches("tiny", 1, &[]);
        Batcher::start(
            testing::plan(),
            BatchLimits {
                queue_rows,
                batch_rows,
                inline,
            },
            metrics,
        )
        .unwrap()
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    fn bits(values: &[f32]) -> Vec<u32> {
        values.iter().map(|value| value.to_bits()).collect()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_row_gets_the_same_bits_in_a_batch_and_alone() {
        let alone = start(64, 8, Duration::MAX);
        let batched = Arc::new(start(1024, 8, Duration::ZERO));
        let asked: Vec<_> = (0..200)
            .map(|seed| {
                let (batched, rows) = (batched.clone(), testing::rows(seed, 1 + seed as usize % 3));
                tokio::spawn(async move {
                    batched
                        .answer(rows, None, soon())
                        .await
                        .unwrap()
                        .probabilities
                })
            })
            .collect();
        for (seed, answer) in asked.into_iter().enumerate() {
            let rows = testing::rows(seed as u64, 1 + seed % 3);
            let mut expected = Vec::new();
            for row in rows.chunks(testing::ROW) {
                expected.extend(
                    alone
                        .answer(row.to_vec(), None, soon())
                        .await
                        .unwrap()
                        .probabilities,
                );
            }
            assert_eq!(bits(&answer.await.unwrap()), bits(&expected));
        }
    }

    #[test]
    fn a_full_queue_refuses_and_callers_that_left_or_are_late_are_skipped() {
        // No actor, so that jobs stay where they are.
        let limits = BatchLimits {
            queue_rows: 4,
            batch_rows: 2,
            inline: Duration::ZERO,
        };
        let queue = Mutex::new(Queue {
            jobs: VecDeque::new(),
            rows: 0,
            is_open: true,
        });
        let metrics = Metrics::new().batches("tiny", 1, &[]);
        let shared = Shared {
            plan: testing::plan(),
            limits,
            metrics,
            statistics: Statistics::default(),
            queue,
            filled: Condvar::new(),
        };
        let row = |seed| testing::rows(seed, 1);

        let _waits = shared.append(row(0), None, soon()).unwrap();
        drop(shared.append(row(1), None, soon()).unwrap());
        let mut late = shared.append(row(2), None, Instant::now()).unwrap();
        let _waits_too = shared.append(row(3), None, soon()).unwrap();
        assert_eq!(
            shared.append(row(4), None, soon()).unwrap_err(),
            Unanswered::Full
        );

        let batch = shared.next_batch().unwrap();
        assert_eq!(
            batch.iter().map(|job| &job.rows).collect::<Vec<_>>(),
            [&row(0), &row(3)]
        );
        assert_eq!(late.try_recv().unwrap().unwrap_err(), Unanswered::Overdue);
        assert_eq!(shared.lock().rows, 0);

        let _large = shared.append(testing::rows(5, 4), None, soon()).unwrap();
        assert_eq!(
            shared.next_batch().unwrap().len(),
            1,
            "a job larger than a batch goes alone"
        );
        shared.lock().is_open = false;
        assert!(shared.next_batch().is_none());
    }

    #[tokio::test]
    async fn rows_of_impossible_numbers_spoil_no_other_answer() {
        for inline in [Duration::ZERO, Duration::MAX] {
            let batcher = start(64, 64, inline);
            let huge = vec![f32::MAX; testing::ROW];
            let (huge, good) = tokio::join!(
                batcher.answer(huge, None, soon()),
                batcher.answer(testing::rows(1, 1), None, soon())
            );
            assert_eq!(huge, Err(Unanswered::NotFinite));
            assert!(good.is_ok());
        }
    }

    #[tokio::test]
    async fn an_answer_that_comes_too_late_is_none() {
        for inline in [Duration::ZERO, Duration::MAX] {
            let answer = start(64, 64, inline)
                .answer(testing::rows(1, 1), None, Instant::now())
                .await;
            assert_eq!(answer, Err(Unanswered::Overdue));
        }
    }
}
