use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use strata_spec::Name;
use zeroize::Zeroizing;

use super::key::{self, Action, Key, KeyModels};

/// The file of API keys, mode 0600. A running server notices changes within half a second.
///
/// ```
/// use strata_serve::{Action, KeyModels, KeyStore, NewKey};
///
/// let folder = tempfile::tempdir()?;
/// let keys = KeyStore::at(folder.path().join("keys.json"));
/// let created = keys.create(NewKey {
///     name: "laptop".to_owned(),
///     actions: vec![Action::Infer, Action::Explain],
///     models: KeyModels::All,
///     expires: None,
/// })?;
/// assert!(created.token.starts_with("strata_"));
/// assert_eq!(keys.list()?, [created.key.clone()]);
/// assert!(keys.revoke(&created.key.id)?.revoked.is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct KeyStore {
    path: PathBuf,
}

/// What a new key is to be.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// What people call it: 1 to 100 characters, no control characters. Need not be unique.
    pub name: String,
    /// What the caller may do; at least one action.
    pub actions: Vec<Action>,
    /// The models it may do that with; at least one.
    pub models: KeyModels,
    /// From when on it no longer counts; none for never. Must lie in the future.
    pub expires: Option<Timestamp>,
}

/// A key that was just made.
pub struct CreatedKey {
    /// As it is stored.
    pub key: Key,
    /// What the caller presents: `strata_<id>_<secret>`. It is stored nowhere.
    pub token: Zeroizing<String>,
}

/// What is wrong with the keys, and in which file.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The operating system refused.
    #[error("{}: cannot {action}: {source}", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file does not hold keys.
    #[error("{}: not a file of keys: {problem}", .path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// Others than its owner may write the file.
    #[error("{}: others may change it (mode {mode:04o}): run `chmod 600 {}`", .path.display(), .path.display())]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// There is no such key.
    #[error("no key `{}`", .0.escape_debug())]
    Unknown(String),
    /// The new key would be of no use.
    #[error("new key: {0}")]
    New(&'static str),
    /// The operating system gives no random numbers.
    #[error("the operating system gives no random numbers: {0}")]
    Random(getrandom::Error),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeysFile {
    format: u32,
    keys: Vec<Key>,
}

const FORMAT: u32 = 1;

impl KeyStore {
    /// The keys in this file, which need not exist yet.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where the keys of a model store lie unless told otherwise: `keys.json` beside its `models` folder.
    pub fn beside(store: &Path) -> Self {
        Self::at(store.join("keys.json"))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All keys, the oldest first. None if there is no file yet.
    ///
    /// # Errors
    /// The file cannot be read, is damaged, or others may write it.
    pub fn list(&self) -> Result<Vec<Key>, KeysError> {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(self.io("read")(source)),
        };
        self.check_mode()?;
        let form = |problem: String| KeysError::Form {
            path: self.path.clone(),
            problem,
        };
        let file: KeysFile =
            serde_json::from_slice(&text).map_err(|error| form(error.to_string()))?;
        if file.format != FORMAT {
            let problem = format!(
                "format {}, but this program reads format {FORMAT}",
                file.format
            );
            return Err(form(problem));
        }
        Ok(file.keys)
    }

    /// Makes a key.
    ///
    /// # Errors
    /// `new` would be of no use, or the file cannot be read or written.
    pub fn create(&self, new: NewKey) -> Result<CreatedKey, KeysError> {
        check_new(&new)?;
        let (id, hash, token) = key::generate().map_err(KeysError::Random)?;
        let NewKey {
            name,
            actions,
            models,
            expires,
        } = new;
        let created = now();
        let key = Key {
            id,
            name,
            hash,
            actions,
            models,
            created,
            expires,
            revoked: None,
        };
        self.change(|keys| {
            keys.push(key.clone());
            Ok(())
        })?;
        Ok(CreatedKey { key, token })
    }

    /// Takes the key with this identifier back; one that was taken back before stays as it is.
    ///
    /// # Errors
    /// There is no such key, or the file cannot be read or written.
    pub fn revoke(&self, id: &str) -> Result<Key, KeysError> {
        self.change(|keys| {
            let key = keys.iter_mut().find(|key| key.id == id);
            let key = key.ok_or_else(|| KeysError::Unknown(id.to_owned()))?;
            key.revoked.get_or_insert_with(now);
            Ok(key.clone())
        })
    }

    /// One writer at a time reads, changes and replaces the file; readers see the old or the new one.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut Vec<Key>) -> Result<T, KeysError>,
    ) -> Result<T, KeysError> {
        // The lock is on a file of its own, because the file of keys is another one after each change.
        let lock = private()
            .create(true)
            .truncate(false)
            .open(self.neighbour("lock"))
            .map_err(self.io("lock"))?;
        lock.lock().map_err(self.io("lock"))?;
        let mut keys = self.list()?;
        let result = change(&mut keys)?;
        let mut text = serde_json::to_string_pretty(&KeysFile {
            format: FORMAT,
            keys,
        })
        .map_err(|error| self.io("write")(error.into()))?;
        text.push('\n');
        self.replace(text.as_bytes()).map_err(self.io("write"))?;
        Ok(result)
    }

    fn replace(&self, text: &[u8]) -> io::Result<()> {
        let new = self.neighbour("new");
        // One that was left behind by a crash may have another mode.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = private().create_new(true).open(&new)?;
        let written = file.write_all(text).and_then(|()| file.sync_all());
        written
            .and_then(|()| fs::rename(&new, &self.path))
            .inspect_err(|_| {
                // Half of a file is of no use, and takes room on a disk that may be full.
                let _ = fs::remove_file(&new);
            })?;
        match self.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
            _ => File::open(".")?.sync_all(),
        }
    }

    #[cfg(unix)]
    fn check_mode(&self) -> Result<(), KeysError> {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(&self.path)
            .map_err(self.io("read"))?
            .permissions()
            .mode()
            & 0o7777;
        if mode & 0o022 != 0 {
            return Err(KeysError::Permissions {
                path: self.path.clone(),
                mode,
            });
        }
        Ok(())
    }

    #[cfg(not(unix))]
    fn check_mode(&self) -> Result<(), KeysError> {
        Ok(())
    }

    fn neighbour(&self, ending: &str) -> PathBuf {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(".");
        name.push(ending);
        self.path.with_file_name(name)
    }

    fn io(&self, action: &'static str) -> impl Fn(io::Error) -> KeysError {
        let path = self.path.clone();
        move |source| KeysError::Io {
            action,
            path: path.clone(),
            source,
        }
    }
}

