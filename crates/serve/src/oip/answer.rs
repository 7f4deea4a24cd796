use std::{borrow::Cow, fmt::Write};

use serde::Serialize;
use serde_json::{Value, json};
use strata_nn::highest;

use super::question::WantedOutput;
use crate::runtime::{Answered, Version};

/// What a model gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// The level whose head answered for the final task; only of models with exits.
    Exit,
    Probabilities(Task),
    Label(Task),
    Class(Task),
}

/// What an output is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    Final,
    /// A place among the version's other tasks.
    Other(usize),
}

impl Output {
    /// All that a version gives.
    pub(crate) fn all(version: &Version) -> impl Iterator<Item = Self> {
        let exit = version.exits.is_any_below_top().then_some(Self::Exit);
        let others = (0..version.others.len()).map(Task::Other);
        let of_task = |task| {
            [
                Self::Probabilities(task),
                Self::Label(task),
                Self::Class(task),
            ]
        };
        let finals = of_task(Task::Final).into_iter().chain(exit);
        finals.chain(others.flat_map(of_task))
    }

    pub(crate) fn name(self, version: &Version) -> Cow<'static, str> {
        let (task, name) = match self {
            Self::Exit => (Task::Final, "exit"),
            Self::Probabilities(task) => (task, "probabilities"),
            Self::Label(task) => (task, "label"),
            Self::Class(task) => (task, "class"),
        };
        match task {
            Task::Final => name.into(),
            Task::Other(index) => format!("{}.{name}", version.others[index].name).into(),
        }
    }

    pub(crate) fn datatype(self) -> &'static str {
        match self {
            Self::Probabilities(_) => "FP32",
            Self::Label(_) | Self::Exit => "BYTES",
            Self::Class(_) => "INT64",
        }
    }

    /// Numbers of one row; none for a text or a class.
    pub(crate) fn width(self, version: &Version) -> Option<usize> {
        match self {
            Self::Probabilities(task) => Some(task.labels(version).len()),
            _ => None,
        }
    }

    /// What must be computed for it.
    pub(crate) fn task(self) -> Task {
        match self {
            Self::Exit => Task::Final,
            Self::Probabilities(task) | Self::Label(task) | Self::Class(task) => task,
        }
    }
}

impl Task {
    pub(crate) fn labels(self, version: &Version) -> &[String] {
        match self {
            Self::Final => &version.labels,
            Self::Other(index) => &version.others[index].labels,
        }
    }

    fn probabilities<'a>(self, version: &Version, answered: &'a Answered) -> &'a [f32] {
        match self {
            Self::Final => &answered.probabilities,
            Self::Other(index) => &answered.heads[version.others[index].head],
        }
    }
}

/// The body of an answer.
#[derive(Debug)]
pub(crate) struct Body {
    pub(crate) bytes: Vec<u8>,
    /// The length of its JSON, if binary tensors follow it.
    pub(crate) json: Option<usize>,
}

