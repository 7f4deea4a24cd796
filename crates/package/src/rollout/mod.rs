//! A change from one version of a model to another, as `rollout.json` beside the model's aliases has it.

mod figures;
mod percent;
mod store;

pub use figures::{Compared, Figures, Side};
pub use percent::{Percent, PercentError};

use serde::{Deserialize, Serialize};
use strata_spec::Name;

/// Sends some requests to another version than the one that an alias names, until it is promoted, aborted or rolled back.
/// It is under way as long as it has not ended and its alias names the version that it begins with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rollout {
    /// 16 hexadecimal digits that no other rollout has. Which callers get the new version depends on it.
    pub id: String,
    /// The alias whose requests take part; `stable` also stands for those that name no version.
    pub alias: Name,
    /// The version that the alias names.
    pub from: u64,
    /// The version that it is to name.
    pub to: u64,
    /// What the new version gets.
    pub mode: RolloutMode,
    /// The header, in lower case, whose equal values are answered by the same version; requests without it go by their API
    /// key, and so do all if it is `authorization` or `x-api-key`. Without one, each request is counted by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sticky: Option<String>,
    /// When it is rolled back.
    pub bounds: Bounds,
    /// Promotes it by itself after so many requests of the new version within the bounds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promote_after: Option<u64>,
    /// When it began, RFC 3339, UTC.
    pub started: String,
    /// How it ended, if it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
}

/// What the new version of a rollout gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RolloutMode {
    /// It answers this part of the requests.
    Split(Percent),
    /// It gets copies of this part of the requests, and its answers are compared and not given to anybody.
    Shadow(Percent),
}

/// What the new version may be worse in.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bounds {
    /// Requests of the new version that a share counts at least as of, and without which latencies say nothing.
    pub requests: u64,
    /// How much larger its share of failed requests may be than that of the old version, 0 to 1.
    pub errors: f64,
    /// How many times as long its 95th percentile may be.
    pub latency: f64,
    /// Share of rows that both must give the same classes, 0 to 1; of copies only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agreement: Option<f64>,
}

/// How a rollout ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ended {
    /// In which way.
    pub outcome: Outcome,
    /// When, RFC 3339, UTC.
    pub at: String,
    /// Why, for people.
    pub reason: String,
    /// What was measured until then, if a server did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub figures: Option<Figures>,
}

/// In which way a rollout ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The alias names the new version.
    Promoted,
    /// The alias names the old version still.
    RolledBack,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            requests: 200,
            errors: 0.01,
            latency: 2.0,
            agreement: None,
        }
    }
}

impl RolloutMode {
    /// The part of the requests.
    pub fn percent(self) -> Percent {
        match self {
            Self::Split(percent) | Self::Shadow(percent) => percent,
        }
    }
}

impl Rollout {
    /// Refuses what contradicts itself; what is wrong.
    fn check(&self) -> Result<(), String> {
        let is_id = self.id.len() == 16 && self.id.bytes().all(|c| c.is_ascii_hexdigit());
        if !is_id {
            return Err("`id`: expected 16 hexadecimal digits".to_owned());
        }
        if self.from == self.to {
            return Err(format!("version {} cannot take its own place", self.to));
        }
        if self.alias.as_str().bytes().all(|c| c.is_ascii_digit()) {
            return Err(format!("alias `{}` looks like a version", self.alias));
        }
        let is_split = matches!(self.mode, RolloutMode::Split(_));
        if let Some(header) = &self.sticky {
            let is_token = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
            if header.is_empty() || header.len() > 128 || !header.bytes().all(is_token) {
                return Err(format!(
                    "`sticky`: expected the name of a header, of letters, digits and `-`, found `{}`",
                    header.escape_debug()
                ));
            }
            if !is_split {
                return Err(
                    "`sticky`: copies go to nobody, so no caller stays with one version".to_owned(),
                );
            }
        }
        let Bounds {
            requests,
            errors,
            latency,
            agreement,
        } = self.bounds;
        if requests == 0 {
            return Err("`bounds.requests`: expected 1 or more, found 0".to_owned());
        }
        if !(0.0..=1.0).contains(&errors) {
            return Err(format!("`bounds.errors`: expected 0 to 1, found {errors}"));
        }
        if !(latency > 0.0 && latency.is_finite()) {
            return Err(format!(
                "`bounds.latency`: expected more than 0, found {latency}"
            ));
        }
        if let Some(agreement) = agreement {
            if !(0.0..=1.0).contains(&agreement) {
                return Err(format!(
                    "`bounds.agreement`: expected 0 to 1, found {agreement}"
                ));
            }
            if is_split {
                return Err(
                    "`bounds.agreement`: only copies are answered by both versions".to_owned(),
                );
            }
        }
        match self.promote_after {
            Some(after) if after < requests => Err(format!(
                "`promote_after`: expected as many requests as the bounds need ({requests}) or more, found {after}"
            )),
            _ => Ok(()),
        }
    }
}
