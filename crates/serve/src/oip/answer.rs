use std::fmt::Write;

use serde::Serialize;
use serde_json::json;

use crate::{
    infer::{Question, Values, WantedOutput, exits_taken},
    runtime::{Answered, Version},
};

/// The body of an answer.
#[derive(Debug)]
pub(crate) struct Body {
    pub(crate) bytes: Vec<u8>,
    /// The length of its JSON, if binary tensors follow it.
    pub(crate) json: Option<usize>,
}

/// Writes the body of an answer by hand: most of it is the same each time.
pub(crate) fn write(version: &Version, question: &Question, answered: &Answered) -> Body {
    let (id, rows, wanted) = (question.id.as_deref(), question.count, &question.outputs);
    // A guess at digits and frame saves copies; it need not be right.
    let mut json = String::with_capacity(768 + answered.probabilities.len() * 14);
    let mut binary = Vec::new();
    match exits_taken(version, answered) {
        Some(taken) => version
            .origin
            .write(&mut json, id, &[("exit", json!(taken))]),
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

/// Appends a value as JSON; numbers as the shortest texts that read back as the same.
pub(crate) fn push_json(json: &mut String, value: &(impl Serialize + ?Sized)) {
    // Fails for maps whose keys are no texts; there are none.
    json.push_str(&serde_json::to_string(value).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use strata_nn::highest;

    use super::*;
    use crate::{
        infer::{Output, Parameters, Source, Task},
        runtime::{Leave, Took},
        testing,
    };

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
            took: Took::default(),
        };
        let question = Question {
            id: id.map(str::to_owned),
            parameters: Parameters::default(),
            outputs: wanted,
            leave: Leave::AsCalibrated,
            count: 2,
            source: Source::Prepared(Vec::new().into()),
        };
        let body = write(&testing::version(3), &question, &answered);
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
