use serde::Deserialize;

use super::data::Data;

/// The JSON of a request. Fields and parameters that are not known are ignored, as the protocol asks.
#[derive(Debug, Deserialize)]
pub(crate) struct InferRequest {
    pub(crate) id: Option<String>,
    pub(crate) parameters: Option<RequestParameters>,
    pub(crate) inputs: Vec<InputTensor>,
    pub(crate) outputs: Option<Vec<RequestedOutput>>,
}

/// Parameters of a whole request.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct RequestParameters {
    /// Microseconds that the caller is ready to wait; 0 for as long as the server allows.
    pub(crate) timeout: Option<u64>,
    /// Whether outputs that are asked for without a form are binary.
    pub(crate) binary_data_output: Option<bool>,
    /// Of an explanation; see `explain`.
    pub(crate) method: Option<String>,
    pub(crate) steps: Option<usize>,
    pub(crate) baseline: Option<String>,
    pub(crate) target: Option<usize>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct InputTensor {
    pub(crate) name: String,
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
