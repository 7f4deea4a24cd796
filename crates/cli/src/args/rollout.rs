//! The arguments of `strata rollout`.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};
use strata_package::{Percent, Selector};
use strata_spec::Name;

use super::{AccessArgs, StoreArgs};

#[derive(Debug, Subcommand)]
pub(crate) enum Rollout {
    /// Send a part of an alias's requests to another version, or copies of them. Servers of the store see it within a second.
    #[command(
        after_help = "Examples:\n  strata rollout start mnist-mlp@4 --percent 5 --sticky x-user-id\n  \
                            strata rollout start mnist-mlp@4 --shadow 10 --min-agreement 0.98\n  \
                            strata rollout start mnist-mlp@4 --percent 5 --promote-after 10000"
    )]
    Start(Start),
    /// Change the part of the requests. Callers that moved stay with the new version if it grows.
    #[command(after_help = "Example:  strata rollout weight mnist-mlp 25")]
    Weight {
        /// The model
        model: Name,
        /// 0 to 100
        percent: Percent,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Say what is under way, and what a server measured of it.
    #[command(after_help = "Examples:\n  strata rollout status mnist-mlp\n  \
                            strata rollout status mnist-mlp --server http://127.0.0.1:8080 --key-file strata.key")]
    Status(Status),
    /// Let the alias name the new version.
    #[command(after_help = "Example:  strata rollout promote mnist-mlp")]
    Promote {
        /// The model
        model: Name,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Take a rollout away: the alias names what it named before, and its version answers alone.
    #[command(after_help = "Example:  strata rollout abort mnist-mlp")]
    Abort {
        /// The model
        model: Name,
        #[command(flatten)]
        store: StoreArgs,
    },
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("mode").required(true))]
pub(crate) struct Start {
    /// NAME@VERSION: the new version
    pub(crate) model: Selector,
    /// The alias whose requests take part; `stable` also stands for those that name no version
    #[arg(long, default_value = "stable")]
    pub(crate) alias: Name,
    /// The new version answers so many percent of the requests
    #[arg(long, value_name = "PERCENT", group = "mode")]
    pub(crate) percent: Option<Percent>,
    /// The new version gets copies of so many percent of the requests; its answers are compared and given to nobody
    #[arg(long, value_name = "PERCENT", group = "mode")]
    pub(crate) shadow: Option<Percent>,
    /// Equal values of this header get the same version; without the header, equal API keys, as by x-api-key [default: each
    /// request goes by itself]
    #[arg(long, value_name = "HEADER")]
    pub(crate) sticky: Option<String>,
    /// Requests of the new version before its share of errors or its latency counts fully
    #[arg(long, value_name = "REQUESTS", default_value_t = 200)]
    pub(crate) min_requests: u64,
    /// Roll back if the share of failed requests is so much larger than that of the old version
    #[arg(long, value_name = "SHARE", default_value_t = 0.01)]
    pub(crate) max_errors: f64,
    /// Roll back if 95 of 100 requests take more than so many times as long
    #[arg(long, value_name = "RATIO", default_value_t = 2.0)]
    pub(crate) max_latency: f64,
    /// With --shadow: roll back if a smaller share of rows gets the same classes [default: any will do]
    #[arg(long, value_name = "SHARE")]
    pub(crate) min_agreement: Option<f64>,
    /// Promote it by itself after so many requests of the new version within the bounds [default: by hand]
    #[arg(long, value_name = "REQUESTS")]
    pub(crate) promote_after: Option<u64>,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
    #[command(flatten)]
    pub(crate) access: AccessArgs,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// The model
    pub(crate) model: Name,
    /// Ask this server what it measured, with the key in --key-file or $STRATA_KEY
    #[arg(long, value_name = "URL")]
    pub(crate) server: Option<String>,
    /// A file that holds an API key
    #[arg(long, value_name = "FILE", requires = "server")]
    pub(crate) key_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
}
