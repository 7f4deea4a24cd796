use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{Error, SeqAccess, Visitor},
};

use bytes::Bytes;
use schemars::JsonSchema;

use crate::{
    http::Refusal,
    infer::{self, Content, Data, Elements, INPUT, Parameters, Request, Tensor},
    runtime::Version,
};

/// The JSON of a request. Fields and parameters that are not known are ignored, as the protocol asks.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct InferRequest {
    pub(crate) id: Option<String>,
    pub(crate) parameters: Option<Parameters>,
    #[serde(deserialize_with = "few")]
    #[schemars(length(max = 16))]
    pub(crate) inputs: Vec<InputTensor>,
    #[serde(default, deserialize_with = "few_or_none")]
    #[schemars(length(max = 16))]
    pub(crate) outputs: Option<Vec<RequestedOutput>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct InputTensor {
    pub(crate) name: String,
    #[serde(deserialize_with = "few")]
    #[schemars(length(max = 16))]
    pub(crate) shape: Vec<usize>,
    pub(crate) datatype: String,
    pub(crate) parameters: Option<InputParameters>,
    /// Numbers or base64 texts, flat or nested.
    #[schemars(with = "Option<Vec<serde_json::Value>>")]
    pub(crate) data: Option<Data>,
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct InputParameters {
    /// Bytes of the tensor after the JSON, if it is binary.
    pub(crate) binary_data_size: Option<usize>,
    pub(crate) shared_memory_region: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct RequestedOutput {
    pub(crate) name: String,
    pub(crate) parameters: Option<OutputParameters>,
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct OutputParameters {
    pub(crate) binary_data: Option<bool>,
    pub(crate) classification: Option<u64>,
    pub(crate) shared_memory_region: Option<String>,
}

impl InferRequest {
    /// Gives each input its part of the bytes that follow the JSON, in their order.
    pub(crate) fn with_binary(self, mut binary: Bytes) -> Result<Request, Refusal> {
        let Self {
            id,
            parameters,
            inputs,
            outputs,
        } = self;
        let count = inputs.len();
        let following = binary.len();
        let mut is_any_binary = false;
        let mut tensors = Vec::with_capacity(count);
        for (index, input) in inputs.into_iter().enumerate() {
            let said = input.parameters.as_ref().and_then(|p| p.binary_data_size);
            if let Some(said) = said {
                is_any_binary = true;
                let is_last = index + 1 == count;
                if said > binary.len() || (is_last && said != binary.len()) {
                    return wrong(format!(
                        "input `{}`: binary_data_size is {said}, but {} bytes follow the JSON",
                        input.name.escape_debug(),
                        binary.len()
                    ));
                }
            }
            let own = said.map(|said| binary.split_to(said));
            tensors.push(input.with_raw(own)?);
        }
        if following > 0 && !is_any_binary {
            return wrong(format!(
                "{following} bytes follow the JSON, but no input is binary"
            ));
        }
        let outputs = outputs.unwrap_or_default().into_iter();
        Ok(Request {
            id,
            parameters: parameters.unwrap_or_default(),
            inputs: tensors,
            outputs: outputs.map(RequestedOutput::into).collect(),
        })
    }
}

impl InputTensor {
    fn with_raw(self, raw: Option<Bytes>) -> Result<Tensor, Refusal> {
        let Self {
            name,
            shape,
            datatype,
            parameters,
            data,
        } = self;
        let is_shared = parameters.is_some_and(|p| p.shared_memory_region.is_some());
        let content = match (raw, data) {
            _ if is_shared => Content::SharedMemory,
            (Some(_), Some(_)) => {
                return wrong(format!(
                    "input `{}`: has both `data` and `binary_data_size`",
                    name.escape_debug()
                ));
            }
            (Some(raw), None) => Content::Raw(raw),
            (None, None) => Content::Missing,
            (None, Some(data)) if data.is_lifted() => {
                return wrong(format!(
                    "input `{}`: expected a list as `data`, found `true`",
                    name.escape_debug()
                ));
            }
            (None, Some(Data { elements, shape })) => match elements {
                Elements::Numbers(numbers) => Content::Numbers(numbers, shape),
                Elements::Texts(texts) => Content::Base64(texts, shape),
            },
        };
        Ok(Tensor {
            name,
            datatype,
            shape,
            content,
        })
    }
}

impl From<RequestedOutput> for infer::RequestedOutput {
    fn from(output: RequestedOutput) -> Self {
        let RequestedOutput { name, parameters } = output;
        let is_special =
            |p: &OutputParameters| p.classification.is_some() || p.shared_memory_region.is_some();
        Self {
            name,
            is_binary: parameters.as_ref().and_then(|p| p.binary_data),
            is_special: parameters.as_ref().is_some_and(is_special),
        }
    }
}

/// A body that is one raw tensor of prepared rows in `FP32`, as the model's metadata has it. Its answer is binary too.
pub(crate) fn raw_request(body: Bytes, version: &Version) -> Result<Request, Refusal> {
    let row = version.row_len() * size_of::<f32>();
    if body.is_empty() || !body.len().is_multiple_of(row) {
        return wrong(format!(
            "input `{INPUT}`: a raw tensor of FP32 takes {row} bytes for each row, found {} bytes",
            body.len()
        ));
    }
    Ok(Request {
        parameters: Parameters {
            binary_data_output: Some(true),
            ..Parameters::default()
        },
        inputs: vec![Tensor {
            name: INPUT.to_owned(),
            datatype: "FP32".to_owned(),
            shape: vec![body.len() / row, version.row_len()],
            content: Content::Raw(body),
        }],
        ..Request::default()
    })
}

fn wrong<T>(problem: String) -> Result<T, Refusal> {
    Err(Refusal::Malformed(problem))
}

/// The most elements of a list other than `data`: what takes 2 bytes in JSON takes many times that in memory.
const MOST: usize = 16;

/// A list of at most [`MOST`] elements, which stops being read where it has more.
struct Few<T>(Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Few<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(FewVisitor(PhantomData))
    }
}

struct FewVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for FewVisitor<T> {
    type Value = Few<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {MOST} elements")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Few<T>, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = list.next_element()? {
            if elements.len() == MOST {
                return Err(A::Error::invalid_length(MOST + 1, &self));
            }
            elements.push(element);
        }
        Ok(Few(elements))
    }
}

