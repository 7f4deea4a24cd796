use anyhow::{Context, bail};
use strata_data::Preparer;
use strata_nn::{LevelWeights, Plan, Way};
use strata_package::Access;
use strata_spec::{Digest, Manifest, Name, Preparation};

use crate::{
    args::{AccessArgs, LeaveArgs, ModelArgs},
    stores::readable,
};

/// A version of a model, verified, unsealed and ready to answer.
pub(super) struct Opened {
    pub(super) manifest: Manifest,
    pub(super) digest: Digest,
    pub(super) card: String,
    pub(super) weights: Vec<LevelWeights>,
    pub(super) plan: Plan,
    pub(super) preparer: Preparer,
}

impl Opened {
    pub(super) fn open(args: ModelArgs) -> anyhow::Result<Self> {
        let access = access(&args.access)?;
        let (store, selector) = readable(args.store.store, &args.model, &access)?;
        let package = store.open_version(&selector, &access)?;
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
            card: package.card,
            manifest,
            weights,
        })
    }

    /// The names of the levels that can answer for the final task, lowest first; the last one is the top.
    pub(super) fn exits(&self) -> Vec<&Name> {
        let heads = self.plan.exits().iter();
        heads.map(|head| &self.plan.heads()[*head].name).collect()
    }

    /// The way of rows through it, as a server would take it.
    pub(super) fn way(&self, leave: &LeaveArgs) -> anyhow::Result<Way> {
        let exits = self.exits();
        let below = &exits[..exits.len() - 1];
        if let Some(name) = &leave.exit {
            let Some(exit) = exits.iter().position(|exit| *exit == name) else {
                let known: Vec<&str> = exits.iter().map(|exit| exit.as_str()).collect();
                bail!("--exit: expected {}, found `{name}`", known.join(", "));
            };
            return Ok(Way::to_exit(&self.plan, exit));
        }
        if let Some(confidence) = leave.confidence {
            if below.is_empty() {
                let Manifest { name, version, .. } = &self.manifest;
                bail!("--confidence: {name}@{version} has no exit below its top level");
            }
            let thresholds = vec![confidence; below.len()];
            return Ok(Way::by_confidence(&self.plan, &thresholds));
        }
        let calibrated = self.manifest.exits.as_ref();
        let threshold = |name: &&Name| {
            let found = calibrated.and_then(|exits| exits.threshold(name));
            found.map_or(f32::INFINITY, |value| value as f32)
        };
        let thresholds: Vec<f32> = below.iter().map(threshold).collect();
        Ok(Way::by_confidence(&self.plan, &thresholds))
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
