//! From a finished run to a version in a store.

use strata_nn::LevelWeights;
use strata_package::{Identity, NewLevel, NewVersion, PackageError, Sealing, Store};
use strata_spec::{Lineage, Manifest, level_shapes};
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
    let shapes = level_shapes(&recipe.input_shape(), &recipe.levels).expect("a checked recipe");
    let level = |((architecture, shapes), weights): ((&_, &_), &LevelWeights)| NewLevel {
        architecture: Clone::clone(architecture),
        shapes: Clone::clone(shapes),
        weights: weights.to_safetensors(),
    };
    let levels = recipe
        .levels
        .iter()
        .zip(&shapes)
        .zip(&trained.weights)
        .map(level)
        .collect();
    let mut metrics = trained.test.named("test");
    if let Some(validation) = &trained.validation {
        metrics.extend(validation.named("validation"));
    }
    let new = NewVersion {
        name: recipe.name.clone(),
        description: recipe.description.clone(),
        levels,
        tasks: recipe.tasks.clone(),
        preparation: recipe.preparation.clone(),
        lineage: Lineage {
            recipe: run.recipe_digest(),
            data: trained.data.clone(),
            seed: recipe.seed,
            strategy: recipe.train.strategy,
            code: format!("strata {}", env!("CARGO_PKG_VERSION")),
            parent: None,
        },
        metrics,
        precision: trained.precision,
        card: card(run, trained),
    };
    store.add(new, identity, sealing)
}

/// A page about the model for people: what it is for, how well it does, and where it comes from.
fn card(run: &Run, trained: &Trained) -> String {
    let recipe = run.recipe();
    let mut card = format!(
        "# {}\n\n{}\n\n## Figures\n\n| figure | value |\n| --- | --- |\n",
        recipe.name, recipe.description
    );
    for (name, value) in trained.test.named("test") {
        card.push_str(&format!("| {name} | {value:.4} |\n"));
    }
    card.push_str(&format!(
        "| test rows | {} |\n\n## Levels\n\n",
        trained.test.rows
    ));
    for level in &recipe.levels {
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
        card.push_str(&format!("- `{}`: {}\n", level.name, parts.join("; ")));
    }
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
