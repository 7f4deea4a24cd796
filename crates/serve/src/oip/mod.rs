//! The Open Inference Protocol, version 2, over REST, with its binary tensor extension.
//!
//! <https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md>,
//! <https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md>
//!
//! What a model takes and gives is in [`infer`](crate::infer). Files are base64 texts in JSON; in binary, each comes after
//! its length in 4 little-endian bytes. A body whose header length is 0 is one raw tensor of prepared rows in `FP32`, and
//! its answer is binary.
//!
//! Besides: the repository extension (`/v2/repository/…`), and statistics (`…/stats`), with the fields that they have at
//! the Triton Inference Server.

mod answer;
mod data;
mod infer;
mod lift;
mod metadata;
mod repository;
mod request;
mod statistics;

pub(crate) use answer::push_json;
pub(crate) use infer::{infer, question};
pub(crate) use metadata::{EXTENSIONS, NAME, PLATFORM, model, model_ready, ready, server};
pub(crate) use repository::{ChangeRequest, IndexRequest, index, load, load_parameter, unload};
pub(crate) use request::InferRequest;
pub(crate) use statistics::{no_statistics, statistics};

/// In requests and answers with binary tensors: the number of bytes before them.
pub(crate) const HEADER_LENGTH: &str = "inference-header-content-length";
