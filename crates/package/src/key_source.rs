//! Where keys are found: the environment, or files in a folder.

use std::{
    ffi::OsString,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use etcetera::BaseStrategy;
use zeroize::Zeroizing;

use crate::{
    access::{Access, Opener},
    error::PackageError,
    files,
    identity::{
        AGE_KEY, AGE_KEY_VARIABLE, FILES, FOLDER_VARIABLE, Identity, PASSPHRASE_VARIABLE,
        SIGNING_KEY, SIGNING_KEY_VARIABLE, SIGNING_PUBLIC,
    },
    key_files,
    keys::{AgeKey, KeyError, Signer, Verifier},
    passphrase::Passphrase,
};

/// More than any key takes.
const MAX_KEY_BYTES: u64 = 64 << 10;

/// Where keys come from. Tests give an environment of their own, since a process has only one.
pub(crate) struct Source<'a> {
    /// The folder if one is given. The default one is looked for only when a file is needed: with both
    /// keys in the environment no home folder is.
    pub(crate) given: Option<&'a Path>,
    pub(crate) variable: &'a dyn Fn(&str) -> Option<OsString>,
}

impl Source<'_> {
    fn path(&self, file: &str) -> Result<PathBuf, PackageError> {
        let folder = self.given.map_or_else(
            || default_folder(self.variable),
            |folder| Ok(folder.to_owned()),
        )?;
        Ok(folder.join(file))
    }

    /// The text of a key that must be there.
    fn require(&self, variable: &str, file: &str) -> Result<KeyText, PackageError> {
        if let Some(found) = self.secret(variable, file)? {
            return Ok(found);
        }
        let path = self.path(file)?;
        let rest = FILES.map(|name| path.with_file_name(name));
        Err(if rest.iter().any(|path| path.exists()) {
            PackageError::HalfIdentity { path }
        } else {
            PackageError::NoIdentity { path }
        })
    }

    pub(crate) fn identity(&self) -> Result<Identity, PackageError> {
        let (origin, text) = self.require(AGE_KEY_VARIABLE, AGE_KEY)?;
        let age_key = AgeKey::parse(&text).map_err(|error| key_error(origin, error))?;
        let (origin, text) = self.require(SIGNING_KEY_VARIABLE, SIGNING_KEY)?;
        let signer = Signer::parse(&text).map_err(|error| key_error(origin, error))?;
        Ok(Identity::new(age_key, signer))
    }

    pub(crate) fn access(&self) -> Result<Access, PackageError> {
        Ok(Access {
            verifier: self.verifier()?,
            opener: Opener {
                key: self.age_key()?,
                passphrase: self.passphrase()?,
            },
            ..Access::default()
        })
    }

    pub(crate) fn passphrase(&self) -> Result<Option<Passphrase>, PackageError> {
        let Some((origin, text)) = self.variable_text(PASSPHRASE_VARIABLE)? else {
            return Ok(None);
        };
        Passphrase::new(&text)
            .map(Some)
            .map_err(|error| key_error(origin, error))
    }

    fn age_key(&self) -> Result<Option<AgeKey>, PackageError> {
        let Some((origin, text)) = self.secret(AGE_KEY_VARIABLE, AGE_KEY)? else {
            return Ok(None);
        };
        AgeKey::parse(&text)
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
        let path = self.path(name)?;
        let Some(file) = open_key(&path)? else {
            return Ok(None);
        };
        key_files::refuse_if_open_to_others(&file, &path)?;
        read_text(file, &path).map(Some)
    }

    fn public(&self, name: &str) -> Result<Option<KeyText>, PackageError> {
        let path = self.path(name)?;
        let Some(file) = open_key(&path)? else {
            return Ok(None);
        };
        key_files::refuse_if_others_may_write(file.metadata(), &path)?;
        read_text(file, &path).map(Some)
    }
}

/// Where a key's text comes from, and the text.
type KeyText = (String, Zeroizing<String>);

pub(crate) fn key_error(origin: impl std::fmt::Display, error: KeyError) -> PackageError {
    PackageError::Key {
        origin: origin.to_string(),
        problem: error.0,
    }
}

