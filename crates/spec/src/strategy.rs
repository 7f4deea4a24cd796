use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A named setting of boundaries, objectives and schedule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// One objective at the top, gradients through every level.
    #[default]
    EndToEnd,
    /// Every level's objective, weighted, gradients through every level (Lee et al. 2015).
    DeepSupervision,
    /// Every level learns at once from its own objective (decoupled greedy learning, Belilovsky et al. 2020).
    Local,
    /// One level after another; levels below are frozen (Bengio et al. 2007, Belilovsky et al. 2019).
    Greedy,
    /// Head first, then unfreeze from the top, with lower rates lower down (Howard & Ruder 2018).
    Staged,
}

/// What a gradient does between a level and the one below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boundary {
    /// It passes.
    Pass,
    /// It stops.
    Stop,
}

/// When a level learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// With all others, from the first step to the last.
    AllAtOnce,
    /// In its turn, counted from 0; before it, the level has its first weights, after it, it is frozen.
    Turn(usize),
    /// From the given stage on, counted from 0.
    From(usize),
}

/// What a strategy says of one level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LevelRule {
    /// What a gradient does at the boundary below this level.
    pub below: Boundary,
    /// Whether the level has an objective of its own.
    pub objective: bool,
    /// When it learns.
    pub learns: Schedule,
}

impl Strategy {
    /// All strategies, in the order of the documentation.
    pub const ALL: [Self; 5] = [
        Self::EndToEnd,
        Self::DeepSupervision,
        Self::Local,
        Self::Greedy,
        Self::Staged,
    ];

    /// The word that a recipe uses for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::EndToEnd => "end-to-end",
            Self::DeepSupervision => "deep-supervision",
            Self::Local => "local",
            Self::Greedy => "greedy",
            Self::Staged => "staged",
        }
    }

    /// Whether levels below the top have objectives, and so heads that learn.
    pub fn has_objectives_below_top(self) -> bool {
        self.rule(0, 2).objective
    }

    /// The rule of level `level` (from 0, lowest first) of `levels`.
    pub fn rule(self, level: usize, levels: usize) -> LevelRule {
        let is_last = level + 1 == levels;
        let from_top = levels.saturating_sub(level + 1);
        let (below, objective, learns) = match self {
            Self::EndToEnd => (Boundary::Pass, is_last, Schedule::AllAtOnce),
            Self::DeepSupervision => (Boundary::Pass, true, Schedule::AllAtOnce),
            Self::Local => (Boundary::Stop, true, Schedule::AllAtOnce),
            Self::Greedy => (Boundary::Stop, true, Schedule::Turn(level)),
            Self::Staged => (Boundary::Pass, is_last, Schedule::From(from_top)),
        };
        LevelRule {
            below,
            objective,
            learns,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_strategies_is_the_documented_one() {
        let table = |strategy: Strategy| [0, 1, 2].map(|level| strategy.rule(level, 3));
        let all = |below, objectives: [bool; 3], learns: [Schedule; 3]| {
            [0, 1, 2].map(|i| LevelRule {
                below,
                objective: objectives[i],
                learns: learns[i],
            })
        };
        let at_once = [Schedule::AllAtOnce; 3];
        let last = [false, false, true];
        assert_eq!(
            table(Strategy::EndToEnd),
            all(Boundary::Pass, last, at_once)
        );
        assert_eq!(
            table(Strategy::DeepSupervision),
            all(Boundary::Pass, [true; 3], at_once)
        );
        assert_eq!(
            table(Strategy::Local),
            all(Boundary::Stop, [true; 3], at_once)
        );
        assert_eq!(
            table(Strategy::Greedy),
            all(Boundary::Stop, [true; 3], [0, 1, 2].map(Schedule::Turn))
        );
        assert_eq!(
            table(Strategy::Staged),
            all(Boundary::Pass, last, [2, 1, 0].map(Schedule::From))
        );
    }
}
