use std::path::Path;

use anyhow::{anyhow, bail};
use serde_json::json;
use strata_data::{Dataset, Images, Places, inspect, load, load_offline};
use strata_spec::{DataSpec, Manifest};
use strata_train::evaluate;

use super::opened::Opened;
use crate::{
    args::{Data as Command, Eval},
    output::Output,
    progress::DownloadBar,
};

/// Labels are not known to belong to a task here; no format has more classes.
const ANY_CLASSES: usize = 100_000;

pub(super) fn run(command: Command, output: Output) -> anyhow::Result<()> {
    match command {
        Command::Fetch { source } => {
            if source.contains('/') || source == "digits" {
                bail!("`{source}` is not downloaded: expected `mnist` or `fashion-mnist`");
            }
            let data = load_source(&source, ANY_CLASSES, output)?;
            output.result(
                &json!({ "source": data.source, "files": data.digests }),
                || data.source.clone(),
            )
        }
        Command::Inspect { source } => {
            let classes = if source == "digits" { 10 } else { ANY_CLASSES };
            let data = load_source(&source, classes, output)?;
            let part = |images: &Images| {
                let summary = inspect(images);
                let text = format!(
                    "{} rows of {:?}, rows a class {:?}, mean {:.4?}, std {:.4?}",
                    summary.rows, summary.shape, summary.class_counts, summary.mean, summary.std
                );
                let value = json!({
                    "rows": summary.rows, "shape": summary.shape, "class_counts": summary.class_counts,
                    "mean": summary.mean, "std": summary.std,
                });
                (text, value)
            };
            let (train, test) = (part(&data.train), part(&data.test));
            let value = json!({ "source": data.source, "files": data.digests, "train": train.1, "test": test.1 });
            output.result(&value, || {
                format!("{}\ntrain  {}\ntest   {}", data.source, train.0, test.0)
            })
        }
    }
}

pub(super) fn eval(args: Eval, output: Output) -> anyhow::Result<()> {
    let opened = Opened::open(args.model)?;
    let manifest = &opened.manifest;
    let classes = manifest.final_task().classification.classes;
    let data = match &args.data {
        Some(source) => load_source(source, classes, output)?,
        None => data_of(manifest, classes)?,
    };
    let fitted = opened.preparer.fit(data.test)?;
    let metrics = evaluate(&opened.plan, &opened.preparer, &fitted);
    let value = json!({
        "model": manifest.name, "version": manifest.version, "digest": opened.digest, "data": data.source,
        "metrics": metrics.named("test"), "confusion": metrics.confusion,
    });
    output.result(&value, || {
        let mut text = format!(
            "{}@{} on {}, {} test rows\n",
            manifest.name, manifest.version, data.source, metrics.rows
        );
        for (name, value) in metrics.named("test") {
            text.push_str(&format!("{name} {value:.4}\n"));
        }
        text
    })
}

fn spec(source: &str) -> DataSpec {
    DataSpec {
        source: source.to_owned(),
        validation: None,
    }
}

fn load_source(source: &str, classes: usize, output: Output) -> anyhow::Result<Dataset> {
    let mut bar = DownloadBar::new(output);
    Ok(load(
        &spec(source),
        Path::new("."),
        classes,
        &Places::from_env(),
        &mut |progress| bar.show(progress),
    )?)
}

/// The set that the model learned from, known by the digests of its files, if it is on this machine.
fn data_of(manifest: &Manifest, classes: usize) -> anyhow::Result<Dataset> {
    for source in ["mnist", "fashion-mnist", "digits"] {
        let found = load_offline(&spec(source), Path::new("."), classes, &Places::from_env());
        if let Ok(Some(data)) = found
            && data.digests == manifest.lineage.data
        {
            return Ok(data);
        }
    }
    Err(anyhow!(
        "what {} learned from is not on this machine: name the data by --data SOURCE",
        manifest.name
    ))
}
