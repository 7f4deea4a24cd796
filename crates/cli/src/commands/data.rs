use std::path::Path;

use anyhow::{anyhow, bail};
use serde_json::{Value, json};
use strata_data::{Dataset, Places, Preparer, catalogue, fetch, load, load_offline};
use strata_spec::{DataSpec, Manifest};
use strata_train::{ExitResult, Metrics, exit_results, follow, rows_of_task};

use super::{inspect, opened::Opened};
use crate::{
    args::{Data as Command, Eval},
    output::Output,
    progress::DownloadBar,
};

pub(super) fn run(command: Command, output: Output) -> anyhow::Result<()> {
    match command {
        Command::Fetch { source } => {
            if source.contains('/') || source == "digits" {
                let known: Vec<String> = catalogue().map(|name| format!("`{name}`")).collect();
                bail!(
                    "`{source}` is not downloaded: expected one of {}",
                    known.join(", ")
                );
            }
            let mut bar = DownloadBar::new(output);
            let places = Places::from_env();
            let data = fetch(&source, &places, &mut |progress| bar.show(progress))?;
            output.result(
                &json!({ "source": data.source, "files": data.digests }),
                || data.source.clone(),
            )
        }
        Command::Inspect { source } => inspect::run(&source, output),
    }
}

pub(super) fn eval(args: Eval, output: Output) -> anyhow::Result<()> {
    let opened = Opened::open(args.model)?;
    let way = opened.way(&args.leave)?;
    let manifest = &opened.manifest;
    let data = data_for(manifest, &opened.preparer, args.data.as_deref(), output)?;
    let fitted = opened.preparer.fit(data.test)?;
    let fitted = rows_of_task(&fitted, manifest.final_task(), &data.origins);
    if fitted.is_empty() {
        bail!(
            "no row of {} has a class of task `{}`",
            data.source,
            manifest.final_task().name
        );
    }
    let (plan, preparer) = (&opened.plan, &opened.preparer);
    let mut value = json!({
        "model": manifest.name, "version": manifest.version, "digest": opened.digest, "data": data.source,
    });
    let (metrics, exits) = if plan.exits().len() > 1 {
        let result = follow(plan, &way, preparer, &fitted);
        let metrics = Metrics::of(&result.logits, &fitted.labels, plan.output_len());
        let results = exit_results(plan, &result, preparer, &fitted);
        let (exits, text) = describe_exits(&opened, &results, result.seconds / fitted.len() as f64);
        value["milliseconds"] = json!(result.seconds / fitted.len() as f64 * 1e3);
        value["exits"] = exits;
        (metrics, text)
    } else {
        (
            Metrics::of(
                &follow(plan, &way, preparer, &fitted).logits,
                &fitted.labels,
                plan.output_len(),
            ),
            String::new(),
        )
    };
    value["metrics"] = json!(metrics.named("test"));
    value["confusion"] = json!(metrics.confusion);
    output.result(&value, || {
        let mut text = format!(
            "{}@{} on {}, {} test rows\n",
            manifest.name, manifest.version, data.source, metrics.rows
        );
        for (name, value) in metrics.named("test") {
            text.push_str(&format!("{name} {value:.4}\n"));
        }
        text + &exits
    })
}

/// How each exit did, as JSON and for people; `seconds` is what a row took on average.
fn describe_exits(opened: &Opened, results: &[ExitResult], seconds: f64) -> (Value, String) {
    let mut values = Vec::new();
    let mut text =
        String::from("exit: rows, their accuracy; accuracy and time of a row if all leave there\n");
    for (name, result) in opened.exits().into_iter().zip(results) {
        values.push(json!({
            "exit": name, "share": result.share, "accuracy": result.accuracy,
            "accuracy_alone": result.accuracy_alone, "milliseconds_alone": result.seconds_alone * 1e3,
        }));
        let accuracy = result.accuracy;
        text.push_str(&format!(
            "{name}: {:.1} %, {}; {:.4}, {:.3} ms\n",
            100.0 * result.share,
            accuracy.map_or("-".to_owned(), |accuracy| format!("{accuracy:.4}")),
            result.accuracy_alone,
            result.seconds_alone * 1e3,
        ));
    }
    text.push_str(&format!(
        "mean time of a row {:.3} ms, in batches of 32\n",
        seconds * 1e3
    ));
    (json!(values), text)
}

/// The data that was named, or else what the model learned from.
pub(super) fn data_for(
    manifest: &Manifest,
    preparer: &Preparer,
    named: Option<&str>,
    output: Output,
) -> anyhow::Result<Dataset> {
    let classes = manifest.data_classes();
    match named {
        Some(source) => load_source(source, preparer, classes, output),
        None => data_of(manifest, preparer, classes),
    }
}

/// A data set by its name or folder.
pub(super) fn load_source(
    source: &str,
    preparer: &Preparer,
    classes: usize,
    output: Output,
) -> anyhow::Result<Dataset> {
    let mut bar = DownloadBar::new(output);
    Ok(load(
        &DataSpec::of(source),
        preparer,
        Path::new("."),
        classes,
        &Places::from_env(),
        &mut |progress| bar.show(progress),
    )?)
}

/// The set that the model learned from, known by the digests of its files, if it is on this machine.
pub(super) fn data_of(
    manifest: &Manifest,
    preparer: &Preparer,
    classes: usize,
) -> anyhow::Result<Dataset> {
    for source in catalogue().chain(["digits"]) {
        let (here, places) = (Path::new("."), Places::from_env());
        let found = load_offline(&DataSpec::of(source), preparer, here, classes, &places);
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
