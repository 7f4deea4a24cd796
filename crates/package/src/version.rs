//! One version's folder: what belongs in it, and how it is read.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use strata_spec::{Blob, Digest, Manifest, ManifestLevel, Name};
use zeroize::Zeroizing;

use crate::{
    access::Access,
    error::{PackageError, io_error},
    files::{self, digest},
    seal::{self, MAX_PLAIN_BYTES, SealedFor},
    signature::{self, Files, SIGNATURE_FILE},
};

pub(crate) const MANIFEST_FILE: &str = "manifest.json";
pub(crate) const CARD_FILE: &str = "card.md";
pub(crate) const LEVELS_FOLDER: &str = "levels";

/// Bytes of a manifest: a hundred thousand labels of 600 bytes, and far more than levels take.
pub const MAX_MANIFEST_BYTES: u64 = 64 << 20;
/// Bytes of a card, which is a page for people.
pub const MAX_CARD_BYTES: u64 = 4 << 20;
/// Bytes of a signature, which lists one file a level.
pub const MAX_SIGNATURE_BYTES: u64 = 16 << 20;
/// Sealing adds 16 bytes to every 64 KiB, and a header.
pub(crate) const MAX_BLOB_BYTES: u64 = MAX_PLAIN_BYTES + MAX_PLAIN_BYTES / 4096 + (1 << 20);

/// A version whose signature was checked, without its weights.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct VerifiedVersion {
    /// What it is made of.
    pub manifest: Manifest,
    /// Digest of `manifest.json`, which names this very version: it covers the digests of all weights.
    pub digest: Digest,
    /// The card, a Markdown text.
    pub card: String,
    /// Whether a signature was checked; always, unless the access allowed unsigned packages.
    pub signed: bool,
    /// Whether the plain weights of every level were checked too.
    pub opened: bool,
}

/// A version with its weights, everything checked.
#[non_exhaustive]
pub struct OpenPackage {
    /// What it is made of.
    pub manifest: Manifest,
    /// Digest of `manifest.json`, which names this very version: it covers the digests of all weights.
    pub digest: Digest,
    /// The card, a Markdown text.
    pub card: String,
    /// Whether a signature was checked; always, unless the access allowed unsigned packages.
    pub signed: bool,
    /// For whom its levels are sealed, as far as that shows.
    pub sealed_for: SealedFor,
    /// The plain safetensors bytes of each level of the manifest, in its order. Cleared from memory when
    /// dropped.
    pub weights: Vec<Zeroizing<Vec<u8>>>,
}

impl std::fmt::Debug for OpenPackage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenPackage")
            .field("manifest", &self.manifest)
            .field("digest", &self.digest)
            .field("signed", &self.signed)
            .finish_non_exhaustive()
    }
}

/// The name of a level's file in the folder of levels.
pub(crate) fn level_file(level: &Name, sealed: bool) -> String {
    let ending = if sealed { ".age" } else { "" };
    format!("{level}.safetensors{ending}")
}

/// Where a version lies, and which one should lie there.
pub(crate) struct VersionFolder {
    pub(crate) path: PathBuf,
    pub(crate) name: Name,
    pub(crate) version: u64,
}

