//! A folder that is kept like a store at an address.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    path::Path,
};

use strata_package::{Access, Pick, Rollout, Selector, Store, layout};
use strata_spec::Name;

use crate::{
    Listing, Remote, RemoteError, RemoteModel,
    pull::{Faulty, INCOMING, NotPulled, PARTIAL, blob_tag, io_error},
};

/// Many times what a rollout takes.
const MAX_ROLLOUT_BYTES: u64 = 64 << 10;

/// A folder's store that is made like a store at an address again and again, as far as some selectors reach.
///
/// The folder has only versions that are whole and signed as they must be. An alias is taken over with the version that it
/// names, so what cannot be had changes nothing.
#[derive(Debug)]
pub struct Mirror {
    remote: Remote,
    store: Store,
    models: Option<Vec<Selector>>,
    access: Access,
    /// The manifests that the versions in the folder were compared with.
    compared: BTreeMap<(Name, u64), String>,
    /// The aliases and rollouts that were taken over.
    taken: BTreeMap<String, Option<String>>,
    /// Versions that are not to be used, and the manifests that they had.
    faulty: BTreeMap<(Name, u64), (String, Faulty)>,
    /// Held as long as the mirror is kept.
    _lock: File,
}

/// What was found when a folder was made like a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Synced {
    /// Versions that are damaged, half uploaded or not signed as they must be, and why. Of those that were uploaded as wholes
    /// only the ones are known that were wanted.
    pub unavailable: BTreeMap<(Name, u64), String>,
    /// Models whose aliases or rollout cannot be used, and why; what they were before stays.
    pub unknown: BTreeMap<Name, String>,
}

impl Mirror {
    /// A mirror in a folder, which is made if it is not there, of what the selectors mean; of all models without selectors. A
    /// bare name stands for its highest version and each that an alias names. Nothing is fetched yet.
    ///
    /// # Errors
    /// Something else lies in the folder, or another process keeps a mirror there.
    pub fn open(
        remote: Remote,
        folder: &Path,
        models: Option<Vec<Selector>>,
        access: Access,
    ) -> Result<Self, RemoteError> {
        let store = Store::open_mirror(folder, &remote.address())?;
        let path = folder.join(".kept");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(io_error("open", &path))?;
        if lock.try_lock().is_err() {
            return Err(RemoteError::InUse {
                path: folder.to_owned(),
            });
        }
        clear_partial(folder);
        Ok(Self {
            remote,
            store,
            models,
            access,
            compared: BTreeMap::new(),
            taken: BTreeMap::new(),
            faulty: BTreeMap::new(),
            _lock: lock,
        })
    }

    /// The store that it mirrors.
    pub fn remote(&self) -> &Remote {
        &self.remote
    }

    /// Whether the folder has any version.
    pub fn has_models(&self) -> bool {
        self.store.names().is_ok_and(|names| !names.is_empty())
    }

    /// Makes the folder like the store. What is wrong with single versions or models is no error, and the others are taken.
    ///
    /// # Errors
    /// The store cannot be read, or the folder not be written. What was in the folder is still in it.
    pub fn sync(&mut self) -> Result<Synced, RemoteError> {
        let listing = self.listing()?;
        let is_empty = listing.values().all(|model| model.versions.is_empty());
        if is_empty && self.has_models() {
            return Err(RemoteError::Emptied {
                address: self.remote.address(),
            });
        }
        let mut synced = Synced::default();
        for (name, model) in &listing {
            for version in model.half_uploaded() {
                let problem = "half uploaded: it has no manifest".to_owned();
                synced.unavailable.insert((name.clone(), version), problem);
            }
            self.sync_model(name, model, &mut synced)?;
        }
        for name in self.store.names()? {
            if !listing.contains_key(&name) {
                self.sync_model(&name, &RemoteModel::default(), &mut synced)?;
            }
        }
        let is_listed = |name: &Name, version: &u64| {
            listing
                .get(name)
                .is_some_and(|model| model.versions.contains_key(version))
        };
        self.faulty
            .retain(|(name, version), _| is_listed(name, version));
        self.compared
            .retain(|(name, version), _| is_listed(name, version));
        for (key, (_, faulty)) in &self.faulty {
            synced
                .unavailable
                .insert(key.clone(), faulty.problem.clone());
        }
        Ok(synced)
    }

    fn listing(&self) -> Result<Listing, RemoteError> {
        let Some(models) = &self.models else {
            return self.remote.list();
        };
        let names: BTreeSet<&Name> = models.iter().map(|selector| &selector.name).collect();
        let listed = names.into_iter().map(|name| {
            let model = self.remote.list_model(name)?;
            Ok((name.clone(), model))
        });
        listed.collect()
    }

