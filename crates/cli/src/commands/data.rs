use std::path::Path;

use anyhow::{anyhow, bail, ensure};
use serde_json::{Value, json};
use strata_data::{Dataset, Places, Preparer, catalogue, fetch, load, load_offline};
use strata_spec::{DataSpec, Manifest};
use strata_train::{ExitResult, Metrics, exit_results, follow, held_rows_of_task};

use super::{classes::number_as_in, inspect, opened::Opened};
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
    let fitted = held_rows_of_task(&fitted, manifest.final_task(), &data.origins, manifest);
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
    match named {
        Some(source) => load_sources(manifest, &[source.to_owned()], preparer, output),
        None => data_of(manifest, preparer, output),
    }
}

/// Data sets by their names or folders. `mnist=./new` are the rows of `./new` under the name `mnist`, if that is one of
/// several sources that the model learned from: what their labels mean goes by the name.
pub(super) fn load_sources(
    manifest: &Manifest,
    sources: &[String],
    preparer: &Preparer,
    output: Output,
) -> anyhow::Result<Dataset> {
    ensure!(
        sources.len() <= MOST_SOURCES,
        "--data: expected at most {MOST_SOURCES} sources, found {}",
        sources.len()
    );
    let mixed = manifest.mixed_sources();
    let parts = sources.iter().map(|text| match text.split_once('=') {
        Some((name, source)) if mixed.contains(&name) => (name, source),
        _ => (text.as_str(), text.as_str()),
    });
    let (names, from): (Vec<&str>, Vec<&str>) = parts.unzip();
    let mut bar = DownloadBar::new(output);
    let mut data = load(
        &mixture(&from),
        preparer,
        Path::new("."),
        manifest.data_classes(),
        &Places::from_env(),
        &mut |progress| bar.show(progress),
    )?;
    for (origin, name) in data.origins.iter_mut().zip(names) {
        name.clone_into(&mut origin.name);
    }
    number_as_in(manifest, &mut data, output)?;
    Ok(data)
}

/// As many as a recipe may mix.
const MOST_SOURCES: usize = 17;

/// Rows of these sources, as they are.
fn mixture(sources: &[&str]) -> DataSpec {
    let also = sources[1..].iter().map(|source| (*source).to_owned());
    DataSpec {
        also: also.collect(),
        ..DataSpec::of(sources[0])
    }
}

/// What the model learned from, known by the digests of its files, if it is on this machine.
pub(super) fn data_of(
    manifest: &Manifest,
    preparer: &Preparer,
    output: Output,
) -> anyhow::Result<Dataset> {
    let mixed = manifest.mixed_sources();
    let known = || catalogue().chain(["digits"]);
    let candidates = if mixed.is_empty() {
        known().map(DataSpec::of).collect()
    } else if mixed.len() <= MOST_SOURCES
        && mixed.iter().all(|name| known().any(|known| known == *name))
    {
        vec![mixture(&mixed)]
    } else {
        Vec::new()
    };
    for spec in candidates {
        let (here, places) = (Path::new("."), Places::from_env());
        let found = load_offline(&spec, preparer, here, manifest.data_classes(), &places);
        if let Ok(Some(mut data)) = found
            && data.digests == manifest.lineage.data
        {
            number_as_in(manifest, &mut data, output)?;
            return Ok(data);
        }
    }
    Err(anyhow!(
        "what {} learned from is not on this machine: name the data by --data SOURCE",
        manifest.name
    ))
}
