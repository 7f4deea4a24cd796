use serde_json::{Value, json};
use strata_nn::LevelWeights;
use strata_package::{OpenPackage, Selector, Store};
use strata_spec::{ManifestLevel, Name};

use super::super::opened::access;
use crate::{
    args::{AccessArgs, StoreArgs},
    output::Output,
    places::store_folder,
};

pub(super) fn run(
    old: &Selector,
    new: &Selector,
    store: StoreArgs,
    args: &AccessArgs,
    output: Output,
) -> anyhow::Result<()> {
    let access = access(args)?;
    let store = Store::open(&store_folder(store.store)?)?;
    let old = Side::of(store.open_version(old, &access)?)?;
    let new = Side::of(store.open_version(new, &access)?)?;
    let users = store.blob_users()?;

    let mut text = format!("{} and {}\n", old.title(), new.title());
    let mut values = Vec::new();
    for name in names(&old, &new) {
        let (a, b) = (old.level(&name), new.level(&name));
        let found = difference(a, b);
        text.push_str(&format!("{name}: {}\n", found.text));
        let mut sharing = Vec::new();
        for (side, level) in [(&old, a), (&new, b)] {
            let Some((level, _)) = level else { continue };
            let others = users.get(&level.blob.digest).into_iter().flatten();
            let others: Vec<String> = others
                .filter(|(name, version)| !side.is(name, *version))
                .map(|(name, version)| format!("{name}@{version}"))
                .collect();
            if !others.is_empty() {
                let others = others.join(", ");
                text.push_str(&format!("  that of {} is also in {others}\n", side.title()));
            }
            sharing.push(
                json!({ "version": side.title(), "blob": level.blob.digest, "also_in": others }),
            );
        }
        values.push(json!({
            "name": name, "difference": found.word, "relative_norm": found.moved, "contracts": found.contracts,
            "blobs": sharing,
        }));
    }
    let (a, b) = (&old.package.manifest, &new.package.manifest);
    let mut also = Vec::new();
    for (what, is_same) in [
        ("preparation", a.preparation == b.preparation),
        ("tasks", a.tasks == b.tasks),
        ("precision", a.precision == b.precision),
    ] {
        if !is_same {
            text.push_str(&format!("{what}: not the same\n"));
            also.push(what);
        }
    }
    let value =
        json!({ "old": old.title(), "new": new.title(), "levels": values, "also_different": also });
    output.result(&value, || text)
}

/// One of the two versions.
struct Side {
    package: OpenPackage,
    weights: Vec<LevelWeights>,
}

impl Side {
    fn of(package: OpenPackage) -> anyhow::Result<Self> {
        let manifest = &package.manifest;
        let input = manifest.preparation.output_shape();
        let weights = LevelWeights::of_levels(&package.weights, &input, &manifest.architecture())?;
        Ok(Self { package, weights })
    }

    fn title(&self) -> String {
        let manifest = &self.package.manifest;
        format!("{}@{}", manifest.name, manifest.version)
    }

    fn is(&self, name: &Name, version: u64) -> bool {
        let manifest = &self.package.manifest;
        (&manifest.name, manifest.version) == (name, version)
    }

    fn level(&self, name: &Name) -> Option<(&ManifestLevel, &LevelWeights)> {
        let mut levels = self.package.manifest.levels.iter().zip(&self.weights);
        levels.find(|(level, _)| level.architecture.name == *name)
    }
}

/// The names of all levels, those of the old version first.
fn names(old: &Side, new: &Side) -> Vec<Name> {
    let of = |side: &Side| -> Vec<Name> {
        let levels = side.package.manifest.levels.iter();
        levels
            .map(|level| level.architecture.name.clone())
            .collect()
    };
    let mut names = of(old);
    names.extend(of(new).into_iter().filter(|name| old.level(name).is_none()));
    names
}

/// How a level of one version differs from that of the other.
struct Difference {
    word: &'static str,
    text: String,
    /// The norm of what the weights moved by, over the norm of the old ones.
    moved: Option<f64>,
    contracts: Vec<Value>,
}

type Found<'a> = Option<(&'a ManifestLevel, &'a LevelWeights)>;

fn difference(old: Found<'_>, new: Found<'_>) -> Difference {
    let only = |word, text: &str| Difference {
        word,
        text: text.to_owned(),
        moved: None,
        contracts: Vec::new(),
    };
    let ((old, old_weights), (new, new_weights)) = match (old, new) {
        (Some(old), Some(new)) => (old, new),
        (Some(_), None) => return only("removed", "only in the old version"),
        _ => return only("added", "only in the new version"),
    };
    let is_alike = old.architecture == new.architecture
        && (&old.input, &old.output) == (&new.input, &new.output);
    if is_alike && old.blob.plain == new.blob.plain {
        return only("same", "the same");
    }
    if is_alike {
        let moved = moved(old_weights, new_weights);
        return Difference {
            word: "changed",
            text: format!("other weights, moved by {moved:.4} of their norm"),
            moved: Some(moved),
            contracts: Vec::new(),
        };
    }
    let mut text = "another architecture".to_owned();
    let mut contracts = Vec::new();
    for (what, old, new) in [
        ("input", Some(&old.input), Some(&new.input)),
        ("output", Some(&old.output), Some(&new.output)),
        ("head", old.head_output.as_ref(), new.head_output.as_ref()),
    ] {
        if old != new {
            let word = |side: Option<&strata_spec::Contract>| {
                side.map_or("none".to_owned(), ToString::to_string)
            };
            text.push_str(&format!("; {what} {}, was {}", word(new), word(old)));
            contracts.push(json!({ "what": what, "old": old, "new": new }));
        }
    }
    Difference {
        word: "architecture",
        text,
        moved: None,
        contracts,
    }
}

/// The norm of the difference of all weights that are learned, over that of the old ones; of the same architecture.
fn moved(old: &LevelWeights, new: &LevelWeights) -> f64 {
    let (mut difference, mut norm) = (0.0, 0.0);
    for ((name, old), (_, new)) in old.iter().zip(new.iter()) {
        // Statistics of rows are of other sizes than weights, and are no weights.
        if name.ends_with(".running_mean") || name.ends_with(".running_var") {
            continue;
        }
        for (old, new) in old.values.iter().zip(&new.values) {
            let (old, new) = (f64::from(*old), f64::from(*new));
            difference += (new - old) * (new - old);
            norm += old * old;
        }
    }
    if norm == 0.0 {
        return if difference == 0.0 { 0.0 } else { f64::MAX };
    }
    (difference / norm).sqrt()
}