impl VersionFolder {
    /// Checks the signature, the manifest, the card and which files there are; the levels' contents are
    /// not read.
    pub(crate) fn verify_head(&self, access: &Access) -> Result<VerifiedVersion, PackageError> {
        let present = self.list()?;
        let signed = self.verify_signature(access)?;
        if let Some(files) = &signed {
            self.compare(&present, &files.keys().cloned().collect())?;
        }
        let read = |name: &str, limit| -> Result<(Vec<u8>, Digest), PackageError> {
            let path = self.path.join(name);
            let bytes =
                files::read_if_there(&path, limit)?.ok_or(PackageError::Missing { path })?;
            let found = digest(&bytes);
            if let Some(files) = &signed {
                self.expect_signed(files, name, found)?;
            }
            Ok((bytes, found))
        };
        let (manifest_bytes, manifest_digest) = read(MANIFEST_FILE, MAX_MANIFEST_BYTES)?;
        let (card_bytes, _) = read(CARD_FILE, MAX_CARD_BYTES)?;

        let manifest_path = self.path.join(MANIFEST_FILE);
        let manifest =
            Manifest::parse(&manifest_bytes).map_err(|source| PackageError::Manifest {
                path: manifest_path.clone(),
                source,
            })?;
        if (&manifest.name, manifest.version) != (&self.name, self.version) {
            return Err(PackageError::Misplaced {
                path: manifest_path,
                found_name: manifest.name,
                found_version: manifest.version,
                expected_name: self.name.clone(),
                expected_version: self.version,
            });
        }
        let mut expected: BTreeSet<String> = [MANIFEST_FILE, CARD_FILE].map(str::to_owned).into();
        for level in &manifest.levels {
            let file = level_path(level);
            if let Some(files) = &signed {
                self.expect_signed(files, &file, level.blob.digest)?;
            }
            expected.insert(file);
        }
        self.compare(&present, &expected)?;

        let card = String::from_utf8(card_bytes).map_err(|_| PackageError::Damaged {
            path: self.path.join(CARD_FILE),
            problem: "not UTF-8 text".to_owned(),
        })?;
        Ok(VerifiedVersion {
            manifest,
            digest: manifest_digest,
            card,
            signed: signed.is_some(),
            opened: false,
        })
    }

    /// Checks everything that can be checked with the keys of `access`: also the plain weights, unless
    /// there is no key at all to open a level with.
    pub(crate) fn verify(&self, access: &Access) -> Result<VerifiedVersion, PackageError> {
        let mut verified = self.verify_head(access)?;
        verified.opened = true;
        for level in &verified.manifest.levels {
            let stored = self.read_level(level)?;
            match self.plain(level, stored, access) {
                Err(PackageError::Seal { source, .. }) if source.is_want_of_key() => {
                    verified.opened = false;
                }
                plain => drop(plain?),
            }
        }
        Ok(verified)
    }

    /// Checks everything and returns the plain weights.
    pub(crate) fn open(&self, access: &Access) -> Result<OpenPackage, PackageError> {
        let VerifiedVersion {
            manifest,
            digest,
            card,
            signed,
            ..
        } = self.verify_head(access)?;
        let unsealed = manifest.levels.iter().find(|level| !level.blob.sealed);
        if let (Some(level), false) = (unsealed, access.allow_unsealed) {
            return Err(PackageError::Unsealed {
                path: self.path.join(level_path(level)),
            });
        }
        let mut weights = Vec::with_capacity(manifest.levels.len());
        // A version is sealed as a whole, so its first sealed level tells.
        let mut sealed_for = SealedFor::Everyone;
        for level in &manifest.levels {
            let stored = self.read_level(level)?;
            if level.blob.sealed && sealed_for == SealedFor::Everyone {
                sealed_for = SealedFor::of(&stored);
            }
            weights.push(self.plain(level, stored, access)?);
        }
        Ok(OpenPackage {
            sealed_for,
            manifest,
            digest,
            card,
            signed,
            weights,
        })
    }

    /// The stored bytes of a level, with the digest that the manifest names.
    fn read_level(&self, level: &ManifestLevel) -> Result<Vec<u8>, PackageError> {
        let path = self.path.join(level_path(level));
        read_blob(&path, &level.blob)
    }

    fn plain(
        &self,
        level: &ManifestLevel,
        stored: Vec<u8>,
        access: &Access,
    ) -> Result<Zeroizing<Vec<u8>>, PackageError> {
        let path = || self.path.join(level_path(level));
        let plain = if level.blob.sealed {
            seal::open(&stored, &access.opener).map_err(|source| PackageError::Seal {
                path: path(),
                source,
            })?
        } else {
            Zeroizing::new(stored)
        };
        expect_digest(&path(), "plain digest", level.blob.plain, digest(&plain))?;
        Ok(plain)
    }

