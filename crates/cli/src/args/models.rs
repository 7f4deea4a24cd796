//! The arguments of `strata models`.

use std::path::PathBuf;

use clap::Subcommand;
use strata_package::Selector;
use strata_remote::Address;
use strata_spec::Name;

use super::{IdentityArgs, ModelArgs, StoreArgs};
use crate::sealing::SealingArgs;

#[derive(Debug, Subcommand)]
pub(crate) enum Models {
    /// List models, versions and aliases.
    #[command(after_help = "Example:  strata models list")]
    List(StoreArgs),
    /// Show what a version is made of.
    #[command(after_help = "Example:  strata models show mnist-mlp")]
    Show(ModelArgs),
    /// Check the signature and every digest of a version.
    #[command(after_help = "Example:  strata models verify mnist-mlp:stable")]
    Verify(ModelArgs),
    /// Name a version.
    #[command(after_help = "Examples:\n  strata models alias mnist-mlp@3 stable\n  \
                            strata models alias mnist-mlp stable --remove")]
    Alias {
        /// NAME@VERSION; with --remove, NAME
        model: Selector,
        /// Such as stable or canary
        alias: Name,
        /// Take the alias away
        #[arg(long)]
        remove: bool,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Bring a version to another store: a folder, s3://BUCKET/PREFIX, gs:// or az://. It keeps its number, and is there as a
    /// whole or not at all. Credentials come from the environment, as for the service's own tools.
    #[command(
        after_help = "Examples:\n  strata models push mnist-mlp@3 s3://models/production\n  \
                            strata models push mnist-mlp s3://models/production --alias stable"
    )]
    Push {
        #[command(flatten)]
        model: ModelArgs,
        /// The other store
        to: Address,
        /// Let this alias name it there
        #[arg(long)]
        alias: Option<Name>,
    },
    /// Take a version from another store. It keeps its number; its signature and digests are checked first.
    #[command(after_help = "Example:  strata models pull mnist-mlp:stable s3://models/production")]
    Pull {
        #[command(flatten)]
        model: ModelArgs,
        /// The other store
        from: Address,
    },
    /// Remove a version.
    #[command(after_help = "Example:  strata models remove mnist-mlp@2")]
    Remove {
        /// NAME@VERSION
        model: Selector,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Package a finished run.
    #[command(after_help = "Example:  strata models add runs/mnist-mlp-1")]
    Add {
        /// Folder of the run
        run: PathBuf,
        #[command(flatten)]
        store: StoreArgs,
        #[command(flatten)]
        identity: IdentityArgs,
        #[command(flatten)]
        sealing: SealingArgs,
    },
}
