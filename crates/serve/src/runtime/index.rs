use super::Registry;

/// A version in the repository's index.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    pub(crate) name: String,
    /// None for a model that was unloaded.
    pub(crate) version: Option<u64>,
    /// Why it is not served, if it is not.
    pub(crate) unavailable: Option<&'static str>,
}

impl Entry {
    /// As the protocol has it.
    pub(crate) fn state(&self) -> &'static str {
        match self.unavailable {
            None => "READY",
            Some(_) => "UNAVAILABLE",
        }
    }
}

/// The versions of those models that `may_see` lets a caller see, by name and number; only served ones if `only_ready`.
pub(crate) fn index(
    registry: &Registry,
    only_ready: bool,
    may_see: impl Fn(&str) -> bool,
) -> Vec<Entry> {
    let served = registry.versions().map(|version| Entry {
        name: version.name.to_string(),
        version: Some(version.number),
        unavailable: None,
    });
    let failed = registry.failed().map(|(name, version)| Entry {
        name: name.to_string(),
        version: Some(version),
        unavailable: Some("cannot be opened; see the server's log"),
    });
    let unloaded = registry.unloaded().map(|name| Entry {
        name: name.to_string(),
        version: None,
        unavailable: Some("unloaded"),
    });
    let all = served.chain(failed).chain(unloaded);
    let mut all: Vec<Entry> = all
        .filter(|entry| may_see(&entry.name) && !(only_ready && entry.unavailable.is_some()))
        .collect();
    all.sort();
    all
}
