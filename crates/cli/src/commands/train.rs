use std::{
    path::Path,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use anyhow::{Context, bail};
use serde_json::json;
use strata_data::{Dataset, Places, Preparer, load};
use strata_package::{Identity, Store};
use strata_spec::{Preparation, Recipe};
use strata_train::{Outcome, Run, TrainError, Trained, check_available, origin_of, train};

use super::classes::{check_groups, number_as_recipe};
use crate::{
    Stopped,
    args::Train,
    input::read_file,
    output::Output,
    packaging,
    places::{folder_of, new_run_folder, store_folder},
    progress::{DownloadBar, TrainingBar, duration},
};

/// A page or two are usual.
const LARGEST_RECIPE: u64 = 1 << 20;

pub(super) fn run(args: Train, output: Output) -> anyhow::Result<()> {
    let began = Instant::now();
    // Before the training, so that nobody learns only after hours that the result cannot be packaged.
    let target = if args.no_package {
        None
    } else {
        let identity = Identity::find(args.identity.identity.as_deref())
            .context("a package is sealed and signed: make an identity by `strata identity init`, or add --no-package")?;
        let sealing = args.sealing.sealing()?;
        Some((
            Store::create_if_missing(&store_folder(args.store.store)?)?,
            identity,
            sealing,
        ))
    };

    let (mut run, data) = match (&args.resume, &args.recipe) {
        (Some(folder), _) => {
            let run = Run::open(folder)?;
            let data = load_data(run.recipe(), run.base(), output)?;
            (run, data)
        }
        (None, Some(file)) => {
            let mut recipe = read_recipe(file, &args.set)?;
            check_available(&recipe)?;
            let folder = args
                .run
                .unwrap_or_else(|| new_run_folder("runs".as_ref(), recipe.name.as_str()));
            if folder.exists() {
                return Err(TrainError::RunExists(folder).into());
            }
            let base = folder_of(file);
            // The folder is made for a training that can begin: one with data.
            let data = load_data(&recipe, base, output)?;
            name_classes(&mut recipe, &data);
            (Run::create(&folder, recipe, base)?, data)
        }
        (None, None) => bail!("expected a recipe, or --resume RUN"),
    };
    let source = data.source.clone();
    let Some(trained) = learn(&mut run, data, output)? else {
        let folder = run.folder().display().to_string();
        let value = json!({ "run": run.folder(), "finished": false });
        output.result(&value, String::new)?;
        let text = format!("stopped; go on by `strata train --resume {folder}`");
        return Err(Stopped(text).into());
    };
    let manifest = match &target {
        Some((store, identity, sealing)) => {
            let packaged = packaging::package(&run, &trained, store, identity, sealing.clone());
            Some(packaged.with_context(|| {
                let folder = run.folder().display();
                format!("{folder} is finished but not packaged; `strata models add {folder}` packages it")
            })?)
        }
        None => None,
    };

    let value = json!({
        "run": run.folder(), "finished": true, "report": run.report(), "data": source,
        "metrics": trained.test.named("test"), "heads": trained.heads, "best_epoch": trained.best_epoch,
        "train_seconds": trained.seconds, "seconds": began.elapsed().as_secs_f64(),
        "model": manifest.as_ref().map(|manifest| manifest.name.to_string()),
        "version": manifest.as_ref().map(|manifest| manifest.version),
        "store": target.as_ref().map(|(store, ..)| store.path()),
    });
    output.result(&value, || {
        let mut text = format!(
            "test accuracy {:.4} on {} rows, after {} of training on {}\nreport {}",
            trained.test.accuracy,
            trained.test.rows,
            duration(trained.seconds),
            source,
            run.report().display(),
        );
        for head in &trained.heads {
            text.push_str(&format!(
                "\nlevel {} answers `{}` with test accuracy {:.4}",
                head.level, head.task, head.test.accuracy
            ));
        }
        if let (Some(manifest), Some((store, ..))) = (&manifest, &target) {
            let at = store.path().display();
            text.push_str(&format!(
                "\npackaged {}@{} in {at}",
                manifest.name, manifest.version
            ));
        }
        text
    })
}

pub(super) fn read_recipe(file: &Path, overrides: &[String]) -> anyhow::Result<Recipe> {
    let text = String::from_utf8(read_file(file, LARGEST_RECIPE)?)
        .with_context(|| format!("{}: not text", file.display()))?;
    Ok(Recipe::parse(
        &text,
        &file.display().to_string(),
        overrides,
    )?)
}

/// The data of a recipe, downloaded if need be, its classes numbered as the recipe names them.
pub(super) fn load_data(recipe: &Recipe, base: &Path, output: Output) -> anyhow::Result<Dataset> {
    let mut bar = DownloadBar::new(output);
    let classes = recipe.data_classes();
    let Preparation::Image(image) = &recipe.preparation;
    let mut data = load(
        &recipe.data,
        &Preparer::new(image),
        base,
        classes,
        &Places::from_env(),
        &mut |progress| bar.show(progress),
    )?;
    number_as_recipe(recipe, &mut data)?;
    check_groups(recipe, &data)?;
    Ok(data)
}

/// Whether Ctrl-C was pressed, or SIGTERM came, since this was first called.
fn stop_flag() -> anyhow::Result<&'static AtomicBool> {
    static ASKED: AtomicBool = AtomicBool::new(false);
    static LISTENS: OnceLock<Result<(), ctrlc::Error>> = OnceLock::new();
    let listens = LISTENS.get_or_init(|| {
        ctrlc::set_handler(|| {
            // Asked twice: whoever asks does not want to wait for a checkpoint.
            if ASKED.swap(true, Ordering::SeqCst) {
                std::process::exit(130);
            }
        })
    });
    match listens {
        Ok(()) => Ok(&ASKED),
        Err(error) => bail!("cannot listen for Ctrl-C: {error}"),
    }
}

/// Names the classes of tasks without labels as their data does, where it does.
fn name_classes(recipe: &mut Recipe, data: &Dataset) {
    for task in &mut recipe.tasks {
        let origin = origin_of(task, &data.origins);
        let known = data
            .origins
            .get(origin)
            .map_or(&[][..], |origin| &origin.labels);
        let classification = &mut task.classification;
        let are_the_datas = classification.groups.is_empty() && classification.labels.is_empty();
        if are_the_datas && classification.classes == known.len() {
            known.clone_into(&mut classification.labels);
        }
    }
}

/// Trains with a progress bar until the end, or until Ctrl-C or SIGTERM; then there is no result, but a checkpoint.
pub(super) fn learn(
    run: &mut Run,
    data: Dataset,
    output: Output,
) -> anyhow::Result<Option<Trained>> {
    let stop = stop_flag()?;
    output.note(&format!("learning from {}", data.source));
    let mut bar = TrainingBar::new(output);
    let outcome = train(
        run,
        data,
        &|| stop.load(Ordering::SeqCst),
        &mut |progress| bar.step(progress),
    );
    bar.finish();
    Ok(match outcome? {
        Outcome::Finished(trained) => Some(*trained),
        Outcome::Stopped { .. } => None,
    })
}
