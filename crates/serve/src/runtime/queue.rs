//! What waits for a version.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use strata_nn::Way;
use tokio::sync::oneshot;

use super::{Answered, Rows, Unanswered};

/// Levels of priority. As in Triton, 1 is the highest, and 0 and what is over them stand for the default.
const LEVELS: u64 = 5;
const DEFAULT_LEVEL: u64 = 3;

/// What one level is worth: a request goes before those of the next higher level that come so much later. So the lowest
/// one is overtaken for at most a second, however many others there are.
const LEVEL_TIME: Duration = Duration::from_millis(250);

/// Which of two requests that wait is computed first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Priority(u64);

impl Priority {
    /// By the parameter of a request.
    pub(crate) fn new(parameter: Option<u64>) -> Self {
        let named = parameter.filter(|level| (1..=LEVELS).contains(level));
        Self(named.unwrap_or(DEFAULT_LEVEL))
    }

    /// That of copies, for which nobody waits.
    pub(crate) fn lowest() -> Self {
        Self(LEVELS)
    }

    /// When a request that came at `since` would have come if it had the highest one.
    fn rank(self, since: Instant) -> Instant {
        since + LEVEL_TIME * u32::try_from(self.0 - 1).unwrap_or(0)
    }
}

/// A request that waits to be computed.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) rows: Rows,
    pub(super) count: usize,
    /// None where the plan has only one.
    pub(super) way: Option<Way>,
    pub(super) deadline: Instant,
    pub(super) since: Instant,
    pub(super) reply: oneshot::Sender<Result<Answered, Unanswered>>,
}

/// Jobs by their rank, those of the same rank as they came.
#[derive(Debug)]
pub(super) struct Queue {
    jobs: BTreeMap<(Instant, u64), Job>,
    rows: usize,
    pushed: u64,
    /// Whether there will be more.
    pub(super) is_open: bool,
}

impl Queue {
    pub(super) fn new() -> Self {
        Self {
            jobs: BTreeMap::new(),
            rows: 0,
            pushed: 0,
            is_open: true,
        }
    }

    /// Of all jobs.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn push(&mut self, job: Job, priority: Priority) {
        self.rows += job.count;
        self.pushed += 1;
        self.jobs
            .insert((priority.rank(job.since), self.pushed), job);
    }

    /// The first jobs that fit into `most` rows (a larger one goes alone), less those that nobody waits for any more.
    pub(super) fn take(&mut self, most: usize) -> Vec<Job> {
        let now = Instant::now();
        let (mut batch, mut taken) = (Vec::new(), 0);
        while let Some(first) = self.jobs.first_entry() {
            let job = first.get();
            let is_wanted = !job.reply.is_closed() && job.deadline > now;
            if is_wanted && taken > 0 && taken + job.count > most {
                break;
            }
            let job = first.remove();
            self.rows -= job.count;
            if is_wanted {
                taken += job.count;
                batch.push(job);
            } else {
                let _ = job.reply.send(Err(Unanswered::Overdue));
            }
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_higher_priority_goes_first_but_not_for_ever() {
        let mut queue = Queue::new();
        let start = Instant::now();
        let deadline = start + Duration::from_secs(600);
        let mut waiting = Vec::new();
        let mut push = |name: f32, parameter: Option<u64>, late: u64| {
            let (reply, receiver) = oneshot::channel();
            waiting.push(receiver);
            let job = Job {
                rows: vec![name].into(),
                count: 1,
                way: None,
                deadline,
                since: start + Duration::from_millis(late),
                reply,
            };
            queue.push(job, Priority::new(parameter));
        };
        push(1.0, Some(5), 0);
        push(2.0, None, 1);
        push(3.0, Some(3), 2);
        push(4.0, Some(0), 3);
        push(5.0, Some(1), 4);
        push(6.0, Some(u64::MAX), 5);
        push(7.0, Some(1), 1001);
        let names: Vec<f32> = queue.take(100).iter().map(|job| job.rows[0]).collect();
        assert_eq!(names, [5.0, 2.0, 3.0, 4.0, 6.0, 1.0, 7.0]);
        assert_eq!(queue.rows(), 0);
    }
}
