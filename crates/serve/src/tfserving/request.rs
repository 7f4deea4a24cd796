use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bytes::Bytes;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    ALL, CLASSIFY, DEFAULT,
    data::{Columns, Examples, Rows},
    tokens::from_json,
};
use crate::{
    http::Refusal,
    infer::{
        Content, Data, Elements, INPUT, Output, Parameters, Question, Request, RequestedOutput,
        RowLimits, Task, Tensor,
    },
    runtime::Version,
};

/// The JSON of `:predict`, and of KServe's `:explain`. Other fields are ignored.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct PredictRequest {
    /// `serving_default` unless it is given; `all` gives all outputs.
    signature_name: Option<String>,
    parameters: Option<Parameters>,
    /// Rows, one by one. Either these or `inputs`.
    #[schemars(with = "Option<Vec<serde_json::Value>>")]
    instances: Option<Rows>,
    /// All rows together.
    #[schemars(with = "Option<serde_json::Value>")]
    inputs: Option<Columns>,
}

/// The JSON of `:classify`. Other fields are ignored.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct ClassifyRequest {
    /// `classify`, if it is given.
    signature_name: Option<String>,
    parameters: Option<Parameters>,
    /// Objects, each with the input `image`.
    #[schemars(with = "Vec<std::collections::BTreeMap<String, serde_json::Value>>")]
    examples: Examples,
}

/// The form of an answer, as its request decides it.
#[derive(Debug, Default)]
pub(crate) struct Form {
    /// Whether it is by output and not by row.
    pub(super) is_columnar: bool,
    /// For each row whether it holds numbers that are not finite; empty if none does.
    pub(super) spoilt: Vec<bool>,
}

impl Form {
    /// Refuses rows with numbers that are not finite.
    pub(crate) fn check_finite(&self) -> Result<(), Refusal> {
        if self.spoilt.contains(&true) {
            return wrong(format!(
                "input `{INPUT}`: holds a number that is not finite"
            ));
        }
        Ok(())
    }
}

/// As TensorFlow Serving reads it: of the standard alphabet, with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Reads the body of `:predict`.
pub(crate) fn predict_question(
    body: &[u8],
    version: &Version,
    limits: RowLimits,
) -> Result<(Question, Form), Refusal> {
    let request: PredictRequest = from_json(body)?;
    let outputs = match request.signature_name.as_deref() {
        None | Some("" | DEFAULT) => {
            let is_default = |output: &Output| matches!(output, Output::Probabilities(_));
            requested(Output::all(version).filter(is_default), version)
        }
        Some(ALL) => Vec::new(),
        Some(other) => return Err(no_signature(other)),
    };
    let (data, is_columnar) = match (request.instances, request.inputs) {
        (Some(Rows(data)), None) => (data, false),
        (None, Some(Columns(data))) => (data, true),
        (Some(_), Some(_)) => {
            return wrong("expected one of `instances` and `inputs`, found both".to_owned());
        }
        (None, None) => {
            return wrong("expected `instances` or `inputs`, found neither".to_owned());
        }
    };
    let (question, spoilt) = question(data, outputs, request.parameters, version, limits)?;
    let form = Form {
        is_columnar,
        spoilt,
    };
    Ok((question, form))
}

/// Reads the body of `:classify`.
pub(super) fn classify_question(
    body: &[u8],
    version: &Version,
    limits: RowLimits,
) -> Result<(Question, Form), Refusal> {
    let request: ClassifyRequest = from_json(body)?;
    if let Some(name) = request.signature_name.as_deref()
        && !matches!(name, "" | DEFAULT | CLASSIFY)
    {
        return Err(no_signature(name));
    }
    let Examples(data) = request.examples;
    let outputs = requested([Output::Probabilities(Task::Final)].into_iter(), version);
    let (question, spoilt) = question(data, outputs, request.parameters, version, limits)?;
    let form = Form {
        is_columnar: false,
        spoilt,
    };
    Ok((question, form))
}

fn wrong<T>(problem: String) -> Result<T, Refusal> {
    Err(Refusal::Malformed(problem))
}

fn no_signature(name: &str) -> Refusal {
    let name: String = name.chars().take(80).collect();
    Refusal::Malformed(format!(
        "Serving signature name: \"{}\" not found in signature def",
        name.escape_debug()
    ))
}

fn requested(outputs: impl Iterator<Item = Output>, version: &Version) -> Vec<RequestedOutput> {
    let requested = outputs.map(|output| RequestedOutput {
        name: output.name(version).into_owned(),
        is_binary: None,
        is_special: false,
    });
    requested.collect()
}

/// Holds the rows against the model. Besides: which of them are spoilt, as in [`Form`].
fn question(
    data: Data,
    outputs: Vec<RequestedOutput>,
    parameters: Option<Parameters>,
    version: &Version,
    limits: RowLimits,
) -> Result<(Question, Vec<bool>), Refusal> {
    let Data { elements, shape } = data;
    let (tensor, spoilt) = match elements {
        Elements::Texts(texts) => (files(&texts, shape)?, Vec::new()),
        Elements::Numbers(numbers) => rows(numbers, shape, version),
    };
    let request = Request {
        id: None,
        parameters: parameters.unwrap_or_default(),
        inputs: vec![tensor],
        outputs,
    };
    Ok((Question::new(request, version, limits)?, spoilt))
}

