//! The page about a run: one HTML file that needs nothing else, neither network nor script.

mod charts;
pub(crate) mod comparison;

use std::{fmt::Write, io::Cursor};

use base64::{Engine, engine::general_purpose::STANDARD};
use strata_data::Images;
use strata_nn::highest;
use strata_spec::{Classification, Name, Recipe};

use crate::{Event, EventKind, HeadMetrics, Metrics, StopReason, TOP_K};

/// Mistakes on the page.
const MOST_MISTAKES: usize = 24;
/// Classes in the table of confusions; more would not fit a page.
const MOST_CLASSES: usize = 40;

/// A test row whose answer was wrong.
#[derive(Debug)]
pub(crate) struct Mistake {
    png: Vec<u8>,
    row: usize,
    right: String,
    predicted: String,
    /// Probability of the predicted class.
    confidence: f64,
}

/// The wrong answers that were surest of themselves, surest first.
pub(crate) fn worst_mistakes(
    logits: &[f32],
    images: &Images,
    targets: &[Option<u32>],
    classification: &Classification,
) -> Vec<Mistake> {
    let classes = classification.classes;
    let mut wrong: Vec<(f64, usize, usize)> = Vec::new();
    for (index, (row, target)) in logits.chunks_exact(classes).zip(targets).enumerate() {
        let predicted = highest(row);
        if target.is_some_and(|target| target as usize != predicted) {
            let sum: f64 = row
                .iter()
                .map(|logit| f64::from(*logit - row[predicted]).exp())
                .sum();
            wrong.push((1.0 / sum, index, predicted));
        }
    }
    wrong.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let mistake = |&(confidence, row, predicted): &(f64, usize, usize)| {
        Some(Mistake {
            png: png(images, row)?,
            row,
            right: classification.label(targets[row]? as usize),
            predicted: classification.label(predicted),
            confidence,
        })
    };
    wrong
        .iter()
        .take(MOST_MISTAKES)
        .filter_map(mistake)
        .collect()
}

/// A row as a PNG file; nothing for pixels that are neither grey nor RGB.
fn png(images: &Images, row: usize) -> Option<Vec<u8>> {
    let color = match images.channels {
        1 => image::ExtendedColorType::L8,
        3 => image::ExtendedColorType::Rgb8,
        _ => return None,
    };
    let mut file = Cursor::new(Vec::new());
    let (width, height) = (images.width as u32, images.height as u32);
    image::write_buffer_with_format(
        &mut file,
        images.row(row),
        width,
        height,
        color,
        image::ImageFormat::Png,
    )
    .ok()?;
    Some(file.into_inner())
}

/// The whole page.
pub(crate) fn page(recipe: &Recipe, events: &[Event], mistakes: &[Mistake]) -> String {
    let name = escape(recipe.name.as_str());
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{name}: training report</title>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<style>{STYLE}</style></head>\n\
         <body><h1>{name}</h1><p>{}</p>\n",
        escape(&recipe.description)
    );
    let classification = &recipe.final_task().classification;
    for event in events {
        if let EventKind::Finished {
            reason,
            best_epoch,
            test,
            heads,
            seconds,
            ..
        } = &event.kind
        {
            add_result(&mut page, *reason, *best_epoch, test, *seconds);
            add_heads(&mut page, heads);
        }
    }
    add_curves(&mut page, events);
    for event in events {
        if let EventKind::Finished { test, .. } = &event.kind {
            add_confusion(&mut page, test, classification);
        }
    }
    add_mistakes(&mut page, mistakes);
    add_timing(&mut page, events);
    let recipe = escape(&recipe.to_toml());
    writeln!(page, "<h2>Recipe</h2><pre>{recipe}</pre></body></html>")
        .expect("writing to a string");
    page
}

fn add_result(
    page: &mut String,
    reason: StopReason,
    best_epoch: u64,
    test: &Metrics,
    seconds: f64,
) {
    let why = match reason {
        StopReason::Epochs => "all epochs done",
        StopReason::EarlyStopping => "stopped early: the validation rows no longer got better",
    };
    let mut cells = vec![
        ("test accuracy", format!("{:.2} %", 100.0 * test.accuracy)),
        ("test loss", format!("{:.4}", test.loss)),
        ("macro F1", format!("{:.4}", test.macro_f1)),
        (
            "calibration error",
            format!("{:.4}", test.calibration_error),
        ),
        ("test rows", test.rows.to_string()),
        ("weights of epoch", best_epoch.to_string()),
        ("seconds", format!("{seconds:.1}")),
    ];
    if let Some(top_k) = test.top_k {
        cells.insert(
            1,
            (
                "top-k accuracy",
                format!("{:.2} % (k = {TOP_K})", 100.0 * top_k),
            ),
        );
    }
    page.push_str("<dl>");
    for (name, value) in cells {
        write!(page, "<div><dt>{name}</dt><dd>{value}</dd></div>").expect("writing to a string");
    }
    writeln!(page, "</dl><p>{why}.</p>").expect("writing to a string");
}

