use serde_json::{Map, Value, json};

use super::{ALL, CLASSIFY, DEFAULT};
use crate::{
    http::{Response, json as response},
    infer::{INPUT, Output},
    runtime::Version,
};

/// `GET /v1/models/{model}`, which KServe has for readiness: `name` and `ready` are its fields, `model_version_status`
/// TensorFlow Serving's. Each client reads its own and passes over the others'.
///
/// `failed` are versions that should be served and cannot be.
pub(crate) fn status(
    name: &str,
    served: impl Iterator<Item = (u64, bool)>,
    failed: &[u64],
) -> Response {
    let mut is_ready = false;
    let served = served.map(|(number, is_broken)| {
        let state = if is_broken {
            ("END", "INTERNAL", "failed while it answered; load it anew")
        } else {
            is_ready = true;
            ("AVAILABLE", "OK", "")
        };
        (number, state)
    });
    let failed = failed.iter().map(|number| {
        let why = "cannot be opened; see the server's log";
        (*number, ("END", "INTERNAL", why))
    });
    let mut all: Vec<_> = served.chain(failed).collect();
    // The newest first.
    all.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
    let all = all.into_iter().map(|(number, (state, code, message))| {
        json!({
            "version": number.to_string(),
            "state": state,
            "status": { "error_code": code, "error_message": message },
        })
    });
    let all: Vec<Value> = all.collect();
    let body = json!({ "name": name, "ready": is_ready, "model_version_status": all });
    response(body.to_string())
}

/// `GET …/metadata`
pub(crate) fn metadata(version: &Version) -> Response {
    let image = match version.shape[..] {
        [channels, height, width] => vec![height, width, channels],
        ref other => other.to_vec(),
    };
    let input = tensor(INPUT, "DT_FLOAT", &image);
    let outputs = |is_wanted: fn(&Output) -> bool| {
        let wanted = Output::all(version).filter(is_wanted);
        let entries = wanted.map(|output| {
            let name = output.name(version).into_owned();
            let width = output.width(version);
            let tensor = tensor(&name, data_type(output), width.as_slice());
            (name, tensor)
        });
        entries.collect::<Map<_, _>>()
    };
    let predict = |outputs| {
        json!({
            "inputs": { INPUT: input.clone() },
            "outputs": outputs,
            "method_name": "tensorflow/serving/predict",
        })
    };
    let classify = json!({
        "inputs": { "inputs": tensor("examples", "DT_STRING", &[]) },
        "outputs": {
            "classes": tensor("classes", "DT_STRING", &[version.labels.len()]),
            "scores": tensor("scores", "DT_FLOAT", &[version.labels.len()]),
        },
        "method_name": "tensorflow/serving/classify",
    });
    let signatures = json!({
        DEFAULT: predict(outputs(|output| matches!(output, Output::Probabilities(_)))),
        ALL: predict(outputs(|_| true)),
        CLASSIFY: classify,
    });
    let body = json!({
        "model_spec": {
            "name": version.name,
            "signature_name": "",
            "version": version.number.to_string(),
        },
        // Nested twice: the message with this name has one field, of the same name.
        "metadata": { "signature_def": { "signature_def": signatures } },
    });
    response(body.to_string())
}

fn data_type(output: Output) -> &'static str {
    match output.datatype() {
        "FP32" => "DT_FLOAT",
        "INT64" => "DT_INT64",
        _ => "DT_STRING",
    }
}

/// A `TensorInfo`: sizes are texts, as Protocol Buffers have numbers of 64 bits in JSON. `row` is the shape of one row.
fn tensor(name: &str, data_type: &str, row: &[usize]) -> Value {
    let sizes = [-1].into_iter().chain(row.iter().map(|&side| side as i64));
    let dim: Vec<Value> = sizes
        .map(|size| json!({ "size": size.to_string(), "name": "" }))
        .collect();
    json!({
        "name": format!("{name}:0"),
        "dtype": data_type,
        "tensor_shape": { "dim": dim, "unknown_rank": false },
    })
}