fn files(texts: &[String], shape: Vec<usize>) -> Result<Tensor, Refusal> {
    let decode = |(row, text): (usize, &String)| {
        let bytes = BASE64.decode(text).map(Bytes::from);
        bytes.map_err(|error| Refusal::Malformed(format!("input `{INPUT}`: row {row}: {error}")))
    };
    let files: Result<Vec<_>, _> = texts.iter().enumerate().map(decode).collect();
    Ok(tensor("BYTES", shape, Content::Files(files?)))
}

fn rows(mut numbers: Vec<f32>, mut shape: Vec<usize>, version: &Version) -> (Tensor, Vec<bool>) {
    let count = shape.first().copied().unwrap_or(0);
    if is_channels_last(shape.get(1..).unwrap_or_default(), &version.shape) {
        numbers = channels_first(&numbers, &version.shape);
        shape = vec![count, version.row_len()];
    }
    let mut spoilt = Vec::new();
    if count > 0 && !numbers.iter().all(|number| number.is_finite()) {
        let size = (numbers.len() / count).max(1);
        for row in numbers.chunks_mut(size) {
            let is_spoilt = !row.iter().all(|number| number.is_finite());
            if is_spoilt {
                row.fill(0.0);
            }
            spoilt.push(is_spoilt);
        }
    }
    let nested = shape.clone();
    (
        tensor("FP32", shape, Content::Numbers(numbers, nested)),
        spoilt,
    )
}

fn tensor(datatype: &str, shape: Vec<usize>, content: Content) -> Tensor {
    Tensor {
        name: INPUT.to_owned(),
        datatype: datatype.to_owned(),
        shape,
        content,
    }
}

/// Whether a row is `[height, width, channels]`, or `[height, width]` of a model with one channel.
fn is_channels_last(row: &[usize], model: &[usize]) -> bool {
    match *model {
        [channels, height, width] => {
            row == [height, width, channels] || (channels == 1 && row == [height, width])
        }
        _ => false,
    }
}

fn channels_first(numbers: &[f32], model: &[usize]) -> Vec<f32> {
    let (channels, places) = (model[0], model[1..].iter().product::<usize>());
    if channels == 1 {
        return numbers.to_vec();
    }
    let mut turned = Vec::with_capacity(numbers.len());
    for row in numbers.chunks_exact(channels * places) {
        for channel in 0..channels {
            turned.extend(row.iter().skip(channel).step_by(channels));
        }
    }
    turned
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{infer::Source, testing};

    const LIMITS: RowLimits = RowLimits {
        rows: 64,
        bytes: 1 << 20,
    };

    fn read(body: &str) -> Result<(Question, Form), Refusal> {
        predict_question(body.as_bytes(), &testing::version(1), LIMITS)
    }

    fn check_error(body: &str, expected: &str) {
        let error = read(body).unwrap_err().to_string();
        assert!(error.contains(expected), "{body}: {error}");
    }

    #[test]
    fn rows_that_are_not_finite_do_not_spoil_others() {
        let good = vec!["0.5"; testing::ROW].join(",");
        let bad = good.replacen("0.5", "-Infinity", 1);
        let (question, form) = read(&format!(r#"{{"instances": [[{good}], [{bad}]]}}"#)).unwrap();
        assert_eq!(form.spoilt, [false, true]);
        let Source::Prepared(rows) = question.source else {
            panic!("{question:?}");
        };
        assert!(rows.iter().all(|number| number.is_finite()));
        assert_eq!(rows[..testing::ROW], [0.5; testing::ROW]);
    }

    #[test]
    fn images_are_turned_to_the_models_order() {
        assert!(is_channels_last(&[4, 5, 3], &[3, 4, 5]));
        assert!(is_channels_last(&[4, 5], &[1, 4, 5]));
        assert!(!is_channels_last(&[4, 5], &[3, 4, 5]));
        assert!(!is_channels_last(&[3, 4, 5], &[3, 4, 5]));
        let numbers: Vec<f32> = (0..12_u8).map(f32::from).collect();
        let turned = channels_first(&numbers, &[3, 1, 2]);
        assert_eq!(turned, [0., 3., 1., 4., 2., 5., 6., 9., 7., 10., 8., 11.]);
    }

    #[test]
    fn what_is_no_request_is_refused() {
        check_error("", "the request's JSON");
        check_error("{}", "expected `instances` or `inputs`, found neither");
        check_error(r#"{"instances": [1], "inputs": [1]}"#, "found both");
        check_error(r#"{"instances": []}"#, "holds nothing");
        check_error(r#"{"instances": [1, 2]}"#, "expected FP32 of shape");
        check_error(r#"{"instances": [[]]}"#, "holds nothing");
        check_error(r#"{"instances": [[[1]], [[1]]]}"#, "expected FP32 of shape");
        check_error(
            r#"{"signature_name": "x", "instances": [1]}"#,
            "Serving signature name: \"x\" not found in signature def",
        );
        check_error(r#"{"instances": [{"b64": "?"}]}"#, "row 0: ");
        check_error(r#"{"instances": {"image": [1]}}"#, "the request's JSON");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(
            rows in prop::collection::vec(
                prop::collection::vec(prop_oneof![Just("NaN"), Just("1"), Just("-0.5e3"), Just("\"b64\"")], 0..20),
                0..4,
            ),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let rows: Vec<String> = rows.iter().map(|row| format!("[{}]", row.join(","))).collect();
            for field in ["instances", "inputs", "examples"] {
                let mut body = format!(r#"{{"{field}":[{}]}}"#, rows.join(",")).into_bytes();
                let at = at.index(body.len());
                body[at] = byte;
                let version = testing::version(1);
                let _ = predict_question(&body, &version, LIMITS);
                let _ = classify_question(&body, &version, LIMITS);
            }
        }
    }
}
