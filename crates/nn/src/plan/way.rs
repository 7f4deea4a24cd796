//! How far a row goes through a plan, and what it is asked on its way.

use super::Plan;

/// What rows are asked at each head of a [`Plan`], and so how far they go: a row leaves when nothing above is left to ask.
#[derive(Clone, Debug, PartialEq)]
pub struct Way(Vec<Ask>);

/// What a row is asked at one head.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Ask {
    Nothing,
    /// For the head's own logits.
    Logits,
    /// For the final task, unless an exit below was sure: the answer counts if its confidence is at least this.
    Exit(f32),
}

impl Way {
    /// For the final task: to the first exit whose [`confidence`] is at least its threshold, or to the top. `thresholds` are
    /// those of the plan's [`exits`](Plan::exits) but the top one, lowest first; infinity for an exit that never answers.
    ///
    /// # Panics
    /// There are more or fewer thresholds, or one is no number.
    pub fn by_confidence(plan: &Plan, thresholds: &[f32]) -> Self {
        let (top, below) = plan.exits().split_last().expect("a top head");
        assert_eq!(
            thresholds.len(),
            below.len(),
            "a threshold for each exit below the top"
        );
        assert!(
            !thresholds.iter().any(|value| value.is_nan()),
            "thresholds are numbers"
        );
        let mut asks = vec![Ask::Nothing; plan.heads().len()];
        for (head, threshold) in below.iter().zip(thresholds) {
            if *threshold < f32::INFINITY {
                asks[*head] = Ask::Exit(*threshold);
            }
        }
        asks[*top] = Ask::Exit(0.0);
        Self(asks)
    }

    /// For the final task at one exit, whatever its confidence: a place among the plan's [`exits`](Plan::exits).
    ///
    /// # Panics
    /// There is no such exit.
    pub fn to_exit(plan: &Plan, exit: usize) -> Self {
        let mut way = Self::nowhere(plan);
        way.0[plan.exits()[exit]] = Ask::Exit(0.0);
        way
    }

    /// Asks nothing yet; see [`Self::and`].
    pub fn nowhere(plan: &Plan) -> Self {
        Self(vec![Ask::Nothing; plan.heads().len()])
    }

    /// Also for the logits of a head, a place among the plan's [`heads`](Plan::heads), where nothing was asked so far.
    ///
    /// # Panics
    /// There is no such head, or it is asked something already.
    #[must_use]
    pub fn and(mut self, head: usize) -> Self {
        assert_eq!(self.0[head], Ask::Nothing, "nothing is asked there");
        self.0[head] = Ask::Logits;
        self
    }

    /// Whether some row may be asked for the final task.
    pub fn is_for_final_task(&self) -> bool {
        self.0.iter().any(|ask| matches!(ask, Ask::Exit(_)))
    }

    /// Whether the logits of `head` are asked for.
    pub fn is_for(&self, head: usize) -> bool {
        self.0[head] == Ask::Logits
    }

    pub(super) fn at(&self, head: usize) -> Ask {
        self.0[head]
    }

    /// Whether anything is asked at `head` of a row that has, or has not, its answer for the final task.
    pub(super) fn asks_at(&self, head: usize, is_answered: bool) -> bool {
        match self.0[head] {
            Ask::Nothing => false,
            Ask::Logits => true,
            Ask::Exit(_) => !is_answered,
        }
    }

    /// Whether anything is asked above `head`.
    pub(super) fn asks_above(&self, head: usize, is_answered: bool) -> bool {
        (head + 1..self.0.len()).any(|head| self.asks_at(head, is_answered))
    }
}

/// The probability of the highest of some logits: how sure an exit is.
pub fn confidence(logits: &[f32]) -> f32 {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f32 = logits.iter().map(|value| (*value - highest).exp()).sum();
    1.0 / sum
}
