use std::collections::BTreeMap;

use bytes::Bytes;

use super::pb::{
    InferParameter, InferTensorContents, ModelInferRequest, ModelInferResponse,
    infer_parameter::ParameterChoice,
    model_infer_request::{InferInputTensor, InferRequestedOutputTensor},
    model_infer_response::InferOutputTensor,
};
use crate::{
    http::Refusal,
    infer::{
        Content, Parameters, Question, Request, RequestedOutput, Scalar, Tensor, Values,
        WantedOutput, exits_taken,
    },
    runtime::{Answered, Version},
};

/// What a message asks.
pub(crate) fn request(message: ModelInferRequest) -> Result<Request, Refusal> {
    let ModelInferRequest {
        id,
        parameters,
        inputs,
        outputs,
        raw_input_contents: raw,
        ..
    } = message;
    if !raw.is_empty() {
        if raw.len() != inputs.len() {
            return wrong(format!(
                "raw_input_contents: expected one for each of {} inputs, found {}",
                inputs.len(),
                raw.len()
            ));
        }
        if let Some(input) = inputs.iter().find(|input| input.contents.is_some()) {
            return wrong(format!(
                "input `{}`: has contents, but there are raw_input_contents too",
                input.name.escape_debug()
            ));
        }
    }
    let mut raw = raw.into_iter();
    let inputs = inputs.into_iter().map(|input| tensor(input, raw.next()));
    Ok(Request {
        id: Some(id).filter(|id| !id.is_empty()),
        parameters: request_parameters(parameters)?,
        inputs: inputs.collect::<Result<_, _>>()?,
        outputs: outputs.into_iter().map(requested).collect(),
    })
}

fn tensor(input: InferInputTensor, raw: Option<Bytes>) -> Result<Tensor, Refusal> {
    let InferInputTensor {
        name,
        datatype,
        shape,
        parameters,
        contents,
    } = input;
    let sides: Result<Vec<usize>, _> = shape.iter().map(|&side| usize::try_from(side)).collect();
    let Ok(sides) = sides else {
        return wrong(format!(
            "input `{}`: shape {shape:?}: expected sides of 0 or more",
            name.escape_debug()
        ));
    };
    let content = match (raw, contents) {
        _ if parameters.contains_key("shared_memory_region") => Content::SharedMemory,
        (Some(raw), _) => Content::Raw(raw),
        (None, Some(contents)) => typed(&name, &datatype, contents)?,
        (None, None) => Content::Missing,
    };
    Ok(Tensor {
        name,
        datatype,
        shape: sides,
        content,
    })
}

/// The elements in the field of their datatype. What is in another one is refused, not passed over.
fn typed(name: &str, datatype: &str, contents: InferTensorContents) -> Result<Content, Refusal> {
    let InferTensorContents {
        bool_contents,
        int_contents,
        int64_contents,
        uint_contents,
        uint64_contents,
        fp32_contents,
        fp64_contents,
        bytes_contents,
    } = contents;
    let filled = [
        ("bool_contents", !bool_contents.is_empty()),
        ("int_contents", !int_contents.is_empty()),
        ("int64_contents", !int64_contents.is_empty()),
        ("uint_contents", !uint_contents.is_empty()),
        ("uint64_contents", !uint64_contents.is_empty()),
        ("fp32_contents", !fp32_contents.is_empty()),
        ("fp64_contents", !fp64_contents.is_empty()),
        ("bytes_contents", !bytes_contents.is_empty()),
    ];
    let field = match datatype {
        "FP32" => "fp32_contents",
        "FP64" => "fp64_contents",
        "UINT8" => "uint_contents",
        "BYTES" => "bytes_contents",
        // Always raw, or refused for the datatype.
        _ => return Ok(Content::Numbers(Vec::new(), Vec::new())),
    };
    if let Some((other, _)) = filled.iter().find(|(other, is)| *is && *other != field) {
        return wrong(format!(
            "input `{}`: {datatype} is in {field}, found {other}",
            name.escape_debug()
        ));
    }
    let numbers = |numbers: Vec<f32>| {
        let count = numbers.len();
        Content::Numbers(numbers, vec![count])
    };
    Ok(match datatype {
        "FP32" => numbers(fp32_contents),
        "FP64" => numbers(fp64_contents.iter().map(|&value| value as f32).collect()),
        "UINT8" => numbers(uint_contents.iter().map(|&value| value as f32).collect()),
        _ => Content::Files(bytes_contents),
    })
}