fn add_heads(page: &mut String, heads: &[HeadMetrics]) {
    if heads.is_empty() {
        return;
    }
    page.push_str("<h2>Heads below the top</h2><table><tr><th>level</th><th>task</th><th>test accuracy</th></tr>\n");
    for head in heads {
        let (level, task) = (escape(head.level.as_str()), escape(head.task.as_str()));
        let accuracy = 100.0 * head.test.accuracy;
        writeln!(
            page,
            "<tr><td>{level}</td><td>{task}</td><td>{accuracy:.2} %</td></tr>"
        )
        .expect("writing to a string");
    }
    page.push_str("</table>");
}

fn add_curves(page: &mut String, events: &[Event]) {
    // Of losses and of accuracies: on the training rows, on the validation rows.
    let mut curves = [[Vec::new(), Vec::new()], [Vec::new(), Vec::new()]];
    for event in events {
        if let EventKind::Epoch {
            epoch,
            loss,
            accuracy,
            validation,
            ..
        } = &event.kind
        {
            let at = *epoch as f64;
            curves[0][0].push((at, *loss));
            curves[1][0].push((at, *accuracy));
            if let Some(validation) = validation {
                curves[0][1].push((at, validation.loss));
                curves[1][1].push((at, validation.accuracy));
            }
        }
    }
    page.push_str("<div class=\"row\">");
    for (title, [training, validation]) in ["Loss", "Accuracy"].into_iter().zip(curves) {
        let curves = vec![("training", training), ("validation", validation)];
        page.push_str(&charts::Chart::new(title, curves).to_svg());
    }
    page.push_str("</div>\n");
}

fn add_confusion(page: &mut String, test: &Metrics, classification: &Classification) {
    page.push_str("<h2>Confusion matrix</h2>");
    if test.confusion.is_empty() || test.confusion.len() > MOST_CLASSES {
        let classes = classification.classes;
        writeln!(page, "<p>{classes} classes do not fit a page.</p>").expect("writing to a string");
        return;
    }
    page.push_str("<p>Test rows: a line for each right class, a column for each answer.</p><table><tr><td></td>");
    for class in 0..test.confusion.len() {
        write!(page, "<th>{}</th>", escape(&classification.label(class)))
            .expect("writing to a string");
    }
    page.push_str("<th>recall</th></tr>\n");
    for (class, row) in test.confusion.iter().enumerate() {
        write!(
            page,
            "<tr><th>{}</th>",
            escape(&classification.label(class))
        )
        .expect("writing to a string");
        let total: u32 = row.iter().sum();
        for (answer, count) in row.iter().enumerate() {
            let share = if total == 0 {
                0.0
            } else {
                f64::from(*count) / f64::from(total)
            };
            let (color, strength) = if answer == class {
                ("42,120,80", share)
            } else {
                ("190,50,40", share.sqrt())
            };
            write!(
                page,
                "<td style=\"background:rgba({color},{strength:.2})\">{count}</td>"
            )
            .expect("writing to a string");
        }
        let recall = if total == 0 {
            0.0
        } else {
            f64::from(row[class]) / f64::from(total)
        };
        writeln!(page, "<td>{:.1} %</td></tr>", 100.0 * recall).expect("writing to a string");
    }
    page.push_str("</table>\n");
}

fn add_mistakes(page: &mut String, mistakes: &[Mistake]) {
    page.push_str("<h2>Worst mistakes</h2>");
    if mistakes.is_empty() {
        page.push_str("<p>None.</p>\n");
        return;
    }
    page.push_str(
        "<p>The wrong answers on test rows that were surest of themselves.</p><div class=\"row\">",
    );
    for mistake in mistakes {
        let png = STANDARD.encode(&mistake.png);
        let (right, predicted) = (escape(&mistake.right), escape(&mistake.predicted));
        writeln!(
            page,
            "<figure><img alt=\"test row {}\" src=\"data:image/png;base64,{png}\"><figcaption>{predicted} ({:.0} %)\
             <br>is {right}<br><small>row {}</small></figcaption></figure>",
            mistake.row,
            100.0 * mistake.confidence,
            mistake.row
        )
        .expect("writing to a string");
    }
    page.push_str("</div>\n");
}

