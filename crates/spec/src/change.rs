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
    /// Number of held rows.
    pub rows: usize,
    /// Whether the version was stored by force: though a check failed, or though there were no rows.
    pub forced: bool,
    /// Each figure, with the old and with the new level.
    pub checks: Vec<GateCheck>,
}

/// One figure of a [`Gate`]. It passes if `measured` is at most `allowed`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateCheck {
    /// Which figure.
    pub figure: GateFigure,
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
