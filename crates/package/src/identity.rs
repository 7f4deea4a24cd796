//! Who one is to packages: a key that opens them and a key that signs them.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use crate::{
    access::{Access, Opener},
    error::{PackageError, io_error},
    files, key_files,
    key_source::{Source, default_folder, key_error},
    keys::{AgeKey, KeyError, Recipient, Signer, Verifier},
};

/// Environment variable with the text of an age identity; it wins over the folder.
pub const AGE_KEY_VARIABLE: &str = "STRATA_AGE_KEY";
/// Environment variable with the text of a signing key; it wins over the folder.
pub const SIGNING_KEY_VARIABLE: &str = "STRATA_SIGNING_KEY";
/// Environment variable with a passphrase that packages are sealed and opened by. There is no file for it.
pub const PASSPHRASE_VARIABLE: &str = "STRATA_PASSPHRASE";
/// Environment variable with the identity's folder.
pub const FOLDER_VARIABLE: &str = "STRATA_IDENTITY";

pub(crate) const AGE_KEY: &str = "age.key";
pub(crate) const AGE_PUBLIC: &str = "age.pub";
pub(crate) const SIGNING_KEY: &str = "signing.key";
pub(crate) const SIGNING_PUBLIC: &str = "signing.pub";
/// All files of an identity.
pub(crate) const FILES: [&str; 4] = [AGE_KEY, SIGNING_KEY, AGE_PUBLIC, SIGNING_PUBLIC];

/// A key that opens packages and a key that signs them.
///
/// It is a folder with `age.key` and `signing.key`, which nobody but their owner may read, and the public
/// `age.pub` and `signing.pub`. Both keys can come from the environment instead, as text:
/// [`AGE_KEY_VARIABLE`], [`SIGNING_KEY_VARIABLE`].
#[derive(Clone, Debug)]
pub struct Identity {
    age_key: AgeKey,
    signer: Signer,
}

impl Identity {
    pub(crate) fn new(age_key: AgeKey, signer: Signer) -> Self {
        Self { age_key, signer }
    }

    /// Makes an identity and writes it to `folder`.
    ///
    /// A folder that is missing is made, and is there with all keys or not at all, also after a crash.
    ///
    /// # Errors
    /// The folder holds an identity already, others may write to it, or the disk refuses.
    pub fn init(folder: &Path) -> Result<Self, PackageError> {
        let key_error = |error: KeyError| key_error(folder.join(SIGNING_KEY).display(), error);
        let identity = Self {
            age_key: AgeKey::generate(),
            signer: Signer::generate().map_err(key_error)?,
        };
        let signing_key = identity.signer.to_pem().map_err(key_error)?;
        if fs::symlink_metadata(folder).is_ok() {
            key_files::refuse_if_others_may_write(fs::metadata(folder), folder)?;
            for path in FILES.map(|name| folder.join(name)) {
                if fs::symlink_metadata(&path).is_ok() {
                    return Err(PackageError::KeyExists { path });
                }
            }
            identity.write(folder, &signing_key)?;
            return Ok(identity);
        }
        key_files::make_parents(folder)?;
        let mut name = OsString::from(".");
        name.push(folder.file_name().unwrap_or_default());
        name.push(format!(".{}", std::process::id()));
        let temporary = folder.with_file_name(name);
        key_files::make_private_folder(&temporary)?;
        let written = identity
            .write(&temporary, &signing_key)
            .and_then(|()| fs::rename(&temporary, folder).map_err(io_error("make", folder)));
        if let Err(error) = written {
            // The first error is the one to tell, and of the folder that was asked for.
            let _ = files::remove_all(&temporary);
            return Err(error.moved(&temporary, folder));
        }
        files::sync_parent(folder)?;
        Ok(identity)
    }

    /// Writes the files of a new identity to a folder that has none of them.
    fn write(&self, folder: &Path, signing_key: &str) -> Result<(), PackageError> {
        let created = crate::now();
        let age_public = format!("{}\n", self.recipient());
        let verifier = self.verifier();
        let mut written = Vec::new();
        for (name, text, mode) in [
            (AGE_KEY, self.age_key.to_file(&created).as_str(), 0o600),
            (SIGNING_KEY, signing_key, 0o600),
            (AGE_PUBLIC, age_public.as_str(), 0o644),
            (SIGNING_PUBLIC, verifier.to_pem(), 0o644),
        ] {
            let path = folder.join(name);
            if let Err(error) = key_files::write_key(&path, text, mode, &mut written) {
                // Half an identity would block the next attempt. Only files made here are removed.
                for path in written {
                    let _ = fs::remove_file(path);
                }
                return Err(error);
            }
        }
        files::sync_folder(folder)
    }

    /// Reads an identity from its folder.
    ///
    /// # Errors
    /// A key file is missing, open to others, or does not hold such a key.
    pub fn load(folder: &Path) -> Result<Self, PackageError> {
        Source {
            given: Some(folder),
            variable: &|_| None,
        }
        .identity()
    }

    /// Finds the identity: keys in the environment first, then the files in `folder` or, without one, in
    /// [`Identity::folder`].
    ///
    /// # Errors
    /// Those of [`Identity::load`]; a variable does not hold such a key; there is no home folder.
    pub fn find(folder: Option<&Path>) -> Result<Self, PackageError> {
        Source {
            given: folder,
            variable: &|name| std::env::var_os(name),
        }
        .identity()
    }

    /// The folder of the identity if none is given: [`FOLDER_VARIABLE`], else `strata/identity` in the
    /// user's folder for settings.
    ///
    /// # Errors
    /// There is no home folder.
    pub fn folder() -> Result<PathBuf, PackageError> {
        default_folder(&|name| std::env::var_os(name))
    }

    /// Opens what was sealed for this identity.
    pub fn age_key(&self) -> &AgeKey {
        &self.age_key
    }

    /// Signs as this identity.
    pub fn signer(&self) -> &Signer {
        &self.signer
    }

    /// Whom to seal for so that this identity can open it.
    pub fn recipient(&self) -> Recipient {
        self.age_key.recipient()
    }

    /// Checks what this identity signed.
    pub fn verifier(&self) -> Verifier {
        self.signer.verifier()
    }

    /// Access to the packages that this identity signed and sealed, and to no others.
    pub fn access(&self) -> Access {
        Access {
            verifier: Some(self.verifier()),
            opener: Opener::from(self.age_key.clone()),
            ..Access::default()
        }
    }
}

impl Access {
    /// Finds the keys for opening packages, wherever [`Identity::find`] looks, and the passphrase in
    /// [`PASSPHRASE_VARIABLE`]; what is not there stays `None`.
    ///
    /// For that, the secret signing key is not needed: `signing.pub` is enough, and
    /// [`SIGNING_KEY_VARIABLE`] may hold a public key. Nothing unsigned or unsealed is allowed.
    ///
    /// # Errors
    /// A key that is there is open to others or damaged; there is no home folder.
    pub fn find(folder: Option<&Path>) -> Result<Self, PackageError> {
        Source {
            given: folder,
            variable: &|name| std::env::var_os(name),
        }
        .access()
    }
}
