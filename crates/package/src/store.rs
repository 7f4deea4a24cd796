use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions, TryLockError},
    path::{Path, PathBuf},
};

use strata_spec::{Digest, Name};

use crate::{
    access::Access,
    error::{PackageError, io_error},
    files, layout,
    selector::{Pick, Selector, parse_version},
    version::{OpenPackage, VerifiedVersion, VersionFolder},
};

/// More than a number takes.
const MAX_NUMBER_BYTES: u64 = 64;

/// Marks a folder that mirrors the store at the address in it.
const MIRROR_FILE: &str = "mirror";

const MAX_ADDRESS_BYTES: u64 = 4096;

/// How often a reader looks for a version that is removed while it reads.
const MOST_TRIES: usize = 8;

/// A folder where packages live.
///
/// Readers take no lock and see each version as a whole or not at all; a folder that they may not write
/// to will do. Writers take turns, also between processes.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
    /// Whether this is what keeps a mirror like the store that it mirrors.
    keeps_mirror: bool,
}

/// A model of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelEntry {
    /// Its name.
    pub name: Name,
    /// The numbers of its versions, ascending; at least one.
    pub versions: Vec<u64>,
    /// Its aliases and the versions that they name.
    pub aliases: BTreeMap<Name, u64>,
}

impl Store {
    /// Opens the store in a folder.
    ///
    /// # Errors
    /// No store lies there.
    pub fn open(root: &Path) -> Result<Self, PackageError> {
        let store = Self {
            root: root.to_owned(),
            keeps_mirror: false,
        };
        if store.blobs().is_dir() && store.models_folder().is_dir() {
            Ok(store)
        } else {
            Err(PackageError::NoStore { path: store.root })
        }
    }

    /// Opens the store in a folder, and makes an empty one there if there is none.
    ///
    /// # Errors
    /// The folders cannot be made.
    pub fn create_if_missing(root: &Path) -> Result<Self, PackageError> {
        let store = Self {
            root: root.to_owned(),
            keeps_mirror: false,
        };
        for folder in [store.blobs(), store.models_folder()] {
            fs::create_dir_all(&folder).map_err(io_error("make", &folder))?;
        }
        Ok(store)
    }

