use serde::{Deserialize, Serialize};

/// What a server measured of a rollout since it knew of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figures {
    /// Of the version that the rollout begins with.
    pub base: Side,
    /// Of the new version.
    pub candidate: Side,
    /// Of requests that both were asked, if copies are made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compared: Option<Compared>,
}

/// What was measured of one version. Answers that were kept from before are not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Side {
    /// That came to the model.
    pub requests: u64,
    /// Of these, the ones without an answer.
    pub errors: u64,
    /// Milliseconds to wait and to be computed, on average; of copies, to be computed only, since they wait longest.
    pub mean_ms: f64,
    /// The median, within a tenth.
    pub p50_ms: f64,
    /// The 95th percentile, within a tenth.
    pub p95_ms: f64,
    /// The 99th percentile, within a tenth.
    pub p99_ms: f64,
}

/// How far two versions agree on the same rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compared {
    /// That were answered by both.
    pub rows: u64,
    /// Of these, the ones with the same class for every task.
    pub agreeing: u64,
    /// Their share; 1 without rows.
    pub agreement: f64,
    /// The largest difference of a row's probabilities, on average over the rows.
    pub mean_distance: f64,
    /// The same, of the row where it is largest.
    pub max_distance: f64,
    /// Copies that were not asked or not answered, because the new version or the machine was busy.
    pub dropped: u64,
}
