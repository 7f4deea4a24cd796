use serde::{Deserialize, Serialize};
use strata_spec::{DataDigest, Name, Precision};

use crate::{HeadMetrics, Metrics};

/// One line of a run's `events.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When it happened, RFC 3339, UTC.
    pub time: String,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened in a training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum EventKind {
    /// It began.
    Started {
        /// Rows to learn from.
        train_rows: usize,
        /// Rows kept aside.
        validation_rows: usize,
        /// Rows of the test set.
        test_rows: usize,
        /// What data it is.
        data: String,
        /// Number format; never `auto`.
        precision: Precision,
        /// Threads of the kernels.
        threads: usize,
        /// All weights of the network.
        parameters: usize,
        /// The file of the weights that it begins with, if there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        given: Option<DataDigest>,
        /// Levels whose heads that file does not have: they begin afresh.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        fresh_heads: Vec<Name>,
    },
    /// It went on from a checkpoint.
    Resumed {
        /// Steps that were done before.
        step: u64,
    },
    /// An epoch ended.
    Epoch {
        /// From 1.
        epoch: u64,
        /// Steps since the beginning.
        step: u64,
        /// The highest level that had an objective: what the figures are of.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        level: Option<Name>,
        /// Learning rate of its last step.
        rate: f64,
        /// Mean loss of its rows, each before it was learned from.
        loss: f64,
        /// Share of its rows that were right before they were learned from.
        accuracy: f64,
        /// On the validation rows, if there are any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        validation: Option<Metrics>,
        /// Seconds that it took, validation included.
        seconds: f64,
    },
    /// The training ended.
    Finished {
        /// Why.
        reason: StopReason,
        /// Epoch whose weights were kept, from 1.
        best_epoch: u64,
        /// On the test rows.
        test: Metrics,
        /// The heads below the top.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        heads: Vec<HeadMetrics>,
        /// What learning needed in memory, if it was measured.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        memory: Vec<LevelMemory>,
        /// Seconds of learning and evaluation, those before a resume included.
        seconds: f64,
    },
}

/// What learning some levels together needed in memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LevelMemory {
    /// The levels, from the lowest: those between which gradients pass.
    pub levels: Vec<Name>,
    /// The most bytes of activations, gradients and products on the way that a step needed beyond what was there before.
    pub bytes: usize,
}

/// Why a training ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StopReason {
    /// All epochs are done.
    Epochs,
    /// The validation rows no longer got better.
    EarlyStopping,
}
