//! KServe's first data plane protocol, V1.
//!
//! <https://kserve.github.io/website/docs/concepts/architecture/data-plane/v1-protocol>
//!
//! Its `:predict` is that of [`tfserving`](crate::tfserving), which it was made after, and its `GET /v1/models/{model}` the
//! same answer as TensorFlow Serving's status. `GET /` tells that the server lives, and needs no key, as the other routes
//! for health.
//!
//! `:explain` takes the body of `:predict`, and the parameters of [`explain`](crate::explain) in `parameters`, for as many
//! rows. Beside `predictions`, as of `:predict`, it gives `explanations`: for each row what the other route has as parameters
//! of one, and `attribution` nested as `[channels, height, width]`.

use std::fmt::Write;

use serde_json::json;
use strata_explain::Attribution;

use crate::{
    access::Caller,
    explain,
    http::{Asked, Refusal, Response, State, covered, json as response},
    infer::RowLimits,
    oip::push_json,
    runtime::Version,
    tfserving::{self, push_list},
};

/// `GET /`
pub(crate) fn alive() -> Response {
    response(r#"{"status":"alive"}"#)
}

/// `GET /v1/models`: the names of the models that the caller's key is for.
pub(crate) fn models(state: &State, caller: &Caller) -> Response {
    let registry = state.registry.current();
    let versions = covered(&registry, caller);
    let mut names: Vec<_> = versions.iter().map(|version| &version.name).collect();
    let asleep = registry.asleep().keys();
    names.extend(asleep.filter(|name| caller.covers(name.as_str())));
    names.sort_unstable();
    names.dedup();
    response(json!({ "models": names }).to_string())
}

/// `POST /v1/models/{model}:explain`
pub(crate) async fn explain(state: &State, asked: Asked) -> Result<Response, Refusal> {
    let bytes = asked.body.bytes.clone();
    let parse = move |version: &Version, limits: RowLimits| {
        let (question, form) = tfserving::predict_question(&bytes, version, limits)?;
        form.check_finite()?;
        Ok(question)
    };
    let write = |version: &Version, explained: &explain::Explained| {
        let rows = explained.attributions.iter();
        let rows: Vec<_> = rows.map(|row| of_row(version, explained, row)).collect();
        format!("[{}]", rows.join(","))
    };
    let explanations = explain::compute(state, &asked, parse, write).await?;
    tfserving::predict_with(state, asked, "explanations", &explanations).await
}

/// By hand, since numbers of 32 bits have shorter texts than [`serde_json::Value`] gives them.
fn of_row(version: &Version, explained: &explain::Explained, row: &Attribution) -> String {
    let mut json = String::from("{");
    for (name, value) in explained.parameters(version, row) {
        // Writing to a string cannot fail.
        let _ = write!(json, r#""{name}":{value},"#);
    }
    json.push_str(r#""attribution":"#);
    push_nested(&mut json, &row.values, &version.shape);
    json.push('}');
    json
}

fn push_nested(json: &mut String, values: &[f32], shape: &[usize]) {
    let [_, inner @ ..] = shape else {
        return push_json(json, &values[0]);
    };
    let size = inner.iter().product::<usize>().max(1);
    push_list(json, values.chunks(size), |json, part| {
        push_nested(json, part, inner);
    });
}
