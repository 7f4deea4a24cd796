//! What a level does in a step.

use strata_spec::Boundary;

use crate::Objective;

/// What a level does while the network learns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Role {
    /// What of it learns. What does not is in evaluation mode: normalizations use their running statistics.
    pub learns: Learns,
    /// What a gradient does at the boundary below it.
    pub below: Boundary,
    /// What it loses, if it has an objective.
    pub objective: Option<Objective>,
    /// What the step's learning rate is multiplied by for it.
    pub rate: f64,
}

/// What of a level learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learns {
    /// Nothing: it is frozen.
    Nothing,
    /// Its head, and what its objective needs beside it.
    Head,
    /// Its body, too.
    All,
}

impl Role {
    /// A frozen level, through which a gradient passes.
    pub const FROZEN: Self = Self {
        learns: Learns::Nothing,
        below: Boundary::Pass,
        objective: None,
        rate: 1.0,
    };

    /// The roles of `levels` that learn end to end: the top one has the objective.
    pub fn end_to_end(levels: usize) -> Vec<Self> {
        let role = |index| Self {
            learns: Learns::All,
            objective: (index + 1 == levels).then_some(Objective::CROSS_ENTROPY),
            ..Self::FROZEN
        };
        (0..levels).map(role).collect()
    }
}
