use std::{sync::Arc, time::Instant};

use strata_nn::Way;
use tokio::sync::OwnedSemaphorePermit;

use super::{
    compare::compare,
    trial::{Part, Routed, Trial},
};
use crate::runtime::{Answered, Ask, Priority, Unanswered, Version};

/// Numbers of a copy: with as many copies as there may be, some dozens of MiB. Larger requests are not copied.
const MOST_NUMBERS: usize = 1 << 20;

/// A copy of a request, to be asked of the candidate when the caller has its answer.
#[derive(Debug)]
pub(crate) struct Shadow {
    trial: Arc<Trial>,
    base: Arc<Version>,
    candidate: Arc<Version>,
    rows: Vec<f32>,
    way: Option<Way>,
    count: usize,
    _permit: OwnedSemaphorePermit,
}

impl Shadow {
    /// Copies `count` rows if the rollout asks for it and not too many copies are on their way. `way` is how they go through
    /// the candidate.
    pub(crate) fn of(
        routed: &Routed,
        rows: &[f32],
        count: usize,
        way: impl FnOnce(&Version) -> Option<Way>,
    ) -> Option<Self> {
        let ((trial, _), candidate) = (routed.part.as_ref()?, routed.shadow.as_ref()?);
        let permit = Arc::clone(&trial.counts.copies).try_acquire_owned();
        let Some(permit) = permit.ok().filter(|_| rows.len() <= MOST_NUMBERS) else {
            trial.counts.dropped();
            return None;
        };
        Some(Self {
            trial: Arc::clone(trial),
            base: Arc::clone(&routed.version),
            candidate: Arc::clone(candidate),
            rows: rows.to_vec(),
            way: way(candidate),
            count,
            _permit: permit,
        })
    }

    /// Asks the candidate beside the caller, who has `answered` already, and compares.
    pub(crate) fn ask(self, answered: Arc<Answered>, deadline: Instant) {
        tokio::spawn(async move {
            let Self {
                trial,
                base,
                candidate,
                rows,
                way,
                count,
                _permit,
            } = self;
            let ask = Ask {
                rows: rows.into(),
                way,
                deadline,
                priority: Priority::lowest(),
            };
            let outcome = candidate.batcher.answer(ask).await;
            match &outcome {
                // That it had no time for a copy is nothing against it.
                Err(Unanswered::Full(_) | Unanswered::Overdue) => trial.counts.dropped(),
                Err(problem) => trial.count(Part::Candidate, Err(*problem)),
                Ok(other) => {
                    trial.count(Part::Candidate, Ok(other));
                    let comparison = compare((&base, &answered), (&candidate, other), count);
                    trial.compared(&comparison);
                }
            }
        });
    }
}
