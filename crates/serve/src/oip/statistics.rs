use std::sync::Arc;

use serde_json::{Value, json};

use crate::{
    http::{Response, json as response},
    runtime::{Counted, Duration, Version},
};

/// `GET …/stats`: what was counted and measured of these versions since they were loaded.
///
/// <https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_statistics.md>
pub(crate) fn statistics(versions: &[Arc<Version>]) -> Response {
    let all = versions.iter().map(|version| {
        let counted = version.batcher.statistics().read();
        of_version(version.name.as_str(), version.number, &counted)
    });
    response(json!({ "model_stats": all.collect::<Vec<_>>() }).to_string())
}

/// The same of versions that are not in memory, of which nothing was counted since.
pub(crate) fn no_statistics(name: &str, numbers: impl Iterator<Item = u64>) -> Response {
    let nothing = Counted::default();
    let all: Vec<Value> = numbers
        .map(|number| of_version(name, number, &nothing))
        .collect();
    response(json!({ "model_stats": all }).to_string())
}

fn of_version(name: &str, number: u64, counted: &Counted) -> Value {
    let batches = counted.batches.iter().map(|(size, computed)| {
        json!({
            "batch_size": size,
            "compute_input": duration(Duration::default()),
            "compute_infer": duration(*computed),
            "compute_output": duration(Duration::default()),
        })
    });
    json!({
        "name": name,
        "version": number.to_string(),
        "last_inference": counted.last_milliseconds,
        "inference_count": counted.rows,
        "execution_count": counted.executions(),
        "inference_stats": {
            "success": duration(counted.success),
            "fail": duration(counted.fail),
            "queue": duration(counted.queue),
            "compute_input": duration(counted.input),
            "compute_infer": duration(counted.compute),
            "compute_output": duration(counted.output),
            "cache_hit": duration(counted.cache_hit),
            "cache_miss": duration(counted.cache_miss),
        },
        "batch_stats": batches.collect::<Vec<_>>(),
    })
}

fn duration(Duration { count, ns }: Duration) -> Value {
    json!({ "count": count, "ns": ns })
}