    /// The files that the signature lists; none if the package is unsigned and may be so.
    fn verify_signature(&self, access: &Access) -> Result<Option<Files>, PackageError> {
        let path = self.path.join(SIGNATURE_FILE);
        let Some(bundle) = files::read_if_there(&path, MAX_SIGNATURE_BYTES)? else {
            return if access.allow_unsigned {
                Ok(None)
            } else {
                Err(PackageError::Unsigned { path })
            };
        };
        match &access.verifier {
            Some(verifier) => signature::verify(&bundle, verifier)
                .map(Some)
                .map_err(|source| PackageError::Signature { path, source }),
            None if access.allow_unsigned => Ok(None),
            None => Err(PackageError::NoVerifier { path }),
        }
    }

    fn expect_signed(&self, files: &Files, name: &str, found: Digest) -> Result<(), PackageError> {
        let path = self.path.join(name);
        match files.get(name) {
            Some(signed) => expect_digest(&path, "digest", *signed, found),
            None => Err(PackageError::Unexpected { path }),
        }
    }

    /// The files in the folder, without the signature, by their paths in it. Only plain files where files
    /// belong and folders where folders belong.
    fn list(&self) -> Result<BTreeSet<String>, PackageError> {
        require_kind(&self.path, fs::FileType::is_dir)?;
        let mut present = BTreeSet::new();
        for name in files::names_in(&self.path)? {
            let path = self.path.join(&name);
            match name.as_str() {
                LEVELS_FOLDER => {
                    require_kind(&path, fs::FileType::is_dir)?;
                    for level in files::names_in(&path)? {
                        require_kind(&path.join(&level), fs::FileType::is_file)?;
                        present.insert(format!("{LEVELS_FOLDER}/{level}"));
                    }
                }
                MANIFEST_FILE | CARD_FILE | SIGNATURE_FILE => {
                    require_kind(&path, fs::FileType::is_file)?;
                    if name != SIGNATURE_FILE {
                        present.insert(name);
                    }
                }
                _ => return Err(PackageError::Unexpected { path }),
            }
        }
        Ok(present)
    }

    fn compare(
        &self,
        present: &BTreeSet<String>,
        expected: &BTreeSet<String>,
    ) -> Result<(), PackageError> {
        if let Some(name) = expected.difference(present).next() {
            return Err(PackageError::Missing {
                path: self.path.join(name),
            });
        }
        if let Some(name) = present.difference(expected).next() {
            return Err(PackageError::Unexpected {
                path: self.path.join(name),
            });
        }
        Ok(())
    }
}

/// A blob's bytes, read once; they are exactly those that `blob` names.
pub(crate) fn read_blob(path: &Path, blob: &Blob) -> Result<Vec<u8>, PackageError> {
    let bytes = files::read_bounded(path, blob.bytes.min(MAX_BLOB_BYTES))?;
    expect_digest(path, "digest", blob.digest, digest(&bytes))?;
    Ok(bytes)
}

/// A level's file in the version's folder.
fn level_path(level: &ManifestLevel) -> String {
    format!(
        "{LEVELS_FOLDER}/{}",
        level_file(&level.architecture.name, level.blob.sealed)
    )
}

fn expect_digest(
    path: &Path,
    what: &'static str,
    expected: Digest,
    found: Digest,
) -> Result<(), PackageError> {
    if expected == found {
        return Ok(());
    }
    Err(PackageError::Digest {
        path: path.to_owned(),
        what,
        expected,
        found,
    })
}

/// Does not follow links, so a link is of neither kind.
fn require_kind(path: &Path, kind: fn(&fs::FileType) -> bool) -> Result<(), PackageError> {
    let metadata = fs::symlink_metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => PackageError::Missing {
            path: path.to_owned(),
        },
        _ => io_error("read", path)(error),
    })?;
    if kind(&metadata.file_type()) {
        return Ok(());
    }
    Err(PackageError::Irregular {
        path: path.to_owned(),
    })
}
