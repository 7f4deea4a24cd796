//! The Open Inference Protocol, version 2, over REST, with its binary tensor extension.
//!
//! <https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md>,
//! <https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md>
//!
//! A model that classifies images has one input, `image`, in one of three forms. `n` is the number of rows.
//!
//! | datatype | shape | what it holds |
//! | --- | --- | --- |
//! | `FP32` | `[n, channels, height, width]` or `[n, channels * height * width]` | prepared rows |
//! | `UINT8` | `[n, height, width, channels]` | pixels: any size, 1 or 3 channels |
//! | `BYTES` | `[n]` or `[n, 1]` | encoded PNG or JPEG files |
//!
//! Prepared rows are what the network takes: for a model without mean and standard deviation, pixels
//! divided by 255. Pixels and files go through the model's own preparation. Files are base64 texts in
//! JSON; in binary, each comes after its length in 4 little-endian bytes. The files of one request hold at
//! most [`MOST_PIXELS`](strata_data::MOST_PIXELS) pixels together; more is 413.
//!
//! It has three outputs, all given unless the request names some: `probabilities` (`FP32`, `[n, classes]`),
//! `label` (`BYTES`, `[n]`) and `class` (`INT64`, `[n]`). They are those of the final task; those of any other task have its
//! name before theirs, such as `kind.label`. All of them come from one pass.
//!
//! A model with exits has one more, `exit` (`BYTES`, `[n]`): the level whose head answered for the final task. The answer's
//! parameter `exit` lists those that answered at all, with commas. Rows leave as soon as their exit is sure enough by the
//! calibrated thresholds, or at the top where there are none. A request may say otherwise, by one of these parameters:
//!
//! | parameter | value | rows leave |
//! | --- | --- | --- |
//! | `exit` | the name of a level with an exit, or of the top level | there |
//! | `confidence` | 0 to 1 | at the first exit whose answer has at least this probability |
//! | `budget_ms` | more than 0 | at the deepest exit that computing the request's rows reaches in so many milliseconds, as measured on this machine at load without what they wait; at the lowest if none is reached |

mod answer;
mod data;
mod infer;
mod leave;
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
