use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, PoisonError, RwLock},
};

use hyper::HeaderMap;
use strata_spec::Name;

use super::Version;
use crate::rollout::{OnRollout, Routed};

/// The models that are served. It is never changed, only exchanged as a whole: what a request has looked up stays what it
/// is until the request is answered.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    models: HashMap<String, Model>,
    /// Versions that should be served and cannot be.
    failed: BTreeSet<(Name, u64)>,
    /// Models that a caller has unloaded.
    unloaded: BTreeSet<Name>,
    /// Models that do not fit into memory beside the others.
    asleep: BTreeMap<Name, Asleep>,
    /// Which of two versions answer some models' requests.
    rollouts: BTreeMap<Name, OnRollout>,
}

/// The registry of this moment.
#[derive(Debug)]
pub(crate) struct LiveRegistry(RwLock<Arc<Registry>>);

/// The served versions of one model.
#[derive(Debug, Default)]
pub(crate) struct Model {
    versions: BTreeMap<u64, Arc<Version>>,
    /// Only those whose version is served.
    aliases: BTreeMap<String, u64>,
}

/// A model that is loaded when it is asked, and what can be told of it without that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asleep {
    /// What it takes in memory.
    pub(crate) bytes: usize,
    /// The versions that will be served.
    pub(crate) numbers: BTreeSet<u64>,
    /// Only those whose version is among them.
    pub(crate) aliases: BTreeMap<String, u64>,
}

/// The alias that answers where a caller names no version.
const STABLE: &str = "stable";

impl LiveRegistry {
    pub(crate) fn new(registry: Registry) -> Self {
        Self(RwLock::new(Arc::new(registry)))
    }

    pub(crate) fn current(&self) -> Arc<Registry> {
        let current = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&current)
    }

    /// From here on requests find `next`; those that are on their way keep what they found.
    pub(crate) fn exchange(&self, next: Registry) {
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        *current = Arc::new(next);
    }
}

impl Registry {
    pub(crate) fn add(&mut self, version: Arc<Version>) {
        let model = self.models.entry(version.name.to_string()).or_default();
        model.versions.insert(version.number, version);
    }

    /// Shows that a version cannot be served.
    pub(crate) fn add_failed(&mut self, name: &Name, version: u64) {
        self.failed.insert((name.clone(), version));
    }

    /// Shows that a model was unloaded.
    pub(crate) fn add_unloaded(&mut self, name: &Name) {
        self.unloaded.insert(name.clone());
    }

    /// Versions that should be served and cannot be.
    pub(crate) fn failed(&self) -> impl Iterator<Item = (&Name, u64)> {
        self.failed.iter().map(|(name, version)| (name, *version))
    }

    /// Models that a caller has unloaded.
    pub(crate) fn unloaded(&self) -> impl Iterator<Item = &Name> {
        self.unloaded.iter()
    }

    /// The same without some versions.
    pub(crate) fn without(&self, is_gone: impl Fn(&Version) -> bool) -> Self {
        let mut rest = Self {
            models: HashMap::new(),
            failed: self.failed.clone(),
            unloaded: self.unloaded.clone(),
            asleep: self.asleep.clone(),
            rollouts: self.rollouts.clone(),
        };
        for version in self.versions().filter(|version| !is_gone(version)) {
            rest.add(Arc::clone(version));
        }
        for (name, model) in &self.models {
            if let Some(rest) = rest.models.get_mut(name) {
                let aliases = model.aliases.iter();
                let kept = aliases.filter(|(_, number)| rest.versions.contains_key(number));
                rest.aliases = kept
                    .map(|(alias, number)| (alias.clone(), *number))
                    .collect();
            }
        }
        rest
    }

    /// The same with these models asleep.
    pub(crate) fn with_asleep(&self, names: &[Name]) -> Self {
        let mut rest = self.without(|version| names.contains(&version.name));
        for name in names {
            if let Some(model) = self.models.get(name.as_str()) {
                rest.add_asleep(name, model.asleep());
            }
        }
        rest
    }

    /// Shows that a model is loaded when it is asked.
    pub(crate) fn add_asleep(&mut self, name: &Name, asleep: Asleep) {
        self.asleep.insert(name.clone(), asleep);
    }

