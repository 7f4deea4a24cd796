//! Who one is to packages: a key that opens them and a key that signs them.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use etcetera::BaseStrategy;
use zeroize::Zeroizing;

use crate::{
    access::Access,
    error::{PackageError, io_error},
    files,
    keys::{KeyError, Opener, Recipient, Signer, Verifier},
};

/// Environment variable with the text of an age identity; it wins over the folder.
pub const AGE_KEY_VARIABLE: &str = "STRATA_AGE_KEY";
/// Environment variable with the text of a signing key; it wins over the folder.
pub const SIGNING_KEY_VARIABLE: &str = "STRATA_SIGNING_KEY";
/// Environment variable with the identity's folder.
pub const FOLDER_VARIABLE: &str = "STRATA_IDENTITY";

const AGE_KEY: &str = "age.key";
const AGE_PUBLIC: &str = "age.pub";
const SIGNING_KEY: &str = "signing.key";
const SIGNING_PUBLIC: &str = "signing.pub";

/// More than any key takes.
const MAX_KEY_BYTES: u64 = 64 << 10;

/// A key that opens packages and a key that signs them.
///
/// It is a folder with `age.key` and `signing.key`, which nobody but their owner may read, and the public
/// `age.pub` and `signing.pub`. Both keys can come from the environment instead, as text:
/// [`AGE_KEY_VARIABLE`], [`SIGNING_KEY_VARIABLE`].
#[derive(Clone, Debug)]
pub struct Identity {
    opener: Opener,
    signer: Signer,
}

impl Identity {
    /// Makes an identity and writes it to `folder`, which is made if it is missing.
    ///
    /// # Errors
    /// The folder holds an identity already, others may write to it, or the disk refuses.
    pub fn init(folder: &Path) -> Result<Self, PackageError> {
        make_private_folder(folder)?;
        for name in [AGE_KEY, SIGNING_KEY, AGE_PUBLIC, SIGNING_PUBLIC] {
            let path = folder.join(name);
            if fs::symlink_metadata(&path).is_ok() {
                return Err(PackageError::KeyExists { path });
            }
        }
        let key_error = |error: KeyError| key_error(folder.join(SIGNING_KEY).display(), error);
        let identity = Self {
            opener: Opener::generate(),
            signer: Signer::generate().map_err(key_error)?,
        };
        let created = crate::now();
        let age_public = format!("{}\n", identity.recipient());
        let signing_key = identity.signer.to_pem().map_err(key_error)?;
        let verifier = identity.verifier();
        let mut written = Vec::new();
        for (name, text, mode) in [
            (AGE_KEY, identity.opener.to_file(&created).as_str(), 0o600),
            (SIGNING_KEY, signing_key.as_str(), 0o600),
            (AGE_PUBLIC, age_public.as_str(), 0o644),
            (SIGNING_PUBLIC, verifier.to_pem(), 0o644),
        ] {
            let path = folder.join(name);
            if let Err(error) = write_key(&path, text, mode, &mut written) {
                // Half an identity would block the next attempt. Only files made here are removed.
                for path in written {
                    let _ = fs::remove_file(path);
                }
                return Err(error);
            }
        }
        files::sync_folder(folder)?;
        Ok(identity)
    }

    /// Reads an identity from its folder.
    ///
    /// # Errors
    /// A key file is missing, open to others, or does not hold such a key.
    pub fn load(folder: &Path) -> Result<Self, PackageError> {
        let source = Source {
            folder: folder.to_owned(),
            variable: &|_| None,
        };
        source.identity()
    }

    /// Finds the identity: keys in the environment first, then the files in `folder` or, without one, in
    /// [`Identity::folder`].
    ///
    /// # Errors
    /// Those of [`Identity::load`]; a variable does not hold such a key; there is no home folder.
    pub fn find(folder: Option<&Path>) -> Result<Self, PackageError> {
        Source::new(folder, &|name| std::env::var_os(name))?.identity()
    }

    /// The folder of the identity if none is given: [`FOLDER_VARIABLE`], else `strata/identity` in the user's
    /// folder for settings.
    ///
    /// # Errors
    /// There is no home folder.
    pub fn folder() -> Result<PathBuf, PackageError> {
        default_folder(&|name| std::env::var_os(name))
    }

    /// Opens what was sealed for this identity.
    pub fn opener(&self) -> &Opener {
        &self.opener
    }

    /// Signs as this identity.
    pub fn signer(&self) -> &Signer {
        &self.signer
    }

    /// Whom to seal for so that this identity can open it.
    pub fn recipient(&self) -> Recipient {
        self.opener.recipient()
    }

    /// Checks what this identity signed.
    pub fn verifier(&self) -> Verifier {
        self.signer.verifier()
    }

    /// Access to the packages that this identity signed and sealed, and to no others.
    pub fn access(&self) -> Access {
        Access {
            verifier: Some(self.verifier()),
            opener: Some(self.opener.clone()),
            ..Access::default()
        }
    }
}