fn add_timing(page: &mut String, events: &[Event]) {
    page.push_str("<h2>Timing</h2>");
    let mut rows = 0;
    let mut table = String::new();
    for event in events {
        match &event.kind {
            EventKind::Started {
                train_rows,
                validation_rows,
                test_rows,
                data,
                precision,
                threads,
                parameters,
                given,
                fresh_heads,
            } => {
                rows = *train_rows;
                write!(
                    page,
                    "<p>{parameters} weights, {}, {threads} threads. Data: {}: {train_rows} rows to learn \
                     from, {validation_rows} for validation, {test_rows} for the test.</p>",
                    precision.word(),
                    escape(data)
                )
                .expect("writing to a string");
                if let Some(file) = given {
                    let heads: Vec<&str> = fresh_heads.iter().map(Name::as_str).collect();
                    write!(
                        page,
                        "<p>Weights to begin with: {}; heads that began afresh: {}.</p>",
                        escape(&file.name),
                        if heads.is_empty() {
                            "none".to_owned()
                        } else {
                            heads.join(", ")
                        }
                    )
                    .expect("writing to a string");
                }
            }
            EventKind::Epoch {
                epoch,
                rate,
                loss,
                accuracy,
                validation,
                seconds,
                ..
            } => {
                let held = validation.as_ref().map_or(String::from("–"), |m| {
                    format!("{:.2} %", 100.0 * m.accuracy)
                });
                let speed = rows as f64 / seconds.max(1e-9);
                writeln!(
                    table,
                    "<tr><td>{epoch}</td><td>{rate:.2e}</td><td>{loss:.4}</td><td>{:.2} %</td><td>{held}</td>\
                     <td>{seconds:.2}</td><td>{speed:.0}</td></tr>",
                    100.0 * accuracy
                )
                .expect("writing to a string");
            }
            EventKind::Resumed { step } => {
                write!(page, "<p>Resumed after step {step}.</p>").expect("writing to a string");
            }
            EventKind::Finished { .. } => {}
        }
    }
    write!(
        page,
        "<table><tr><th>epoch</th><th>rate</th><th>loss</th><th>accuracy</th><th>validation</th><th>seconds</th>\
         <th>rows/s</th></tr>\n{table}</table>\n"
    )
    .expect("writing to a string");
}

pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

pub(super) const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#222}\
h1{margin-bottom:0}dl{display:flex;flex-wrap:wrap;gap:1.5rem}dt{color:#666;font-size:.8rem}\
dd{margin:0;font-size:1.4rem}table{border-collapse:collapse}td,th{padding:.2rem .55rem;text-align:right;\
border:1px solid #ddd}.row{display:flex;flex-wrap:wrap;gap:1rem}figure{margin:0;font-size:.85rem}\
figure img{width:84px;height:84px;image-rendering:pixelated;object-fit:contain;background:#000}\
pre{background:#f6f6f6;padding:1rem;overflow:auto}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_surest_mistake_stands_first() {
        let images = Images {
            height: 1,
            width: 2,
            channels: 1,
            pixels: vec![0; 6],
            labels: vec![0, 1, 1],
            origins: vec![],
        };
        let classification = Classification::new(2, Vec::new());
        let targets = [Some(0), Some(1), Some(1)];
        let logits = [0.0, 1.0, 5.0, 0.0, 0.0, 1.0];
        let mistakes = worst_mistakes(&logits, &images, &targets, &classification);
        assert_eq!(
            mistakes
                .iter()
                .map(|mistake| mistake.row)
                .collect::<Vec<_>>(),
            [1, 0]
        );
        assert_eq!(
            (mistakes[0].right.as_str(), mistakes[0].predicted.as_str()),
            ("1", "0")
        );
        assert!(mistakes[0].confidence > 0.99);
    }

    #[test]
    fn text_of_a_recipe_cannot_become_markup() {
        assert_eq!(escape("<script>\"&"), "&lt;script&gt;&quot;&amp;");
    }
}