    /// Models that are loaded when they are asked.
    pub(crate) fn asleep(&self) -> &BTreeMap<Name, Asleep> {
        &self.asleep
    }

    /// The model if it is loaded when it is asked.
    pub(crate) fn asleep_model(&self, name: &str) -> Option<&Asleep> {
        let mut all = self.asleep.iter();
        all.find(|(own, _)| own.as_str() == name)
            .map(|(_, asleep)| asleep)
    }

    /// Whether the model is loaded when it is asked.
    pub(crate) fn is_asleep(&self, name: &str) -> bool {
        self.asleep_model(name).is_some()
    }

    /// Bytes of all versions.
    pub(crate) fn memory(&self) -> usize {
        self.versions().map(|version| version.memory).sum()
    }

    /// Lets callers name a version by an alias; without effect if the version is not served.
    pub(crate) fn add_alias(&mut self, name: &Name, alias: &Name, version: u64) {
        if let Some(asleep) = self.asleep.get_mut(name)
            && asleep.numbers.contains(&version)
        {
            asleep.aliases.insert(alias.to_string(), version);
        }
        let Some(model) = self.models.get_mut(name.as_str()) else {
            return;
        };
        if model.versions.contains_key(&version) {
            model.aliases.insert(alias.to_string(), version);
        }
    }

    pub(crate) fn set_rollouts(&mut self, rollouts: BTreeMap<Name, OnRollout>) {
        self.rollouts = rollouts;
    }

    pub(crate) fn rollouts(&self) -> &BTreeMap<Name, OnRollout> {
        &self.rollouts
    }

    /// The rollout of a model.
    pub(crate) fn rollout(&self, name: &str) -> Option<&OnRollout> {
        // There are few, and mostly none.
        let mut all = self.rollouts.iter();
        all.find(|(own, _)| own.as_str() == name).map(|(_, on)| on)
    }

    /// Who answers a request for `found`, which the caller named by number or alias, or by nothing.
    pub(crate) fn route(
        &self,
        found: Arc<Version>,
        named: Option<&str>,
        headers: &HeaderMap,
        key_id: &str,
    ) -> Routed {
        found.touch();
        let name = found.name.as_str();
        let Some(OnRollout::Trial(trial)) = self.rollout(name) else {
            return Routed::to(found);
        };
        let rollout = &trial.rollout;
        let is_by_alias = named.unwrap_or(STABLE) == rollout.alias.as_str();
        let model = self.model(name);
        let alias =
            |model: &Model| model.aliases.get(rollout.alias.as_str()) == Some(&rollout.from);
        let candidate = model
            .filter(|model| is_by_alias && found.number == rollout.from && alias(model))
            .and_then(|model| model.numbered(rollout.to));
        match candidate {
            Some(candidate) => trial.route(found, candidate, headers, key_id),
            None => Routed::to(found),
        }
    }

    pub(crate) fn model(&self, name: &str) -> Option<&Model> {
        self.models.get(name)
    }

    /// Whether callers find the same versions by the same names.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let is_same = |(name, model): (&String, &Model)| {
            let other = other.models.get(name);
            other.is_some_and(|other| model.is_same(other))
        };
        self.models.len() == other.models.len()
            && self.models.iter().all(is_same)
            && self.failed == other.failed
            && self.unloaded == other.unloaded
            && self.asleep == other.asleep
            && self.rollouts == other.rollouts
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.models.is_empty()
    }

    /// Every served version.
    pub(crate) fn versions(&self) -> impl Iterator<Item = &Arc<Version>> {
        self.models
            .values()
            .flat_map(|model| model.versions.values())
    }
}

impl Model {
    /// The version that a caller names by number or alias. Without a name: the one that the alias
    /// `stable` names, else the highest.
    pub(crate) fn version(&self, named: Option<&str>) -> Option<&Arc<Version>> {
        let highest = self.versions.keys().next_back().copied();
        let is_there = |number: &u64| self.versions.contains_key(number);
        let number = pick(named, highest, is_there, &self.aliases)?;
        self.versions.get(&number)
    }

