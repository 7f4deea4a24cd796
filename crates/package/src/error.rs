use std::path::{Path, PathBuf};

use strata_spec::{Digest, ManifestError, Name};

use crate::{seal::SealError, selector::SelectorError, signature::SignatureError};

/// What is wrong with a package, a store or a key, and in which file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackageError {
    /// The operating system refused.
    #[error("{}: cannot {action}: {source}", .path.display())]
    Io {
        /// What was tried, such as `read`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A file is larger than anything that belongs there.
    #[error("{}: larger than the {limit} bytes that are allowed here", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The most that is read, in bytes.
        limit: u64,
    },
    /// A text that selects no version.
    #[error(transparent)]
    Selector(#[from] SelectorError),

    /// No store lies there.
    #[error("{}: not a model store (a store has the folders `blobs` and `models`)", .path.display())]
    NoStore {
        /// The folder.
        path: PathBuf,
    },
    /// A folder that mirrors another store is changed by changing that one.
    #[error("{}: mirrors {address}: change that store instead", .path.display())]
    Mirror {
        /// The folder.
        path: PathBuf,
        /// Where the store lies that it mirrors.
        address: String,
    },
    /// The folder is none for a mirror of this store.
    #[error("{}: no mirror of {address}: {found} lies there (an empty folder will do)", .path.display())]
    NoMirror {
        /// The folder.
        path: PathBuf,
        /// Where the store lies that it should mirror.
        address: String,
        /// What lies there.
        found: String,
    },
    /// Another version has this number already.
    #[error(
        "{}: version {version} of model `{name}` is there already, and another one: versions never change, \
         so add this one anew to get another number",
        .store.display()
    )]
    Taken {
        /// The store.
        store: PathBuf,
        /// The model.
        name: Name,
        /// The number.
        version: u64,
    },
    /// The store has no version of a model.
    #[error("{}: no model `{name}`", .store.display())]
    NoModel {
        /// The store.
        store: PathBuf,
        /// The model.
        name: Name,
    },
    /// The model has no such version.
    #[error("{}: no version {version} of model `{name}`", .store.display())]
    NoVersion {
        /// The store.
        store: PathBuf,
        /// The model.
        name: Name,
        /// The version.
        version: u64,
    },
    /// The model has no such alias.
    #[error("{}: no alias `{alias}` of model `{name}`", .store.display())]
    NoAlias {
        /// The store.
        store: PathBuf,
        /// The model.
        name: Name,
        /// The alias.
        alias: Name,
    },
    /// A version that an alias names cannot be removed.
    #[error(
        "alias `{alias}` names version {version} of model `{name}`: move or remove the alias first"
    )]
    AliasInUse {
        /// The model.
        name: Name,
        /// The version.
        version: u64,
        /// The alias.
        alias: Name,
    },
    /// A rollout that cannot be begun, changed or ended so.
    #[error("model `{name}`: {problem}")]
    Rollout {
        /// The model.
        name: Name,
        /// Why, and what can be done.
        problem: String,
    },
    /// A file that the store keeps for itself is damaged.
    #[error("{}: {problem}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },

    /// The manifest cannot be used.
    #[error("{}: {source}", .path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong.
        source: ManifestError,
    },
    /// The signature does not hold.
    #[error("{}: {source}", .path.display())]
    Signature {
        /// The signature.
        path: PathBuf,
        /// What is wrong.
        source: SignatureError,
    },
    /// The package has no signature.
    #[error(
        "{}: missing, so the package is unsigned: refused unless unsigned packages are allowed",
        .path.display()
    )]
    Unsigned {
        /// Where the signature should be.
        path: PathBuf,
    },
    /// There is no key to check a signature with.
    #[error(
        "{}: no signing key to check it with: give the identity folder that holds `signing.pub`, \
         or set STRATA_SIGNING_KEY",
        .path.display()
    )]
    NoVerifier {
        /// The signature.
        path: PathBuf,
    },
    /// A level's weights are not sealed.
    #[error("{}: not sealed: refused unless unsealed packages are allowed", .path.display())]
    Unsealed {
        /// The level's file.
        path: PathBuf,
    },
    /// A sealed level did not open.
    #[error("{}: {source}", .path.display())]
    Seal {
        /// The level's file.
        path: PathBuf,
        /// What is wrong.
        source: SealError,
    },
    /// A file's content is not the one that was recorded.
    #[error("{}: its {what} is {found}, but {expected} was recorded", .path.display())]
    Digest {
        /// The file.
        path: PathBuf,
        /// Which digest.
        what: &'static str,
        /// The recorded one.
        expected: Digest,
        /// The one that it has.
        found: Digest,
    },
    /// A file that the package should have is missing.
    #[error("{}: missing", .path.display())]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// A file lies in the package's folder that does not belong to it.
    #[error("{}: does not belong to the package", .path.display())]
    Unexpected {
        /// The file.
        path: PathBuf,
    },
    /// Something in the package's folder is neither a plain file nor a folder.
    #[error("{}: neither a plain file nor a folder (symbolic links are refused)", .path.display())]
    Irregular {
        /// What it is.
        path: PathBuf,
    },
    /// The package lies where another one should be.
    #[error(
        "{}: is {found_name}@{found_version}, but lies where {expected_name}@{expected_version} should be",
        .path.display()
    )]
    Misplaced {
        /// The manifest.
        path: PathBuf,
        /// The model that the manifest names.
        found_name: Name,
        /// The version that the manifest names.
        found_version: u64,
        /// The model that the folder is for.
        expected_name: Name,
        /// The version that the folder is for.
        expected_version: u64,
    },

    /// An identity is made once; it is never overwritten.
    #[error("{}: exists already; an identity is never overwritten", .path.display())]
    KeyExists {
        /// The key file.
        path: PathBuf,
    },
    /// No identity lies there.
    #[error("{}: missing: make an identity with `strata identity init`", .path.display())]
    NoIdentity {
        /// The key file.
        path: PathBuf,
    },
    /// Only a part of an identity lies there.
    #[error(
        "{}: missing, so this is half an identity: restore the file or move the folder away",
        .path.display()
    )]
    HalfIdentity {
        /// The key file that is missing.
        path: PathBuf,
    },
    /// Others than its owner may replace a key or the folder that it lies in.
    #[error(
        "{}: others may change it (mode {mode:04o}): run `chmod go-w {}`",
        .path.display(), .path.display()
    )]
    KeyWritable {
        /// The key file or folder.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Others than its owner may use a key.
    #[error(
        "{}: open to others (mode {mode:04o}): run `chmod {wanted:o} {}`",
        .path.display(), .path.display()
    )]
    KeyPermissions {
        /// The key file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// The mode that it should have.
        wanted: u32,
    },
    /// A text that is not the key that it should be.
    #[error("{origin}: {problem}")]
    Key {
        /// The file or environment variable that holds it.
        origin: String,
        /// What is wrong; never a part of the key.
        problem: &'static str,
    },
}

impl PackageError {
    /// The error with the path that a file below `from` was to get below `to`.
    pub(crate) fn moved(self, from: &Path, to: &Path) -> Self {
        match self {
            Self::Io {
                action,
                path,
                source,
            } => Self::Io {
                action,
                path: match path.strip_prefix(from) {
                    Ok(rest) => to.join(rest),
                    Err(_) => path,
                },
                source,
            },
            other => other,
        }
    }
}

/// For `map_err`: names the file and what was tried.
pub(crate) fn io_error(
    action: &'static str,
    path: &Path,
) -> impl FnOnce(std::io::Error) -> PackageError {
    let path = path.to_owned();
    move |source| PackageError::Io {
        action,
        path,
        source,
    }
}
