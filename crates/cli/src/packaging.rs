//! From a finished run, or weights of another program, to a version in a store.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};
use strata_nn::LevelWeights;
use strata_package::{Identity, NewLevel, NewVersion, PackageError, Sealing, Store};
use strata_spec::{
    DataDigest, Digest, GateHead, Level, LevelChange, LevelOrigin, Lineage, Manifest, Precision,
    Recipe, level_shapes,
};
use strata_train::{Run, Trained};

/// Packages what a run learned, sealed as asked and signed.
pub(crate) fn package(
    run: &Run,
    trained: &Trained,
    store: &Store,
    identity: &Identity,
    sealing: Sealing,
) -> Result<Manifest, PackageError> {
    let recipe = run.recipe();
    let mut metrics = trained.test.named("test");
    if let Some(validation) = &trained.validation {
        metrics.extend(validation.named("validation"));
    }
    for head in &trained.heads {
        metrics.extend(head.test.named(&format!("{}.test", head.level)));
    }
    let origin = Origin {
        data: trained.data.clone(),
        weights: trained.given.clone(),
        metrics,
        precision: trained.precision,
        card: card(run, trained),
    };
    let new = new_version(recipe, &trained.weights, origin);
    store.add(new, identity, sealing)
}

/// Packages weights that were read from a file for the network of a recipe.
pub(crate) fn package_imported(
    recipe: &Recipe,
    weights: &[LevelWeights],
    file: DataDigest,
    store: &Store,
    identity: &Identity,
    sealing: Sealing,
) -> Result<Manifest, PackageError> {
    let mut card = title(recipe.name.as_str(), &recipe.description);
    card.push_str(&level_lines(&recipe.levels));
    card.push_str(&format!(
        "\n## Origin\n\nImported from {} `{}`.\n",
        file.name, file.digest
    ));
    let origin = Origin {
        data: Vec::new(),
        weights: Some(file),
        metrics: BTreeMap::new(),
        // What other programs publish learned in 32 bits, unless the recipe says otherwise.
        precision: match recipe.train.precision {
            Precision::Auto => Precision::F32,
            named => named,
        },
        card,
    };
    store.add(new_version(recipe, weights, origin), identity, sealing)
}

/// Where a version's weights come from, and what is known about them.
struct Origin {
    data: Vec<DataDigest>,
    weights: Option<DataDigest>,
    metrics: BTreeMap<String, f64>,
    precision: Precision,
    card: String,
}

fn new_version(recipe: &Recipe, weights: &[LevelWeights], origin: Origin) -> NewVersion {
    let shapes = level_shapes(&recipe.input_shape(), &recipe.levels).expect("a checked recipe");
    let level = |((architecture, shapes), weights): ((&_, &_), &LevelWeights)| NewLevel {
        architecture: Clone::clone(architecture),
        shapes: Clone::clone(shapes),
        weights: weights.to_safetensors(),
    };
    let levels = recipe.levels.iter().zip(&shapes).zip(weights).map(level);
    NewVersion {
        name: recipe.name.clone(),
        description: recipe.description.clone(),
        levels: levels.collect(),
        network: recipe.network.clone(),
        tasks: recipe.tasks.clone(),
        preparation: recipe.preparation.clone(),
        lineage: Lineage {
            recipe: Digest::from_bytes(Sha256::digest(recipe.to_toml()).into()),
            data: origin.data,
            validation: recipe.data.validation.clone(),
            level_data: Vec::new(),
            seed: recipe.seed,
            strategy: recipe.train.strategy,
            code: code(),
            weights: origin.weights,
            parent: None,
            change: None,
        },
        metrics: origin.metrics,
        precision: origin.precision,
        card: origin.card,
    }
}

/// The program that makes packages, as they name it.
pub(crate) fn code() -> String {
    format!("strata {}", env!("CARGO_PKG_VERSION"))
}

