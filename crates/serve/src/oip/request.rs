use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{Error, SeqAccess, Visitor},
};

use super::{data::Data, leave::Scalar};

/// The JSON of a request. Fields and parameters that are not known are ignored, as the protocol asks.
#[derive(Debug, Deserialize)]
pub(crate) struct InferRequest {
    pub(crate) id: Option<String>,
    pub(crate) parameters: Option<RequestParameters>,
    #[serde(deserialize_with = "few")]
    pub(crate) inputs: Vec<InputTensor>,
    #[serde(default, deserialize_with = "few_or_none")]
    pub(crate) outputs: Option<Vec<RequestedOutput>>,
}

/// Parameters of a whole request.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct RequestParameters {
    /// Microseconds that the caller is ready to wait; 0 for as long as the server allows.
    pub(crate) timeout: Option<u64>,
    /// Whether outputs that are asked for without a form are binary.
    pub(crate) binary_data_output: Option<bool>,
    /// Where the rows leave; see `leave`.
    pub(crate) exit: Option<Scalar>,
    pub(crate) confidence: Option<Scalar>,
    pub(crate) budget_ms: Option<Scalar>,
    /// Of an explanation; see `explain`.
    pub(crate) method: Option<String>,
    pub(crate) steps: Option<usize>,
    pub(crate) baseline: Option<String>,
    pub(crate) target: Option<usize>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct InputTensor {
    pub(crate) name: String,
    #[serde(deserialize_with = "few")]
    pub(crate) shape: Vec<usize>,
    pub(crate) datatype: String,
    pub(crate) parameters: Option<InputParameters>,
    pub(crate) data: Option<Data>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct InputParameters {
    /// Bytes of the tensor after the JSON, if it is binary.
    pub(crate) binary_data_size: Option<usize>,
    pub(crate) shared_memory_region: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct RequestedOutput {
    pub(crate) name: String,
    pub(crate) parameters: Option<OutputParameters>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct OutputParameters {
    pub(crate) binary_data: Option<bool>,
    pub(crate) classification: Option<u64>,
    pub(crate) shared_memory_region: Option<String>,
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