fn check_new(new: &NewKey) -> Result<(), KeysError> {
    let length = new.name.chars().count();
    if !(1..=100).contains(&length) || new.name.chars().any(char::is_control) {
        return Err(KeysError::New(
            "its name must have 1 to 100 characters and no control characters",
        ));
    }
    if new.actions.is_empty() {
        return Err(KeysError::New("it allows no action"));
    }
    if matches!(&new.models, KeyModels::Listed(names) if names.is_empty()) {
        return Err(KeysError::New("it is for no model"));
    }
    if new
        .expires
        .is_some_and(|expires| expires <= Timestamp::now())
    {
        return Err(KeysError::New("it would have expired already"));
    }
    Ok(())
}

/// Whole seconds, as people read them.
fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

impl From<Vec<Name>> for KeyModels {
    fn from(names: Vec<Name>) -> Self {
        Self::Listed(names)
    }
}

impl std::fmt::Debug for CreatedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without the token.
        f.debug_struct("CreatedKey")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(name: &str) -> NewKey {
        let models = KeyModels::Listed(vec!["mnist".parse().unwrap()]);
        NewKey {
            name: name.to_owned(),
            actions: vec![Action::Infer],
            models,
            expires: None,
        }
    }

    fn check_refused(text: &str, expected: &str) {
        let folder = tempfile::tempdir().unwrap();
        let keys = KeyStore::beside(folder.path());
        fs::write(keys.path(), text).unwrap();
        let error = keys.list().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(
            keys.create(new("a")).is_err(),
            "a damaged file was replaced"
        );
    }

    #[test]
    fn keys_read_back_what_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let keys = KeyStore::beside(folder.path());
        assert_eq!(keys.list().unwrap(), []);
        let first = keys.create(new("a")).unwrap();
        let second = keys
            .create(NewKey {
                models: KeyModels::All,
                ..new("b")
            })
            .unwrap();
        assert_eq!(
            keys.list().unwrap(),
            [first.key.clone(), second.key.clone()]
        );
        let revoked = keys.revoke(&first.key.id).unwrap();
        assert_eq!(keys.revoke(&first.key.id).unwrap(), revoked);
        assert_eq!(keys.list().unwrap(), [revoked, second.key]);
        assert!(matches!(keys.revoke("0"), Err(KeysError::Unknown(_))));
    }

    #[cfg(unix)]
    #[test]
    fn the_file_is_its_owners_and_holds_no_secret() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let keys = KeyStore::beside(folder.path());
        let created = keys.create(new("a")).unwrap();
        assert_eq!(
            fs::metadata(keys.path()).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let secret = &created.token[created.token.len() - 64..];
        assert!(!fs::read_to_string(keys.path()).unwrap().contains(secret));
        assert!(!format!("{created:?}").contains(secret));
        fs::set_permissions(keys.path(), fs::Permissions::from_mode(0o620)).unwrap();
        assert!(matches!(
            keys.list(),
            Err(KeysError::Permissions { mode: 0o620, .. })
        ));
    }

    #[test]
    fn writers_at_the_same_time_lose_no_key() {
        let folder = tempfile::tempdir().unwrap();
        let keys = KeyStore::beside(folder.path());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..5).for_each(|_| drop(keys.create(new("a")).unwrap())));
            }
        });
        assert_eq!(keys.list().unwrap().len(), 20);
    }

    #[test]
    fn a_damaged_file_is_refused_and_left_alone() {
        check_refused("", "not a file of keys");
        check_refused("{\"format\":1,\"keys\":[", "not a file of keys");
        check_refused(
            "{\"format\":2,\"keys\":[]}",
            "format 2, but this program reads format 1",
        );
        check_refused(
            "{\"format\":1,\"keys\":[],\"more\":1}",
            "unknown field `more`",
        );
    }

    #[test]
    fn a_key_of_no_use_is_not_made() {
        let folder = tempfile::tempdir().unwrap();
        let keys = KeyStore::beside(folder.path());
        let check = |new: NewKey| assert!(matches!(keys.create(new), Err(KeysError::New(_))));
        check(new(""));
        check(new("a\nb"));
        check(new(&"a".repeat(101)));
        check(NewKey {
            actions: Vec::new(),
            ..new("a")
        });
        check(NewKey {
            models: KeyModels::Listed(Vec::new()),
            ..new("a")
        });
        check(NewKey {
            expires: Some(Timestamp::UNIX_EPOCH),
            ..new("a")
        });
    }
}
