use std::sync::{Arc, OnceLock, atomic::Ordering};

use strata_package::{Ended, Outcome, Rollout, RolloutMode};

use super::{
    compare::Comparison,
    counts::Counts,
    decide::decide,
    metrics::RolloutMetrics,
    pick::{picks_key, picks_turn, sticky_key},
};
use crate::runtime::{Answered, Took, Unanswered, Version};

/// A rollout that a server carries out, or saw end.
#[derive(Debug)]
pub(crate) struct Trial {
    pub(crate) rollout: Rollout,
    pub(super) counts: Arc<Counts>,
    ended: Arc<OnceLock<Ended>>,
}

/// The rollout of a model.
#[derive(Clone, Debug)]
pub(crate) enum OnRollout {
    Trial(Arc<Trial>),
    /// One that is not carried out, and why.
    Idle {
        /// None if it cannot be read.
        rollout: Option<Box<Rollout>>,
        problem: String,
    },
}

/// The two versions of a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Base,
    Candidate,
}

/// The version that answers a request, and the rollout that it takes part in.
#[derive(Clone, Debug)]
pub(crate) struct Routed {
    pub(crate) version: Arc<Version>,
    pub(super) part: Option<(Arc<Trial>, Part)>,
    /// Who gets a copy.
    pub(super) shadow: Option<Arc<Version>>,
    /// What the parts of the request took, once it was answered.
    pub(crate) took: Arc<OnceLock<Took>>,
}

/// Answers of the candidate after which it is judged: to read what was measured takes longer than to count.
const JUDGED: u64 = 16;

impl Trial {
    /// `earlier` is the trial of the same rollout with other settings; what was measured and decided is kept.
    pub(super) fn new(
        model: &str,
        rollout: Rollout,
        earlier: Option<&Self>,
        metrics: &RolloutMetrics,
    ) -> Self {
        let counts = earlier.map(|earlier| Arc::clone(&earlier.counts));
        let counts = counts.unwrap_or_else(|| {
            let versions = [rollout.from, rollout.to];
            let shown = metrics.show(model, &rollout.id, versions);
            let is_shadow = matches!(rollout.mode, RolloutMode::Shadow(_));
            Arc::new(Counts::new(shown, is_shadow))
        });
        let ended = match (&rollout.ended, earlier) {
            (Some(ended), _) => Arc::new(OnceLock::from(ended.clone())),
            (None, Some(earlier)) => Arc::clone(&earlier.ended),
            (None, None) => Arc::default(),
        };
        Self {
            rollout,
            counts,
            ended,
        }
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&self) -> Option<&Ended> {
        self.ended.get()
    }

    /// Whether the candidate gets requests. If it is to be promoted, it does until the alias names it.
    fn is_on(&self) -> bool {
        let ended = self.ended.get();
        ended.is_none_or(|ended| ended.outcome == Outcome::Promoted)
    }

    /// Which version a request is for that `base` answers where there is no rollout.
    pub(crate) fn route(
        self: &Arc<Self>,
        base: Arc<Version>,
        candidate: &Arc<Version>,
        headers: &hyper::HeaderMap,
        key_id: &str,
    ) -> Routed {
        if !self.is_on() {
            return Routed::to(base);
        }
        let percent = self.rollout.mode.percent();
        let is_picked = match sticky_key(&self.rollout, headers, key_id) {
            Some(key) => picks_key(&self.rollout, percent, key),
            None => picks_turn(percent, self.counts.turns.fetch_add(1, Ordering::Relaxed)),
        };
        let part = |part| Some((Arc::clone(self), part));
        let candidate = || Arc::clone(candidate);
        match self.rollout.mode {
            RolloutMode::Split(_) if is_picked => Routed {
                part: part(Part::Candidate),
                ..Routed::to(candidate())
            },
            RolloutMode::Split(_) => Routed {
                part: part(Part::Base),
                ..Routed::to(base)
            },
            RolloutMode::Shadow(_) if is_picked => Routed {
                part: part(Part::Base),
                shadow: Some(candidate()),
                ..Routed::to(base)
            },
            RolloutMode::Shadow(_) => Routed::to(base),
        }
    }

    /// Counts what came of asking a version.
    pub(super) fn count(&self, part: Part, outcome: Result<&Answered, Unanswered>) {
        let requests = self.counts.count(part, outcome);
        match outcome {
            _ if part == Part::Base => {}
            Err(Unanswered::Failed | Unanswered::Broken) => {
                let reason = "the candidate failed while it computed".to_owned();
                self.end(Outcome::RolledBack, reason);
            }
            Err(_) => self.judge(),
            Ok(_) if requests.is_multiple_of(JUDGED) => self.judge(),
            Ok(_) => {}
        }
    }

    pub(super) fn compared(&self, comparison: &Comparison) {
        self.counts.compared(comparison);
        if comparison.agreeing < comparison.rows {
            self.judge();
        }
    }

    /// Holds what was measured against the bounds. Done at once for what speaks against the candidate, else now and then.
    pub(crate) fn judge(&self) {
        if self.ended.get().is_some() {
            return;
        }
        if let Some((outcome, reason)) = decide(&self.rollout, &self.counts.figures()) {
            self.end(outcome, reason);
        }
    }

    fn end(&self, outcome: Outcome, reason: String) {
        // Only the first word counts.
        self.ended.get_or_init(|| Ended {
            outcome,
            at: format!("{:.0}", jiff::Timestamp::now()),
            reason,
            figures: Some(self.counts.figures()),
        });
    }
}

impl Routed {
    /// One that takes part in no rollout.
    pub(crate) fn to(version: Arc<Version>) -> Self {
        Self {
            version,
            part: None,
            shadow: None,
            took: Arc::default(),
        }
    }

    /// Counts what came of asking the version.
    pub(crate) fn count(&self, outcome: Result<&Answered, Unanswered>) {
        if let Some((trial, part)) = &self.part {
            trial.count(*part, outcome);
        }
    }
}

impl PartialEq for OnRollout {
    /// Whether requests are routed in the same way and callers are told the same.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Trial(own), Self::Trial(other)) => Arc::ptr_eq(own, other),
            (
                Self::Idle { rollout, problem },
                Self::Idle {
                    rollout: other,
                    problem: why,
                },
            ) => rollout == other && problem == why,
            _ => false,
        }
    }
}
