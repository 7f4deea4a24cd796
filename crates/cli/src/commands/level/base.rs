use anyhow::Context;
use strata_nn::{LevelWeights, WeightsError};
use strata_package::{Access, Identity, OpenPackage, Sealing, Store};
use strata_spec::{Level, Manifest, ManifestLevel, Name};

use super::{super::opened::access, level_index};
use crate::{
    args::{Change, GateArgs},
    output::Output,
    places::store_folder,
};

/// A version that gets a successor with another level, and all that is needed to make that.
pub(super) struct Base {
    pub(super) store: Store,
    pub(super) access: Access,
    pub(super) identity: Identity,
    pub(super) sealing: Sealing,
    pub(super) gate: GateArgs,
    pub(super) package: OpenPackage,
    /// Which of its levels it is.
    pub(super) index: usize,
    pub(super) output: Output,
}

impl Base {
    pub(super) fn open(change: Change, output: Output) -> anyhow::Result<Self> {
        let identity = &change.model.access.identity.identity;
        let identity = Identity::find(identity.as_deref()).context(
            "a version is sealed and signed: make an identity by `strata identity init`",
        )?;
        let access = access(&change.model.access)?;
        let store = Store::open(&store_folder(change.model.store.store)?)?;
        let package = store.open_version(&change.model.model, &access)?;
        Ok(Self {
            index: level_index(&package.manifest, &change.level)?,
            sealing: change.sealing.sealing_as(&package, &access)?,
            gate: change.gate,
            store,
            access,
            identity,
            package,
            output,
        })
    }

    /// The name of the level.
    pub(super) fn level(&self) -> &Name {
        &self.package.manifest.levels[self.index].architecture.name
    }

    /// Whether a level is this one, with the same layers and weights.
    pub(super) fn is_same(&self, other: &ManifestLevel) -> bool {
        is_same(&self.package.manifest.levels[self.index], other)
    }

    /// Whether a version has the same levels at the same places but for this one.
    pub(super) fn is_all_but_the_level_of(&self, other: &Manifest) -> bool {
        let own = &self.package.manifest;
        let mut pairs = own.levels.iter().zip(&other.levels).enumerate();
        own.preparation == other.preparation
            && own.levels.len() == other.levels.len()
            && pairs.all(|(index, (own, other))| index == self.index || is_same(own, other))
    }

    /// The weights of these levels, whose bytes are the version's but for those that are given.
    pub(super) fn weights(
        &self,
        levels: &[Level],
        new: Option<&[u8]>,
    ) -> Result<Vec<LevelWeights>, WeightsError> {
        let mut files: Vec<&[u8]> = self.package.weights.iter().map(|file| &***file).collect();
        if let Some(new) = new {
            files[self.index] = new;
        }
        let input = self.package.manifest.preparation.output_shape();
        LevelWeights::of_levels(&files, &input, levels)
    }
}

/// Whether two levels have the same layers and weights. Digests alone would do but for levels without weights.
fn is_same(a: &ManifestLevel, b: &ManifestLevel) -> bool {
    let layers = |level: &ManifestLevel| {
        let head = level.architecture.head.as_ref();
        (
            level.architecture.layers.clone(),
            head.map(|head| head.layers.clone()),
        )
    };
    a.blob.plain == b.blob.plain && layers(a) == layers(b)
}
