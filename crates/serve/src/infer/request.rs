use bytes::Bytes;
use schemars::JsonSchema;
use serde::Deserialize;

use super::leave::Scalar;

/// What a caller asks, as any protocol says it; not yet held against a model.
#[derive(Debug, Default)]
pub(crate) struct Request {
    pub(crate) id: Option<String>,
    pub(crate) parameters: Parameters,
    pub(crate) inputs: Vec<Tensor>,
    /// All outputs where none is named.
    pub(crate) outputs: Vec<RequestedOutput>,
}

/// Parameters of a whole request. Others are ignored, as the protocols ask.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct Parameters {
    /// Microseconds that the caller is ready to wait; 0 for as long as the server allows.
    pub(crate) timeout: Option<u64>,
    /// Which requests go first: 1 the highest to 5; 0 and others for the default, 3.
    pub(crate) priority: Option<u64>,
    /// Whether outputs that are asked for without a form are binary.
    pub(crate) binary_data_output: Option<bool>,
    /// Where the rows leave; see `leave`.
    #[schemars(with = "Option<String>")]
    pub(crate) exit: Option<Scalar>,
    #[schemars(with = "Option<f64>")]
    pub(crate) confidence: Option<Scalar>,
    #[schemars(with = "Option<f64>")]
    pub(crate) budget_ms: Option<Scalar>,
    /// Of an explanation; see `explain`.
    pub(crate) method: Option<String>,
    pub(crate) steps: Option<usize>,
    pub(crate) baseline: Option<String>,
    pub(crate) target: Option<usize>,
}

/// An input.
#[derive(Debug)]
pub(crate) struct Tensor {
    pub(crate) name: String,
    pub(crate) datatype: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) content: Content,
}

/// The elements of an input.
#[derive(Debug)]
pub(crate) enum Content {
    Missing,
    /// Bytes that lie in memory of the server's own.
    SharedMemory,
    /// Little-endian; texts each after their length in 4 bytes.
    Raw(Bytes),
    /// Finite numbers, and how they were nested: the shape again, or their count alone.
    Numbers(Vec<f32>, Vec<usize>),
    /// Texts that stand for bytes, and how they were nested.
    Base64(Vec<String>, Vec<usize>),
    Files(Vec<Bytes>),
}

/// An output that is asked for by its name.
#[derive(Debug)]
pub(crate) struct RequestedOutput {
    pub(crate) name: String,
    /// Whether it is binary, if the request says so of this one.
    pub(crate) is_binary: Option<bool>,
    /// Whether it is to be sorted into classes or put into shared memory, which is not supported.
    pub(crate) is_special: bool,
}
