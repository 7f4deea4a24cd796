//! Which classes of data are which of a task: by their names, where both have some.

use anyhow::{bail, ensure};
use strata_data::Dataset;
use strata_spec::{Classification, Manifest, Recipe};
use strata_train::origin_of;

use crate::output::Output;

/// As many names are told.
const TOLD: usize = 12;

/// Gives classes of data the numbers that they have in a package's tasks.
///
/// Where no name is known, the recipe gave names of its own, and the order counts. In the very files that the model
/// learned from it always does, unless all names are known.
pub(super) fn number_as_in(
    manifest: &Manifest,
    data: &mut Dataset,
    output: Output,
) -> anyhow::Result<()> {
    let learned = &manifest.lineage.data;
    let is_learned = !data.digests.is_empty()
        && data
            .digests
            .iter()
            .all(|file| learned.iter().any(|own| own.digest == file.digest));
    for origin in 0..data.origins.len() {
        let found = data.origins[origin].clone();
        // A class of groups is several of the data, which have no names in the package.
        let mut tasks = manifest.tasks.iter().filter(|task| {
            task.classification.groups.is_empty() && manifest.has_labels_of(task, &found.name)
        });
        let Some(task) = tasks.next() else {
            continue;
        };
        let expected = names(&task.classification);
        let Err(unknown) = data.number_classes(origin, &expected) else {
            continue;
        };
        if is_learned {
            continue;
        }
        let lists = || {
            format!(
                "task `{}` of {}@{} has {} ({}), the data has {} ({})",
                task.name,
                manifest.name,
                manifest.version,
                expected.len(),
                listed(&expected),
                found.labels.len(),
                listed(&found.labels)
            )
        };
        if unknown.len() < found.labels.len() {
            bail!("unknown classes: {}: {}", listed(&unknown), lists());
        }
        ensure!(
            expected.len() == found.labels.len(),
            "which classes are which cannot be told, by their names or by their number: {}",
            lists()
        );
        output.note(&format!(
            "no class of the data has a name that the model knows, so they are taken in their order: {}",
            lists()
        ));
    }
    Ok(())
}

/// The same for the tasks of a recipe, where all names are known; else the order counts, if no known name contradicts it.
pub(super) fn number_as_recipe(recipe: &Recipe, data: &mut Dataset) -> anyhow::Result<()> {
    let mut done = Vec::new();
    for task in &recipe.tasks {
        let origin = origin_of(task, &data.origins);
        let named = &task.classification;
        if named.groups.is_empty() && !named.labels.is_empty() && !done.contains(&origin) {
            done.push(origin);
            let Err(unknown) = data.number_classes(origin, &named.labels) else {
                continue;
            };
            // What is unknown has another name in the recipe.
            let found = &data.origins[origin].labels;
            let mut pairs = found.iter().enumerate();
            ensure!(
                pairs.all(|(place, name)| {
                    let known = named.labels.iter().position(|label| label == name);
                    known.is_none_or(|known| known == place)
                }),
                "task `{}`: unknown classes: {}: its labels are {}, the data has {}",
                task.name,
                listed(&unknown),
                listed(&named.labels),
                listed(found)
            );
        }
    }
    Ok(())
}

/// Refuses a task whose classes are made of some that the data does not have.
pub(super) fn check_groups(recipe: &Recipe, data: &Dataset) -> anyhow::Result<()> {
    for task in &recipe.tasks {
        let Some(highest) = task.classification.groups.iter().flatten().max() else {
            continue;
        };
        let origin = origin_of(task, &data.origins);
        let rows = [&data.train, &data.test].into_iter().flat_map(|images| {
            let is_its_own = move |row: &usize| images.origin(*row) == origin;
            let labels = (0..images.len()).filter(is_its_own);
            labels.map(|row| images.labels[row] as usize + 1)
        });
        let named = data.origins.get(origin).map_or(0, |of| of.labels.len());
        let classes = rows.max().unwrap_or(0).max(named);
        ensure!(
            (*highest as usize) < classes,
            "task `{}`, groups: the data has {classes} classes, counted from 0, found {highest}",
            task.name
        );
    }
    Ok(())
}

fn names(classification: &Classification) -> Vec<String> {
    let classes = 0..classification.classes;
    classes.map(|class| classification.label(class)).collect()
}

fn listed(names: &[String]) -> String {
    let mut text = names[..names.len().min(TOLD)].join(", ");
    if names.len() > TOLD {
        text.push_str(&format!(" and {} more", names.len() - TOLD));
    }
    text
}