pub(crate) fn default_folder(
    variable: &dyn Fn(&str) -> Option<OsString>,
) -> Result<PathBuf, PackageError> {
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

/// Opens a key file if it is there, in a folder that nobody else can put one into.
fn open_key(path: &Path) -> Result<Option<File>, PackageError> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    match fs::metadata(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        metadata => key_files::refuse_if_others_may_write(metadata, folder)?,
    }
    files::open_if_there(path)
}

fn read_text(file: File, path: &Path) -> Result<KeyText, PackageError> {
    let bytes = Zeroizing::new(files::read_open_file(file, path, MAX_KEY_BYTES)?);
    let origin = path.display().to_string();
    match str::from_utf8(&bytes) {
        Ok(text) => Ok((origin, Zeroizing::new(text.to_owned()))),
        Err(_) => Err(key_error(origin, KeyError("not text"))),
    }
}

#[cfg(test)]
mod tests {
    use age::secrecy::ExposeSecret;

    use super::*;

    fn with_variables(folder: &Path, variables: &[(&str, &str)], check: impl Fn(&Source<'_>)) {
        let variable = |name: &str| {
            variables
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| OsString::from(value))
        };
        check(&Source {
            given: Some(folder),
            variable: &variable,
        });
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
        let age_key = elsewhere.age_key().to_file("now");
        let signing_key = elsewhere.signer().to_pem().unwrap();
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
    fn a_passphrase_and_a_public_key_are_enough_for_opening() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity");
        let identity = Identity::init(&path).unwrap();
        for file in [AGE_KEY, SIGNING_KEY] {
            fs::remove_file(path.join(file)).unwrap();
        }
        let passphrase = |text| [(PASSPHRASE_VARIABLE, text)];
        with_variables(&path, &passphrase("correct horse "), |source| {
            let access = source.access().unwrap();
            assert_eq!(access.verifier, Some(identity.verifier()));
            let found = access.opener.passphrase.unwrap();
            assert_eq!(found.0.expose_secret(), "correct horse ");
            assert!(access.opener.key.is_none() && source.identity().is_err());
        });
        with_variables(&path, &passphrase(""), |source| {
            assert!(source.access().unwrap().opener.passphrase.is_none());
        });
    }

    #[test]
    fn opening_needs_no_secret_signing_key() {
        let folder = tempfile::tempdir().unwrap();
        let identity = Identity::init(folder.path()).unwrap();
        fs::remove_file(folder.path().join(SIGNING_KEY)).unwrap();
        with_variables(folder.path(), &[], |source| {
            let access = source.access().unwrap();
            assert_eq!(access.verifier, Some(identity.verifier()));
            assert!(
                access.opener.key.is_some() && !access.allow_unsigned && !access.allow_unsealed
            );
            let error = source.identity().unwrap_err().to_string();
            assert!(
                error.ends_with(
                    "signing.key: missing, so this is half an identity: restore the file or move the folder away"
                ),
                "{error}"
            );
        });
        with_variables(&folder.path().join("none"), &[], |source| {
            let access = source.access().unwrap();
            assert!(access.verifier.is_none() && access.opener.key.is_none());
            let error = source.identity().unwrap_err().to_string();
            assert!(error.ends_with("`strata identity init`"), "{error}");
        });
    }

    #[cfg(unix)]
    #[test]
    fn what_others_may_change_is_no_identity() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity");
        Identity::init(&path).unwrap();
        let set_mode = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        for (file, mode, usual) in [(SIGNING_PUBLIC, 0o664, 0o644), ("", 0o770, 0o700)] {
            let changed = path.join(file);
            set_mode(&changed, mode);
            with_variables(&path, &[], |source| {
                let error = source.access().unwrap_err().to_string();
                assert!(error.contains("others may change it"), "{error}");
                assert!(error.contains("run `chmod go-w "), "{error}");
            });
            set_mode(&changed, usual);
        }
        with_variables(&path, &[], |source| assert!(source.access().is_ok()));
    }
}