fn requested(output: InferRequestedOutputTensor) -> RequestedOutput {
    let InferRequestedOutputTensor { name, parameters } = output;
    let is_special = ["classification", "shared_memory_region"];
    RequestedOutput {
        is_special: is_special.iter().any(|name| parameters.contains_key(*name)),
        is_binary: None,
        name,
    }
}

fn request_parameters(given: BTreeMap<String, InferParameter>) -> Result<Parameters, Refusal> {
    let mut parameters = Parameters::default();
    for (name, value) in given {
        let choice = value.parameter_choice;
        match name.as_str() {
            "timeout" => {
                parameters.timeout = Some(whole(choice, "timeout", "a number of microseconds")?)
            }
            "priority" => {
                parameters.priority = Some(whole(choice, "priority", "a number of 0 or more")?)
            }
            "exit" => parameters.exit = Some(scalar(choice)),
            "confidence" => parameters.confidence = Some(scalar(choice)),
            "budget_ms" => parameters.budget_ms = Some(scalar(choice)),
            _ => {}
        }
    }
    Ok(parameters)
}

fn whole(choice: Option<ParameterChoice>, name: &str, what: &str) -> Result<u64, Refusal> {
    let number = match choice {
        Some(ParameterChoice::Int64Param(value)) => u64::try_from(value).ok(),
        Some(ParameterChoice::Uint64Param(value)) => Some(value),
        _ => None,
    };
    number.map_or_else(|| wrong(format!("parameter `{name}`: expected {what}")), Ok)
}

fn scalar(choice: Option<ParameterChoice>) -> Scalar {
    match choice {
        None => Scalar::Nothing,
        Some(ParameterChoice::BoolParam(_)) => Scalar::Other("a truth value"),
        Some(ParameterChoice::Int64Param(value)) => Scalar::Number(value as f64),
        Some(ParameterChoice::Uint64Param(value)) => Scalar::Number(value as f64),
        Some(ParameterChoice::DoubleParam(value)) => Scalar::Number(value),
        Some(ParameterChoice::StringParam(value)) => Scalar::Text(value),
    }
}

fn wrong<T>(problem: String) -> Result<T, Refusal> {
    Err(Refusal::Malformed(problem))
}

/// The answer to a question, raw or typed as its inputs were.
pub(crate) fn response(
    version: &Version,
    question: &Question,
    answered: &Answered,
    is_raw: bool,
) -> ModelInferResponse {
    let mut response = ModelInferResponse {
        model_name: version.name.to_string(),
        model_version: version.number.to_string(),
        id: question.id.clone().unwrap_or_default(),
        parameters: origin(version, answered),
        ..ModelInferResponse::default()
    };
    for WantedOutput { output, .. } in &question.outputs {
        let sides = [Some(question.count), output.width(version)];
        let sides = sides.into_iter().flatten();
        let values = Values::of(*output, version, answered);
        let contents = if is_raw {
            let mut raw = Vec::new();
            values.write_binary(&mut raw);
            response.raw_output_contents.push(raw.into());
            None
        } else {
            Some(typed_values(values))
        };
        response.outputs.push(InferOutputTensor {
            name: output.name(version).into_owned(),
            datatype: output.datatype().to_owned(),
            shape: sides.map(|side| side as i64).collect(),
            parameters: BTreeMap::new(),
            contents,
        });
    }
    response
}

fn typed_values(values: Values<'_>) -> InferTensorContents {
    let mut contents = InferTensorContents::default();
    match values {
        Values::Numbers(numbers) => contents.fp32_contents = numbers.to_vec(),
        Values::Classes(classes) => {
            contents.int64_contents = classes.iter().map(|&class| class as i64).collect();
        }
        Values::Texts(texts) => {
            let texts = texts.iter();
            contents.bytes_contents = texts
                .map(|text| Bytes::copy_from_slice(text.as_bytes()))
                .collect();
        }
    }
    contents
}

/// What REST has as parameters of an answer.
fn origin(version: &Version, answered: &Answered) -> BTreeMap<String, InferParameter> {
    let text = ParameterChoice::StringParam;
    let number = i64::try_from(version.number).unwrap_or(i64::MAX);
    let mut all = vec![
        ("version", ParameterChoice::Int64Param(number)),
        ("digest", text(version.digest.to_string())),
        ("levels", text(version.levels.join(","))),
    ];
    all.extend(exits_taken(version, answered).map(|taken| ("exit", text(taken))));
    let parameter = |(name, choice): (&str, ParameterChoice)| {
        let value = InferParameter {
            parameter_choice: Some(choice),
        };
        (name.to_owned(), value)
    };
    all.into_iter().map(parameter).collect()
}
