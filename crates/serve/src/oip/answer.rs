use std::fmt::Write;

use serde::Serialize;

use super::question::WantedOutput;
use crate::runtime::Version;
use strata_nn::highest;

/// What a model gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    Probabilities,
    Label,
    Class,
}

impl Output {
    pub(crate) const ALL: [Self; 3] = [Self::Probabilities, Self::Label, Self::Class];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Probabilities => "probabilities",
            Self::Label => "label",
            Self::Class => "class",
        }
    }

    pub(crate) fn datatype(self) -> &'static str {
        match self {
            Self::Probabilities => "FP32",
            Self::Label => "BYTES",
            Self::Class => "INT64",
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

/// Writes the body of an answer by hand: most of it is the same each time.
pub(crate) fn write(
    version: &Version,
    id: Option<&str>,
    probabilities: &[f32],
    wanted: &[WantedOutput],
) -> Body {
    let width = version.labels.len();
    let classes: Vec<usize> = probabilities.chunks_exact(width).map(highest).collect();
    let rows = classes.len();
    // A guess at digits and frame saves copies; it need not be right.
    let mut json = String::with_capacity(768 + probabilities.len() * 14);
    let mut binary = Vec::new();
    version.origin.write(&mut json, id, &[]);
    json.push_str(r#","outputs":["#);
    for (index, WantedOutput { output, is_binary }) in wanted.iter().enumerate() {
        let comma = if index > 0 { "," } else { "" };
        let (name, datatype) = (output.name(), output.datatype());
        // Writing to a string cannot fail.
        let _ = write!(
            json,
            r#"{comma}{{"name":"{name}","datatype":"{datatype}","shape":[{rows}"#
        );
        if *output == Output::Probabilities {
            let _ = write!(json, ",{width}");
        }
        if *is_binary {
            let before = binary.len();
            write_binary(&mut binary, *output, version, probabilities, &classes);
            let size = binary.len() - before;
            let _ = write!(json, r#"],"parameters":{{"binary_data_size":{size}}}}}"#);
            continue;
        }
        json.push_str(r#"],"data":"#);
        match output {
            Output::Probabilities => push_json(&mut json, probabilities),
            Output::Class => push_json(&mut json, &classes),
            Output::Label => push_json(
                &mut json,
                &Labels {
                    classes: &classes,
                    version,
                },
            ),
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

struct Labels<'a> {
    classes: &'a [usize],
    version: &'a Version,
}

impl Serialize for Labels<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(
            self.classes
                .iter()
                .map(|&class| &self.version.labels[class]),
        )
    }
}

fn write_binary(
    binary: &mut Vec<u8>,
    output: Output,
    version: &Version,
    probabilities: &[f32],
    classes: &[usize],
) {
    match output {
        Output::Probabilities => {
            binary.extend(probabilities.iter().flat_map(|value| value.to_le_bytes()))
        }
        Output::Class => binary.extend(
            classes
                .iter()
                .flat_map(|&class| (class as i64).to_le_bytes()),
        ),
        Output::Label => {
            for &class in classes {
                let label = version.labels[class].as_bytes();
                binary.extend((label.len() as u32).to_le_bytes());
                binary.extend(label);
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
        let body = write(&testing::version(3), id, &PROBABILITIES, &wanted);
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
        let all = Output::ALL.map(|output| (output, false));
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
                (Output::Label, true),
                (Output::Probabilities, false),
                (Output::Class, true),
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
