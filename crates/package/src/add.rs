use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use strata_spec::{
    Blob, Level, LevelShapes, Lineage, MANIFEST_FORMAT, Manifest, ManifestLevel, Name, Precision,
    Preparation, Task, networks::NamedNetwork,
};
use zeroize::Zeroizing;

use crate::{
    access::Opener,
    error::{PackageError, io_error},
    files::{self, digest},
    identity::Identity,
    keys::Recipient,
    passphrase::Passphrase,
    received::Head,
    seal::{self, MAX_PLAIN_BYTES, SealError},
    signature::{self, Files, SIGNATURE_FILE},
    store::Store,
    version::{
        CARD_FILE, LEVELS_FOLDER, MANIFEST_FILE, MAX_CARD_BYTES, MAX_MANIFEST_BYTES, level_file,
        read_blob,
    },
};

/// A version to add to a store. Its number and its date are the store's to give.
pub struct NewVersion {
    /// The model.
    pub name: Name,
    /// What the model is for, in a sentence; may be empty.
    pub description: String,
    /// From the lowest to the top one.
    pub levels: Vec<NewLevel>,
    /// What the network is called, if it was asked for by its name.
    pub network: Option<NamedNetwork>,
    /// What it predicts.
    pub tasks: Vec<Task>,
    /// How a request becomes a row.
    pub preparation: Preparation,
    /// Where the model comes from.
    pub lineage: Lineage,
    /// Figures on held-out data, such as `test.accuracy`; finite numbers.
    pub metrics: BTreeMap<String, f64>,
    /// The number format in which it learned; never `auto`.
    pub precision: Precision,
    /// A page about the model for people, in Markdown; may be empty.
    pub card: String,
}

/// A level of a [`NewVersion`].
pub struct NewLevel {
    /// Its name, layers and head.
    pub architecture: Level,
    /// The shapes of its rows.
    pub shapes: LevelShapes,
    /// Its weights as plain safetensors bytes. Cleared from memory once they are stored.
    pub weights: Vec<u8>,
}

/// For whom a version's weights are sealed.
#[derive(Clone, Debug, Default)]
pub enum Sealing {
    /// For the identity that adds the version, and nobody else.
    #[default]
    Own,
    /// For each of these, and nobody else: the identity that adds the version is not one of them unless it
    /// is listed.
    Recipients(Vec<Recipient>),
    /// By this passphrase: for everyone who has it.
    Passphrase(Passphrase),
    /// Not at all: the weights lie there as they are, for everyone who can read the store.
    Plain,
}

impl Store {
    /// Adds a version, signed by `identity`, and returns its manifest, which has its number: one more
    /// than any that the model has had.
    ///
    /// Weights that a version in the store has already, of this model or another, are not stored again if that one is known
    /// to be sealed for the same receivers: [`Sealing::Own`] and [`Sealing::Passphrase`] can tell by
    /// opening it, [`Sealing::Recipients`] cannot and always stores anew.
    ///
    /// When this fails, or the machine does, at any point, the store is as it was before.
    ///
    /// # Errors
    /// The parts of the version contradict each other or are too large, or the disk refuses.
    pub fn add(
        &self,
        new: NewVersion,
        identity: &Identity,
        sealing: Sealing,
    ) -> Result<Manifest, PackageError> {
        let _lock = self.lock()?;
        let version = self.next_version(&new.name)?;
        let mut draft = Draft::begin(self, &new.name, version)?;
        let mut levels = Vec::with_capacity(new.levels.len());
        for NewLevel {
            architecture,
            shapes,
            weights,
        } in new.levels
        {
            let blob = draft.put_level(
                &architecture.name,
                Zeroizing::new(weights),
                identity,
                &sealing,
            )?;
            levels.push(ManifestLevel::new(architecture, &shapes, blob));
        }
        let manifest = Manifest {
            format: MANIFEST_FORMAT,
            name: new.name,
            version,
            created: crate::now(),
            description: new.description,
            levels,
            network: new.network,
            tasks: new.tasks,
            preparation: new.preparation,
            lineage: new.lineage,
            metrics: new.metrics,
            precision: new.precision,
            exits: None,
        };
        draft.finish(manifest, &new.card, identity)
    }
}

/// A version in the making. Unless it is committed, dropping it leaves the store as it was.
pub(crate) struct Draft<'a> {
    store: &'a Store,
    name: Name,
    version: u64,
    /// Its folder in the workspace.
    folder: PathBuf,
    /// Where the folder will lie.
    target: PathBuf,
    /// What the signature will list.
    files: Files,
    /// The level files whose blobs are not in the store yet.
    new_blobs: Vec<(PathBuf, Blob)>,
    undo: Vec<Undo>,
    committed: bool,
}