fn few<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    Few::deserialize(deserializer).map(|few| few.0)
}

fn few_or_none<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Vec<T>>, D::Error> {
    let few = Option::<Few<T>>::deserialize(deserializer)?;
    Ok(few.map(|few| few.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, expected: Result<(usize, Option<usize>), &str>) {
        let found = serde_json::from_str::<InferRequest>(json);
        match (found, expected) {
            (Ok(request), Ok(expected)) => {
                let outputs = request.outputs.map(|outputs| outputs.len());
                assert_eq!((request.inputs.len(), outputs), expected, "{json}");
            }
            (Err(error), Err(expected)) => {
                assert!(error.to_string().contains(expected), "{json}: {error}");
            }
            (found, _) => panic!("{json}: {found:?}"),
        }
    }

    #[test]
    fn lists_are_short() {
        let list = |element: &str, count| format!("[{}]", vec![element; count].join(","));
        let inputs = |count, sides| {
            let shape = list("1", sides);
            let input = format!(r#"{{"name":"a","datatype":"b","shape":{shape}}}"#);
            format!(r#"{{"inputs":{}}}"#, list(&input, count))
        };
        let outputs = |outputs: &str| format!(r#"{{"inputs":[],"outputs":{outputs}}}"#);
        let too_long = Err("invalid length 17, expected a list of at most 16 elements");
        check(&inputs(16, 16), Ok((16, None)));
        check(&inputs(17, 1), too_long);
        check(&inputs(1, 17), too_long);
        check(&outputs("null"), Ok((0, None)));
        check(&outputs(&list(r#"{"name":"a"}"#, 16)), Ok((0, Some(16))));
        check(&outputs(&list(r#"{"name":"a"}"#, 17)), too_long);
        check("{}", Err("missing field `inputs`"));
    }
}
