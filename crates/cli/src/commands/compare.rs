use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use serde_json::json;
use strata_spec::{Objective, Recipe, Strategy};
use strata_train::{
    Cell, Run, Summary, TrainError, check_available, comparison_page, mebibytes, points, summaries,
};

use super::models::usage;
use super::train::{learn, load_data, read_recipe};
use crate::{
    Stopped,
    args::Compare,
    files,
    output::Output,
    places::{folder_of, new_run_folder},
};

/// The page of a comparison, in its folder.
const PAGE: &str = "comparison.html";

pub(super) fn run(args: Compare, output: Output) -> anyhow::Result<()> {
    let base = folder_of(&args.recipe);
    let mut ways = Vec::new();
    for way in &args.strategies {
        let overrides = way_of(way)?;
        if ways.contains(&overrides) {
            return Err(usage(format!("--strategies: `{way}` is given twice")));
        }
        ways.push(overrides);
    }
    // Every recipe is checked before the first training.
    let mut recipes = Vec::new();
    for seed in 0..u64::from(args.seeds) {
        for (way, overrides) in args.strategies.iter().zip(&ways) {
            let mut settings = args.set.clone();
            settings.extend(overrides.iter().cloned());
            let mut recipe = read_recipe(&args.recipe, &settings)?;
            recipe.seed = (recipe.seed + seed).min(i64::MAX as u64);
            only_heads_that_learn(&mut recipe);
            check_available(&recipe).with_context(|| format!("strategy `{way}`"))?;
            let name = format!("{}-{}", way.replace(':', "-"), recipe.seed);
            recipes.push((name, recipe));
        }
    }
    let (_, first) = &recipes[0];
    let folder = args
        .folder
        .unwrap_or_else(|| new_run_folder("comparisons".as_ref(), first.name.as_str()));
    let data = load_data(first, base, output)?;
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;

    let mut cells = Vec::new();
    for (index, (name, recipe)) in recipes.iter().enumerate() {
        output.note(&format!("{} of {}: {name}", index + 1, recipes.len()));
        let (mut run, trained) = open(&folder.join(name), recipe, base)?;
        let trained = match trained {
            Some(trained) => trained,
            None => match learn(&mut run, data.clone(), output)? {
                Some(trained) => trained,
                None => {
                    let folder = folder.display();
                    let text = format!("stopped; the same command with --folder {folder} goes on");
                    return Err(Stopped(text).into());
                }
            },
        };
        cells.push(Cell::of(&run, &trained)?);
    }
    let page = folder.join(PAGE);
    files::write(&page, comparison_page(first, &cells).as_bytes())
        .with_context(|| format!("cannot write {}", page.display()))?;
    let summaries = summaries(&cells);
    let value =
        json!({ "folder": folder, "page": page, "strategies": summaries, "trainings": cells });
    output.result(&value, || {
        format!("{}\npage {}", table(&summaries), page.display())
    })
}

/// The overrides that make a recipe learn as `STRATEGY` or `STRATEGY:OBJECTIVE` says.
fn way_of(way: &str) -> anyhow::Result<Vec<String>> {
    let (strategy, objective) = way.split_once(':').unwrap_or((way, "cross-entropy"));
    let known: Vec<&str> = Strategy::ALL
        .iter()
        .map(|strategy| strategy.word())
        .collect();
    if !known.contains(&strategy) {
        bail!(
            "--strategies: expected {}, found `{strategy}`",
            known.join(", ")
        );
    }
    let objectives = Objective::ALL.map(Objective::word);
    if !objectives.contains(&objective) {
        bail!(
            "--strategies {way}: expected an objective of {}, found `{objective}`",
            objectives.join(", ")
        );
    }
    Ok(vec![
        format!("train.strategy={strategy}"),
        format!("train.objective={objective}"),
    ])
}

/// Heads below the top are left out where the strategy would not learn them.
fn only_heads_that_learn(recipe: &mut Recipe) {
    if !recipe.train.strategy.has_objectives_below_top() {
        let top = recipe.levels.len() - 1;
        recipe.levels[..top]
            .iter_mut()
            .for_each(|level| level.head = None);
        recipe.heads.clear();
        recipe.network = None;
    }
}

/// The run of one training: a new one, or one that an earlier call began, with what it learned if it is finished.
fn open(
    folder: &Path,
    recipe: &Recipe,
    base: &Path,
) -> anyhow::Result<(Run, Option<strata_train::Trained>)> {
    if !folder.exists() {
        return Ok((Run::create(folder, recipe.clone(), base)?, None));
    }
    let run = Run::open(folder)?;
    if run.recipe() != recipe {
        return Err(TrainError::RunExists(PathBuf::from(folder)))
            .context("it is a training of another recipe");
    }
    let trained = run.result()?;
    Ok((run, trained))
}

fn table(summaries: &[Summary]) -> String {
    let width = summaries
        .iter()
        .map(|summary| summary.name.len())
        .max()
        .unwrap_or(0)
        .max(8);
    let mut text = format!(
        "{:width$}  {:>5}  {:>15}  {:>10}  {:>24}  {:>8}  {:>10}",
        "strategy",
        "seeds",
        "test accuracy",
        "validation",
        "difference to the first",
        "seconds",
        "memory"
    );
    for summary in summaries {
        let difference = summary.difference.map_or("–".to_owned(), |value| {
            let which = if value < 0.0 { " worse" } else { "" };
            format!("{}{which}", points(value, summary.difference_deviation))
        });
        let held = summary
            .validation
            .map_or("–".to_owned(), |value| points(value, None));
        text.push_str(&format!(
            "\n{:width$}  {:>5}  {:>15}  {held:>10}  {difference:>24}  {:>8.1}  {:>10}",
            summary.name,
            summary.seeds,
            points(summary.accuracy, summary.deviation),
            summary.seconds,
            mebibytes(summary.bytes),
        ));
    }
    text
}