impl Access {
    /// Finds the keys for opening packages, wherever [`Identity::find`] looks; keys that are not there stay `None`.
    ///
    /// For that, the secret signing key is not needed: `signing.pub` is enough, and [`SIGNING_KEY_VARIABLE`] may hold
    /// a public key. Nothing unsigned or unsealed is allowed.
    ///
    /// # Errors
    /// A key that is there is open to others or damaged; there is no home folder.
    pub fn find(folder: Option<&Path>) -> Result<Self, PackageError> {
        Source::new(folder, &|name| std::env::var_os(name))?.access()
    }
}

/// Where keys come from. Tests give an environment of their own, since a process has only one.
struct Source<'a> {
    folder: PathBuf,
    variable: &'a dyn Fn(&str) -> Option<OsString>,
}

impl<'a> Source<'a> {
    fn new(
        folder: Option<&Path>,
        variable: &'a dyn Fn(&str) -> Option<OsString>,
    ) -> Result<Self, PackageError> {
        let folder =
            folder.map_or_else(|| default_folder(variable), |folder| Ok(folder.to_owned()))?;
        Ok(Self { folder, variable })
    }

    fn identity(&self) -> Result<Identity, PackageError> {
        let missing = |name| PackageError::NoIdentity {
            path: self.folder.join(name),
        };
        let opener = self.opener()?.ok_or_else(|| missing(AGE_KEY))?;
        let (origin, text) = self
            .secret(SIGNING_KEY_VARIABLE, SIGNING_KEY)?
            .ok_or_else(|| missing(SIGNING_KEY))?;
        let signer = Signer::parse(&text).map_err(|error| key_error(origin, error))?;
        Ok(Identity { opener, signer })
    }

    fn access(&self) -> Result<Access, PackageError> {
        Ok(Access {
            verifier: self.verifier()?,
            opener: self.opener()?,
            ..Access::default()
        })
    }

    fn opener(&self) -> Result<Option<Opener>, PackageError> {
        let Some((origin, text)) = self.secret(AGE_KEY_VARIABLE, AGE_KEY)? else {
            return Ok(None);
        };
        Opener::parse(&text)
            .map(Some)
            .map_err(|error| key_error(origin, error))
    }

    fn verifier(&self) -> Result<Option<Verifier>, PackageError> {
        let (origin, text) = match self.variable_text(SIGNING_KEY_VARIABLE)? {
            Some(found) => found,
            None => match self.public(SIGNING_PUBLIC)? {
                Some(found) => found,
                None => match self.secret_file(SIGNING_KEY)? {
                    Some(found) => found,
                    None => return Ok(None),
                },
            },
        };
        let verifier = if text.contains("PRIVATE KEY") {
            Signer::parse(&text).map(|signer| signer.verifier())
        } else {
            Verifier::parse(&text)
        };
        verifier.map(Some).map_err(|error| key_error(origin, error))
    }

    fn secret(&self, variable: &str, file: &str) -> Result<Option<KeyText>, PackageError> {
        match self.variable_text(variable)? {
            Some(found) => Ok(Some(found)),
            None => self.secret_file(file),
        }
    }

    fn variable_text(&self, name: &str) -> Result<Option<KeyText>, PackageError> {
        let Some(value) = (self.variable)(name).filter(|value| !value.is_empty()) else {
            return Ok(None);
        };
        let text = value
            .into_string()
            .map_err(|_| key_error(name, KeyError("not text")))?;
        Ok(Some((name.to_owned(), Zeroizing::new(text))))
    }

    fn secret_file(&self, name: &str) -> Result<Option<KeyText>, PackageError> {
        let path = self.folder.join(name);
        let Some(file) = open_if_there(&path)? else {
            return Ok(None);
        };
        refuse_if_open_to_others(&file, &path)?;
        read_text(file, &path).map(Some)
    }

    fn public(&self, name: &str) -> Result<Option<KeyText>, PackageError> {
        let path = self.folder.join(name);
        open_if_there(&path)?
            .map(|file| read_text(file, &path))
            .transpose()
    }
}

/// Where a key's text comes from, and the text.
type KeyText = (String, Zeroizing<String>);

fn key_error(origin: impl std::fmt::Display, error: KeyError) -> PackageError {
    PackageError::Key {
        origin: origin.to_string(),
        problem: error.0,
    }
}

fn default_folder(variable: &dyn Fn(&str) -> Option<OsString>) -> Result<PathBuf, PackageError> {
    if let Some(folder) = variable(FOLDER_VARIABLE).filter(|folder| !folder.is_empty()) {
        return Ok(folder.into());
    }
    let folders = etcetera::choose_base_strategy().map_err(|_| {
        key_error(
            FOLDER_VARIABLE,
            KeyError("not set, and there is no home folder to look in"),
        )
    })?;
    Ok(folders.config_dir().join("strata").join("identity"))
}

fn open_if_there(path: &Path) -> Result<Option<File>, PackageError> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error("read", path)(error)),
    }
}

