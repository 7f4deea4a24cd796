//! `POST …/explain`: why a model answered as it did.
//!
//! The request is that of `infer`, of at most [`explain_rows`](crate::Limits::explain_rows) rows, and parameters; explained is
//! the answer at the top, at whichever exit a row would leave:
//!
//! | parameter | value | default |
//! | --- | --- | --- |
//! | `method` | `integrated-gradients` | `integrated-gradients` |
//! | `steps` | 1 to 500 | 50 |
//! | `baseline` | `black`, `white` or `grey` | `black` |
//! | `target` | the number of a class, for all rows | the predicted class of each row |
//!
//! The answer has the output `attribution` (`FP32`, `[n, …]` with the shape of a prepared row), and in its parameters, besides
//! the origin, `method`, `steps` and `baseline`. Of one row these are in its parameters too, of several they are outputs of
//! shape `[n]`, since the protocol has no lists as parameters:
//!
//! | name | datatype | what it is |
//! | --- | --- | --- |
//! | `target` | `INT64` | the explained class |
//! | `label` | `BYTES` | that of the target |
//! | `prediction`, `baseline_prediction` | `FP64` | the target's logit for the input and for the baseline |
//! | `completeness_error` | `FP64` | how far the sum of the attribution is from their difference |
//!
//! Rows are explained one after the other, each as it would be alone, as long as somebody waits for them.

mod request;

use std::{fmt::Write, sync::Arc};

use serde_json::{Value, json};
use strata_explain::Attribution;
use tokio::time::timeout_at;

use self::request::{Settings, baseline_word, settings};
use crate::{
    http::{Asked, Refusal, Response, State, json as response},
    infer::{Question, Read, RowLimits, Waiter, read},
    oip::{self, push_json},
    runtime::Version,
};

/// The attributions of some rows, and the question that they answer.
pub(crate) struct Explained {
    id: Option<String>,
    settings: Settings,
    /// One for each row, of finite numbers.
    pub(crate) attributions: Vec<Attribution>,
}

/// Answers the route.
pub(crate) async fn explain(state: &State, asked: Asked) -> Result<Response, Refusal> {
    let (bytes, json_bytes) = (asked.body.bytes.clone(), asked.json_bytes);
    let parse = move |version: &Version, limits: RowLimits| {
        oip::question(&bytes, json_bytes, version, limits)
    };
    let answer = compute(state, &asked, parse, answer).await?;
    Ok(response(answer))
}

/// Explains the rows of a request that `parse` reads, and what `write` makes of that.
pub(crate) async fn compute(
    state: &State,
    asked: &Asked,
    parse: impl FnOnce(&Version, RowLimits) -> Result<Question, Refusal> + Send + 'static,
    write: impl FnOnce(&Version, &Explained) -> String + Send + 'static,
) -> Result<String, Refusal> {
    // Taken before the work of reading, and refused rather than queued: explanations are long.
    let slot = Arc::clone(&state.explanations).try_acquire_owned();
    let slot =
        slot.map_err(|_| Refusal::Busy("as many explanations as are allowed are being computed"))?;
    let length = asked.body.bytes.len();
    let most = state.limits.explain_rows;
    let parse = move |version: &Version, limits: RowLimits| {
        let rows = limits.rows.min(most);
        parse(version, RowLimits { rows, ..limits })
    };
    let Read {
        question,
        rows,
        deadline,
    } = read(state, &asked.routed.version, length, asked.deadline, parse).await?;
    let settings = settings(&question.parameters)?;
    let version = asked.routed.version.clone();
    // Lives until the rows are explained, or until the caller leaves and this future is dropped.
    let request = Arc::new(());
    let waiter = Waiter::of(&request, deadline);
    let work = tokio::task::spawn_blocking(move || {
        // Held by the work, not by who waits for it: the caller may leave while it goes on.
        let _slot = slot;
        let rows = rows.chunks_exact(version.row_len());
        let attributions = rows.map(|row| {
            waiter.check()?;
            explain_row(&version, row, &settings)
        });
        let explained = Explained {
            attributions: attributions.collect::<Result<_, Refusal>>()?,
            id: question.id,
            settings: settings.clone(),
        };
        Ok(write(&version, &explained))
    });
    timeout_at(deadline.into(), work)
        .await
        .map_err(|_| Refusal::Overdue)?
        .unwrap_or(Err(Refusal::Internal("the explanation failed")))
}

fn explain_row(
    version: &Version,
    row: &[f32],
    settings: &Settings,
) -> Result<Attribution, Refusal> {
    let explained = version.explainer.integrated_gradients(row, settings);
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
    Ok(attribution)
}

impl Explained {
    /// What was asked, of all rows.
    fn question(&self) -> [(&'static str, Value); 3] {
        let settings = &self.settings;
        [
            ("method", json!(request::METHOD)),
            ("steps", json!(settings.steps)),
            ("baseline", json!(baseline_word(settings.baseline))),
        ]
    }

    /// All of one row but the attribution itself.
    pub(crate) fn parameters(
        &self,
        version: &Version,
        attribution: &Attribution,
    ) -> impl Iterator<Item = (&'static str, Value)> {
        let target = attribution.target;
        let of_row = [
            ("target", json!(target)),
            ("label", json!(version.labels.get(target))),
            ("prediction", json!(attribution.prediction)),
            (
                "baseline_prediction",
                json!(attribution.baseline_prediction),
            ),
            ("completeness_error", json!(attribution.completeness_error)),
        ];
        self.question().into_iter().chain(of_row)
    }
}

fn answer(version: &Version, explained: &Explained) -> String {
    let all = &explained.attributions;
    let mut body = String::with_capacity(1024 + all.len() * version.row_len() * 14);
    let parameters: Vec<_> = match &all[..] {
        [one] => explained.parameters(version, one).collect(),
        _ => explained.question().into(),
    };
    version
        .origin
        .write(&mut body, explained.id.as_deref(), &parameters);
    let shape = version
        .shape
        .iter()
        .map(usize::to_string)
        .collect::<Vec<_>>()
        .join(",");
    let count = all.len();
    // Writing to a string cannot fail.
    let _ = write!(
        body,
        r#","outputs":[{{"name":"attribution","datatype":"FP32","shape":[{count},{shape}],"data":"#
    );
    let values: Vec<f32> = all
        .iter()
        .flat_map(|attribution| &attribution.values)
        .copied()
        .collect();
    push_json(&mut body, &values);
    body.push('}');
    if count > 1 {
        push_of_rows(&mut body, version, all);
    }
    body.push_str("]}");
    body
}

/// What several rows have of one number or text each, as outputs.
fn push_of_rows(body: &mut String, version: &Version, all: &[Attribution]) {
    let count = all.len();
    let mut push = |name: &str, datatype: &str, of_row: &dyn Fn(&Attribution) -> Value| {
        let data: Value = all.iter().map(of_row).collect();
        let _ = write!(
            body,
            r#",{{"name":"{name}","datatype":"{datatype}","shape":[{count}],"data":{data}}}"#
        );
    };
    push("target", "INT64", &|row| json!(row.target));
    push("label", "BYTES", &|row| {
        json!(version.labels.get(row.target))
    });
    push("prediction", "FP64", &|row| json!(row.prediction));
    push("baseline_prediction", "FP64", &|row| {
        json!(row.baseline_prediction)
    });
    push("completeness_error", "FP64", &|row| {
        json!(row.completeness_error)
    });
}
