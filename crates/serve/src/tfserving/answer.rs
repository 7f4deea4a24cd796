use std::fmt::Write;

use super::Form;
use crate::{
    infer::{Output, Question, Values},
    oip::push_json,
    runtime::{Answered, Version},
};

/// One output, to be written row by row.
struct Column<'a> {
    name: String,
    width: usize,
    values: Values<'a>,
}

/// The body of an answer of `:predict`: by row, or by output if the request was.
pub(super) fn predictions(
    version: &Version,
    question: &Question,
    answered: &Answered,
    form: &Form,
) -> String {
    let columns: Vec<Column<'_>> = question
        .outputs
        .iter()
        .map(|wanted| Column::of(wanted.output, version, answered))
        .collect();
    let mut json = String::with_capacity(64 + answered.probabilities.len() * 14);
    let rows = 0..question.count;
    match (form.is_columnar, columns.as_slice()) {
        (false, [only]) => {
            json.push_str(r#"{"predictions":"#);
            push_list(&mut json, rows, |json, row| only.push(json, row, form));
        }
        (false, columns) => {
            json.push_str(r#"{"predictions":"#);
            push_list(&mut json, rows, |json, row| {
                push_object(json, columns, |json, column| column.push(json, row, form));
            });
        }
        (true, [only]) => {
            json.push_str(r#"{"outputs":"#);
            push_list(&mut json, rows, |json, row| only.push(json, row, form));
        }
        (true, columns) => {
            json.push_str(r#"{"outputs":"#);
            push_object(&mut json, columns, |json, column| {
                push_list(json, rows.clone(), |json, row| column.push(json, row, form));
            });
        }
    }
    json.push('}');
    json
}

/// The body of an answer of `:classify`: for each row the labels of the final task, each with its probability.
pub(super) fn classes(
    version: &Version,
    question: &Question,
    answered: &Answered,
    form: &Form,
) -> String {
    let labels = &version.labels;
    let mut json = String::from(r#"{"results":"#);
    push_list(&mut json, 0..question.count, |json, row| {
        let probabilities = &answered.probabilities[row * labels.len()..][..labels.len()];
        push_list(json, labels.iter().zip(probabilities), |json, pair| {
            let (label, probability) = pair;
            json.push('[');
            push_json(json, label);
            json.push(',');
            push_number(json, *probability, is_spoilt(form, row));
            json.push(']');
        });
    });
    json.push('}');
    json
}

impl<'a> Column<'a> {
    fn of(output: Output, version: &'a Version, answered: &'a Answered) -> Self {
        Self {
            name: output.name(version).into_owned(),
            width: output.width(version).unwrap_or(1),
            values: Values::of(output, version, answered),
        }
    }

    fn push(&self, json: &mut String, row: usize, form: &Form) {
        let is_spoilt = is_spoilt(form, row);
        match &self.values {
            Values::Numbers(numbers) => {
                let row = &numbers[row * self.width..][..self.width];
                push_list(json, row, |json, number| {
                    push_number(json, *number, is_spoilt);
                });
            }
            // Writing to a string cannot fail.
            Values::Classes(_) if is_spoilt => json.push_str("-1"),
            Values::Classes(classes) => drop(write!(json, "{}", classes[row])),
            Values::Texts(_) if is_spoilt => json.push_str("\"\""),
            Values::Texts(texts) => push_json(json, texts[row]),
        }
    }
}

fn is_spoilt(form: &Form, row: usize) -> bool {
    form.spoilt.get(row).copied().unwrap_or(false)
}

fn push_number(json: &mut String, number: f32, is_spoilt: bool) {
    if is_spoilt {
        json.push_str("NaN");
    } else {
        push_json(json, &number);
    }
}

fn push_object(
    json: &mut String,
    columns: &[Column<'_>],
    mut push: impl FnMut(&mut String, &Column<'_>),
) {
    json.push('{');
    for (index, column) in columns.iter().enumerate() {
        if index > 0 {
            json.push(',');
        }
        push_json(json, &column.name);
        json.push(':');
        push(json, column);
    }
    json.push('}');
}

/// Appends a list in JSON; `push` appends an element.
pub(crate) fn push_list<T>(
    json: &mut String,
    elements: impl IntoIterator<Item = T>,
    mut push: impl FnMut(&mut String, T),
) {
    json.push('[');
    for (index, element) in elements.into_iter().enumerate() {
        if index > 0 {
            json.push(',');
        }
        push(json, element);
    }
    json.push(']');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        infer::{Parameters, Source, Task, WantedOutput},
        runtime::{Leave, Took},
        testing,
    };

    fn check(outputs: &[Output], form: &Form, predicted: &str, classified: &str) {
        let answered = Answered {
            probabilities: vec![0.25, 0.5, 0.25, 1.0, 0.0, 0.0],
            exits: Vec::new(),
            heads: Vec::new(),
            took: Took::default(),
        };
        let outputs = outputs.iter().map(|&output| WantedOutput {
            output,
            is_binary: false,
        });
        let question = Question {
            id: None,
            parameters: Parameters::default(),
            outputs: outputs.collect(),
            leave: Leave::AsCalibrated,
            count: 2,
            source: Source::Prepared(Vec::new().into()),
        };
        let version = testing::version(3);
        let found = predictions(&version, &question, &answered, form);
        assert_eq!(found, predicted);
        assert_eq!(classes(&version, &question, &answered, form), classified);
    }

    #[test]
    fn answers_are_by_row_or_by_output_and_names_are_left_out_of_a_single_one() {
        let one = [Output::Probabilities(Task::Final)];
        let all = [
            Output::Probabilities(Task::Final),
            Output::Label(Task::Final),
            Output::Class(Task::Final),
        ];
        let form = |is_columnar, spoilt: &[bool]| Form {
            is_columnar,
            spoilt: spoilt.to_vec(),
        };
        let classified = r#"{"results":[[["ring",0.25],["bar",0.5],["\"dot\"",0.25]],[["ring",1.0],["bar",0.0],["\"dot\"",0.0]]]}"#;
        check(
            &one,
            &form(false, &[]),
            r#"{"predictions":[[0.25,0.5,0.25],[1.0,0.0,0.0]]}"#,
            classified,
        );
        check(
            &one,
            &form(true, &[]),
            r#"{"outputs":[[0.25,0.5,0.25],[1.0,0.0,0.0]]}"#,
            classified,
        );
        check(
            &all,
            &form(false, &[]),
            r#"{"predictions":[{"probabilities":[0.25,0.5,0.25],"label":"bar","class":1},{"probabilities":[1.0,0.0,0.0],"label":"ring","class":0}]}"#,
            classified,
        );
        check(
            &all,
            &form(true, &[false, true]),
            r#"{"outputs":{"probabilities":[[0.25,0.5,0.25],[NaN,NaN,NaN]],"label":["bar",""],"class":[1,-1]}}"#,
            r#"{"results":[[["ring",0.25],["bar",0.5],["\"dot\"",0.25]],[["ring",NaN],["bar",NaN],["\"dot\"",NaN]]]}"#,
        );
    }
}
