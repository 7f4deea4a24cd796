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
    /// Models of which it cannot be told what is to be served, and of which nothing is.
    unknown: BTreeSet<Name>,
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
    /// Also those whose version cannot be served: no other answers in its place.
    aliases: BTreeMap<String, u64>,
}

/// A model that is loaded when it is asked, and what can be told of it without that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asleep {
    /// What it takes in memory.
    pub(crate) bytes: usize,
    /// The versions that will be served.
    pub(crate) numbers: BTreeSet<u64>,
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

    /// Shows that nothing of a model can be served.
    pub(crate) fn add_unknown(&mut self, name: &Name) {
        self.unknown.insert(name.clone());
    }

    /// Models of which it cannot be told what is to be served, and of which nothing is.
    pub(crate) fn unknown(&self) -> impl Iterator<Item = &Name> {
        self.unknown.iter()
    }

    /// How many versions and models should be served and cannot be.
    pub(crate) fn missing(&self) -> usize {
        self.failed.len() + self.unknown.len()
    }

    /// Whether something of a model should be served and cannot be.
    pub(crate) fn is_failed(&self, name: &str) -> bool {
        let mut failed = self.failed.iter().map(|(failed, _)| failed);
        let mut unknown = self.unknown.iter();
        failed.any(|own| own.as_str() == name) || unknown.any(|own| own.as_str() == name)
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
            unknown: self.unknown.clone(),
            unloaded: self.unloaded.clone(),
            asleep: self.asleep.clone(),
            rollouts: self.rollouts.clone(),
        };
        for version in self.versions().filter(|version| !is_gone(version)) {
            rest.add(Arc::clone(version));
        }
        for (name, model) in &self.models {
            if let Some(rest) = rest.models.get_mut(name) {
                rest.aliases.clone_from(&model.aliases);
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

    /// Lets callers name a version by an alias. If the version is not served, the alias gets no answer.
    pub(crate) fn add_alias(&mut self, name: &Name, alias: &Name, version: u64) {
        if let Some(asleep) = self.asleep.get_mut(name) {
            asleep.aliases.insert(alias.to_string(), version);
        }
        if let Some(model) = self.models.get_mut(name.as_str()) {
            model.aliases.insert(alias.to_string(), version);
        }
    }

    /// Lets callers name the versions of a model by the same aliases as before.
    pub(crate) fn keep_aliases(&mut self, name: &Name, before: &Model) {
        if let Some(model) = self.models.get_mut(name.as_str()) {
            model.aliases.clone_from(&before.aliases);
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
            && self.unknown == other.unknown
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
    /// The version that a caller names, as [`Model::named`].
    #[cfg(test)]
    pub(crate) fn version(&self, named: Option<&str>) -> Option<&Arc<Version>> {
        self.versions.get(&self.named(named)?)
    }

    /// The number of the version that a caller names by number or alias; without a name of the one that the alias `stable`
    /// names, and of the highest if there is no such alias. What an alias names may be a version that is not served.
    pub(crate) fn named(&self, named: Option<&str>) -> Option<u64> {
        let highest = self.versions.keys().next_back().copied();
        let is_there = |number: &u64| self.versions.contains_key(number);
        pick(named, highest, is_there, &self.aliases)
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

    /// The aliases whose versions are served, and these.
    pub(crate) fn aliases(&self) -> impl Iterator<Item = (&String, u64)> {
        let aliases = self.aliases.iter();
        let served = aliases.filter(|(_, version)| self.versions.contains_key(version));
        served.map(|(alias, version)| (alias, *version))
    }

    /// What an alias names, whether that is served or not.
    pub(crate) fn alias(&self, alias: &str) -> Option<u64> {
        self.aliases.get(alias).copied()
    }

    fn is_same(&self, other: &Self) -> bool {
        let both = self.versions.values().zip(other.versions.values());
        self.versions.len() == other.versions.len()
            && both.into_iter().all(|(own, other)| Arc::ptr_eq(own, other))
            && self.aliases == other.aliases
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
    /// The number of the version that a caller names, as [`Model::named`], if it will be served.
    pub(crate) fn version(&self, named: Option<&str>) -> Option<u64> {
        let highest = self.numbers.last().copied();
        let is_there = |number: &u64| self.numbers.contains(number);
        pick(named, highest, is_there, &self.aliases).filter(is_there)
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
        assert_eq!(registry.model("tiny").unwrap().named(Some("gone")), Some(7));
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
        // Nothing answers in the place of what the alias names.
        registry.add_alias(&name, &alias("stable"), 7);
        check(&registry, None, None);
        check(&registry, Some("stable"), None);
        let asleep = registry.with_asleep(std::slice::from_ref(&name));
        assert_eq!(asleep.asleep_model("tiny").unwrap().version(None), None);
        let rest = registry.without(|version| version.number == 10);
        check(&rest, None, None);
    }
}
