use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::{Mismatch, file::Entry};
use crate::weights::Role;

/// Under which checkpoints of trainings keep the weights.
const NESTS: [&str; 6] = [
    "",
    "state_dict.",
    "model_state_dict.",
    "model.",
    "net.",
    "network.",
];
/// What PyTorch's wrappers (`DataParallel`, `torch.compile`, both) put before each key.
const WRAPPERS: [&str; 4] = ["", "module.", "_orig_mod.", "_orig_mod.module."];

/// A tensor that a network needs.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) level: usize,
    /// Its name in its level.
    pub(super) name: String,
    /// Its key in a file of the program that the network's name comes from.
    pub(super) published: Option<String>,
    /// Its key in a file of ours.
    pub(super) own: String,
    pub(super) shape: Vec<usize>,
    pub(super) role: Role,
    /// Whether it belongs to the level's head.
    pub(super) in_head: bool,
}

/// What a file has of what is wanted.
#[derive(Debug)]
pub(super) struct Choice<'a> {
    /// What stands before each key that the network has in mind.
    pub(super) prefix: String,
    pub(super) found: Vec<Found<'a>>,
    pub(super) mismatch: Mismatch,
    /// Levels whose heads are not there.
    pub(super) fresh_heads: BTreeSet<usize>,
}

#[derive(Debug)]
pub(super) struct Found<'a> {
    pub(super) wanted: &'a Wanted,
    pub(super) key: String,
}

/// Compares by the names and the prefix that fit best. With `fresh_heads`, a head that does not fit is left out.
pub(super) fn choose<'a>(
    entries: &BTreeMap<String, Entry>,
    wanted: &'a [Wanted],
    fresh_heads: bool,
) -> Choice<'a> {
    let names: [fn(&Wanted) -> &str; 2] = [
        |wanted| wanted.published.as_deref().unwrap_or(&wanted.own),
        |wanted| &wanted.own,
    ];
    let mut best = (0, "", String::new(), names[0]);
    for name in names {
        for nest in NESTS {
            for wrapper in WRAPPERS {
                let prefix = format!("{nest}{wrapper}");
                let is_there =
                    |wanted: &&Wanted| entries.contains_key(&format!("{prefix}{}", name(wanted)));
                let count = wanted.iter().filter(is_there).count();
                if count > best.0 {
                    best = (count, nest, prefix, name);
                }
            }
        }
    }
    let (_, nest, prefix, name) = best;

    let keys: Vec<String> = wanted
        .iter()
        .map(|wanted| format!("{prefix}{}", name(wanted)))
        .collect();
    let fits = |wanted: &Wanted, key: &String| {
        let entry = entries.get(key);
        entry.is_some_and(|entry| entry.shape == wanted.shape && entry.format.is_ok())
    };
    let heads = wanted
        .iter()
        .zip(&keys)
        .filter(|(wanted, _)| fresh_heads && wanted.in_head);
    let fresh_heads = heads
        .filter(|(wanted, key)| !fits(wanted, key))
        .map(|(wanted, _)| wanted.level)
        .collect::<BTreeSet<usize>>();

    let mut mismatch = Mismatch::default();
    let mut found = Vec::new();
    let mut used = HashSet::new();
    for (wanted, key) in wanted.iter().zip(&keys) {
        if wanted.in_head && fresh_heads.contains(&wanted.level) {
            continue;
        }
        used.insert(key);
        let key = key.clone();
        let Some(entry) = entries.get(&key) else {
            mismatch.missing.push((key, wanted.shape.clone()));
            continue;
        };
        if entry.shape != wanted.shape {
            let (expected, found) = (wanted.shape.clone(), entry.shape.clone());
            mismatch.shapes.push((key, expected, found));
        } else if let Err(word) = &entry.format {
            mismatch.types.push((key, word.clone()));
        } else {
            found.push(Found { wanted, key });
        }
    }
    // Beside the weights a checkpoint keeps what its optimizer remembers, which is not ours to tell of.
    let extra = entries.iter().filter(|(key, _)| {
        key.starts_with(nest) && !used.contains(key) && !key.ends_with("num_batches_tracked")
    });
    mismatch.extra = extra
        .map(|(key, entry)| (key.clone(), entry.shape.clone()))
        .collect();
    Choice {
        prefix,
        found,
        mismatch,
        fresh_heads,
    }
}
