//! `strata data inspect`: what is in a source, or in those of a recipe.

use std::path::Path;

use serde_json::{Value, json};
use strata_data::{Inspection, PartSummary, Places, inspect_source};

use super::train::read_recipe;
use crate::{output::Output, progress::DownloadBar};

/// Files that cannot be read which are named for people; `--json` has all.
const MOST_FILES: usize = 20;

/// Classes of which people see how many rows they have; `--json` has all.
const MOST_CLASSES: usize = 200;

pub(super) fn run(source: &str, output: Output) -> anyhow::Result<()> {
    if !source.ends_with(".toml") {
        let found = look(source, Path::new("."), output)?;
        return output.result(&value(&found), || text(&found));
    }
    let file = Path::new(source);
    let recipe = read_recipe(file, &[])?;
    let base = file.parent().unwrap_or(Path::new(""));
    let found = recipe
        .data
        .sources()
        .map(|source| look(source, base, output))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let values: Vec<Value> = found.iter().map(value).collect();
    output.result(&json!({ "recipe": source, "sources": values }), || {
        found.iter().map(text).collect::<Vec<_>>().join("\n")
    })
}

fn look(source: &str, base: &Path, output: Output) -> anyhow::Result<Inspection> {
    let mut bar = DownloadBar::new(output);
    let places = Places::from_env();
    Ok(inspect_source(source, base, &places, &mut |progress| {
        bar.show(progress)
    })?)
}

fn value(found: &Inspection) -> Value {
    let duplicates = &found.duplicates;
    let within: serde_json::Map<String, Value> = duplicates
        .within
        .iter()
        .map(|(part, rows)| ((*part).to_owned(), json!(rows)))
        .collect();
    let unreadable: Vec<Value> = found
        .unreadable
        .iter()
        .map(|file| json!({ "file": file.path, "problem": file.problem }))
        .collect();
    let mut value = json!({
        "source": found.source, "files": found.digests, "labels": found.labels,
        "duplicates": {
            "within": within, "between": duplicates.between, "with_other_labels": duplicates.with_other_labels,
            "examples": duplicates.examples,
        },
        "unreadable": unreadable, "other_files": found.other_files, "links_not_followed": found.links,
    });
    for part in &found.parts {
        let summary = &part.summary;
        value[part.name] = json!({
            "rows": summary.rows, "shape": summary.shape, "class_counts": summary.class_counts,
            "mean": summary.mean, "std": summary.std, "heights": part.heights, "widths": part.widths,
        });
    }
    value
}

fn text(found: &Inspection) -> String {
    let mut lines = vec![found.source.clone()];
    lines.extend(found.parts.iter().map(part_line));
    lines.extend(class_lines(found));
    let duplicates = &found.duplicates;
    let within: Vec<String> = duplicates
        .within
        .iter()
        .map(|(part, rows)| format!("{rows} in {part}"))
        .collect();
    lines.push(format!(
        "{:<12}{} repeat an earlier row of their part, {} one of an earlier part; {} of these have another class",
        "repeated", within.join(" and "), duplicates.between, duplicates.with_other_labels
    ));
    for [first, second] in &duplicates.examples {
        lines.push(format!("  {second} is {first}"));
    }
    if !found.unreadable.is_empty() {
        lines.push(format!(
            "{:<12}{} image files",
            "unreadable",
            found.unreadable.len()
        ));
        for file in found.unreadable.iter().take(MOST_FILES) {
            lines.push(format!("  {}: {}", file.path.display(), file.problem));
        }
    }
    if found.other_files > 0 {
        lines.push(format!(
            "{:<12}{} files that are no images",
            "left out", found.other_files
        ));
    }
    if found.links > 0 {
        lines.push(format!("{:<12}{} symbolic links", "left out", found.links));
    }
    lines.join("\n") + "\n"
}

fn part_line(part: &PartSummary) -> String {
    let summary = &part.summary;
    let side = |[low, middle, high]: [usize; 3]| {
        if low == high {
            high.to_string()
        } else {
            format!("{low}..{high} (half up to {middle})")
        }
    };
    format!(
        "{:<12}{} rows, channels {}, height {}, width {}, mean {:.4?}, std {:.4?}",
        part.name,
        summary.rows,
        summary.shape[0],
        side(part.heights),
        side(part.widths),
        summary.mean,
        summary.std
    )
}

/// How many rows of each class each part has.
fn class_lines(found: &Inspection) -> Vec<String> {
    let counts = |part: &PartSummary| part.summary.class_counts.len();
    let classes = found.parts.iter().map(counts).max().unwrap_or(0);
    let mut lines: Vec<String> = (0..classes.min(MOST_CLASSES))
        .map(|class| {
            let rows: Vec<String> = found
                .parts
                .iter()
                .map(|part| {
                    let count = part.summary.class_counts.get(class).unwrap_or(&0);
                    format!("{count} {}", part.name)
                })
                .collect();
            let name = found.labels.get(class).cloned();
            format!(
                "  {:<20} {}",
                name.unwrap_or_else(|| class.to_string()),
                rows.join(", ")
            )
        })
        .collect();
    if classes > MOST_CLASSES {
        lines.push(format!("  and {} more classes", classes - MOST_CLASSES));
    }
    lines
}
