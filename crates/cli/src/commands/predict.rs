use std::path::Path;

use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use serde_json::{Value, json};
use strata_nn::{Answers, Scratch, highest, softmax};
use strata_spec::Task;

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
    let exits = opened.exits();
    let others = other_tasks(&opened);
    let way = others
        .iter()
        .fold(opened.way(&args.leave)?, |way, (_, head)| way.and(*head));
    let (mut answers, mut scratch) = (Answers::default(), Scratch::default());
    let (mut values, mut lines) = (Vec::new(), Vec::new());
    for input in &args.inputs {
        for (name, row) in rows(input, &opened)? {
            opened
                .plan
                .run_ways(&row, &[(1, &way)], &mut answers, &mut scratch);
            let (mut value, mut line) = answer(opened.manifest.final_task(), &answers.logits);
            value["input"] = json!(name);
            if exits.len() > 1 {
                let exit = answers.exits[0].map(|exit| exits[exit]);
                value["exit"] = json!(exit);
                line.push_str(&exit.map_or(String::new(), |exit| format!(", at {exit}")));
            }
            for (task, head) in &others {
                let (other, text) = answer(task, &answers.heads[*head]);
                value["tasks"][task.name.as_str()] = other;
                line.push_str(&format!(", {}: {text}", task.name));
            }
            lines.push(format!("{name}: {line}"));
            values.push(value);
        }
    }
    let manifest = &opened.manifest;
    let value = json!({ "model": manifest.name, "version": manifest.version, "digest": opened.digest,
                        "predictions": values });
    output.result(&value, || lines.join("\n"))
}

/// The tasks besides the final one that a head predicts, each with its highest head.
fn other_tasks(opened: &Opened) -> Vec<(&Task, usize)> {
    let last = opened.manifest.final_task();
    let others = opened
        .manifest
        .tasks
        .iter()
        .filter(|task| task.name != last.name);
    let with_head = others.filter_map(|task| {
        let mut heads = opened.plan.heads().iter();
        Some((task, heads.rposition(|head| head.task == task.name)?))
    });
    with_head.collect()
}

/// What the logits of one row say, as JSON and for people.
fn answer(task: &Task, logits: &[f32]) -> (Value, String) {
    let mut probabilities = logits.to_vec();
    softmax(&mut probabilities);
    let class = highest(&probabilities);
    let label = task.classification.label(class);
    let text = format!("{label} ({:.1} %)", 100.0 * probabilities[class]);
    let value = json!({ "class": class, "label": label, "probabilities": probabilities });
    (value, text)
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
