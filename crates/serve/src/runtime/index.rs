use strata_spec::Name;

use super::Registry;

/// A version in the repository's index.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    pub(crate) name: String,
    /// None for a model of which no version can be named.
    pub(crate) version: Option<u64>,
    pub(crate) condition: Condition,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Condition {
    Ready,
    /// Not in memory; loaded when it is asked.
    Asleep,
    /// It is not served, and why.
    Unavailable(&'static str),
}

impl Entry {
    /// As the protocol has it.
    pub(crate) fn state(&self) -> &'static str {
        match self.condition {
            Condition::Ready | Condition::Asleep => "READY",
            Condition::Unavailable(_) => "UNAVAILABLE",
        }
    }

    /// Why it does not answer, or not at once.
    pub(crate) fn reason(&self) -> Option<&'static str> {
        match self.condition {
            Condition::Ready => None,
            Condition::Asleep => Some("not in memory; loaded when it is asked"),
            Condition::Unavailable(why) => Some(why),
        }
    }
}

/// The versions of those models that `may_see` lets a caller see, by name and number; only those that answer if `only_ready`.
pub(crate) fn index(
    registry: &Registry,
    only_ready: bool,
    may_see: impl Fn(&str) -> bool,
) -> Vec<Entry> {
    let entry = |name: &Name, version, condition| Entry {
        name: name.to_string(),
        version,
        condition,
    };
    let served = registry.versions().map(|version| {
        let condition = if version.batcher.is_broken() {
            Condition::Unavailable("failed while it computed; load it again")
        } else {
            Condition::Ready
        };
        entry(&version.name, Some(version.number), condition)
    });
    let asleep = registry.asleep().iter().flat_map(|(name, asleep)| {
        let numbers = asleep.numbers.iter();
        numbers.map(move |number| entry(name, Some(*number), Condition::Asleep))
    });
    let unusable = Condition::Unavailable("cannot be used; see the server's log");
    let failed = registry
        .failed()
        .map(|(name, version)| entry(name, Some(version), unusable));
    let unknown = registry.unknown().map(|name| entry(name, None, unusable));
    let unloaded = registry
        .unloaded()
        .map(|name| entry(name, None, Condition::Unavailable("unloaded")));
    let all = served.chain(asleep).chain(failed);
    let all = all.chain(unknown).chain(unloaded);
    let is_shown = |entry: &Entry| {
        may_see(&entry.name)
            && !(only_ready && matches!(entry.condition, Condition::Unavailable(_)))
    };
    let mut all: Vec<Entry> = all.filter(is_shown).collect();
    all.sort();
    all
}

#[cfg(test)]
mod tests {
    use std::{
        sync::Arc,
        time::{Duration, Instant},
    };

    use super::*;
    use crate::{
        oip,
        runtime::{Ask, Priority},
        testing,
    };

    #[tokio::test]
    async fn a_version_that_failed_is_named_and_not_ready() {
        let broken = Arc::new(testing::version(1));
        let mut registry = Registry::default();
        registry.add(broken.clone());
        registry.add(Arc::new(testing::version(2)));
        assert!(oip::model_ready(&broken).is_ok());
        let ask = Ask {
            // A part of a row, which no caller can send: the plan takes it for a fault of this program.
            rows: testing::rows(1, 1).repeat(2)[1..].to_vec().into(),
            way: None,
            deadline: Instant::now() + Duration::from_secs(20),
            priority: Priority::new(None),
        };
        assert!(broken.batcher.answer(ask).await.is_err());
        assert!(oip::model_ready(&broken).is_err());
        let states = index(&registry, false, |_| true);
        let states: Vec<_> = states
            .iter()
            .map(|entry| (entry.version, entry.state()))
            .collect();
        assert_eq!(states, [(Some(1), "UNAVAILABLE"), (Some(2), "READY")]);
        assert_eq!(index(&registry, true, |_| true).len(), 1);
        // It is taken away before it is loaded again.
        let rest = registry.without(|version| version.batcher.is_broken());
        assert_eq!(rest.versions().count(), 1);
    }
}
