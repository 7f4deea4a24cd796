//! What lies in a store.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::TryStreamExt;
use object_store::ObjectMeta;
use strata_package::{Pick, Selector, layout};
use strata_spec::Name;

use crate::{Remote, RemoteError};

/// Objects of a listing. A million versions are far more than any store has.
const MOST_OBJECTS: usize = 4_000_000;

/// Thousands of aliases.
const MAX_ALIASES_BYTES: u64 = 1 << 20;

/// The models of a store by name.
pub type Listing = BTreeMap<Name, RemoteModel>;

/// A model of a store at an address, by what is listed of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemoteModel {
    /// The numbers of its versions that were uploaded as wholes, each with what changes when one of its files does.
    pub(crate) versions: BTreeMap<u64, String>,
    /// The numbers of those that were not.
    pub(crate) half: BTreeSet<u64>,
    /// What changes when its aliases do; none if it has none.
    pub(crate) aliases: Option<String>,
    /// What changes when its rollout does; none if it has none.
    pub(crate) rollout: Option<String>,
}

impl RemoteModel {
    /// The numbers of its versions that were uploaded as wholes, ascending.
    pub fn versions(&self) -> impl DoubleEndedIterator<Item = u64> {
        self.versions.keys().copied()
    }

    /// The numbers of those that have no manifest, ascending: half uploaded, or being uploaded.
    pub fn half_uploaded(&self) -> impl Iterator<Item = u64> {
        self.half.iter().copied()
    }
}

impl Remote {
    /// Lists the store's models.
    ///
    /// # Errors
    /// The store cannot be listed.
    pub fn list(&self) -> Result<Listing, RemoteError> {
        self.wait(self.listing(layout::MODELS))
    }

    /// Lists one model; one without versions if there is none.
    pub(crate) fn list_model(&self, name: &Name) -> Result<RemoteModel, RemoteError> {
        let mut listing = self.wait(self.listing(&layout::model(name)))?;
        Ok(listing.remove(name).unwrap_or_default())
    }

    /// A model's aliases and the versions that they name.
    ///
    /// # Errors
    /// The store cannot be read, or the aliases are damaged.
    pub fn aliases(&self, name: &Name) -> Result<BTreeMap<Name, u64>, RemoteError> {
        let aliases = self.read_aliases(name)?;
        aliases.map_err(|problem| self.failed("read", problem))
    }

    /// The same; the inner error says how the aliases are damaged.
    pub(crate) fn read_aliases(
        &self,
        name: &Name,
    ) -> Result<Result<BTreeMap<Name, u64>, String>, RemoteError> {
        let path = layout::aliases(name);
        let Some(file) = self.wait(self.small(&path, MAX_ALIASES_BYTES))? else {
            return Ok(Ok(BTreeMap::new()));
        };
        let aliases = strata_package::parse_aliases(&file.bytes);
        Ok(aliases.map_err(|problem| format!("{path}: {problem}")))
    }

    /// The number of the version that a selector means now.
    ///
    /// # Errors
    /// There is no such model, version or alias, or the store cannot be read.
    pub fn resolve(&self, selector: &Selector) -> Result<u64, RemoteError> {
        let none = |what: String| RemoteError::None {
            address: self.address(),
            what,
        };
        let Selector { name, pick } = selector;
        let model = self.list_model(name)?;
        let highest = model.versions().next_back();
        let highest = highest.ok_or_else(|| none(format!("model `{name}`")))?;
        let version = match pick {
            Pick::Highest => highest,
            Pick::Version(version) => *version,
            Pick::Alias(alias) => {
                let aliases = self.aliases(name)?;
                let version = aliases.get(alias).copied();
                version.ok_or_else(|| none(format!("alias `{alias}` of model `{name}`")))?
            }
        };
        if model.versions.contains_key(&version) {
            return Ok(version);
        }
        let half = if model.half.contains(&version) {
            ": it is half uploaded"
        } else {
            ""
        };
        Err(none(format!("version {version} of model `{name}`{half}")))
    }

    async fn listing(&self, below: &str) -> Result<Listing, RemoteError> {
        let prefix = self.key(below);
        let mut objects = self.store.list(Some(&prefix));
        let mut listing = Listing::new();
        let mut count = 0;
        loop {
            let next = self.timed("list", objects.try_next()).await?;
            let Some(object) = next.map_err(|error| self.failed("list", error))? else {
                break;
            };
            count += 1;
            if count > MOST_OBJECTS {
                return Err(self.failed("list", format!("more than {MOST_OBJECTS} objects")));
            }
            if let Some(path) = self.path_of(&object.location) {
                add(&mut listing, path, &object);
            }
        }
        for model in listing.values_mut() {
            // Whole are those that have a manifest; the rest of their files do not make them half.
            model
                .half
                .retain(|version| !model.versions.contains_key(version));
        }
        Ok(listing)
    }
}

/// Notes an object that belongs to a store; others are nothing to it.
fn add(listing: &mut Listing, path: &str, object: &ObjectMeta) {
    let mut parts = path.split('/');
    if parts.next() != Some(layout::MODELS) {
        return;
    }
    let Some(name) = parts.next().and_then(|name| name.parse::<Name>().ok()) else {
        return;
    };
    let tag = tag(object);
    if path == layout::aliases(&name) {
        listing.entry(name).or_default().aliases = Some(tag);
        return;
    }
    if path == layout::rollout(&name) {
        listing.entry(name).or_default().rollout = Some(tag);
        return;
    }
    let Some(version) = parts.nth(1).and_then(layout::parse_version) else {
        return;
    };
    if !path.starts_with(&format!("{}/", layout::version(&name, version))) {
        return;
    }
    let is_manifest = path == layout::manifest(&name, version);
    let model = listing.entry(name).or_default();
    model.half.insert(version);
    if is_manifest {
        model.versions.insert(version, tag);
    }
}

fn tag(object: &ObjectMeta) -> String {
    let ObjectMeta {
        e_tag,
        version,
        size,
        last_modified,
        ..
    } = object;
    format!("{e_tag:?} {version:?} {size} {last_modified}")
}
