use serde_json::json;

use super::{INPUT, answer::Output};
use crate::{
    http::{Response, json as response},
    runtime::{Model, Version},
};

/// `GET /v2`
pub(crate) fn server() -> Response {
    let body = json!({
        "name": "strata",
        "version": env!("CARGO_PKG_VERSION"),
        "extensions": ["binary_tensor_data", "explain"],
    });
    response(body.to_string())
}

/// `GET …/models/{model}`, with or without a version.
///
/// The protocol has one datatype for an input. The ones that it takes besides are in the parameters.
pub(crate) fn model(model: &Model, version: &Version) -> Response {
    let classes = version.labels.len();
    let outputs = Output::ALL.map(|output| {
        let shape = match output {
            Output::Probabilities => json!([-1, classes]),
            Output::Label | Output::Class => json!([-1]),
        };
        json!({ "name": output.name(), "datatype": output.datatype(), "shape": shape })
    });
    let body = json!({
        "name": version.name,
        "versions": model.numbers().map(|number| number.to_string()).collect::<Vec<_>>(),
        "platform": "strata",
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
    response(body.to_string())
}

/// `GET …/ready`: a version is served once it is ready.
pub(crate) fn model_ready(version: &Version) -> Response {
    let body =
        json!({ "name": version.name, "version": version.number.to_string(), "ready": true });
    response(body.to_string())
}

fn with_batch(shape: &[usize]) -> Vec<i64> {
    let sides = shape.iter().map(|&side| i64::try_from(side).unwrap_or(-1));
    [-1].into_iter().chain(sides).collect()
}
