use serde::{Deserialize, Serialize};

use crate::{DataDigest, Level, Name};

/// When a row may leave at an exit below the top, and what was promised for it: a part of a manifest, made by calibration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExitCalibration {
    /// From the lowest exit up. No row leaves at an exit that is not listed.
    pub thresholds: Vec<ExitThreshold>,
    /// The promise: leaving early costs at most this share of accuracy, ...
    pub epsilon: f64,
    /// ... except with at most this probability over the choice of the calibration rows.
    pub delta: f64,
    /// How it was found, for people: the method and its source.
    pub method: String,
    /// What it was found on.
    pub data: Vec<DataDigest>,
    /// Rows of that data that were used.
    pub rows: usize,
    /// Share of the rows, of those that the promise was tested with, whose answer turned from right to wrong.
    pub lost: f64,
    /// Share of the multiplications of the full network that the same rows took on average, about.
    pub work: f64,
}

/// When a row leaves at one exit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExitThreshold {
    /// The level whose head it is.
    pub level: Name,
    /// The least probability of the exit's answer, from 0 to 1.
    pub confidence: f64,
}

impl ExitCalibration {
    /// The least probability at which a row leaves at the exit of `level`; none if it never does.
    pub fn threshold(&self, level: &Name) -> Option<f64> {
        let own = self.thresholds.iter().find(|own| own.level == *level);
        own.map(|own| own.confidence)
    }

    /// What contradicts checked `levels`, and where.
    pub(crate) fn check(&self, levels: &[Level]) -> Result<(), (String, String)> {
        let wrong = |place: String, problem: String| Err((place, problem));
        for (name, value) in [("epsilon", self.epsilon), ("delta", self.delta)] {
            if !(value > 0.0 && value < 1.0) {
                let problem = format!("expected more than 0 and less than 1, found {value}");
                return wrong(format!("exits.{name}"), problem);
            }
        }
        let mut above = exits(levels).into_iter();
        for (index, ExitThreshold { level, confidence }) in self.thresholds.iter().enumerate() {
            let place = format!("exits.thresholds[{index}]");
            if !(0.0..=1.0).contains(confidence) {
                let problem = format!("expected 0 to 1, found {confidence}");
                return wrong(format!("{place}.confidence"), problem);
            }
            // Also finds those that are listed twice or out of order.
            if !above.any(|exit| exit.name == *level) {
                let problem = format!(
                    "`{level}` is no exit, one with a head for the final task below the top, that follows the one before"
                );
                return wrong(format!("{place}.level"), problem);
            }
        }
        Ok(())
    }
}

/// The levels below the top of checked ones whose heads can answer for the final task, from the lowest.
pub fn exits(levels: &[Level]) -> Vec<&Level> {
    let Some((top, below)) = levels.split_last() else {
        return Vec::new();
    };
    let task = |level: &Level| level.head.as_ref().map(|head| head.task.clone());
    let is_exit = |level: &&Level| task(level).is_some() && task(level) == task(top);
    below.iter().filter(is_exit).collect()
}
