use anyhow::{Context, bail, ensure};
use serde_json::json;
use strata_data::{Dataset, Images};
use strata_package::{Identity, Store};
use strata_spec::{DataDigest, ExitCalibration, ExitThreshold, Lineage, Manifest};
use strata_train::{
    CALIBRATION_METHOD, CalibrationError, Thresholds, calibrate, exit_rows, held_rows_of_task,
    rows_needed,
};

use super::{data::data_for, opened::Opened};
use crate::{
    args::{Exits as Command, ModelArgs},
    output::Output,
    places::store_folder,
};

pub(super) fn run(command: Command, output: Output) -> anyhow::Result<()> {
    let Command::Calibrate {
        model,
        data,
        epsilon,
        delta,
    } = command;
    calibrate_model(model, data.as_deref(), epsilon, delta, output)
}

fn calibrate_model(
    model: ModelArgs,
    data: Option<&str>,
    epsilon: f64,
    delta: f64,
    output: Output,
) -> anyhow::Result<()> {
    // Whatever can be refused is, before the network is asked.
    let needed = rows_needed(epsilon, delta)?;
    let identity = Identity::find(model.access.identity.identity.as_deref())?;
    let store = Store::open(&store_folder(model.store.store.clone())?)?;
    let opened = Opened::open(model)?;
    let Opened {
        manifest,
        plan,
        preparer,
        ..
    } = &opened;
    let levels = manifest.architecture();
    let exits = strata_spec::exits(&levels);
    if exits.is_empty() {
        bail!(
            "{}@{} has no exit: no level below the top has a head for task `{}`",
            manifest.name,
            manifest.version,
            manifest.final_task().name
        );
    }
    let data = data_for(manifest, preparer, data, output)?;
    let (digests, source) = (data.digests.clone(), data.source.clone());
    let origins = data.origins.clone();
    let fitted = preparer.fit(rows_not_learned(manifest, data)?)?;
    let fitted = held_rows_of_task(&fitted, manifest.final_task(), &origins, manifest);
    if fitted.len() < needed {
        let found = fitted.len();
        return Err(CalibrationError::TooFew {
            found,
            needed,
            epsilon,
            delta,
        }
        .into());
    }
    output.note(&format!(
        "asking every exit about {} rows of {source}",
        fitted.len()
    ));
    let input = manifest.preparation.output_shape();
    let rows = exit_rows(plan, &levels, &input, preparer, &fitted);
    let Thresholds {
        confidences,
        lost,
        work,
    } = calibrate(&rows, epsilon, delta)?;
    let thresholds = exits
        .iter()
        .zip(confidences)
        .filter_map(|(level, confidence)| {
            Some(ExitThreshold {
                level: level.name.clone(),
                confidence: f64::from((f64::from(confidence?) * 1e6).round() as u32) / 1e6,
            })
        });
    let calibration = ExitCalibration {
        thresholds: thresholds.collect(),
        epsilon,
        delta,
        method: CALIBRATION_METHOD.to_owned(),
        data: digests,
        rows: fitted.len(),
        lost,
        work,
    };
    let added = store.add_calibrated(manifest, &opened.card, calibration.clone(), &identity)?;
    let value = json!({ "model": added.name, "version": added.version, "parent": manifest.version, "exits": calibration });
    output.result(&value, || {
        format!(
            "{}{}@{} in {}",
            describe(&calibration),
            added.name,
            added.version,
            store.path().display()
        )
    })
}

/// Rows of `data` that the model did not learn from.
fn rows_not_learned(manifest: &Manifest, data: Dataset) -> anyhow::Result<Images> {
    let Lineage {
        data: learned,
        validation,
        level_data,
        ..
    } = &manifest.lineage;
    let model = format!("{}@{}", manifest.name, manifest.version);
    let is_of_level = |file: &&DataDigest| level_data.iter().any(|own| own.digest == file.digest);
    if let Some(file) = data.digests.iter().find(is_of_level) {
        bail!(
            "a level of {model} that learned anew, or came from another version, learned from `{}` of {}, so its rows prove nothing: name other data by --data",
            file.name,
            data.source
        );
    }
    let is_learned = |file: &&DataDigest| learned.iter().any(|own| own.digest == file.digest);
    let Some(file) = data.digests.iter().find(is_learned) else {
        return Ok(data.train);
    };
    ensure!(
        data.digests.iter().all(|file| is_learned(&file)),
        "{model} learned from `{}`, which is a part of {}: name data that it did not learn from, or all of what it learned from",
        file.name,
        data.source
    );
    let Some(validation) = validation else {
        bail!(
            "{model} learned from all training rows of {}, so they prove nothing: name other data by --data, or train it with \
             `data.validation = {{ fraction = 0.1 }}`",
            data.source
        );
    };
    let held = match data.validation {
        Some(held) => Some(held),
        None => data.with_validation(validation)?.validation,
    };
    held.with_context(|| format!("{model}: there are no validation rows"))
}

/// For people, each line with its end.
pub(super) fn describe(exits: &ExitCalibration) -> String {
    let mut text = String::new();
    for ExitThreshold { level, confidence } in &exits.thresholds {
        text.push_str(&format!("exit       {level} from {confidence} on\n"));
    }
    text.push_str(&format!(
        "promise    at most {} of accuracy lost except with probability {}, from {} rows: {:.4} lost, {:.1} % of the work\n",
        exits.epsilon,
        exits.delta,
        exits.rows,
        exits.lost,
        100.0 * exits.work
    ));
    text
}