/// Something that was put into the store and goes again if the draft fails.
enum Undo {
    File(PathBuf),
    Folder(PathBuf),
    Version(PathBuf),
}

impl<'a> Draft<'a> {
    pub(crate) fn begin(store: &'a Store, name: &Name, version: u64) -> Result<Self, PackageError> {
        let draft = Self {
            store,
            name: name.clone(),
            version,
            folder: store.workspace().join("version"),
            target: store.version_path(name, version),
            files: Files::new(),
            new_blobs: Vec::new(),
            undo: Vec::new(),
            committed: false,
        };
        let levels = draft.folder.join(LEVELS_FOLDER);
        fs::create_dir_all(&levels).map_err(io_error("make", &levels))?;
        Ok(draft)
    }

    fn put_level(
        &mut self,
        level: &Name,
        weights: Zeroizing<Vec<u8>>,
        identity: &Identity,
        sealing: &Sealing,
    ) -> Result<Blob, PackageError> {
        let file = level_file(level, !matches!(sealing, Sealing::Plain));
        let path = self.folder.join(LEVELS_FOLDER).join(&file);
        let blob = match sealing {
            Sealing::Own => {
                let opener = Opener::from(identity.age_key().clone());
                self.put_sealed(&path, &weights, Some(&opener), |weights| {
                    seal::seal(weights, &[identity.recipient()])
                })
            }
            // A sealed file does not show for whom it is, so there is none that is known to be for these.
            Sealing::Recipients(recipients) => self.put_sealed(&path, &weights, None, |weights| {
                seal::seal(weights, recipients)
            }),
            Sealing::Passphrase(passphrase) => {
                let opener = Opener::from(passphrase.clone());
                self.put_sealed(&path, &weights, Some(&opener), |weights| {
                    seal::seal_by_passphrase(weights, passphrase)
                })
            }
            Sealing::Plain => self.put_plain(&path, &weights),
        }?;
        self.files
            .insert(format!("{LEVELS_FOLDER}/{file}"), blob.digest);
        Ok(blob)
    }

    /// Puts a sealed level into the draft: the blob of a version in the store if one has these weights for
    /// whoever has `only_opener` and nobody else, else one that is sealed now.
    fn put_sealed(
        &mut self,
        path: &Path,
        weights: &[u8],
        only_opener: Option<&Opener>,
        seal: impl Fn(&[u8]) -> Result<Vec<u8>, SealError>,
    ) -> Result<Blob, PackageError> {
        let plain = digest(weights);
        if let Some(opener) = only_opener
            && let Some(blob) = self.store.find_sealed(&self.name, plain, opener)?
        {
            files::link_or_copy(&self.store.blob_path(&blob.digest), path)?;
            return Ok(blob);
        }
        let sealed = seal(weights).map_err(|source| PackageError::Seal {
            path: self.final_path(path),
            source,
        })?;
        let blob = Blob {
            digest: digest(&sealed),
            plain,
            bytes: sealed.len() as u64,
            sealed: true,
        };
        self.write_level(path, &sealed, &blob)?;
        Ok(blob)
    }

    fn put_plain(&mut self, path: &Path, weights: &[u8]) -> Result<Blob, PackageError> {
        let bytes = weights.len() as u64;
        if bytes > MAX_PLAIN_BYTES {
            return Err(PackageError::TooLarge {
                path: self.final_path(path),
                limit: MAX_PLAIN_BYTES,
            });
        }
        let plain = digest(weights);
        let blob = Blob {
            digest: plain,
            plain,
            bytes,
            sealed: false,
        };
        if self.store.has_blob(&blob) {
            files::link_or_copy(&self.store.blob_path(&blob.digest), path)?;
        } else {
            self.write_level(path, weights, &blob)?;
        }
        Ok(blob)
    }

    /// Where a file of the draft will lie.
    fn final_path(&self, path: &Path) -> PathBuf {
        let relative = path.strip_prefix(&self.folder);
        self.target.join(relative.expect("a file of the draft"))
    }

    fn write_level(&mut self, path: &Path, stored: &[u8], blob: &Blob) -> Result<(), PackageError> {
        files::write_new(path, stored)?;
        self.new_blobs.push((path.to_owned(), blob.clone()));
        Ok(())
    }

