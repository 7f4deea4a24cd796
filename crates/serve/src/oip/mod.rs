//! The Open Inference Protocol, version 2, over REST, with its binary tensor extension.
//!
//! <https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md>,
//! <https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md>
//!
//! A model that classifies images has one input, `image`, in one of three forms. `n` is the number of rows.
//!
//! | datatype | shape | what it holds |
//! | --- | --- | --- |
//! | `FP32` | `[n, channels, height, width]` or `[n, channels * height * width]` | prepared rows: what the network takes. For a model without mean and standard deviation, pixels divided by 255 |
//! | `UINT8` | `[n, height, width, channels]`, any height and width, 1 or 3 channels | pixels, which the model's preparation resizes and scales |
//! | `BYTES` | `[n]` or `[n, 1]` | encoded PNG or JPEG files: base64 text in JSON; in binary, each after its length (4 bytes, little-endian) |
//!
//! and three outputs, all given unless the request names some: `probabilities` (`FP32`, `[n, classes]`), `label`
//! (`BYTES`, `[n]`) and `class` (`INT64`, `[n]`).

mod answer;
mod data;
mod infer;
mod metadata;
mod question;
mod request;

pub(crate) use answer::push_json;
pub(crate) use infer::{Read, infer, read};
pub(crate) use metadata::{model, model_ready, server};
pub(crate) use request::RequestParameters;

/// The name of the input.
pub(crate) const INPUT: &str = "image";
/// In requests and answers with binary tensors: the number of bytes before them.
pub(crate) const HEADER_LENGTH: &str = "inference-header-content-length";
