//! Versions that are taken from a store.

use std::{
    fs::{self, File},
    io::{Read, Write},
    path::Path as FilePath,
};

use sha2::{Digest as _, Sha256};
use strata_package::{
    Access, Head, MAX_CARD_BYTES, MAX_MANIFEST_BYTES, MAX_SIGNATURE_BYTES, Selector, Store,
    VerifiedVersion, layout,
};
use strata_spec::{Blob, Digest, Name};

use crate::{Remote, RemoteError};

/// Where blobs wait until their version is whole, below a store's folder. What a process that was killed leaves there is used
/// or taken away by the next one.
pub(crate) const INCOMING: &str = ".incoming";

/// The beginning of the names of files that are being fetched.
pub(crate) const PARTIAL: &str = "part-";

/// Why a version was not taken.
#[derive(Debug)]
pub(crate) enum NotPulled {
    /// The version is not to be used as it lies there.
    Version(Faulty),
    /// Something else was in the way.
    Other(RemoteError),
}

/// A version that is not to be used.
#[derive(Clone, Debug)]
pub(crate) struct Faulty {
    pub(crate) problem: String,
    /// The blob that is missing or damaged, with what changes when it does.
    pub(crate) blob: Option<(Digest, Option<String>)>,
}

impl From<RemoteError> for NotPulled {
    fn from(error: RemoteError) -> Self {
        Self::Other(error)
    }
}

fn faulty(problem: impl ToString) -> NotPulled {
    NotPulled::Version(Faulty {
        problem: problem.to_string(),
        blob: None,
    })
}

impl Remote {
    /// Takes a version into a folder's store, where it gets the same number; its manifest, and whether it was not there yet.
    /// It must pass `access` as [`Store::manifest`] asks; what it is sealed for is not looked at.
    ///
    /// # Errors
    /// There is no such version, it is damaged or half uploaded, its signature does not hold, another one has its number in
    /// the folder, or one of the two stores cannot be used.
    pub fn pull(
        &self,
        name: &Name,
        version: u64,
        access: &Access,
        into: &Store,
    ) -> Result<(VerifiedVersion, bool), RemoteError> {
        self.try_pull(name, version, access, into)
            .map_err(|error| match error {
                NotPulled::Other(error) => error,
                NotPulled::Version(Faulty { problem, .. }) => RemoteError::Version {
                    address: self.address(),
                    name: name.clone(),
                    version,
                    problem,
                },
            })
    }

    pub(crate) fn try_pull(
        &self,
        name: &Name,
        version: u64,
        access: &Access,
        into: &Store,
    ) -> Result<(VerifiedVersion, bool), NotPulled> {
        let head = self.wait(self.head(name, version))?;
        let verified = self.verify(name, version, &head, access)?;
        let incoming = into.path().join(INCOMING);
        fs::create_dir_all(&incoming).map_err(io_error("make", &incoming))?;
        for level in &verified.manifest.levels {
            let blob = &level.blob;
            let file = incoming.join(blob.digest.hex());
            if !into.has_blob(blob) && !is_blob(&file, blob) {
                self.wait(self.fetch(blob, &file))?;
            }
        }
        let is_new = into
            .receive(name, version, &head, &incoming)
            .map_err(RemoteError::from)?;
        // What was fetched for it is of no more use. What another process fetches stays, and with it the folder.
        for level in &verified.manifest.levels {
            let _ = fs::remove_file(incoming.join(level.blob.digest.hex()));
        }
        let _ = fs::remove_dir(&incoming);
        Ok((verified, is_new))
    }

    /// All of a version but its weights.
    pub(crate) async fn head(&self, name: &Name, version: u64) -> Result<Head, NotPulled> {
        let read = async |path: String, limit| -> Result<Option<Vec<u8>>, RemoteError> {
            Ok(self.small(&path, limit).await?.map(|file| file.bytes))
        };
        let missing = |what: &str| faulty(format!("half uploaded: it has no {what}"));
        let manifest = read(layout::manifest(name, version), MAX_MANIFEST_BYTES).await?;
        let card = read(layout::card(name, version), MAX_CARD_BYTES).await?;
        Ok(Head {
            manifest: manifest.ok_or_else(|| missing("manifest"))?,
            card: card.ok_or_else(|| missing("card"))?,
            signature: read(layout::signature(name, version), MAX_SIGNATURE_BYTES).await?,
        })
    }

