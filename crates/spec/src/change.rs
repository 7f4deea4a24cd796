use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{DataDigest, Digest, Name};

/// The level of a version that is not its parent's ([`Lineage::parent`](crate::Lineage::parent)).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LevelChange {
    /// Its name in this version.
    pub level: Name,
    /// Where it comes from.
    pub origin: LevelOrigin,
    /// What was measured before the version was stored.
    pub gate: Gate,
}

/// Where a level comes from that is not the parent's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LevelOrigin {
    /// Another package has it.
    Replaced(LevelSource),
    /// An earlier version of the same model had it.
    RolledBack(LevelSource),
    /// It learned anew while the other levels stayed as they are.
    Retrained(Retrained),
}

/// A level of a version in a store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LevelSource {
    /// The model.
    pub model: Name,
    /// Its version.
    pub version: u64,
    /// Digest of that version's manifest.
    pub digest: Digest,
    /// The level's name there.
    pub level: Name,
}

/// How a level learned anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retrained {
    /// Digest of the resolved recipe (TOML), if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipe: Option<Digest>,
    /// What it learned from.
    pub data: Vec<DataDigest>,
    /// Seed of the training.
    pub seed: u64,
}

/// What was measured on held rows before a level took another's place, and what was allowed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gate {
    /// Where the held rows come from; none if there were none, which only force gets past.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// Number of held rows, whichever tasks they have classes of.
    pub rows: usize,
    /// Whether the version was stored by force: though a check failed, or though there were no rows.
    pub forced: bool,
    /// The heads that the level can change: its own and those above it, lowest first. Empty in versions that are older than
    /// this field; then the checks are of the final task alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub heads: Vec<GateHead>,
    /// Each figure, with the old and with the new level.
    pub checks: Vec<GateCheck>,
}

/// A head whose answers a [`Gate`] compares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateHead {
    /// The level that it stands on.
    pub level: Name,
    /// What it predicts.
    pub task: Name,
    /// Held rows that have a class of the task. Where there are none, its answers were not compared, which only force gets
    /// past.
    pub rows: usize,
}

/// One figure of a [`Gate`]. It passes if `measured` is at most `allowed`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateCheck {
    /// Which figure.
    pub figure: GateFigure,
    /// The level whose head it is of; see [`Gate::heads`]. None for a figure of the level itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<Name>,
    /// Its value with the old level, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<f64>,
    /// Its value with the new level, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<f64>,
    /// What is compared.
    pub measured: f64,
    /// The most that it may be.
    pub allowed: f64,
}

/// What a [`Gate`] looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GateFigure {
    /// Share of the numbers at the boundary above the level that are less than the least, or more than the most, that their
    /// channel had there with the old level. Left out for the top level, which has no boundary above it, and for a level of
    /// a version with the same other levels, which are used to its numbers.
    OutsideRange,
    /// Accuracy with the old level less that with the new one.
    AccuracyLoss,
    /// Share of rows whose answer was right and is wrong.
    NegativeFlips,
    /// Expected calibration error (15 bins) with the new level less that with the old one.
    CalibrationLoss,
}

impl Gate {
    /// The head that a check is of, if it is of one.
    pub fn head_of(&self, check: &GateCheck) -> Option<&GateHead> {
        let level = check.head.as_ref()?;
        self.heads.iter().find(|head| head.level == *level)
    }

    /// The heads whose answers could not be compared: no held row has a class of their tasks.
    pub fn unmeasured(&self) -> impl Iterator<Item = &GateHead> {
        self.heads.iter().filter(|head| head.rows == 0)
    }
}

impl fmt::Display for GateHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "task `{}` at level `{}`", self.task, self.level)
    }
}

impl GateCheck {
    /// Whether the figure is within what is allowed.
    pub fn passes(&self) -> bool {
        self.measured <= self.allowed
    }
}

impl GateFigure {
    /// As it is written.
    pub fn word(self) -> &'static str {
        match self {
            Self::OutsideRange => "outside-range",
            Self::AccuracyLoss => "accuracy-loss",
            Self::NegativeFlips => "negative-flips",
            Self::CalibrationLoss => "calibration-loss",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_measured_before_heads_were_named_is_still_read() {
        let text = r#"{"data":"digits","rows":9,"forced":false,"checks":[
            {"figure":"accuracy-loss","old":0.5,"new":0.5,"measured":0.0,"allowed":0.0}]}"#;
        let gate: Gate = serde_json::from_str(text).unwrap();
        assert_eq!((gate.heads.len(), gate.head_of(&gate.checks[0])), (0, None));
        assert_eq!(gate.unmeasured().count(), 0);
        let again = serde_json::to_string(&gate).unwrap();
        assert!(!again.contains("head"), "{again}");
    }
}
