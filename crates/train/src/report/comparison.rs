//! The page about a comparison.

use std::fmt::Write;

use strata_spec::Recipe;

use super::{STYLE, charts::Chart, escape};
use crate::{Cell, Summary, mebibytes, points, summaries};

/// One HTML file about trainings of one recipe by several strategies and seeds, which needs nothing else.
pub fn comparison_page(recipe: &Recipe, cells: &[Cell]) -> String {
    let name = escape(recipe.name.as_str());
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{name}: strategies compared</title>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<style>{STYLE}</style></head>\n\
         <body><h1>{name}: strategies compared</h1><p>{} The same epochs, batches and rows for each; in <code>greedy</code>, each level has these epochs.</p>\n",
        escape(&recipe.description)
    );
    let summaries = summaries(cells);
    add_summaries(&mut page, &summaries);
    add_curves(&mut page, cells, &summaries);
    add_memory(&mut page, cells, &summaries);
    add_cells(&mut page, cells);
    let recipe = escape(&recipe.to_toml());
    write(
        &mut page,
        format_args!("<h2>Recipe</h2><pre>{recipe}</pre></body></html>\n"),
    );
    page
}

fn write(page: &mut String, text: std::fmt::Arguments<'_>) {
    page.write_fmt(text).expect("writing to a string");
}

fn add_summaries(page: &mut String, summaries: &[Summary]) {
    page.push_str(
        "<table><tr><th>strategy</th><th>seeds</th><th>test accuracy</th><th>validation accuracy</th>\
         <th>difference to the first, by seed</th><th>seconds</th><th>most memory of a step</th></tr>\n",
    );
    for summary in summaries {
        let difference = summary.difference.map_or("–".to_owned(), |value| {
            let which = if value < 0.0 {
                "worse"
            } else {
                "better or equal"
            };
            format!("{} ({which})", points(value, summary.difference_deviation))
        });
        let held = summary
            .validation
            .map_or("–".to_owned(), |value| points(value, None));
        write(
            page,
            format_args!(
                "<tr><th>{}</th><td>{}</td><td>{}</td><td>{held}</td><td>{difference}</td><td>{:.1}</td><td>{}</td></tr>\n",
                escape(&summary.name),
                summary.seeds,
                points(summary.accuracy, summary.deviation),
                summary.seconds,
                mebibytes(summary.bytes),
            ),
        );
    }
    page.push_str("</table><p>Accuracies in percent, differences in points; ± is the standard deviation over seeds.</p>\n");
}

/// The mean curve of each way of learning.
fn add_curves(page: &mut String, cells: &[Cell], summaries: &[Summary]) {
    let curve = |summary: &Summary| {
        let own = || cells.iter().filter(|cell| cell.name() == summary.name);
        let epochs = own().map(|cell| cell.curve.len()).min().unwrap_or(0);
        let mean = |epoch: usize| {
            let sum: f64 = own().map(|cell| cell.curve[epoch]).sum();
            (epoch as f64 + 1.0, sum / own().count() as f64)
        };
        (0..epochs).map(mean).collect()
    };
    let curves = summaries
        .iter()
        .map(|summary| (summary.name.as_str(), curve(summary)));
    page.push_str(&Chart::new("Accuracy", curves.collect()).to_svg());
    page.push_str("<p>On the validation rows, or on the training rows where there are none; in <code>greedy</code> that of the level that learns.</p>\n");
}

fn add_memory(page: &mut String, cells: &[Cell], summaries: &[Summary]) {
    page.push_str("<h2>Memory of a step, by levels that learn together</h2><table>");
    for summary in summaries {
        let own = cells.iter().find(|cell| cell.name() == summary.name);
        write(page, format_args!("<tr><th>{}</th>", escape(&summary.name)));
        for (levels, bytes) in own.map(|cell| &cell.memory[..]).unwrap_or_default() {
            write(
                page,
                format_args!("<td>{}: {}</td>", escape(levels), mebibytes(*bytes)),
            );
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</table>\n");
}

fn add_cells(page: &mut String, cells: &[Cell]) {
    page.push_str("<h2>Every training</h2><table><tr><th>strategy</th><th>seed</th><th>test accuracy</th><th>seconds</th></tr>\n");
    for cell in cells {
        write(
            page,
            format_args!(
                "<tr><th>{}</th><td>{}</td><td>{:.2}</td><td>{:.1}</td></tr>\n",
                escape(&cell.name()),
                cell.seed,
                100.0 * cell.test.accuracy,
                cell.seconds
            ),
        );
    }
    page.push_str("</table>\n");
}
