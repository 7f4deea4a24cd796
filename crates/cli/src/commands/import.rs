use anyhow::Context;
use serde_json::json;
use strata_data::file_digest;
use strata_nn::foreign::{ForeignError, GivenWeights, Mismatch, Target, read_weights};
use strata_package::{Identity, Store};

use super::train::read_recipe;
use crate::{args::Import, output::Output, packaging::package_imported, places::store_folder};

/// As many keys without use are told to people.
const TOLD: usize = 8;

pub(super) fn run(args: Import, output: Output) -> anyhow::Result<()> {
    let identity = Identity::find(args.identity.identity.as_deref())
        .context("a package is sealed and signed: make an identity by `strata identity init`")?;
    let sealing = args.sealing.sealing()?;
    let mut recipe = read_recipe(&args.recipe, &args.set)?;
    if let Some(name) = args.name {
        recipe.name = name;
    }
    let target = Target {
        input: &recipe.input_shape(),
        levels: &recipe.levels,
        network: recipe.network.as_ref(),
    };
    let seed = args.fresh_heads.then_some(recipe.seed);
    let given = read_weights(&args.weights, target, seed)?;
    if !args.ignore_extra && !given.extra.is_empty() {
        let extra = given.extra.clone();
        let mismatch = Mismatch {
            extra,
            ..Mismatch::default()
        };
        return Err(ForeignError::Mismatch {
            path: args.weights,
            mismatch: Box::new(mismatch),
        })
        .context("the file may be another network's; --ignore-extra leaves out what is extra");
    }
    tell(&given, output);
    let file = file_digest(&args.weights)
        .with_context(|| format!("cannot read {}", args.weights.display()))?;
    let store = Store::create_if_missing(&store_folder(args.store.store)?)?;
    let manifest = package_imported(&recipe, &given.levels, file, &store, &identity, sealing)?;

    let unused: Vec<&String> = given.unused.iter().map(|(key, _)| key).collect();
    let value = json!({
        "name": manifest.name, "version": manifest.version, "store": store.path(),
        "unused": unused, "fresh_heads": given.fresh_heads,
    });
    output.result(&value, || {
        let at = store.path().display();
        format!("{}@{} in {at}", manifest.name, manifest.version)
    })
}

/// What of the file, and of the network, was left out.
fn tell(given: &GivenWeights, output: Output) {
    for level in &given.fresh_heads {
        output.note(&format!("the head of level `{level}` begins afresh"));
    }
    let count = given.unused.len();
    if count > 0 {
        output.note(&format!(
            "{count} tensors of the file have no place in the network:"
        ));
    }
    for (key, shape) in given.unused.iter().take(TOLD) {
        let key: String = key.chars().take(120).collect();
        output.note(&format!("  `{}` {shape:?}", key.escape_debug()));
    }
    if count > TOLD {
        output.note(&format!("  and {} more", count - TOLD));
    }
}