    /// Checks all of a version but its weights, before these are fetched.
    fn verify(
        &self,
        name: &Name,
        version: u64,
        head: &Head,
        access: &Access,
    ) -> Result<VerifiedVersion, NotPulled> {
        let scratch = scratch()?;
        let store = Store::create_if_missing(scratch.path()).map_err(RemoteError::from)?;
        let selector = Selector::version(name.clone(), version);
        store
            .outline(name, version, head)
            .and_then(|()| store.manifest(&selector, access))
            .map_err(|error| {
                // It tells of files that lie nowhere else than in the store.
                let folder = scratch.path().display().to_string();
                faulty(error.to_string().replace(&folder, &self.address()))
            })
    }

    /// Fetches a blob into a file, which is there as a whole or not at all.
    async fn fetch(&self, blob: &Blob, file: &FilePath) -> Result<(), NotPulled> {
        let path = layout::blob(&blob.digest);
        let key = self.key(&path);
        let of_blob = |problem: String, tag| {
            NotPulled::Version(Faulty {
                problem,
                blob: Some((blob.digest, tag)),
            })
        };
        let Some(found) = self.open(&key).await? else {
            return Err(of_blob(format!("half uploaded: {path} is missing"), None));
        };
        let tag = blob_tag(&found.meta);
        let damaged = |what: String| of_blob(format!("damaged: {path} {what}"), Some(tag.clone()));
        if found.meta.size != blob.bytes {
            let (size, expected) = (found.meta.size, blob.bytes);
            return Err(damaged(format!("has {size} bytes instead of {expected}")));
        }
        let folder = file.parent().unwrap_or(FilePath::new("."));
        let mut partial = tempfile::Builder::new()
            .prefix(PARTIAL)
            .tempfile_in(folder)
            .map_err(io_error("write", folder))?;
        let mut parts = found.into_stream();
        let (mut hash, mut size) = (Sha256::new(), 0);
        while let Some(part) = self.next(&mut parts).await? {
            size += part.len() as u64;
            if size > blob.bytes {
                break;
            }
            hash.update(&part);
            partial
                .write_all(&part)
                .map_err(io_error("write", partial.path()))?;
        }
        if size != blob.bytes || Digest::from_bytes(hash.finalize().into()) != blob.digest {
            return Err(damaged("has another digest".to_owned()));
        }
        partial
            .as_file()
            .sync_all()
            .map_err(io_error("write", file))?;
        partial
            .persist(file)
            .map_err(|error| io_error("write", file)(error.error))?;
        Ok(())
    }
}

/// What changes when a blob does.
pub(crate) fn blob_tag(meta: &object_store::ObjectMeta) -> String {
    format!("{:?} {} {}", meta.e_tag, meta.size, meta.last_modified)
}

/// A folder for a store that is thrown away.
pub(crate) fn scratch() -> Result<tempfile::TempDir, RemoteError> {
    tempfile::tempdir().map_err(io_error("make a folder in", &std::env::temp_dir()))
}

/// Whether a file that was fetched before is that blob.
fn is_blob(file: &FilePath, blob: &Blob) -> bool {
    let digest = || -> std::io::Result<Digest> {
        let (mut source, mut hash) = (File::open(file)?, Sha256::new());
        let mut part = vec![0; 1 << 20];
        loop {
            let read = source.read(&mut part)?;
            if read == 0 {
                return Ok(Digest::from_bytes(hash.finalize().into()));
            }
            hash.update(&part[..read]);
        }
    };
    digest().is_ok_and(|digest| digest == blob.digest)
}

pub(crate) fn io_error(
    action: &'static str,
    path: &FilePath,
) -> impl FnOnce(std::io::Error) -> RemoteError {
    let path = path.to_owned();
    move |source| RemoteError::Io {
        action,
        path,
        source,
    }
}