    /// Puts the stored bytes of another version's level into the draft, after checking that they are still those; where they
    /// lie there.
    pub(crate) fn put_stored(
        &mut self,
        from: &Path,
        file: &str,
        blob: &Blob,
    ) -> Result<PathBuf, PackageError> {
        read_blob(from, blob)?;
        let path = self.folder.join(LEVELS_FOLDER).join(file);
        files::link_or_copy(from, &path)?;
        self.files
            .insert(format!("{LEVELS_FOLDER}/{file}"), blob.digest);
        Ok(path)
    }

    /// Writes manifest, which gets the draft's number, and card; signs all and moves it into the store.
    pub(crate) fn finish(
        mut self,
        mut manifest: Manifest,
        card: &str,
        identity: &Identity,
    ) -> Result<Manifest, PackageError> {
        manifest.version = self.version;
        self.put_text(MANIFEST_FILE, &manifest.to_json(), MAX_MANIFEST_BYTES)?;
        // What would be refused when read is refused now; this also finds metrics that are no numbers.
        let manifest = Manifest::parse(manifest.to_json().as_bytes()).map_err(|source| {
            PackageError::Manifest {
                path: self.target.join(MANIFEST_FILE),
                source,
            }
        })?;
        self.put_text(CARD_FILE, card, MAX_CARD_BYTES)?;
        self.sign(&format!("{}@{}", manifest.name, manifest.version), identity)?;
        self.commit()?;
        Ok(manifest)
    }

    /// Puts a level that lies elsewhere into the draft, after checking that it is the one that `blob` names.
    pub(crate) fn put_received(
        &mut self,
        from: &Path,
        file: &str,
        blob: &Blob,
    ) -> Result<(), PackageError> {
        let path = self.put_stored(from, file, blob)?;
        self.new_blobs.push((path, blob.clone()));
        Ok(())
    }

    /// Writes what another store has of this version but the levels, as it is, and moves all into the store.
    pub(crate) fn finish_received(self, head: &Head) -> Result<(), PackageError> {
        head.write(&self.folder)?;
        self.commit()
    }

    fn put_text(&mut self, file: &str, text: &str, limit: u64) -> Result<(), PackageError> {
        if text.len() as u64 > limit {
            return Err(PackageError::TooLarge {
                path: self.target.join(file),
                limit,
            });
        }
        files::write_new(&self.folder.join(file), text.as_bytes())?;
        self.files.insert(file.to_owned(), digest(text.as_bytes()));
        Ok(())
    }

    fn sign(&self, subject: &str, identity: &Identity) -> Result<(), PackageError> {
        let path = self.target.join(SIGNATURE_FILE);
        let bundle = signature::sign(subject, &self.files, identity.signer())
            .map_err(|source| PackageError::Signature { path, source })?;
        files::write_new(&self.folder.join(SIGNATURE_FILE), &bundle)
    }

    /// Moves the draft into the store: first the blobs, which nobody looks at without a version that
    /// names them, then the version by a single rename.
    fn commit(mut self) -> Result<(), PackageError> {
        files::sync_folder(&self.folder.join(LEVELS_FOLDER))?;
        files::sync_folder(&self.folder)?;

        for folder in [
            self.store.model_path(&self.name),
            self.store.versions_folder(&self.name),
        ] {
            if !folder.is_dir() {
                fs::create_dir(&folder).map_err(io_error("make", &folder))?;
                self.undo.push(Undo::Folder(folder.clone()));
                files::sync_parent(&folder)?;
            }
        }
        let temporary = self.store.workspace().join("blob");
        for (level, blob) in &self.new_blobs {
            let path = self.store.blob_path(&blob.digest);
            // One that lies there already is a damaged one, which is better replaced than brought back.
            if !path.exists() {
                self.undo.push(Undo::File(path.clone()));
            }
            self.store.put_blob(level, &temporary, &path)?;
        }
        files::sync_folder(&self.store.blobs())?;

        fs::rename(&self.folder, &self.target).map_err(io_error("write", &self.target))?;
        self.undo.push(Undo::Version(self.target.clone()));
        files::sync_parent(&self.target)?;
        self.committed = true;
        Ok(())
    }
}

impl Drop for Draft<'_> {
    /// Nothing here can be reported, and nothing needs to be: what is left over is swept by the next
    /// writer.
    fn drop(&mut self) {
        let workspace = self.store.workspace();
        while let Some(undo) = self.undo.pop().filter(|_| !self.committed) {
            let _ = match undo {
                Undo::File(path) => fs::remove_file(path),
                Undo::Folder(path) => fs::remove_dir(path),
                Undo::Version(path) => fs::rename(path, workspace.join("undone")),
            };
        }
        let _ = files::remove_all(&workspace);
    }
}
