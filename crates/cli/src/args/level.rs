//! The arguments of `strata level`.

use std::{path::PathBuf, str::FromStr};

use clap::{Args, Subcommand};
use strata_package::{Pick, Selector};
use strata_spec::Name;
use strata_train::gate::Allowed;

use super::{AccessArgs, ModelArgs, StoreArgs, setting};
use crate::sealing::SealingArgs;

#[derive(Debug, Subcommand)]
pub(crate) enum Level {
    /// List the levels of a version: layers, shapes, weights, and which version stored them first.
    #[command(after_help = "Example:  strata level list mnist-mlp:stable")]
    List(ModelArgs),
    /// Compare two versions level by level.
    #[command(after_help = "Example:  strata level diff mnist-mlp@1 mnist-mlp@2")]
    Diff {
        /// NAME, NAME@VERSION or NAME:ALIAS
        old: Selector,
        /// The same
        new: Selector,
        #[command(flatten)]
        store: StoreArgs,
        #[command(flatten)]
        access: AccessArgs,
    },
    /// Make a version in which a level is another package's.
    #[command(
        after_help = "Examples:\n  strata level replace mnist-mlp hidden --from mnist-new@2\n  \
                            strata level replace mnist-mlp hidden --from other:low --data mnist --max-loss 0.002"
    )]
    Replace {
        #[command(flatten)]
        change: Change,
        /// NAME or NAME@VERSION, and :LEVEL if the level has another name there; NAME:ALIAS:LEVEL names an alias
        #[arg(long, value_name = "MODEL[:LEVEL]")]
        from: LevelSelector,
    },
    /// Make a version in which a level is as it was in an earlier version.
    #[command(after_help = "Example:  strata level rollback mnist-mlp hidden --to 2")]
    Rollback {
        #[command(flatten)]
        change: Change,
        /// The earlier version [default: the last one in which the level was another]
        #[arg(long, value_name = "VERSION")]
        to: Option<u64>,
    },
    /// Make a version in which a level has learned anew while the others stayed as they are.
    #[command(
        after_help = "Example:  strata level retrain mnist-mlp digits recipes/mnist-mlp.toml --data ./new"
    )]
    Retrain {
        #[command(flatten)]
        change: Change,
        /// A recipe that says how to learn, and from what unless --data does [default: Adam with its usual settings]
        #[arg(required_unless_present = "data")]
        recipe: Option<PathBuf>,
        /// Change a field of the recipe, such as train.epochs=3; may be repeated
        #[arg(long, value_name = "FIELD=VALUE", value_parser = setting, requires = "recipe")]
        set: Vec<String>,
    },
}

/// A version, its level that is to be another, and what that may cost.
#[derive(Debug, Args)]
pub(crate) struct Change {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// The level's name
    pub(crate) level: Name,
    #[command(flatten)]
    pub(crate) gate: GateArgs,
    #[command(flatten)]
    pub(crate) sealing: SealingArgs,
}

#[derive(Debug, Args)]
pub(crate) struct GateArgs {
    /// Data whose test rows the change is measured on: mnist, fashion-mnist, digits or a folder; may be repeated. Where the
    /// model learned from several sources, mnist=./new says that ./new has the labels of mnist [default: what the model
    /// learned from, if that is on this machine]
    #[arg(long, value_name = "SOURCE")]
    pub(crate) data: Vec<String>,
    /// Most accuracy that may be lost, from 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = Allowed::default().accuracy_loss, value_parser = share)]
    pub(crate) max_loss: f64,
    /// Most rows that may turn from right to wrong, a share of all
    #[arg(long, value_name = "SHARE", default_value_t = Allowed::default().negative_flips, value_parser = share)]
    pub(crate) max_flips: f64,
    /// Most that the expected calibration error may grow
    #[arg(long, value_name = "SHARE", default_value_t = Allowed::default().calibration_loss, value_parser = share)]
    pub(crate) max_calibration: f64,
    /// Most numbers above the level that may be outside of the range that their channel had, a share of all
    #[arg(long, value_name = "SHARE", default_value_t = Allowed::default().outside_range, value_parser = share)]
    pub(crate) max_outside: f64,
    /// Make the version though the gate refuses it; the version says so
    #[arg(long)]
    pub(crate) force: bool,
}

impl GateArgs {
    pub(crate) fn allowed(&self) -> Allowed {
        Allowed {
            outside_range: self.max_outside,
            accuracy_loss: self.max_loss,
            negative_flips: self.max_flips,
            calibration_loss: self.max_calibration,
        }
    }
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok();
    share
        .filter(|share| (0.0..=1.0).contains(share))
        .ok_or_else(|| "expected a share from 0 to 1, such as 0.01".to_owned())
}

/// A level of a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LevelSelector {
    pub(crate) version: Selector,
    /// If its name is another one there.
    pub(crate) level: Option<Name>,
}

impl FromStr for LevelSelector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (version, level) = match text.rsplit_once(':') {
            None => (text, None),
            Some((version, level)) => (version, Some(level)),
        };
        let version = version
            .parse::<Selector>()
            .map_err(|error| error.to_string());
        let level = level.map(str::parse).transpose();
        let level = level.map_err(|error: strata_spec::NameError| error.to_string());
        Ok(Self {
            version: version?,
            level: level?,
        })
    }
}

impl LevelSelector {
    /// What to write if an alias was meant where a level is read.
    pub(crate) fn as_alias(&self) -> Option<String> {
        let name = self.level.as_ref()?;
        let is_bare = self.version.pick == Pick::Highest;
        is_bare.then(|| format!("{}:{name}:LEVEL", self.version))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_of_a_version_is_read() {
        let check = |text: &str, version: &str, level: Option<&str>| {
            let found: LevelSelector = text.parse().unwrap();
            assert_eq!(
                (
                    found.version.to_string().as_str(),
                    found.level.as_ref().map(Name::as_str)
                ),
                (version, level)
            );
        };
        check("a", "a", None);
        check("a@2", "a@2", None);
        check("a@2:low", "a@2", Some("low"));
        check("a:low", "a", Some("low"));
        check("a:stable:low", "a:stable", Some("low"));
        for wrong in ["", "a@", "a@2:", "a:b:c:d", "@1", "A"] {
            assert!(wrong.parse::<LevelSelector>().is_err(), "{wrong}");
        }
    }
}
