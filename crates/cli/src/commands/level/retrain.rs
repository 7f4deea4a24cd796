use std::path::Path;

use anyhow::{bail, ensure};
use serde_json::json;
use strata_data::Preparer;
use strata_spec::{Augmentation, LevelOrigin, Manifest, Preparation, Recipe, Retrained, Train};
use strata_train::{Retraining, recipe_digest, retrain};

use super::{
    super::{
        classes::number_as_in,
        data::load_sources,
        train::{load_data, read_recipe},
    },
    base::Base,
    change::NewLevel,
};
use crate::places::folder_of;

/// The level as it is after learning from the recipe's data, or from `--data`.
pub(super) fn learned(
    base: &Base,
    recipe: Option<&Path>,
    set: &[String],
) -> anyhow::Result<NewLevel> {
    let manifest = &base.package.manifest;
    let levels = manifest.architecture();
    let recipe = recipe
        .map(|file| Ok::<_, anyhow::Error>((checked_recipe(file, set, manifest)?, folder_of(file))))
        .transpose()?;
    let Preparation::Image(image) = &manifest.preparation;
    let data = match (&base.gate.data[..], &recipe) {
        ([], Some((recipe, folder))) => {
            let mut data = load_data(recipe, folder, base.output)?;
            number_as_in(manifest, &mut data, base.output)?;
            data
        }
        ([], None) => bail!("expected a recipe or --data SOURCE"),
        (sources, _) => load_sources(manifest, sources, &Preparer::new(image), base.output)?,
    };
    let origin = Retrained {
        recipe: recipe.as_ref().map(|(recipe, _)| recipe_digest(recipe)),
        data: data.digests.clone(),
        seed: recipe.as_ref().map_or(0, |(recipe, _)| recipe.seed),
    };
    // It takes all training rows, also those that the package's training kept aside.
    let mut lineage = manifest.lineage.clone();
    lineage.add_level_data(&data.digests, None);
    let usual: Train = serde_json::from_value(json!({ "epochs": USUAL_EPOCHS }))?;
    let weights = base.weights(&levels, None)?;
    let augmentation = recipe.as_ref().map(|(recipe, _)| &recipe.data.augmentation);
    let augmentation = augmentation.map_or(&[][..], |augmentation| augmentation);
    ensure!(
        !augmentation.iter().any(Augmentation::mixes_rows),
        "data.augmentation: mixup and cutmix are for `strata train`; leave them out by --set"
    );
    let job = Retraining {
        manifest,
        weights: &weights,
        level: base.index,
        train: recipe.as_ref().map_or(&usual, |(recipe, _)| &recipe.train),
        augmentation,
        seed: origin.seed,
    };
    let output = base.output;
    let learned = retrain(&job, data, &mut |epoch, loss| {
        output.note(&format!("epoch {epoch:>3}  loss {loss:.4}"));
    })?;
    Ok(NewLevel {
        architecture: levels[base.index].clone(),
        weights: learned.to_safetensors().into(),
        origin: LevelOrigin::Retrained(origin),
        lineage,
        is_at_home: false,
    })
}

/// Passes over the rows where no recipe says how many.
const USUAL_EPOCHS: usize = 5;

/// A recipe for the very network of the package.
fn checked_recipe(file: &Path, set: &[String], manifest: &Manifest) -> anyhow::Result<Recipe> {
    let recipe = read_recipe(file, set)?;
    let title = format!("{}@{}", manifest.name, manifest.version);
    let names = |levels: &[strata_spec::Level]| {
        let names: Vec<&str> = levels.iter().map(|level| level.name.as_str()).collect();
        names.join(", ")
    };
    let architecture = manifest.architecture();
    ensure!(
        names(&recipe.levels) == names(&architecture),
        "{}: expected the levels of {title} ({}), found {}",
        file.display(),
        names(&architecture),
        names(&recipe.levels)
    );
    for (own, found) in architecture.iter().zip(&recipe.levels) {
        ensure!(
            own == found,
            "{}: level `{}` is not that of {title}: expected the same layers and head",
            file.display(),
            own.name
        );
    }
    ensure!(
        (&recipe.tasks, &recipe.preparation) == (&manifest.tasks, &manifest.preparation),
        "{}: expected the tasks and the preparation of {title}, found others",
        file.display()
    );
    Ok(recipe)
}
