//! `POST …/explain`: why a model answered as it did.
//!
//! The request is that of `infer` with one row, and parameters; explained is the answer at the top, at whichever exit a row
//! would leave:
//!
//! | parameter | value | default |
//! | --- | --- | --- |
//! | `method` | `integrated-gradients` | `integrated-gradients` |
//! | `steps` | 1 to 500 | 50 |
//! | `baseline` | `black`, `white` or `grey` | `black` |
//! | `target` | the number of a class | the predicted class |
//!
//! The answer has one output, `attribution` (`FP32`, the shape of a prepared row), and in its parameters,
//! besides the origin: `method`, `steps`, `baseline`, `target`, `label` (the target's), `prediction` and
//! `baseline_prediction` (the target's logit for the input and for the baseline) and `completeness_error`
//! (how far the sum of the attribution is from their difference).

mod request;

use std::{fmt::Write, sync::Arc};

use serde_json::json;
use strata_explain::Attribution;
use tokio::time::timeout_at;

use self::request::{Settings, baseline_word, settings};
use crate::{
    http::{Asked, Refusal, Response, State, json as response},
    infer::{Read, RowLimits, read},
    oip::{self, push_json},
    runtime::Version,
};

/// Answers the route.
pub(crate) async fn explain(state: &State, asked: Asked) -> Result<Response, Refusal> {
    // Taken before the work of reading, and refused rather than queued: explanations are long.
    let slot = Arc::clone(&state.explanations).try_acquire_owned();
    let slot =
        slot.map_err(|_| Refusal::Busy("as many explanations as are allowed are being computed"))?;
    let (bytes, json_bytes) = (asked.body.bytes.clone(), asked.json_bytes);
    let length = bytes.len();
    let parse = move |version: &Version, limits: RowLimits| {
        oip::question(&bytes, json_bytes, version, limits)
    };
    let Read {
        question,
        rows,
        deadline,
    } = read(state, &asked.version, length, asked.deadline, parse).await?;
    if question.count != 1 {
        return Err(Refusal::Malformed(format!(
            "expected one row to explain, found {}",
            question.count
        )));
    }
    let settings = settings(&question.parameters)?;
    let (version, asked_settings) = (asked.version.clone(), settings.clone());
    let work = tokio::task::spawn_blocking(move || {
        // Held by the work, not by who waits for it: the caller may leave while it goes on.
        let _slot = slot;
        version
            .explainer
            .integrated_gradients(&rows, &asked_settings)
    });
    let explained = timeout_at(deadline.into(), work)
        .await
        .map_err(|_| Refusal::Overdue)?;
    let explained = explained.map_err(|_| Refusal::Internal("the explanation failed"))?;
    let attribution = explained.map_err(|error| Refusal::Malformed(error.to_string()))?;
    answer(
        &asked.version,
        question.id.as_deref(),
        &settings,
        &attribution,
    )
    .map(response)
}

fn answer(
    version: &Version,
    id: Option<&str>,
    settings: &Settings,
    attribution: &Attribution,
) -> Result<String, Refusal> {
    let Attribution {
        values,
        target,
        prediction,
        baseline_prediction,
        completeness_error,
    } = attribution;
    let sums = [*prediction, *baseline_prediction, *completeness_error];
    if !values.iter().all(|value| value.is_finite()) || !sums.iter().all(|sum| sum.is_finite()) {
        return Err(Refusal::Malformed(
            "input: numbers too large to compute with".to_owned(),
        ));
    }
    let parameters = [
        ("method", json!(request::METHOD)),
        ("steps", json!(settings.steps)),
        ("baseline", json!(baseline_word(settings.baseline))),
        ("target", json!(target)),
        ("label", json!(version.labels.get(*target))),
        ("prediction", json!(prediction)),
        ("baseline_prediction", json!(baseline_prediction)),
        ("completeness_error", json!(completeness_error)),
    ];
    let mut body = String::with_capacity(1024 + values.len() * 14);
    version.origin.write(&mut body, id, &parameters);
    let shape = version
        .shape
        .iter()
        .map(usize::to_string)
        .collect::<Vec<_>>()
        .join(",");
    // Writing to a string cannot fail.
    let _ = write!(
        body,
        r#","outputs":[{{"name":"attribution","datatype":"FP32","shape":[1,{shape}],"data":"#
    );
    push_json(&mut body, values);
    body.push_str("}]}");
    Ok(body)
}
