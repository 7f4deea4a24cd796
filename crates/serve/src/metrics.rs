//! What the server counts, as `/metrics` shows it (OpenMetrics text, which Prometheus reads).

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use crate::{rollout::RolloutMetrics, runtime::Took};

/// The type of the text that [`Metrics::text`] gives.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    seconds: Family<RouteLabels, Histogram>,
    batch_rows: Family<VersionLabels, Histogram>,
    queue_rows: Family<VersionLabels, Gauge>,
    exits: Family<ExitLabels, Counter>,
    stages: Family<StageLabels, Histogram>,
    memory: Family<VersionLabels, Gauge>,
    cache_hits: Family<VersionLabels, Counter>,
    cache_misses: Family<VersionLabels, Counter>,
    /// Bytes of the answers that are kept.
    pub(crate) cache: Gauge,
    /// Requests whose caller left before they were answered.
    pub(crate) cancelled: Counter,
    refused: Family<RefusedLabels, Counter>,
    pub(crate) connections: Gauge,
    /// How often other versions took the place of those that were served.
    pub(crate) swaps: Counter,
    pub(crate) failed_versions: Gauge,
    /// Models that are loaded when they are asked.
    pub(crate) asleep_models: Gauge,
    /// 1 if the store could be read when it was looked at last.
    pub(crate) store_reachable: Gauge,
    /// When the store at an address was looked at last, in seconds since 1970; 0 if it is a folder.
    pub(crate) store_synced: Gauge,
    pub(crate) rollouts: RolloutMetrics,
}

/// The counters of one route of one version, looked up once: a look-up costs more than counting. They are shown as long as
/// this is there: a server that runs for long serves many versions.
#[derive(Debug)]
pub(crate) struct RouteMetrics {
    labels: RouteLabels,
    answered: Counter,
    seconds: Histogram,
    requests: Family<RequestLabels, Counter>,
    all_seconds: Family<RouteLabels, Histogram>,
    /// Those but 200 that were counted.
    statuses: Mutex<BTreeSet<u16>>,
}

/// The counters of one version's batches, shown as long as this is there.
#[derive(Debug)]
pub(crate) struct BatchMetrics {
    pub(crate) rows: Histogram,
    pub(crate) queue: Gauge,
    /// Rows that left at each exit; empty where the top is the only one.
    pub(crate) exits: Vec<Counter>,
    /// What the parts of requests took.
    stages: [Histogram; STAGES.len()],
    /// Bytes of the version in memory.
    pub(crate) memory: Gauge,
    /// Requests whose answer was found among those given before, and others.
    pub(crate) cache_hits: Counter,
    pub(crate) cache_misses: Counter,
    labels: VersionLabels,
    all_cache_hits: Family<VersionLabels, Counter>,
    all_cache_misses: Family<VersionLabels, Counter>,
    all_stages: Family<StageLabels, Histogram>,
    all_memory: Family<VersionLabels, Gauge>,
    batch_rows: Family<VersionLabels, Histogram>,
    queue_rows: Family<VersionLabels, Gauge>,
    exit_rows: Family<ExitLabels, Counter>,
    exit_labels: Vec<ExitLabels>,
}

