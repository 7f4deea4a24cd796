//! From a level to the version that has it.

use anyhow::{anyhow, bail};
use serde_json::json;
use strata_package::{NewLevel as StoredLevel, NewVersion};
use strata_spec::{Level, LevelChange, LevelOrigin, Lineage, Manifest, level_shapes};
use zeroize::Zeroizing;

use super::{
    base::Base,
    gate::{Verdict, measure},
};
use crate::packaging;

/// A level that is to take another's place.
pub(super) struct NewLevel {
    pub(super) architecture: Level,
    /// As safetensors.
    pub(super) weights: Zeroizing<Vec<u8>>,
    pub(super) origin: LevelOrigin,
    /// The parent's, and what this level learned from.
    pub(super) lineage: Lineage,
    /// Whether it comes from a version in which all other levels are the same.
    pub(super) is_at_home: bool,
}

impl Base {
    /// Measures the change, stores the version unless the gate refuses it, and says what came of it.
    pub(super) fn change(self, new: NewLevel) -> anyhow::Result<()> {
        let mut levels = self.package.manifest.architecture();
        levels[self.index] = new.architecture.clone();
        let weights = self.weights(&levels, Some(&new.weights))?;
        let verdict = measure(&self, &levels, &weights, new.is_at_home)?;
        let refusal = verdict.refusal().filter(|_| !self.gate.force);
        let is_refused = refusal.is_some();
        let (parent, level) = (&self.package.manifest, self.level().clone());
        let origin = new.origin.clone();
        let stored = if is_refused {
            None
        } else {
            Some(self.store_version(&levels, new, &verdict)?)
        };

        let value = json!({
            "model": parent.name, "level": level, "parent": parent.version, "stored": !is_refused,
            "version": stored.as_ref().map(|manifest| manifest.version), "origin": origin, "gate": verdict.to_json(),
            "store": self.store.path(),
        });
        self.output.result(&value, || {
            let mut text = verdict.table();
            if let Some(manifest) = &stored {
                text.push_str(&format!(
                    "{}@{} in {}: level `{level}` {}",
                    manifest.name,
                    manifest.version,
                    self.store.path().display(),
                    packaging::origin_text(&origin),
                ));
            }
            text
        })?;
        if let (Some(manifest), Some(_)) = (&stored, &parent.exits) {
            let title = format!("{}@{}", manifest.name, manifest.version);
            self.output.note(&format!(
                "the thresholds of {}@{} do not hold for {title}, whose rows all go to the top: calibrate anew by `strata exits calibrate {title}`",
                parent.name, parent.version
            ));
        }
        match refusal {
            Some(refusal) => bail!("{refusal}; --force makes the version all the same"),
            None => Ok(()),
        }
    }

    fn store_version(
        &self,
        levels: &[Level],
        new: NewLevel,
        verdict: &Verdict,
    ) -> anyhow::Result<Manifest> {
        let parent = &self.package.manifest;
        let shapes = level_shapes(&parent.preparation.output_shape(), levels)
            .map_err(|(level, error)| anyhow!("level `{level}`: {error}"))?;
        let change = LevelChange {
            level: self.level().clone(),
            origin: new.origin,
            gate: verdict.gate.clone(),
        };
        let [_, metrics] = verdict.metrics();
        let card = packaging::changed_card(parent, levels, &change, &metrics);
        let mut files: Vec<&[u8]> = self.package.weights.iter().map(|file| &***file).collect();
        files[self.index] = &new.weights;
        let stored = levels.iter().zip(shapes).zip(files);
        let version = NewVersion {
            name: parent.name.clone(),
            description: parent.description.clone(),
            levels: stored
                .map(|((architecture, shapes), weights)| StoredLevel {
                    architecture: architecture.clone(),
                    shapes,
                    weights: weights.to_vec(),
                })
                .collect(),
            // With other layers it is no longer that network.
            network: parent
                .network
                .clone()
                .filter(|_| parent.architecture() == levels),
            tasks: parent.tasks.clone(),
            preparation: parent.preparation.clone(),
            lineage: Lineage {
                code: packaging::code(),
                parent: Some(parent.version),
                change: Some(change),
                ..new.lineage
            },
            metrics,
            precision: parent.precision,
            card,
        };
        Ok(self
            .store
            .add(version, &self.identity, self.sealing.clone())?)
    }
}
