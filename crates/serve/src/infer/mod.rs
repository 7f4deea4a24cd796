//! One request for an answer, whatever protocol it came by: what it may say of a model, the preparation of its rows, and
//! the computation.
//!
//! A model that classifies images has one input, `image`, in one of three forms. `n` is the number of rows.
//!
//! | datatype | shape | what it holds |
//! | --- | --- | --- |
//! | `FP32`, `FP64`, `FP16`, `BF16` | `[n, channels, height, width]` or `[n, channels * height * width]` | prepared rows |
//! | `UINT8` | `[n, height, width, channels]` | pixels: any size, 1 or 3 channels |
//! | `BYTES` | `[n]` or `[n, 1]` | encoded PNG or JPEG files |
//!
//! Prepared rows are what the network takes: for a model without mean and standard deviation, pixels
//! divided by 255. They are computed with as `FP32`; `FP16` and `BF16` are always raw. Integers but `UINT8` are refused:
//! pixels in them would be taken for prepared rows. Pixels and files go through the model's own preparation. The files of
//! one request hold at most [`MOST_PIXELS`](strata_data::MOST_PIXELS) pixels together; more is refused.
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
//!
//! A request may also have these parameters:
//!
//! | parameter | value | what it does |
//! | --- | --- | --- |
//! | `timeout` | microseconds, 0 for none | sooner than the server's own limit, the request is given up, as with the header `X-Request-Timeout-Ms` and gRPC's `grpc-timeout` |
//! | `priority` | 1 the highest, 5 the lowest; 0 and others for 3 | of what waits for the same version, who comes first: each level is worth 250 ms of waiting, so the lowest is overtaken for at most a second |

mod cache;
mod leave;
mod nested;
mod output;
mod question;
mod request;
mod run;
mod source;

pub(crate) use cache::Cache;
pub(crate) use leave::Scalar;
#[cfg(test)]
pub(crate) use nested::MOST_TEXTS;
pub(crate) use nested::{Data, Elements, NestedReader};
pub(crate) use output::{Output, Task, Values, exits_taken};
pub(crate) use question::{Question, RowLimits, WantedOutput};
pub(crate) use request::{Content, Parameters, Request, RequestedOutput, Tensor};
pub(crate) use run::{Read, infer, read};
pub(crate) use source::{Source, Waiter};

/// The name of the input.
pub(crate) const INPUT: &str = "image";
