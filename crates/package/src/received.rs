//! Versions that come from another store.

use std::{
    fs,
    path::{Path, PathBuf},
};

use strata_spec::{Manifest, Name};

use crate::{
    add::Draft,
    error::{PackageError, io_error},
    files,
    signature::SIGNATURE_FILE,
    store::Store,
    version::{
        CARD_FILE, LEVELS_FOLDER, MANIFEST_FILE, MAX_CARD_BYTES, MAX_MANIFEST_BYTES,
        MAX_SIGNATURE_BYTES, level_file,
    },
};

/// All of a version but its weights, byte for byte. Nothing of it is checked.
#[derive(Clone, PartialEq, Eq)]
pub struct Head {
    /// `manifest.json`.
    pub manifest: Vec<u8>,
    /// `card.md`.
    pub card: Vec<u8>,
    /// `model.sig`; none if the version is unsigned.
    pub signature: Option<Vec<u8>>,
}

impl std::fmt::Debug for Head {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Head")
            .field("signed", &self.signature.is_some())
            .finish_non_exhaustive()
    }
}

impl Head {
    pub(crate) fn write(&self, folder: &Path) -> Result<(), PackageError> {
        files::write_new(&folder.join(MANIFEST_FILE), &self.manifest)?;
        files::write_new(&folder.join(CARD_FILE), &self.card)?;
        match &self.signature {
            Some(signature) => files::write_new(&folder.join(SIGNATURE_FILE), signature),
            None => Ok(()),
        }
    }

    /// The manifest, which must be that of this version.
    fn parse(&self, path: PathBuf, name: &Name, version: u64) -> Result<Manifest, PackageError> {
        let manifest = Manifest::parse(&self.manifest).map_err(|source| {
            let path = path.clone();
            PackageError::Manifest { path, source }
        })?;
        if (&manifest.name, manifest.version) != (name, version) {
            return Err(PackageError::Misplaced {
                path,
                found_name: manifest.name,
                found_version: manifest.version,
                expected_name: name.clone(),
                expected_version: version,
            });
        }
        Ok(manifest)
    }
}

impl Store {
    /// What a version is made of but its weights, as it lies there.
    ///
    /// # Errors
    /// There is no such version, or a file is missing or cannot be read.
    pub fn head(&self, name: &Name, version: u64) -> Result<Head, PackageError> {
        let folder = self.version_path(name, version);
        if !folder.is_dir() {
            return Err(self.no_version(name, version));
        }
        Ok(Head {
            manifest: files::read_bounded(&folder.join(MANIFEST_FILE), MAX_MANIFEST_BYTES)?,
            card: files::read_bounded(&folder.join(CARD_FILE), MAX_CARD_BYTES)?,
            signature: files::read_if_there(&folder.join(SIGNATURE_FILE), MAX_SIGNATURE_BYTES)?,
        })
    }

    /// Takes in a version of another store, byte for byte; false if it is here already. Levels that are not among the blobs
    /// lie in the folder `blobs`, named by their digests, on which they are checked. The signature is not: that is for the
    /// caller, and for whoever opens the version.
    ///
    /// When this fails, or the machine does, at any point, the store is as it was before.
    ///
    /// # Errors
    /// Another version has this number here, a level is missing or damaged, the manifest is not that of this version, or
    /// the disk refuses.
    pub fn receive(
        &self,
        name: &Name,
        version: u64,
        head: &Head,
        blobs: &Path,
    ) -> Result<bool, PackageError> {
        let _lock = self.lock()?;
        if self.versions(name)?.contains(&version) {
            return if self.head(name, version)? == *head {
                Ok(false)
            } else {
                Err(PackageError::Taken {
                    store: self.path().to_owned(),
                    name: name.clone(),
                    version,
                })
            };
        }
        let path = self.version_path(name, version).join(MANIFEST_FILE);
        let manifest = head.parse(path, name, version)?;
        let mut draft = Draft::begin(self, name, version)?;
        for level in &manifest.levels {
            let blob = &level.blob;
            let file = level_file(&level.architecture.name, blob.sealed);
            if self.has_blob(blob) {
                draft.put_stored(&self.blob_path(&blob.digest), &file, blob)?;
            } else {
                draft.put_received(&blobs.join(blob.digest.hex()), &file, blob)?;
            }
        }
        draft.finish_received(head)?;
        Ok(true)
    }

    /// Lays out a version without its weights, so that its manifest can be checked, shown and compared, and aliases and
    /// rollouts can be tried. For stores that are thrown away: what opens it finds its levels damaged.
    ///
    /// # Errors
    /// The manifest is not that of this version, or the disk refuses.
    pub fn outline(&self, name: &Name, version: u64, head: &Head) -> Result<(), PackageError> {
        let folder = self.version_path(name, version);
        let manifest = head.parse(folder.join(MANIFEST_FILE), name, version)?;
        let levels = folder.join(LEVELS_FOLDER);
        fs::create_dir_all(&levels).map_err(io_error("make", &levels))?;
        for level in &manifest.levels {
            let file = level_file(&level.architecture.name, level.blob.sealed);
            files::write_new(&levels.join(file), &[])?;
        }
        head.write(&folder)
    }
}
