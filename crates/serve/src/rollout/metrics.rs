use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// Names and values.
type Labels = Vec<(&'static str, String)>;
type Counters = Family<Labels, Counter>;

/// What is shown of rollouts.
#[derive(Debug)]
pub(crate) struct RolloutMetrics {
    requests: Counters,
    errors: Counters,
    rows: Counters,
    dropped: Counters,
    /// Those that are under way.
    pub(crate) running: Gauge,
    /// Those whose file cannot be read or whose versions cannot take part.
    pub(crate) failed: Gauge,
    pub(crate) rolled_back: Counter,
}

/// The counters of one rollout, shown as long as this is there.
#[derive(Debug)]
pub(crate) struct Shown {
    /// Of the base and the candidate.
    pub(super) requests: [Counter; 2],
    pub(super) errors: [Counter; 2],
    pub(super) agreeing: Counter,
    pub(super) differing: Counter,
    pub(super) dropped: Counter,
    all: Vec<(Counters, Labels)>,
}

impl RolloutMetrics {
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let new = Self {
            requests: Family::default(),
            errors: Family::default(),
            rows: Family::default(),
            dropped: Family::default(),
            running: Gauge::default(),
            failed: Gauge::default(),
            rolled_back: Counter::default(),
        };
        registry.register(
            "rollout_requests",
            "Requests that take part in a rollout, by the version that was asked",
            new.requests.clone(),
        );
        registry.register(
            "rollout_errors",
            "Of these, the ones without an answer",
            new.errors.clone(),
        );
        registry.register(
            "rollout_rows",
            "Rows that both versions were asked, by whether they got the same classes",
            new.rows.clone(),
        );
        registry.register(
            "rollout_dropped",
            "Copies of requests that were not made or not answered, because something was busy",
            new.dropped.clone(),
        );
        registry.register(
            "rollouts_running",
            "Rollouts under way",
            new.running.clone(),
        );
        registry.register(
            "rollouts_failed",
            "Rollouts whose file cannot be read or whose versions cannot take part",
            new.failed.clone(),
        );
        registry.register(
            "rollbacks",
            "Rollouts that this server rolled back",
            new.rolled_back.clone(),
        );
        new
    }

    /// The rollout's identifier keeps its counters apart from those of the one before, whose end takes its own away.
    pub(crate) fn show(&self, model: &str, rollout: &str, versions: [u64; 2]) -> Shown {
        let mut all = Vec::new();
        let mut shown = |family: &Counters, more: Option<(&'static str, String)>| {
            let own = [("model", model.to_owned()), ("rollout", rollout.to_owned())];
            let labels: Labels = own.into_iter().chain(more).collect();
            let counter = family.get_or_create_owned(&labels);
            all.push((family.clone(), labels));
            counter
        };
        let version = |version: u64| Some(("version", version.to_string()));
        let agree = |word: &str| Some(("agree", word.to_owned()));
        Shown {
            requests: versions.map(|number| shown(&self.requests, version(number))),
            errors: versions.map(|number| shown(&self.errors, version(number))),
            agreeing: shown(&self.rows, agree("yes")),
            differing: shown(&self.rows, agree("no")),
            dropped: shown(&self.dropped, None),
            all,
        }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        for (family, labels) in &self.all {
            family.remove(labels);
        }
    }
}
