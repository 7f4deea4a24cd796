use std::path::Path;

use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use serde_json::json;
use strata_nn::{Scratch, highest, softmax};

use super::opened::Opened;
use crate::{
    args::Predict,
    input::{read_file, read_to_end},
    output::Output,
};

/// The largest input that is read; an image or a table of rows beyond it is a mistake.
const LARGEST_INPUT: u64 = 256 << 20;

/// Rows as JSON: a list of rows, or one row.
#[derive(Deserialize)]
#[serde(untagged, expecting = "neither rows of numbers nor one row")]
enum Rows {
    Many(Vec<Vec<f32>>),
    One(Vec<f32>),
}

pub(super) fn run(args: Predict, output: Output) -> anyhow::Result<()> {
    let opened = Opened::open(args.model)?;
    let mut scratch = Scratch::default();
    let (mut values, mut lines) = (Vec::new(), Vec::new());
    let classification = &opened.manifest.final_task().classification;
    for input in &args.inputs {
        for (name, row) in rows(input, &opened)? {
            let mut probabilities = vec![0.0; opened.plan.output_len()];
            opened.plan.run(&row, &mut probabilities, &mut scratch);
            softmax(&mut probabilities);
            let class = highest(&probabilities);
            let label = classification.label(class);
            lines.push(format!(
                "{name}: {label} ({:.1} %)",
                100.0 * probabilities[class]
            ));
            values.push(json!({ "input": name, "class": class, "label": label, "probabilities": probabilities }));
        }
    }
    let manifest = &opened.manifest;
    let value = json!({ "model": manifest.name, "version": manifest.version, "digest": opened.digest,
                        "predictions": values });
    output.result(&value, || lines.join("\n"))
}

/// The rows of one input, each with a name.
fn rows(input: &Path, opened: &Opened) -> anyhow::Result<Vec<(String, Vec<f32>)>> {
    if input != Path::new("-") {
        return Ok(vec![(
            input.display().to_string(),
            prepared(input, opened)?,
        )]);
    }
    let text = read_to_end(std::io::stdin(), LARGEST_INPUT)
        .and_then(|bytes| Ok(String::from_utf8(bytes)?))
        .context("cannot read the standard input")?;
    let rows = serde_json::from_str(&text)
        .context("the standard input: expected a JSON list of rows of numbers")?;
    let rows = match rows {
        Rows::Many(rows) => rows,
        Rows::One(row) => vec![row],
    };
    let expected = opened.plan.input_len();
    for (index, row) in rows.iter().enumerate() {
        if row.len() != expected {
            bail!(
                "row {index}: expected {expected} numbers, found {}",
                row.len()
            );
        }
        ensure!(
            row.iter().all(|value| value.is_finite()),
            "row {index}: expected finite numbers"
        );
    }
    Ok(rows
        .into_iter()
        .enumerate()
        .map(|(index, row)| (format!("row {index}"), row))
        .collect())
}

/// The row of an image file.
pub(super) fn prepared(file: &Path, opened: &Opened) -> anyhow::Result<Vec<f32>> {
    let bytes = read_file(file, LARGEST_INPUT)?;
    opened
        .preparer
        .request(&bytes)
        .with_context(|| file.display().to_string())
}
