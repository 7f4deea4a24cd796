//! TensorFlow Serving's REST interface.
//!
//! <https://www.tensorflow.org/tfx/serving/api_rest>
//!
//! A model has the signatures of a classifier, all with the one input `image`:
//!
//! | signature | method | outputs |
//! | --- | --- | --- |
//! | `serving_default` | `:predict` | `probabilities`; of a model with several tasks, those of each |
//! | `all` | `:predict` | all that [`infer`](crate::infer) lists |
//! | `classify` | `:classify` | each label with its probability, in the order of the classes |
//!
//! Without `signature_name`, `:predict` takes the first one and `:classify` the last one. `:regress` is refused: there is
//! nothing to regress.
//!
//! Rows are `[height, width, channels]`, as TensorFlow has images, or in the model's own forms, `[channels, height, width]`
//! and flat; of one channel also `[height, width]`. They are prepared rows, and files of PNG or JPEG are `{"b64": …}`. Their
//! features in `examples` are flat lists; other features, and `context`, are not read.
//!
//! `NaN`, `Infinity` and `-Infinity` may stand for numbers, bare or as texts. A row that holds one is not computed, and does
//! not spoil the others: its probabilities are `NaN`, its class is -1, and its texts are empty.
//!
//! Versions are texts in answers; labels are aliases. A request may have `parameters`, those of the Open Inference Protocol,
//! for where its rows leave. The version, its digest and levels are in an answer's headers ([`HEADERS`]), since its body has
//! no place for them.

mod answer;
mod data;
mod metadata;
mod request;
mod tokens;

use std::sync::{Arc, OnceLock};

use hyper::header::HeaderValue;

pub(crate) use self::{
    answer::push_list,
    metadata::{metadata, status},
    request::{ClassifyRequest, Form, PredictRequest, predict_question},
};
use crate::{
    http::{Asked, Refusal, Response, State, json},
    infer::{Question, RowLimits, exits_taken, infer as run},
    runtime::{Answered, Version},
};

/// The signature that answers where a request names none.
const DEFAULT: &str = "serving_default";
const ALL: &str = "all";
const CLASSIFY: &str = "classify";

/// In answers: version, digest of its manifest, levels, and of models with several exits those that answered.
pub(crate) const HEADERS: [&str; 4] = [
    "strata-model-version",
    "strata-model-digest",
    "strata-model-levels",
    "strata-model-exits",
];

/// `POST …:predict`
pub(crate) async fn predict(state: &State, asked: Asked) -> Result<Response, Refusal> {
    answer(state, asked, predict_question, answer::predictions).await
}

/// The same, with one more field in the answer; `value` is JSON.
pub(crate) async fn predict_with(
    state: &State,
    asked: Asked,
    name: &str,
    value: &str,
) -> Result<Response, Refusal> {
    let more = format!(r#","{name}":{value}}}"#);
    let write = move |version: &Version, question: &Question, answered: &Answered, form: &Form| {
        let mut json = answer::predictions(version, question, answered, form);
        // The brace that closes it.
        json.pop();
        json.push_str(&more);
        json
    };
    answer(state, asked, predict_question, write).await
}

/// `POST …:classify`
pub(crate) async fn classify(state: &State, asked: Asked) -> Result<Response, Refusal> {
    answer(state, asked, request::classify_question, answer::classes).await
}

/// `POST …:regress`
pub(crate) fn regress() -> Refusal {
    Refusal::Malformed(
        "Expected regression signature method_name to be tensorflow/serving/regress. Was: \
         tensorflow/serving/classify"
            .to_owned(),
    )
}

type Parse = fn(&[u8], &Version, RowLimits) -> Result<(Question, Form), Refusal>;

async fn answer(
    state: &State,
    asked: Asked,
    parse: Parse,
    write: impl FnOnce(&Version, &Question, &Answered, &Form) -> String + Send + 'static,
) -> Result<Response, Refusal> {
    let bytes = asked.body.bytes.clone();
    let length = bytes.len();
    // Known when the request is read, and wanted again when its answer is written.
    let form = Arc::new(OnceLock::new());
    let found = form.clone();
    let parse = move |version: &Version, limits: RowLimits| {
        let (question, form) = parse(&bytes, version, limits)?;
        found.get_or_init(|| form);
        Ok(question)
    };
    let write = move |version: &Version, question: &Question, answered: &Answered| {
        let form = form.get_or_init(Form::default);
        let mut response = json(write(version, question, answered, form));
        add_origin(&mut response, version, answered);
        response
    };
    run(state, &asked.routed, length, asked.deadline, parse, write).await
}

/// Says by whom a request was answered.
fn add_origin(response: &mut Response, version: &Version, answered: &Answered) {
    let values = [
        Some(version.number.to_string()),
        Some(version.digest.to_string()),
        Some(version.levels.join(",")),
        exits_taken(version, answered),
    ];
    for (name, value) in HEADERS.into_iter().zip(values) {
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(&value).ok()) {
            response.headers_mut().insert(name, value);
        }
    }
}
