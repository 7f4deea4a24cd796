use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde::Serialize;
use strata_spec::Name;

use crate::{
    error::{PackageError, io_error},
    files, layout,
    store::Store,
};

/// Thousands of aliases.
const MAX_ALIASES_BYTES: u64 = 1 << 20;

/// The aliases of a model and the versions that they name, as a store keeps them.
///
/// # Errors
/// What is wrong with the file.
pub fn parse_aliases(file: &[u8]) -> Result<BTreeMap<Name, u64>, String> {
    serde_json::from_slice(file).map_err(|error| format!("not a list of aliases: {error}"))
}

impl Store {
    /// The aliases of a model and the versions that they name; none if there is no such model.
    ///
    /// # Errors
    /// The alias file cannot be read or is damaged.
    pub fn aliases(&self, name: &Name) -> Result<BTreeMap<Name, u64>, PackageError> {
        let path = self.aliases_file(name);
        let Some(bytes) = files::read_if_there(&path, MAX_ALIASES_BYTES)? else {
            return Ok(BTreeMap::new());
        };
        parse_aliases(&bytes).map_err(|problem| PackageError::Damaged { path, problem })
    }

    /// Makes these the aliases of a model, whatever it had; for what mirrors another store. That the versions are here is for
    /// the caller to see to.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn replace_aliases(
        &self,
        name: &Name,
        aliases: &BTreeMap<Name, u64>,
    ) -> Result<(), PackageError> {
        let _lock = self.lock()?;
        self.write_aliases(name, aliases)
    }

    /// Makes an alias name a version, whatever it named before. Readers see the old or the new one.
    ///
    /// # Errors
    /// There is no such version, or the disk refuses.
    pub fn set_alias(&self, name: &Name, alias: &Name, version: u64) -> Result<(), PackageError> {
        let _lock = self.lock()?;
        if !self.versions(name)?.contains(&version) {
            return Err(self.no_version(name, version));
        }
        let mut aliases = self.aliases(name)?;
        aliases.insert(alias.clone(), version);
        self.write_aliases(name, &aliases)
    }

    /// Removes an alias; the version that it named stays.
    ///
    /// # Errors
    /// There is no such alias, or the disk refuses.
    pub fn remove_alias(&self, name: &Name, alias: &Name) -> Result<(), PackageError> {
        let _lock = self.lock()?;
        let mut aliases = self.aliases(name)?;
        aliases
            .remove(alias)
            .ok_or_else(|| self.no_alias(name, alias))?;
        self.write_aliases(name, &aliases)
    }

    pub(crate) fn write_aliases(
        &self,
        name: &Name,
        aliases: &BTreeMap<Name, u64>,
    ) -> Result<(), PackageError> {
        self.replace_json(&self.aliases_file(name), aliases)
    }

    /// Replaces a small JSON file of the store at one stroke. The caller holds the lock.
    pub(crate) fn replace_json(
        &self,
        path: &Path,
        value: &impl Serialize,
    ) -> Result<(), PackageError> {
        let mut json = serde_json::to_vec_pretty(value).map_err(|error| PackageError::Damaged {
            path: path.to_owned(),
            problem: error.to_string(),
        })?;
        json.push(b'\n');
        self.replace_file(path, &json)
    }

    /// Replaces a small file of the store at one stroke. The caller holds the lock.
    pub(crate) fn replace_file(&self, path: &Path, bytes: &[u8]) -> Result<(), PackageError> {
        let workspace = self.workspace();
        fs::create_dir_all(&workspace).map_err(io_error("make", &workspace))?;
        let result = files::replace(path, &workspace.join("file"), bytes);
        // Gone unless something else is in it, which the next writer clears away.
        let _ = fs::remove_dir(&workspace);
        result
    }

    fn aliases_file(&self, name: &Name) -> PathBuf {
        self.path().join(layout::aliases(name))
    }
}