    fn sync_model(
        &mut self,
        name: &Name,
        model: &RemoteModel,
        synced: &mut Synced,
    ) -> Result<(), RemoteError> {
        let aliases = match &model.aliases {
            None => BTreeMap::new(),
            Some(_) => match self.remote.read_aliases(name)? {
                Ok(aliases) => aliases,
                Err(problem) => {
                    synced.unknown.insert(name.clone(), problem);
                    self.store.aliases(name)?
                }
            },
        };
        let rollout = self.rollout(name, model, synced)?;
        // Whether each version that is wanted is here.
        let mut here = BTreeMap::new();
        let mut kept = BTreeSet::new();
        for selector in self.selectors(name) {
            match &selector.pick {
                Pick::Version(version) => {
                    kept.insert(*version);
                }
                Pick::Alias(alias) => kept.extend(aliases.get(alias)),
                Pick::Highest => {
                    kept.extend(aliases.values());
                    for version in model.versions().rev() {
                        let is_here = self.have(name, version, model)?;
                        here.insert(version, is_here);
                        if is_here {
                            kept.insert(version);
                            break;
                        }
                    }
                }
            }
        }
        if let Some(rollout) = rollout.filter(|rollout| rollout.ended.is_none()) {
            kept.insert(rollout.to);
        }
        for version in &kept {
            if !here.contains_key(version) {
                here.insert(*version, self.have(name, *version, model)?);
            }
        }
        // An alias of what is not here keeps its meaning as long as that is here.
        let before = self.store.aliases(name)?;
        let mut after = BTreeMap::new();
        for (alias, version) in &aliases {
            let is_here = here.get(version).copied().unwrap_or(false);
            let version = if is_here {
                Some(version)
            } else {
                before.get(alias)
            };
            if let Some(version) = version {
                after.insert(alias.clone(), *version);
                kept.insert(*version);
            }
        }
        if after != before {
            self.store.replace_aliases(name, &after)?;
        }
        for version in self.store.versions(name)? {
            if !kept.contains(&version) {
                self.store.remove(name, version)?;
            }
        }
        Ok(())
    }

    /// The selectors of a model.
    fn selectors(&self, name: &Name) -> Vec<Selector> {
        match &self.models {
            None => vec![name.clone().into()],
            Some(models) => {
                let of_it = models.iter().filter(|selector| selector.name == *name);
                of_it.cloned().collect()
            }
        }
    }

    /// Whether the folder has a version, which is fetched if it has not.
    fn have(
        &mut self,
        name: &Name,
        version: u64,
        model: &RemoteModel,
    ) -> Result<bool, RemoteError> {
        let Some(manifest) = model.versions.get(&version) else {
            return Ok(false);
        };
        let key = (name.clone(), version);
        let is_here = self.store.versions(name)?.contains(&version);
        if is_here && self.compared.get(&key) == Some(manifest) {
            return Ok(true);
        }
        if let Some((of, faulty)) = self.faulty.get(&key)
            && of == manifest
            && self.is_still(faulty)?
        {
            return Ok(is_here);
        }
        match self
            .remote
            .try_pull(name, version, &self.access, &self.store)
        {
            Ok(_) => {
                self.faulty.remove(&key);
                self.compared.insert(key, manifest.clone());
                Ok(true)
            }
            Err(NotPulled::Version(faulty)) => {
                self.faulty.insert(key, (manifest.clone(), faulty));
                Ok(is_here)
            }
            Err(NotPulled::Other(RemoteError::Package(
                error @ strata_package::PackageError::Taken { .. },
            ))) => {
                let faulty = Faulty {
                    problem: format!("it is not the one that it was: {error}"),
                    blob: None,
                };
                self.faulty.insert(key, (manifest.clone(), faulty));
                Ok(true)
            }
            Err(NotPulled::Other(error)) => Err(error),
        }
    }

    /// Whether what was wrong with a version is as it was.
    fn is_still(&self, faulty: &Faulty) -> Result<bool, RemoteError> {
        let Some((digest, before)) = &faulty.blob else {
            // Its card or signature may come yet: that costs some small requests.
            return Ok(false);
        };
        let key = self.remote.key(&layout::blob(digest));
        let now = self.remote.wait(self.remote.look_at(&key))?;
        Ok(now.map(|meta| blob_tag(&meta)) == *before)
    }

    /// Takes over a model's rollout, if it is another one than before; the one that is in the folder then.
    fn rollout(
        &mut self,
        name: &Name,
        model: &RemoteModel,
        synced: &mut Synced,
    ) -> Result<Option<Rollout>, RemoteError> {
        let path = layout::rollout(name);
        let is_same = self.taken.get(&path) == Some(&model.rollout);
        if !is_same {
            let found = match &model.rollout {
                None => None,
                Some(_) => {
                    let small = self.remote.small(&path, MAX_ROLLOUT_BYTES);
                    self.remote.wait(small)?.map(|found| found.bytes)
                }
            };
            self.store.replace_rollout(name, found.as_deref())?;
            self.taken.insert(path, model.rollout.clone());
        }
        match self.store.rollout(name) {
            Ok(rollout) => Ok(rollout),
            Err(error) => {
                synced.unknown.insert(name.clone(), error.to_string());
                Ok(None)
            }
        }
    }
}

/// Takes away what a process that was killed had not fetched to its end. What cannot be taken away is in nobody's way.
fn clear_partial(folder: &Path) {
    let incoming = folder.join(INCOMING);
    for entry in fs::read_dir(&incoming).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(PARTIAL) {
            let _ = fs::remove_file(entry.path());
        }
    }
}
