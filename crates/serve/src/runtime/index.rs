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
        unavailable: version
            .batcher
            .is_broken()
            .then_some("failed while it computed; load it again"),
    });
    let failed = registry.failed().map(|(name, version)| Entry {
        name: name.to_string(),
        version: Some(version),
        unavailable: Some("cannot be used; see the server's log"),
    });
    let unloaded = registry.unloaded().map(|name| Entry {
        name: name.to_string(),
        version: None,
        unavailable: Some("unloaded"),
    });
    let asleep = registry.asleep().keys().map(|name| Entry {
        name: name.to_string(),
        version: None,
        unavailable: Some("not in memory; loaded when it is asked"),
    });
    let all = served.chain(failed).chain(unloaded).chain(asleep);
    let mut all: Vec<Entry> = all
        .filter(|entry| may_see(&entry.name) && !(only_ready && entry.unavailable.is_some()))
        .collect();
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
            rows: testing::rows(1, 1).repeat(2)[1..].to_vec(),
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
