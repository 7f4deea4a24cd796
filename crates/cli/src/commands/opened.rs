use anyhow::Context;
use strata_data::Preparer;
use strata_nn::{LevelWeights, Plan};
use strata_package::{Access, Store};
use strata_spec::{Digest, Manifest, Preparation};

use crate::{
    args::{AccessArgs, ModelArgs},
    places::store_folder,
};

/// A version of a model, verified, unsealed and ready to answer.
pub(super) struct Opened {
    pub(super) manifest: Manifest,
    pub(super) digest: Digest,
    pub(super) weights: Vec<LevelWeights>,
    pub(super) plan: Plan,
    pub(super) preparer: Preparer,
}

impl Opened {
    pub(super) fn open(args: ModelArgs) -> anyhow::Result<Self> {
        let access = access(&args.access)?;
        let store = Store::open(&store_folder(args.store.store)?)?;
        let package = store.open_version(&args.model, &access)?;
        let manifest = package.manifest;
        let levels = manifest.architecture();
        let input = manifest.preparation.output_shape();
        let weights = LevelWeights::of_levels(&package.weights, &input, &levels)
            .with_context(|| format!("{}@{}", manifest.name, manifest.version))?;
        let Preparation::Image(setting) = &manifest.preparation;
        Ok(Self {
            plan: Plan::compile(&input, &levels, &weights, manifest.precision),
            preparer: Preparer::new(setting),
            digest: package.digest,
            manifest,
            weights,
        })
    }
}

/// What may be opened with the identity that was named, or the user's own.
pub(super) fn access(args: &AccessArgs) -> anyhow::Result<Access> {
    Ok(Access {
        allow_unsigned: args.allow_unsigned,
        allow_unsealed: args.allow_unsealed,
        ..Access::find(args.identity.identity.as_deref())?
    })
}