    /// Opens the folder that mirrors the store at an address, for what keeps it like that one; makes it if nothing is
    /// there. Other writers are refused in it.
    ///
    /// # Errors
    /// Something else lies there, another store's mirror among them, or the disk refuses.
    pub fn open_mirror(root: &Path, address: &str) -> Result<Self, PackageError> {
        let path = root.join(MIRROR_FILE);
        let mark = format!("{address}\n");
        let found = files::read_if_there(&path, MAX_ADDRESS_BYTES)?;
        let is_free = || Ok::<_, PackageError>(files::names_in(root)?.is_empty());
        let of_another = match &found {
            Some(found) => found != mark.as_bytes(),
            None => !is_free()?,
        };
        if of_another {
            let found = found.map(|found| String::from_utf8_lossy(&found).trim().to_owned());
            return Err(PackageError::NoMirror {
                path: root.to_owned(),
                address: address.to_owned(),
                found: found.unwrap_or_else(|| "something else".to_owned()),
            });
        }
        if found.is_none() {
            fs::create_dir_all(root).map_err(io_error("make", root))?;
            files::replace(&path, &root.join(".mirror"), mark.as_bytes())?;
        }
        let mut store = Self::create_if_missing(root)?;
        store.keeps_mirror = true;
        Ok(store)
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// The models that have a version, by name.
    ///
    /// # Errors
    /// A folder cannot be read, or an alias file is damaged.
    pub fn models(&self) -> Result<Vec<ModelEntry>, PackageError> {
        let mut models = Vec::new();
        for name in self.names()? {
            models.push(ModelEntry {
                versions: self.versions(&name)?,
                aliases: self.aliases(&name)?,
                name,
            });
        }
        Ok(models)
    }

    /// The names of the models that have a version, whatever else is wrong with them.
    ///
    /// # Errors
    /// A folder cannot be read.
    pub fn names(&self) -> Result<Vec<Name>, PackageError> {
        let mut names = Vec::new();
        for name in self.model_names()? {
            if !self.versions(&name)?.is_empty() {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// The numbers of a model's versions, ascending; none if there is no such model.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn versions(&self, name: &Name) -> Result<Vec<u64>, PackageError> {
        let names = files::names_in(&self.versions_folder(name))?;
        let mut versions: Vec<u64> = names
            .iter()
            .filter_map(|name| parse_version(name))
            .collect();
        versions.sort_unstable();
        Ok(versions)
    }

    /// The number of the version that a selector means now.
    ///
    /// # Errors
    /// There is no such model, version or alias.
    pub fn resolve(&self, selector: &Selector) -> Result<u64, PackageError> {
        let name = &selector.name;
        let versions = self.versions(name)?;
        let Some(highest) = versions.last() else {
            return Err(PackageError::NoModel {
                store: self.root.clone(),
                name: name.clone(),
            });
        };
        let version = match &selector.pick {
            Pick::Highest => *highest,
            Pick::Version(version) => *version,
            Pick::Alias(alias) => *self
                .aliases(name)?
                .get(alias)
                .ok_or_else(|| self.no_alias(name, alias))?,
        };
        if versions.binary_search(&version).is_err() {
            return Err(self.no_version(name, version));
        }
        Ok(version)
    }

    /// A version's manifest and card, its signature checked. Reads no weights, so it is quick.
    ///
    /// # Errors
    /// There is no such version, it was changed, or `access` does not reach it.
    pub fn manifest(
        &self,
        selector: &Selector,
        access: &Access,
    ) -> Result<VerifiedVersion, PackageError> {
        self.read(selector, |folder| folder.verify_head(access))
    }

    /// Checks all of a version: its signature and every digest. The plain weights of sealed levels are
    /// checked if `access` has a key or a passphrase, whichever they are sealed for;
    /// [`VerifiedVersion::opened`] says whether it had for all. Levels that are not sealed are no error here.
    ///
    /// # Errors
    /// There is no such version, it was changed, `access` cannot check its signature, or has a key or a
    /// passphrase that a level was not sealed for.
    pub fn verify(
        &self,
        selector: &Selector,
        access: &Access,
    ) -> Result<VerifiedVersion, PackageError> {
        self.read(selector, |folder| folder.verify(access))
    }

    /// Opens a version: checks its signature and every digest, opens what is sealed, and returns the
    /// weights.
    ///
    /// Each file is read once, and the bytes that were checked are the ones that are returned.
    ///
    /// # Errors
    /// There is no such version, it was changed, or `access` does not reach it.
    pub fn open_version(
        &self,
        selector: &Selector,
        access: &Access,
    ) -> Result<OpenPackage, PackageError> {
        self.read(selector, |folder| folder.open(access))
    }

    /// Reads the version that a selector means. Readers take no lock, so it may be removed while they read; then the
    /// selector may mean another one.
    fn read<T>(
        &self,
        selector: &Selector,
        read: impl Fn(&VersionFolder) -> Result<T, PackageError>,
    ) -> Result<T, PackageError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let version = self.resolve(selector)?;
            let folder = VersionFolder {
                path: self.version_path(&selector.name, version),
                name: selector.name.clone(),
                version,
            };
            let result = read(&folder);
            if result.is_ok() || folder.path.exists() {
                return result;
            }
            if tries == MOST_TRIES || matches!(selector.pick, Pick::Version(_)) {
                return Err(self.no_version(&selector.name, version));
            }
        }
    }

    /// Waits until no other writer is at work, then clears away what a writer that crashed has left.
    pub(crate) fn lock(&self) -> Result<File, PackageError> {
        let (file, path) = self.lock_file()?;
        file.lock().map_err(io_error("lock", &path))?;
        self.swept(file)
    }

    /// The same without waiting: none if another writer is at work.
    pub(crate) fn try_lock(&self) -> Result<Option<File>, PackageError> {
        let (file, path) = self.lock_file()?;
        match file.try_lock() {
            Ok(()) => self.swept(file).map(Some),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(io_error("lock", &path)(error)),
        }
    }

    fn lock_file(&self) -> Result<(File, PathBuf), PackageError> {
        let mark = self.root.join(MIRROR_FILE);
        if !self.keeps_mirror
            && let Some(address) = files::read_if_there(&mark, MAX_ADDRESS_BYTES)?
        {
            return Err(PackageError::Mirror {
                path: self.root.clone(),
                address: String::from_utf8_lossy(&address).trim().to_owned(),
            });
        }
        let path = self.root.join(".lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(io_error("open", &path))?;
        Ok((file, path))
    }

    fn swept(&self, lock: File) -> Result<File, PackageError> {
        // The workspace goes last: as long as it is there, even empty, there may be blobs that nobody names.
        if self.workspace().exists() {
            self.collect_blobs()?;
            files::remove_all(&self.workspace())?;
        }
        Ok(lock)
    }

    /// The number that the next version of a model gets: never one that was in use before.
    pub(crate) fn next_version(&self, name: &Name) -> Result<u64, PackageError> {
        let highest = self.versions(name)?.last().copied().unwrap_or(0);
        let path = self.next_file(name);
        let damaged = |problem: &str| PackageError::Damaged {
            path: path.clone(),
            problem: problem.to_owned(),
        };
        let reserved = match files::read_if_there(&path, MAX_NUMBER_BYTES)? {
            None => 1,
            Some(bytes) => str::from_utf8(&bytes)
                .ok()
                .and_then(|text| parse_version(text.trim_end()))
                .ok_or_else(|| damaged("not a version number"))?,
        };
        let next = highest
            .checked_add(1)
            .ok_or_else(|| damaged("version numbers are used up"))?;
        Ok(next.max(reserved))
    }

    pub(crate) fn model_names(&self) -> Result<Vec<Name>, PackageError> {
        let names = files::names_in(&self.models_folder())?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }

    pub(crate) fn no_version(&self, name: &Name, version: u64) -> PackageError {
        PackageError::NoVersion {
            store: self.root.clone(),
            name: name.clone(),
            version,
        }
    }

    pub(crate) fn no_alias(&self, name: &Name, alias: &Name) -> PackageError {
        PackageError::NoAlias {
            store: self.root.clone(),
            name: name.clone(),
            alias: alias.clone(),
        }
    }

    /// Where a writer prepares what it will rename into place.
    pub(crate) fn workspace(&self) -> PathBuf {
        self.root.join(".tmp")
    }

    pub(crate) fn blobs(&self) -> PathBuf {
        self.root.join(layout::BLOBS)
    }

    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root.join(layout::blob(digest))
    }

    pub(crate) fn models_folder(&self) -> PathBuf {
        self.root.join(layout::MODELS)
    }

    pub(crate) fn model_path(&self, name: &Name) -> PathBuf {
        self.root.join(layout::model(name))
    }

    pub(crate) fn versions_folder(&self, name: &Name) -> PathBuf {
        self.root.join(layout::versions(name))
    }

    pub(crate) fn version_path(&self, name: &Name, version: u64) -> PathBuf {
        self.root.join(layout::version(name, version))
    }

    pub(crate) fn next_file(&self, name: &Name) -> PathBuf {
        self.model_path(name).join("next")
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Reads `selector` of a store with versions 1 and 2, of which `removed` go one by one while they are read.
    fn check(selector: &str, removed: &[u64], expected: Result<u64, &str>) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::create_if_missing(folder.path()).unwrap();
        let name: Name = "tiny".parse().unwrap();
        for version in [1, 2] {
            fs::create_dir_all(store.version_path(&name, version)).unwrap();
        }
        let reads = Cell::new(0);
        let found = store.read(&selector.parse().unwrap(), |folder| {
            let Some(version) = removed.get(reads.replace(reads.get() + 1)) else {
                return Ok(folder.version);
            };
            fs::remove_dir(store.version_path(&name, *version)).unwrap();
            let path = folder.path.clone();
            Err(PackageError::Missing { path })
        });
        match (found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected),
            (Err(error), Err(words)) => assert!(error.to_string().contains(words), "{error}"),
            (found, expected) => panic!("{found:?} is not {expected:?}"),
        }
    }

    #[test]
    fn a_version_that_is_removed_while_it_is_read_was_never_there() {
        check("tiny", &[2], Ok(1));
        check("tiny@2", &[2], Err("no version 2 of model `tiny`"));
        check("tiny", &[2, 1], Err("no model `tiny`"));
        // What else goes wrong is told.
        check("tiny@1", &[2], Err("missing"));
    }
}