fn read_text(file: File, path: &Path) -> Result<KeyText, PackageError> {
    let bytes = Zeroizing::new(files::read_open_file(file, path, MAX_KEY_BYTES)?);
    let origin = path.display().to_string();
    match str::from_utf8(&bytes) {
        Ok(text) => Ok((origin, Zeroizing::new(text.to_owned()))),
        Err(_) => Err(key_error(origin, KeyError("not text"))),
    }
}

#[cfg(unix)]
fn make_private_folder(folder: &Path) -> Result<(), PackageError> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(io_error("make", folder))?;
    let mode = fs::metadata(folder)
        .map_err(io_error("read", folder))?
        .permissions()
        .mode()
        & 0o7777;
    // Whoever may write to the folder could put keys of their own there.
    if mode & 0o022 != 0 {
        return Err(PackageError::KeyPermissions {
            path: folder.to_owned(),
            mode,
            wanted: 0o700,
        });
    }
    Ok(())
}

#[cfg(not(unix))]
fn make_private_folder(folder: &Path) -> Result<(), PackageError> {
    fs::create_dir_all(folder).map_err(io_error("make", folder))
}

/// Asks the open file, not its path, so that the file that is checked is the one that is read.
#[cfg(unix)]
fn refuse_if_open_to_others(file: &File, path: &Path) -> Result<(), PackageError> {
    use std::os::unix::fs::PermissionsExt;
    let mode = file
        .metadata()
        .map_err(io_error("read", path))?
        .permissions()
        .mode()
        & 0o7777;
    if mode & 0o077 != 0 {
        return Err(PackageError::KeyPermissions {
            path: path.to_owned(),
            mode,
            wanted: 0o600,
        });
    }
    Ok(())
}

#[cfg(not(unix))]
fn refuse_if_open_to_others(_: &File, _: &Path) -> Result<(), PackageError> {
    Ok(())
}

fn write_key(
    path: &Path,
    text: &str,
    mode: u32,
    written: &mut Vec<PathBuf>,
) -> Result<(), PackageError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    let mut file = match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(PackageError::KeyExists {
                path: path.to_owned(),
            });
        }
        file => file.map_err(io_error("write", path))?,
    };
    written.push(path.to_owned());
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(io_error("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_variables(folder: &Path, variables: &[(&str, &str)], check: impl Fn(&Source<'_>)) {
        let variable = |name: &str| {
            variables
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| OsString::from(value))
        };
        check(&Source::new(Some(folder), &variable).unwrap());
    }

    #[test]
    fn keys_in_the_environment_win_over_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let [in_folder, elsewhere] =
            ["a", "b"].map(|name| Identity::init(&folder.path().join(name)).unwrap());
        let path = folder.path().join("a");
        with_variables(&path, &[], |source| {
            let identity = source.identity().unwrap();
            assert_eq!(identity.recipient(), in_folder.recipient());
            assert_eq!(identity.verifier(), in_folder.verifier());
        });
        let age_key = elsewhere.opener.to_file("now");
        let signing_key = elsewhere.signer.to_pem().unwrap();
        with_variables(&path, &[(AGE_KEY_VARIABLE, &age_key)], |source| {
            let identity = source.identity().unwrap();
            assert_eq!(identity.recipient(), elsewhere.recipient());
            assert_eq!(identity.verifier(), in_folder.verifier());
        });
        for key in [signing_key.as_str(), elsewhere.verifier().to_pem()] {
            with_variables(&path, &[(SIGNING_KEY_VARIABLE, key)], |source| {
                let access = source.access().unwrap();
                assert_eq!(access.verifier, Some(elsewhere.verifier()));
            });
        }
        with_variables(&path, &[(SIGNING_KEY_VARIABLE, "nonsense")], |source| {
            let error = source.identity().unwrap_err().to_string();
            assert_eq!(
                error,
                "STRATA_SIGNING_KEY: not a P-256 signing key in PKCS#8 PEM (BEGIN PRIVATE KEY)"
            );
        });
    }

    #[test]
    fn the_folder_can_come_from_the_environment() {
        let variable =
            |name: &str| (name == FOLDER_VARIABLE).then(|| OsString::from("/some/where"));
        assert_eq!(default_folder(&variable).unwrap(), Path::new("/some/where"));
    }

    #[test]
    fn opening_needs_no_secret_signing_key() {
        let folder = tempfile::tempdir().unwrap();
        let identity = Identity::init(folder.path()).unwrap();
        fs::remove_file(folder.path().join(SIGNING_KEY)).unwrap();
        with_variables(folder.path(), &[], |source| {
            let access = source.access().unwrap();
            assert_eq!(access.verifier, Some(identity.verifier()));
            assert!(access.opener.is_some() && !access.allow_unsigned && !access.allow_unsealed);
            let error = source.identity().unwrap_err().to_string();
            assert!(
                error.ends_with(
                    "signing.key: missing: make an identity with `strata identity init`"
                ),
                "{error}"
            );
        });
        with_variables(&folder.path().join("none"), &[], |source| {
            let access = source.access().unwrap();
            assert!(access.verifier.is_none() && access.opener.is_none());
        });
    }
}