/// A page about the model for people: what it is for, how well it does, and where it comes from.
fn card(run: &Run, trained: &Trained) -> String {
    let recipe = run.recipe();
    let mut card = title(recipe.name.as_str(), &recipe.description);
    card.push_str(&figures(&trained.test.named("test")));
    card.push_str(&format!("| test rows | {} |\n", trained.test.rows));
    card.push_str(&level_lines(&recipe.levels));
    card.push_str(&format!(
        "\n## Origin\n\nLearned {} with seed {} in {:.1} s ({}), weights of epoch {}. Data:\n\n",
        recipe.train.strategy.word(),
        recipe.seed,
        trained.seconds,
        trained.precision.word(),
        trained.best_epoch
    ));
    for data in &trained.data {
        card.push_str(&format!("- {} `{}`\n", data.name, data.digest));
    }
    card
}

/// The page of a version that differs from its parent in one level.
pub(crate) fn changed_card(
    parent: &Manifest,
    levels: &[Level],
    change: &LevelChange,
    metrics: &BTreeMap<String, f64>,
) -> String {
    let mut card = title(parent.name.as_str(), &parent.description);
    card.push_str(&figures(metrics));
    card.push_str(&level_lines(levels));
    card.push_str(&format!(
        "\n## Origin\n\nVersion {} of {}, but level `{}` {}.",
        parent.version,
        parent.name,
        change.level,
        origin_text(&change.origin)
    ));
    let gate = &change.gate;
    match &gate.data {
        Some(data) => card.push_str(&format!(
            " Measured on {} held rows of {data}.\n",
            gate.rows
        )),
        None => card.push_str(" What that changes was not measured.\n"),
    }
    if gate.forced {
        card.push_str("\n**The gate refused this version, and it was made by force.**\n");
    }
    for head in gate.unmeasured() {
        card.push_str(&format!(
            "\nNot measured: {head}, of which no held row has a class.\n"
        ));
    }
    if !gate.checks.is_empty() {
        card.push_str("\n| figure | of | measured | allowed |\n| --- | --- | --- | --- |\n");
    }
    for check in &gate.checks {
        let (figure, measured, allowed) = (check.figure.word(), check.measured, check.allowed);
        let head = gate.head_of(check);
        let of = head.map_or(format!("level `{}`", change.level), GateHead::to_string);
        card.push_str(&format!(
            "| {figure} | {of} | {measured:.4} | {allowed} |\n"
        ));
    }
    card
}

/// Where a level comes from, after its name.
pub(crate) fn origin_text(origin: &LevelOrigin) -> String {
    match origin {
        LevelOrigin::Replaced(from) => {
            format!("is `{}` of {}@{}", from.level, from.model, from.version)
        }
        LevelOrigin::RolledBack(from) => format!("is as in {}@{} again", from.model, from.version),
        LevelOrigin::Retrained(how) => {
            let data: Vec<&str> = how.data.iter().map(|data| data.name.as_str()).collect();
            format!("learned anew from {}", data.join(", "))
        }
    }
}

fn title(name: &str, description: &str) -> String {
    format!("# {name}\n\n{description}\n\n")
}

fn figures(metrics: &BTreeMap<String, f64>) -> String {
    let mut lines = "## Figures\n\n| figure | value |\n| --- | --- |\n".to_owned();
    for (name, value) in metrics {
        lines.push_str(&format!("| {name} | {value:.4} |\n"));
    }
    lines
}

fn level_lines(levels: &[Level]) -> String {
    let mut lines = "\n## Levels\n\n".to_owned();
    for level in levels {
        let words = |layers: &[strata_spec::Layer]| {
            layers
                .iter()
                .map(strata_spec::Layer::word)
                .collect::<Vec<_>>()
                .join(", ")
        };
        let body = (!level.layers.is_empty()).then(|| words(&level.layers));
        let head = level
            .head
            .as_ref()
            .map(|head| format!("head for `{}`: {}", head.task, words(&head.layers)));
        let parts: Vec<String> = body.into_iter().chain(head).collect();
        lines.push_str(&format!("- `{}`: {}\n", level.name, parts.join("; ")));
    }
    lines
}
