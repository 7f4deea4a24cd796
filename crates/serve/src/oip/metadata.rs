use serde_json::{Value, json};

use crate::{
    http::{Refusal, Response, json as response},
    infer::{INPUT, Output},
    runtime::{Exits, Model, Unanswered, Version},
};

/// What the server calls itself.
pub(crate) const NAME: &str = "strata";
/// What runs its models.
pub(crate) const PLATFORM: &str = "strata";
/// What it does beyond the protocol.
pub(crate) const EXTENSIONS: [&str; 5] = [
    "binary_tensor_data",
    "explain",
    "exits",
    "model_repository",
    "statistics",
];

/// `GET /v2`
pub(crate) fn server() -> Response {
    let body = json!({
        "name": NAME,
        "version": env!("CARGO_PKG_VERSION"),
        "extensions": EXTENSIONS,
    });
    response(body.to_string())
}

/// `GET …/models/{model}`, with or without a version.
///
/// The protocol has one datatype for an input. The ones that it takes besides are in the parameters.
///
/// `failed` are its versions that should be served and cannot be.
pub(crate) fn model(model: &Model, version: &Version, failed: &[u64]) -> Response {
    let outputs = Output::all(version).map(|output| {
        let shape = match output.width(version) {
            Some(width) => json!([-1, width]),
            None => json!([-1]),
        };
        json!({ "name": output.name(version), "datatype": output.datatype(), "shape": shape })
    });
    let outputs: Vec<_> = outputs.collect();
    let mut body = json!({
        "name": version.name,
        "versions": model.numbers().map(|number| number.to_string()).collect::<Vec<_>>(),
        "platform": PLATFORM,
        "inputs": [{
            "name": INPUT,
            "datatype": "FP32",
            "shape": with_batch(&version.shape),
            "parameters": {
                "flat": format!("FP32 [-1,{}]", version.row_len()),
                "pixels": "UINT8 [-1,height,width,channels]",
                "files": "BYTES [-1] (PNG or JPEG)",
            },
        }],
        "outputs": outputs,
        "parameters": {
            "version": version.number,
            "digest": version.digest,
            "levels": version.levels.join(","),
        },
    });
    if version.exits.is_any_below_top() {
        describe_exits(&version.exits, &mut body["parameters"]);
    }
    if !failed.is_empty() {
        let failed: Vec<String> = failed.iter().map(u64::to_string).collect();
        body["parameters"]["not_served"] = json!(failed.join(","));
    }
    response(body.to_string())
}

/// As texts with commas, since the protocol has no lists as parameters.
fn describe_exits(exits: &Exits, parameters: &mut Value) {
    parameters["exits"] = json!(exits.names.join(","));
    let times = exits.times_of_a_row();
    let times: Vec<String> = times
        .map(|time| format!("{:.3}", time.as_secs_f64() * 1e3))
        .collect();
    parameters["exit_ms"] = json!(times.join(","));
    if let Some(thresholds) = &exits.calibrated {
        let texts = thresholds.iter().map(|threshold| {
            if threshold.is_finite() {
                threshold.to_string()
            } else {
                "never".to_owned()
            }
        });
        parameters["exit_confidences"] = json!(texts.collect::<Vec<_>>().join(","));
    }
}

/// `GET …/ready`: a version is served once it is ready, and until it fails while it computes.
pub(crate) fn model_ready(version: &Version) -> Result<Response, Refusal> {
    if version.batcher.is_broken() {
        return Err(Unanswered::Broken.into());
    }
    Ok(ready(version.name.as_str(), version.number))
}

/// The same of a version that answers as soon as it is asked.
pub(crate) fn ready(name: &str, number: u64) -> Response {
    let body = json!({ "name": name, "version": number.to_string(), "ready": true });
    response(body.to_string())
}

fn with_batch(shape: &[usize]) -> Vec<i64> {
    let sides = shape.iter().map(|&side| i64::try_from(side).unwrap_or(-1));
    [-1].into_iter().chain(sides).collect()
}
