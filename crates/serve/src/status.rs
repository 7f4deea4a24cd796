//! `GET /api/v1/status`: how the server is, for people.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use crate::{
    access::Caller,
    http::{Response, State, json},
    runtime::{self, Condition, Version},
};

#[derive(Serialize)]
struct Status {
    /// Of this program.
    version: &'static str,
    /// Whether it wants requests.
    ready: bool,
    uptime_seconds: u64,
    /// Whether the store could be read when it was looked at last.
    store_reachable: bool,
    connections: i64,
    /// Of the weights of the models below.
    memory_bytes: usize,
    models: BTreeMap<String, Model>,
}

#[derive(Default, Serialize)]
struct Model {
    aliases: BTreeMap<String, u64>,
    /// By number.
    versions: BTreeMap<u64, OneVersion>,
    /// Why nothing of it is served, if no version can be named.
    #[serde(skip_serializing_if = "Option::is_none")]
    unavailable: Option<&'static str>,
}

#[derive(Serialize)]
struct OneVersion {
    state: &'static str,
    /// Why it does not answer, or not at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(flatten)]
    served: Option<Served>,
}

#[derive(Serialize)]
struct Served {
    digest: String,
    memory_bytes: usize,
    /// Rows that wait.
    queue_rows: i64,
    /// Requests that were answered, and others.
    answered: u64,
    refused: u64,
    /// From the body to the answer, of those that were answered.
    mean_ms: f64,
    /// When the last one was answered.
    last: Option<Timestamp>,
}

/// Of the models that the caller's key is for.
pub(crate) fn status(state: &State, caller: &Caller) -> Response {
    let registry = state.registry.current();
    let mut models: BTreeMap<String, Model> = BTreeMap::new();
    for entry in runtime::index(&registry, false, |name| caller.covers(name)) {
        let (served, reason) = (registry.model(&entry.name), entry.reason());
        let asleep = registry.asleep_model(&entry.name);
        let model = models.entry(entry.name).or_default();
        match entry.version {
            None => model.unavailable = reason,
            Some(number) => {
                let version = served.and_then(|served| served.numbered(number));
                let one = OneVersion {
                    state: match entry.condition {
                        Condition::Ready => "ready",
                        Condition::Asleep => "asleep",
                        Condition::Unavailable(_) => "unavailable",
                    },
                    reason,
                    served: version.map(|version| measured(version)),
                };
                model.versions.insert(number, one);
            }
        }
        if let Some(served) = served {
            let aliases = served.aliases();
            model.aliases = aliases
                .map(|(alias, number)| (alias.clone(), number))
                .collect();
        } else if let Some(asleep) = asleep {
            model.aliases.clone_from(&asleep.aliases);
        }
    }
    let versions = models.values().flat_map(|model| model.versions.values());
    let status = Status {
        version: env!("CARGO_PKG_VERSION"),
        ready: state.is_ready(),
        uptime_seconds: state.started.elapsed().as_secs(),
        store_reachable: state.metrics.store_reachable.get() == 1,
        connections: state.metrics.connections.get(),
        memory_bytes: versions
            .filter_map(|version| Some(version.served.as_ref()?.memory_bytes))
            .sum(),
        models,
    };
    // Numbers and strings always have a form.
    json(serde_json::to_vec_pretty(&status).unwrap_or_default())
}

fn measured(version: &Version) -> Served {
    let counted = version.batcher.statistics().read();
    let all = counted.success;
    let last = i64::try_from(counted.last_milliseconds).unwrap_or_default();
    Served {
        digest: version.digest.to_string(),
        memory_bytes: version.memory,
        queue_rows: version.batcher.metrics().queue.get(),
        answered: all.count,
        refused: counted.fail.count,
        mean_ms: if all.count == 0 {
            0.0
        } else {
            all.ns as f64 / all.count as f64 / 1e6
        },
        last: Timestamp::from_millisecond(last).ok().filter(|_| last > 0),
    }
}