    /// What is told of it while it is not in memory.
    fn asleep(&self) -> Asleep {
        Asleep {
            bytes: self.versions().map(|version| version.memory).sum(),
            numbers: self.numbers().collect(),
            aliases: self.aliases.clone(),
        }
    }

    /// The served version with this number.
    pub(crate) fn numbered(&self, number: u64) -> Option<&Arc<Version>> {
        self.versions.get(&number)
    }

    /// The aliases that callers may use, and the versions that they name.
    pub(crate) fn aliases(&self) -> impl Iterator<Item = (&String, u64)> {
        let aliases = self.aliases.iter();
        aliases.map(|(alias, version)| (alias, *version))
    }

    fn is_same(&self, other: &Self) -> bool {
        let both = self.versions.values().zip(other.versions.values());
        self.versions.len() == other.versions.len()
            && both.into_iter().all(|(own, other)| Arc::ptr_eq(own, other))
            && self.aliases().eq(other.aliases())
    }

    /// The served versions, the lowest number first.
    pub(crate) fn versions(&self) -> impl Iterator<Item = &Arc<Version>> {
        self.versions.values()
    }

    /// The numbers of the served versions, the lowest first.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = u64> {
        self.versions.keys().copied()
    }
}

impl Asleep {
    /// The number of the version that a caller names, as [`Model::version`].
    pub(crate) fn version(&self, named: Option<&str>) -> Option<u64> {
        let highest = self.numbers.last().copied();
        let is_there = |number: &u64| self.numbers.contains(number);
        pick(named, highest, is_there, &self.aliases)
    }
}

/// What a caller means by a number, an alias or nothing.
fn pick(
    named: Option<&str>,
    highest: Option<u64>,
    is_there: impl Fn(&u64) -> bool,
    aliases: &BTreeMap<String, u64>,
) -> Option<u64> {
    let aliased = |alias: &str| aliases.get(alias).copied();
    match named {
        None => aliased(STABLE).or(highest),
        // An alias may look like a number: numbers come first, since they never change what they mean.
        Some(text) => number(text).filter(is_there).or_else(|| aliased(text)),
    }
}

/// A version number as addresses have it: decimal, without leading zeros or a sign, so that each has one
/// address.
fn number(text: &str) -> Option<u64> {
    text.parse()
        .ok()
        .filter(|_| text.starts_with(|c: char| matches!(c, '1'..='9')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn a_version_is_found_by_number_alias_or_neither() {
        let mut registry = Registry::default();
        for number in [1, 2, 10] {
            registry.add(Arc::new(testing::version(number)));
        }
        let name: Name = "tiny".parse().unwrap();
        let alias = |text: &str| text.parse::<Name>().unwrap();
        let check = |registry: &Registry, named: Option<&str>, expected: Option<u64>| {
            let found = registry
                .model("tiny")
                .unwrap()
                .version(named)
                .map(|version| version.number);
            assert_eq!(found, expected, "{named:?}");
        };
        check(&registry, None, Some(10));
        registry.add_alias(&name, &alias("stable"), 2);
        registry.add_alias(&name, &alias("canary"), 10);
        registry.add_alias(&name, &alias("2"), 1);
        registry.add_alias(&name, &alias("gone"), 7);
        check(&registry, None, Some(2));
        check(&registry, Some("10"), Some(10));
        check(&registry, Some("2"), Some(2));
        check(&registry, Some("canary"), Some(10));
        for unknown in ["3", "01", "+1", "0", "", "gone", "latest"] {
            check(&registry, Some(unknown), None);
        }
        assert!(registry.model("other").is_none());
        // It means the same while it is not in memory.
        let asleep = registry.with_asleep(std::slice::from_ref(&name));
        assert!(asleep.model("tiny").is_none());
        let asleep = asleep.asleep_model("tiny").unwrap();
        let model = registry.model("tiny").unwrap();
        for named in ["10", "2", "canary", "3", "01", "gone"].map(Some) {
            let expected = model.version(named).map(|version| version.number);
            assert_eq!(asleep.version(named), expected, "{named:?}");
        }
        assert_eq!(asleep.version(None), Some(2));
    }
}