/// Label values come from the server's own tables only, never from a request: their number is bounded.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    model: String,
    version: String,
    route: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    model: String,
    version: String,
    route: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VersionLabels {
    model: String,
    version: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ExitLabels {
    model: String,
    version: String,
    exit: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StageLabels {
    model: String,
    version: String,
    stage: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusedLabels {
    reason: &'static str,
}

/// Upper bounds of the latency histogram in seconds: 1-2.5-5 steps from 50 µs to 50 s.
const SECONDS: [f64; 19] = [
    50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0, 25.0, 50.0,
];
/// The parts of a request's time, in their order.
const STAGES: [&str; 4] = ["prepare", "queue", "compute", "encode"];

const ROWS: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("strata");
        let requests = Family::<RequestLabels, Counter>::default();
        let seconds =
            Family::new_with_constructor((|| Histogram::new(SECONDS)) as fn() -> Histogram);
        let batch_rows =
            Family::new_with_constructor((|| Histogram::new(ROWS)) as fn() -> Histogram);
        let queue_rows = Family::<VersionLabels, Gauge>::default();
        let exits = Family::<ExitLabels, Counter>::default();
        let refused = Family::<RefusedLabels, Counter>::default();
        let connections = Gauge::default();
        registry.register("requests", "Requests answered", requests.clone());
        registry.register_with_unit(
            "request",
            "From a request's head to its answer",
            Unit::Seconds,
            seconds.clone(),
        );
        let stages =
            Family::new_with_constructor((|| Histogram::new(SECONDS)) as fn() -> Histogram);
        registry.register_with_unit(
            "stage",
            "Parts of the time of requests that were answered: prepare (reading included), queue, compute, encode",
            Unit::Seconds,
            stages.clone(),
        );
        let memory = Family::<VersionLabels, Gauge>::default();
        registry.register_with_unit(
            "model_memory",
            "Weights of versions in memory, those for explanations included",
            Unit::Bytes,
            memory.clone(),
        );
        let cache_hits = Family::<VersionLabels, Counter>::default();
        registry.register(
            "cache_hits",
            "Requests whose answer was kept from one before",
            cache_hits.clone(),
        );
        let cache_misses = Family::<VersionLabels, Counter>::default();
        registry.register(
            "cache_misses",
            "Requests whose answer was looked for and not kept",
            cache_misses.clone(),
        );
        let cache = Gauge::default();
        registry.register_with_unit("cache", "Answers that are kept", Unit::Bytes, cache.clone());
        let cancelled = Counter::default();
        registry.register(
            "cancelled",
            "Requests whose caller left before they were answered",
            cancelled.clone(),
        );
        registry.register("batch_rows", "Rows computed together", batch_rows.clone());
        registry.register("queue_rows", "Rows that wait", queue_rows.clone());
        registry.register(
            "exit_rows",
            "Rows that an exit answered for the final task, of networks with several",
            exits.clone(),
        );
        registry.register(
            "refused",
            "Requests refused before they reached a model",
            refused.clone(),
        );
        registry.register("connections", "Open connections", connections.clone());
        let swaps = Counter::default();
        registry.register("swaps", "Changes of what is served", swaps.clone());
        let failed_versions = Gauge::default();
        registry.register(
            "failed_versions",
            "Versions that should be served and cannot be",
            failed_versions.clone(),
        );
        let asleep_models = Gauge::default();
        registry.register(
            "asleep_models",
            "Models that are not in memory and loaded when they are asked",
            asleep_models.clone(),
        );
        let store_reachable = Gauge::default();
        registry.register(
            "store_reachable",
            "Whether the store could be read when it was looked at last",
            store_reachable.clone(),
        );
        let store_synced = Gauge::default();
        registry.register_with_unit(
            "store_synced_timestamp",
            "When the store at an address was looked at last; 0 if the store is a folder",
            Unit::Seconds,
            store_synced.clone(),
        );
        Self {
            store_reachable,
            store_synced,
            rollouts: RolloutMetrics::new(&mut registry),
            registry,
            requests,
            seconds,
            batch_rows,
            queue_rows,
            exits,
            stages,
            memory,
            cache_hits,
            cache_misses,
            cache,
            cancelled,
            refused,
            connections,
            swaps,
            failed_versions,
            asleep_models,
        }
    }

    pub(crate) fn text(&self) -> String {
        let mut buffer = String::new();
        // Writing to a string fails only if an encoder of this crate is wrong; half a text still ends
        // with no `EOF`.
        let _ = text::encode(&mut buffer, &self.registry);
        buffer
    }

    /// For a route that is about no model, or about one that is not served.
    pub(crate) fn count(&self, route: &str, status: u16) {
        let labels = RequestLabels {
            model: String::new(),
            version: String::new(),
            route: route.to_owned(),
            status,
        };
        self.requests.get_or_create(&labels).inc();
    }

    pub(crate) fn count_refused(&self, reason: &'static str) {
        self.refused.get_or_create(&RefusedLabels { reason }).inc();
    }

    pub(crate) fn route(&self, model: &str, version: u64, route: &str) -> RouteMetrics {
        let labels = RouteLabels {
            model: model.to_owned(),
            version: version.to_string(),
            route: route.to_owned(),
        };
        RouteMetrics {
            answered: self.requests.get_or_create_owned(&labels.with_status(200)),
            seconds: self.seconds.get_or_create_owned(&labels),
            requests: self.requests.clone(),
            all_seconds: self.seconds.clone(),
            statuses: Mutex::default(),
            labels,
        }
    }

    /// `exits` are the names of the version's exits, the top one included.
    pub(crate) fn batches(&self, model: &str, version: u64, exits: &[String]) -> BatchMetrics {
        let exit = |exit: &String| {
            let labels = ExitLabels {
                model: model.to_owned(),
                version: version.to_string(),
                exit: exit.clone(),
            };
            (self.exits.get_or_create_owned(&labels), labels)
        };
        let several = exits.iter().filter(|_| exits.len() > 1);
        let (exits, exit_labels) = several.map(exit).unzip();
        let labels = VersionLabels {
            model: model.to_owned(),
            version: version.to_string(),
        };
        let stages = STAGES.map(|stage| {
            let labels = labels.with_stage(stage);
            self.stages.get_or_create_owned(&labels)
        });
        BatchMetrics {
            stages,
            memory: self.memory.get_or_create_owned(&labels),
            all_stages: self.stages.clone(),
            all_memory: self.memory.clone(),
            cache_hits: self.cache_hits.get_or_create_owned(&labels),
            cache_misses: self.cache_misses.get_or_create_owned(&labels),
            all_cache_hits: self.cache_hits.clone(),
            all_cache_misses: self.cache_misses.clone(),
            rows: self.batch_rows.get_or_create_owned(&labels),
            queue: self.queue_rows.get_or_create_owned(&labels),
            exits,
            batch_rows: self.batch_rows.clone(),
            queue_rows: self.queue_rows.clone(),
            exit_rows: self.exits.clone(),
            labels,
            exit_labels,
        }
    }
}

impl RouteMetrics {
    pub(crate) fn count(&self, status: u16, took: Duration) {
        self.seconds.observe(took.as_secs_f64());
        if status == 200 {
            self.answered.inc();
        } else {
            self.requests
                .get_or_create(&self.labels.with_status(status))
                .inc();
            let mut statuses = self.statuses.lock().unwrap_or_else(PoisonError::into_inner);
            statuses.insert(status);
        }
    }
}

impl Drop for RouteMetrics {
    fn drop(&mut self) {
        self.all_seconds.remove(&self.labels);
        let statuses = self
            .statuses
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        statuses.insert(200);
        for status in statuses.iter() {
            self.requests.remove(&self.labels.with_status(*status));
        }
    }
}

impl Drop for BatchMetrics {
    fn drop(&mut self) {
        self.batch_rows.remove(&self.labels);
        self.queue_rows.remove(&self.labels);
        self.all_memory.remove(&self.labels);
        self.all_cache_hits.remove(&self.labels);
        self.all_cache_misses.remove(&self.labels);
        for stage in STAGES {
            self.all_stages.remove(&self.labels.with_stage(stage));
        }
        for labels in &self.exit_labels {
            self.exit_rows.remove(labels);
        }
    }
}

impl BatchMetrics {
    /// A request was answered; what was kept from one before did not wait and was not computed.
    pub(crate) fn count(&self, took: &Took, is_computed: bool) {
        let [prepare, queue, compute, encode] = &self.stages;
        prepare.observe(took.input.as_secs_f64());
        encode.observe(took.output.as_secs_f64());
        if is_computed {
            queue.observe(took.queue.as_secs_f64());
            compute.observe(took.compute.as_secs_f64());
        }
    }
}

impl VersionLabels {
    fn with_stage(&self, stage: &'static str) -> StageLabels {
        let Self { model, version } = self.clone();
        StageLabels {
            model,
            version,
            stage,
        }
    }
}

impl RouteLabels {
    fn with_status(&self, status: u16) -> RequestLabels {
        let Self {
            model,
            version,
            route,
        } = self.clone();
        RequestLabels {
            model,
            version,
            route,
            status,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_shows_what_was_counted() {
        let metrics = Metrics::new();
        let route = metrics.route("mnist", 3, "infer");
        route.count(200, Duration::from_micros(70));
        route.count(400, Duration::from_micros(70));
        metrics.count_refused("key");
        let exits = ["low", "top"].map(str::to_owned);
        let batches = metrics.batches("mnist", 3, &exits);
        batches.rows.observe(3.0);
        batches.exits[0].inc_by(2);
        batches.memory.set(1000);
        batches.count(
            &Took {
                queue: Duration::from_millis(2),
                ..Took::default()
            },
            true,
        );
        batches.cache_hits.inc();
        batches.cache_misses.inc();
        let rollout = metrics.rollouts.show("mnist", "a", [3, 4]);
        let text = metrics.text();
        check_dashboard(&text);
        for line in [
            "strata_requests_total{model=\"mnist\",version=\"3\",route=\"infer\",status=\"200\"} 1",
            "strata_requests_total{model=\"mnist\",version=\"3\",route=\"infer\",status=\"400\"} 1",
            "strata_request_seconds_bucket{le=\"0.0001\",model=\"mnist\",version=\"3\",route=\"infer\"} 2",
            "strata_batch_rows_sum{model=\"mnist\",version=\"3\"} 3.0",
            "strata_exit_rows_total{model=\"mnist\",version=\"3\",exit=\"low\"} 2",
            "strata_refused_total{reason=\"key\"} 1",
            "# UNIT strata_stage_seconds seconds",
            "strata_stage_seconds_sum{model=\"mnist\",version=\"3\",stage=\"queue\"} 0.002",
            "strata_stage_seconds_count{model=\"mnist\",version=\"3\",stage=\"encode\"} 1",
            "strata_rollout_errors_total{model=\"mnist\",rollout=\"a\",version=\"4\"} 0",
            "strata_model_memory_bytes{model=\"mnist\",version=\"3\"} 1000",
            "# EOF",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} is not in\n{text}"
            );
        }
        // A version that is no longer served is not shown.
        drop((route, batches, rollout));
        let text = metrics.text();
        assert!(!text.contains("mnist"), "{text}");
    }

    /// The dashboard asks only for what is measured.
    fn check_dashboard(text: &str) {
        let described: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
            .collect();
        let dashboard = include_str!("../../../deploy/grafana/strata.json");
        for part in dashboard.split("strata_").skip(1) {
            let end = part.find(|c: char| !c.is_ascii_lowercase() && c != '_');
            let name = format!("strata_{}", &part[..end.unwrap_or(part.len())]);
            let endings = ["_total", "_bucket", "_sum", "_count", ""];
            let is_described = endings.iter().any(|ending| {
                let family = name.strip_suffix(ending);
                family.is_some_and(|family| described.contains(&family))
            });
            assert!(is_described, "{name} is none of {described:?}");
        }
    }
}
