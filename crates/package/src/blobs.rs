//! Level weights by content, shared by versions.

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    path::Path,
};

use strata_spec::{Blob, Digest, Manifest, Name};

use crate::{
    access::Opener,
    error::{PackageError, io_error},
    files::{self, digest},
    seal,
    store::Store,
    version::{MANIFEST_FILE, MAX_MANIFEST_BYTES, read_blob},
};

impl Store {
    /// The versions that have each blob, by its digest: models by name, versions ascending. Their signatures are not
    /// checked, and a version whose manifest cannot be read is left out.
    ///
    /// # Errors
    /// A folder cannot be read.
    pub fn blob_users(&self) -> Result<BTreeMap<Digest, Vec<(Name, u64)>>, PackageError> {
        let mut users = BTreeMap::<Digest, Vec<_>>::new();
        for name in self.model_names()? {
            for version in self.versions(&name)? {
                let manifest = self.unverified_manifest(&name, version);
                for level in manifest.into_iter().flat_map(|manifest| manifest.levels) {
                    let users = users.entry(level.blob.digest).or_default();
                    let user = (name.clone(), version);
                    // Two levels of a version may be equal.
                    if users.last() != Some(&user) {
                        users.push(user);
                    }
                }
            }
        }
        Ok(users)
    }

    /// A sealed blob of any version in the store that `opener` opens to the plain bytes with this digest, and that nobody
    /// else opens. Versions of `name` are looked at first.
    ///
    /// Who a file is sealed for cannot be seen from outside, and manifests are not verified here; so each
    /// candidate is opened and its content compared.
    pub(crate) fn find_sealed(
        &self,
        name: &Name,
        plain: Digest,
        opener: &Opener,
    ) -> Result<Option<Blob>, PackageError> {
        let mut tried = HashSet::new();
        let mut names = self.model_names()?;
        names.sort_by_key(|other| other != name);
        for name in names {
            for version in self.versions(&name)?.into_iter().rev() {
                let Some(manifest) = self.unverified_manifest(&name, version) else {
                    continue;
                };
                for level in manifest.levels {
                    let blob = level.blob;
                    let fits = blob.sealed && blob.plain == plain;
                    if fits && tried.insert(blob.digest) && self.opens_to(&blob, opener) {
                        return Ok(Some(blob));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Whether the blob lies in the store, intact. A damaged one counts as missing.
    pub fn has_blob(&self, blob: &Blob) -> bool {
        read_blob(&self.blob_path(&blob.digest), blob).is_ok()
    }

    /// Puts a version's level file among the blobs. `temporary` is on the same file system.
    pub(crate) fn put_blob(
        &self,
        level: &Path,
        temporary: &Path,
        blob: &Path,
    ) -> Result<(), PackageError> {
        files::link_or_copy(level, temporary)?;
        fs::rename(temporary, blob).map_err(io_error("write", blob))
    }

    /// Removes the blobs that no version names. The caller holds the lock.
    ///
    /// While any manifest cannot be read nothing is removed: it may name any of them.
    pub(crate) fn collect_blobs(&self) -> Result<(), PackageError> {
        let mut named = HashSet::new();
        for name in self.model_names()? {
            for version in self.versions(&name)? {
                let Some(manifest) = self.unverified_manifest(&name, version) else {
                    return Ok(());
                };
                named.extend(manifest.levels.iter().map(|level| level.blob.digest));
            }
        }
        for file in files::names_in(&self.blobs())? {
            let digest = format!("sha256:{file}").parse::<Digest>();
            if digest.is_ok_and(|digest| !named.contains(&digest)) {
                files::remove_all(&self.blobs().join(file))?;
            }
        }
        files::sync_folder(&self.blobs())
    }

    fn opens_to(&self, blob: &Blob, opener: &Opener) -> bool {
        let Ok(stored) = read_blob(&self.blob_path(&blob.digest), blob) else {
            return false;
        };
        seal::has_one_receiver(&stored)
            && seal::open(&stored, opener).is_ok_and(|plain| digest(&plain) == blob.plain)
    }

    fn unverified_manifest(&self, name: &Name, version: u64) -> Option<Manifest> {
        let path = self.version_path(name, version).join(MANIFEST_FILE);
        let bytes = files::read_bounded(&path, MAX_MANIFEST_BYTES).ok()?;
        Manifest::parse(&bytes).ok()
    }
}
