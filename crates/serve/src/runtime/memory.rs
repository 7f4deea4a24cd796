//! Which models are in memory, where not all of them fit.

use std::{collections::BTreeMap, sync::Arc};

use strata_spec::Name;

use super::{Registry, Version};

/// What is known of a model in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct InMemory {
    bytes: usize,
    /// When it was last looked up, by the count of look-ups.
    used: u64,
    /// Whether a request holds one of its versions.
    is_busy: bool,
}

/// The models to be put to sleep, so that `more` bytes fit into `budget` with what stays: those that were not asked for the
/// longest time, none that is busy, and not `except`.
pub(super) fn to_sleep(
    registry: &Registry,
    budget: usize,
    more: usize,
    except: Option<&Name>,
) -> Vec<Name> {
    let mut models: BTreeMap<&Name, InMemory> = BTreeMap::new();
    for version in registry.versions() {
        let model = models.entry(&version.name).or_default();
        model.bytes += version.memory;
        model.used = model.used.max(version.last_used());
        model.is_busy |= is_busy(version);
    }
    let mut taken = models.values().map(|model| model.bytes).sum::<usize>();
    taken = taken.saturating_add(more);
    let mut idle: Vec<_> = models
        .into_iter()
        .filter(|(name, model)| !model.is_busy && Some(*name) != except)
        .collect();
    idle.sort_by_key(|(_, model)| model.used);
    let mut chosen = Vec::new();
    for (name, model) in idle {
        if taken <= budget {
            break;
        }
        taken -= model.bytes;
        chosen.push((name.clone(), model.bytes));
    }
    // A small one before a large one may not have been needed.
    while let Some(index) = chosen
        .iter()
        .rposition(|(_, bytes)| taken.saturating_add(*bytes) <= budget)
    {
        taken += chosen.remove(index).1;
    }
    chosen.into_iter().map(|(name, _)| name).collect()
}

/// Whether somebody besides the registry holds it.
fn is_busy(version: &Arc<Version>) -> bool {
    Arc::strong_count(version) > 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn what_was_asked_longest_ago_goes_and_what_is_busy_stays() {
        let names = ["a", "b", "c"].map(|name| name.parse::<Name>().unwrap());
        let mut registry = Registry::default();
        for name in &names {
            let mut version = testing::version(1);
            version.name = name.clone();
            registry.add(Arc::new(version));
        }
        let find = |name: &str| registry.model(name).unwrap().version(None).unwrap();
        let one = find("a").memory;
        let check = |budget: usize, more: usize, except: Option<&Name>, expected: &[Name]| {
            assert_eq!(to_sleep(&registry, budget, more, except), expected);
        };
        check(3 * one, 0, None, &[]);
        check(2 * one, 0, None, &names[..1]);
        check(3 * one, one + 1, None, &names[..2]);
        check(2 * one, 0, Some(&names[0]), &names[1..2]);
        check(0, usize::MAX, None, &names);
        let busy = find("b").clone();
        check(0, 0, None, &[names[0].clone(), names[2].clone()]);
        drop(busy);
        find("a").touch();
        check(2 * one, 0, None, &names[1..2]);
    }
}
