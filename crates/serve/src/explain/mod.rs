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

use serde_json::{Value, json};
use strata_explain::Attribution;
use tokio::time::timeout_at;

use self::request::{Settings, baseline_word, settings};
use crate::{
    http::{Asked, Refusal, Response, State, json as response},
    infer::{Question, Read, RowLimits, read},
    oip::{self, push_json},
    runtime::Version,
};

/// An attribution, and the question that it answers.
pub(crate) struct Explained {
    id: Option<String>,
    settings: Settings,
    /// Of finite numbers.
    pub(crate) attribution: Attribution,
}

/// Answers the route.
pub(crate) async fn explain(state: &State, asked: Asked) -> Result<Response, Refusal> {
    let (bytes, json_bytes) = (asked.body.bytes.clone(), asked.json_bytes);
    let parse = move |version: &Version, limits: RowLimits| {
        oip::question(&bytes, json_bytes, version, limits)
    };
    let explained = compute(state, &asked, parse).await?;
    Ok(response(answer(&asked.routed.version, &explained)))
}

/// Explains the one row of a request that `parse` reads.
pub(crate) async fn compute(
    state: &State,
    asked: &Asked,
    parse: impl FnOnce(&Version, RowLimits) -> Result<Question, Refusal> + Send + 'static,
) -> Result<Explained, Refusal> {
    // Taken before the work of reading, and refused rather than queued: explanations are long.
    let slot = Arc::clone(&state.explanations).try_acquire_owned();
    let slot =
        slot.map_err(|_| Refusal::Busy("as many explanations as are allowed are being computed"))?;
    let length = asked.body.bytes.len();
    let Read {
        question,
        rows,
        deadline,
    } = read(state, &asked.routed.version, length, asked.deadline, parse).await?;
    if question.count != 1 {
        return Err(Refusal::Malformed(format!(
            "expected one row to explain, found {}",
            question.count
        )));
    }
    let settings = settings(&question.parameters)?;
    let (version, asked_settings) = (asked.routed.version.clone(), settings.clone());
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
    let Attribution {
        values,
        prediction,
        baseline_prediction,
        completeness_error,
        ..
    } = &attribution;
    let sums = [prediction, baseline_prediction, completeness_error];
    if !values.iter().all(|value| value.is_finite()) || !sums.iter().all(|sum| sum.is_finite()) {
        return Err(Refusal::Malformed(
            "input: numbers too large to compute with".to_owned(),
        ));
    }
    Ok(Explained {
        id: question.id,
        settings,
        attribution,
    })
}

impl Explained {
    /// All but the attribution itself.
    pub(crate) fn parameters(&self, version: &Version) -> [(&'static str, Value); 8] {
        let Self {
            settings,
            attribution,
            ..
        } = self;
        let target = attribution.target;
        [
            ("method", json!(request::METHOD)),
            ("steps", json!(settings.steps)),
            ("baseline", json!(baseline_word(settings.baseline))),
            ("target", json!(target)),
            ("label", json!(version.labels.get(target))),
            ("prediction", json!(attribution.prediction)),
            (
                "baseline_prediction",
                json!(attribution.baseline_prediction),
            ),
            ("completeness_error", json!(attribution.completeness_error)),
        ]
    }
}

fn answer(version: &Version, explained: &Explained) -> String {
    let values = &explained.attribution.values;
    let mut body = String::with_capacity(1024 + values.len() * 14);
    let parameters = explained.parameters(version);
    version
        .origin
        .write(&mut body, explained.id.as_deref(), &parameters);
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
    body
}