/// Writes the body of an answer about `rows` rows by hand: most of it is the same each time.
pub(crate) fn write(
    version: &Version,
    id: Option<&str>,
    rows: usize,
    answered: &Answered,
    wanted: &[WantedOutput],
) -> Body {
    // A guess at digits and frame saves copies; it need not be right.
    let mut json = String::with_capacity(768 + answered.probabilities.len() * 14);
    let mut binary = Vec::new();
    match exits_taken(version, answered) {
        Some(taken) => version.origin.write(&mut json, id, &[("exit", taken)]),
        None => version.origin.write(&mut json, id, &[]),
    }
    json.push_str(r#","outputs":["#);
    for (index, WantedOutput { output, is_binary }) in wanted.iter().enumerate() {
        let comma = if index > 0 { "," } else { "" };
        let (name, datatype) = (output.name(version), output.datatype());
        // Writing to a string cannot fail.
        let _ = write!(
            json,
            r#"{comma}{{"name":"{name}","datatype":"{datatype}","shape":[{rows}"#
        );
        if let Some(width) = output.width(version) {
            let _ = write!(json, ",{width}");
        }
        let values = Values::of(*output, version, answered);
        if *is_binary {
            let before = binary.len();
            values.write_binary(&mut binary);
            let size = binary.len() - before;
            let _ = write!(json, r#"],"parameters":{{"binary_data_size":{size}}}}}"#);
            continue;
        }
        json.push_str(r#"],"data":"#);
        match values {
            Values::Numbers(numbers) => push_json(&mut json, numbers),
            Values::Classes(classes) => push_json(&mut json, &classes),
            Values::Texts(texts) => push_json(&mut json, &texts),
        }
        json.push('}');
    }
    json.push_str("]}");
    let mut bytes = json.into_bytes();
    let length = bytes.len();
    bytes.append(&mut binary);
    Body {
        bytes,
        json: wanted
            .iter()
            .any(|wanted| wanted.is_binary)
            .then_some(length),
    }
}

/// The exits that answered, lowest first, for models that have several.
fn exits_taken(version: &Version, answered: &Answered) -> Option<Value> {
    if answered.exits.is_empty() || !version.exits.is_any_below_top() {
        return None;
    }
    let names = version.exits.names.iter().enumerate();
    let taken: Vec<&str> = names
        .filter(|(index, _)| answered.exits.contains(index))
        .map(|(_, name)| name.as_str())
        .collect();
    Some(json!(taken.join(",")))
}

/// Appends a value as JSON; numbers as the shortest texts that read back as the same.
pub(crate) fn push_json(json: &mut String, value: &(impl Serialize + ?Sized)) {
    // Fails for maps whose keys are no texts; there are none.
    json.push_str(&serde_json::to_string(value).unwrap_or_default());
}

/// The elements of an output.
enum Values<'a> {
    Numbers(&'a [f32]),
    Classes(Vec<usize>),
    Texts(Vec<&'a str>),
}

impl<'a> Values<'a> {
    fn of(output: Output, version: &'a Version, answered: &'a Answered) -> Self {
        let classes = |task: Task| {
            let rows = task
                .probabilities(version, answered)
                .chunks_exact(task.labels(version).len());
            rows.map(highest)
        };
        match output {
            Output::Probabilities(task) => Self::Numbers(task.probabilities(version, answered)),
            Output::Class(task) => Self::Classes(classes(task).collect()),
            Output::Label(task) => {
                let labels = task.labels(version);
                Self::Texts(classes(task).map(|class| &*labels[class]).collect())
            }
            Output::Exit => {
                let names = &version.exits.names;
                Self::Texts(answered.exits.iter().map(|exit| &*names[*exit]).collect())
            }
        }
    }

    fn write_binary(&self, binary: &mut Vec<u8>) {
        match self {
            Self::Numbers(numbers) => {
                binary.extend(numbers.iter().flat_map(|value| value.to_le_bytes()))
            }
            Self::Classes(classes) => binary.extend(
                classes
                    .iter()
                    .flat_map(|&class| (class as i64).to_le_bytes()),
            ),
            Self::Texts(texts) => {
                for text in texts {
                    binary.extend((text.len() as u32).to_le_bytes());
                    binary.extend(text.as_bytes());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    const PROBABILITIES: [f32; 6] = [0.25, 0.5, 0.25, 0.4, 0.1, 0.5];

    fn check(id: Option<&str>, wanted: &[(Output, bool)], outputs: &str, binary: &[u8]) {
        let wanted: Vec<_> = wanted
            .iter()
            .map(|&(output, is_binary)| WantedOutput { output, is_binary })
            .collect();
        let answered = Answered {
            probabilities: PROBABILITIES.to_vec(),
            exits: Vec::new(),
            heads: Vec::new(),
        };
        let body = write(&testing::version(3), id, 2, &answered, &wanted);
        let (json, rest) = body.bytes.split_at(body.json.unwrap_or(body.bytes.len()));
        let found: serde_json::Value = serde_json::from_slice(json).unwrap();
        let mut expected = serde_json::json!({
            "model_name": "tiny",
            "model_version": "3",
            "parameters": {"version": 3, "digest": format!("sha256:{}", "07".repeat(32)), "levels": "low,top"},
            "outputs": serde_json::from_str::<serde_json::Value>(outputs).unwrap(),
        });
        if let Some(id) = id {
            expected["id"] = id.into();
        }
        assert_eq!(found, expected);
        assert_eq!(rest, binary);
    }

    #[test]
    fn an_answer_names_its_origin_and_holds_the_outputs() {
        let version = testing::version(3);
        let all: Vec<_> = Output::all(&version)
            .map(|output| (output, false))
            .collect();
        check(
            Some("a \"b\""),
            &all,
            r#"[{"name": "probabilities", "datatype": "FP32", "shape": [2, 3], "data": [0.25, 0.5, 0.25, 0.4, 0.1, 0.5]},
                {"name": "label", "datatype": "BYTES", "shape": [2], "data": ["bar", "\"dot\""]},
                {"name": "class", "datatype": "INT64", "shape": [2], "data": [1, 2]}]"#,
            &[],
        );
    }

    #[test]
    fn binary_outputs_follow_the_json_in_order() {
        let mut binary = b"\x03\0\0\0bar\x05\0\0\0\"dot\"".to_vec();
        binary.extend([1_i64, 2].iter().flat_map(|class| class.to_le_bytes()));
        check(
            None,
            &[
                (Output::Label(Task::Final), true),
                (Output::Probabilities(Task::Final), false),
                (Output::Class(Task::Final), true),
            ],
            r#"[{"name": "label", "datatype": "BYTES", "shape": [2], "parameters": {"binary_data_size": 16}},
                {"name": "probabilities", "datatype": "FP32", "shape": [2, 3], "data": [0.25, 0.5, 0.25, 0.4, 0.1, 0.5]},
                {"name": "class", "datatype": "INT64", "shape": [2], "parameters": {"binary_data_size": 16}}]"#,
            &binary,
        );
    }

    #[test]
    fn the_first_of_equal_classes_is_the_highest() {
        assert_eq!(highest(&[0.2, 0.4, 0.4]), 1);
        assert_eq!(highest(&[0.5, 0.5]), 0);
    }
}
