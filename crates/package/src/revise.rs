//! New versions that differ from another one in what is written about it, not in its weights.

use strata_spec::{ExitCalibration, Manifest};

use crate::{
    add::Draft,
    error::PackageError,
    identity::Identity,
    store::Store,
    version::{LEVELS_FOLDER, level_file},
};

impl Store {
    /// Adds a version that is `verified` with these exits, signed by `identity`, and returns its manifest. It has the same
    /// weights, sealed as they are, and names the other one as its parent; no blob is stored.
    ///
    /// When this fails, or the machine does, at any point, the store is as it was before.
    ///
    /// # Errors
    /// The version was removed meanwhile, the exits are not those of its levels, or the disk refuses.
    pub fn add_calibrated(
        &self,
        verified: &Manifest,
        card: &str,
        exits: ExitCalibration,
        identity: &Identity,
    ) -> Result<Manifest, PackageError> {
        let _lock = self.lock()?;
        let name = &verified.name;
        if !self.versions(name)?.contains(&verified.version) {
            return Err(self.no_version(name, verified.version));
        }
        let mut draft = Draft::begin(self, name, self.next_version(name)?)?;
        let parent = self
            .version_path(name, verified.version)
            .join(LEVELS_FOLDER);
        for level in &verified.levels {
            let file = level_file(&level.architecture.name, level.blob.sealed);
            draft.put_stored(&parent.join(&file), &file, &level.blob)?;
        }
        let mut manifest = verified.clone();
        manifest.created = crate::now();
        manifest.exits = Some(exits);
        manifest.lineage.parent = Some(verified.version);
        draft.finish(manifest, card, identity)
    }
}
