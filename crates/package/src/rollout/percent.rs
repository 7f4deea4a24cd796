use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A part of the requests: 0 to 100 percent, in steps of a hundredth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Percent(u16);

/// A number that is no [`Percent`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected 0 to 100 percent, with at most two places after the point, found {0}")]
pub struct PercentError(String);

impl Percent {
    /// How many of 10,000.
    pub fn of_ten_thousand(self) -> u16 {
        self.0
    }
}

impl TryFrom<f64> for Percent {
    type Error = PercentError;

    fn try_from(percent: f64) -> Result<Self, PercentError> {
        let hundredths = (percent * 100.0).round();
        let is_whole = (percent * 100.0 - hundredths).abs() < 1e-6;
        if (0.0..=100.0).contains(&percent) && is_whole {
            Ok(Self(hundredths as u16))
        } else {
            Err(PercentError(percent.to_string()))
        }
    }
}

impl From<Percent> for f64 {
    fn from(percent: Percent) -> Self {
        Self::from(percent.0) / 100.0
    }
}

impl FromStr for Percent {
    type Err = PercentError;

    fn from_str(text: &str) -> Result<Self, PercentError> {
        let number: f64 = text.parse().map_err(|_| PercentError(text.to_owned()))?;
        number.try_into()
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", f64::from(*self))
    }
}
