//! What is counted, and how it is printed.

use std::time::Duration;

use serde_json::{Value, json};

use crate::histogram::Histogram;

/// The outcome of all requests so far.
pub(crate) struct Tally {
    latencies: Histogram,
    /// Of all latencies.
    sum: Duration,
    errors: u64,
    error_sample: Option<String>,
    /// Requests that were due and had no connection until the end.
    unsent: u64,
    /// How often each of the expected answers came.
    answers: Vec<u64>,
    /// From the start to the last answer.
    elapsed: Duration,
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self {
            latencies: Histogram::new(),
            sum: Duration::ZERO,
            errors: 0,
            error_sample: None,
            unsent: 0,
            answers: Vec::new(),
            elapsed: Duration::ZERO,
        }
    }

    /// A request was answered with 200 after `latency`, when `elapsed` had passed since the start; `answer` is which one of
    /// those that are expected.
    pub(crate) fn add_answer(
        &mut self,
        latency: Duration,
        elapsed: Duration,
        answer: Option<usize>,
    ) {
        if let Some(answer) = answer {
            let count = self.answers.len().max(answer + 1);
            self.answers.resize(count, 0);
            self.answers[answer] += 1;
        }
        self.latencies.record(latency);
        self.sum += latency;
        self.elapsed = self.elapsed.max(elapsed);
    }

    /// A request failed; the first failure is kept as the sample.
    pub(crate) fn add_error(&mut self, error: String) {
        self.errors += 1;
        self.error_sample.get_or_insert(error);
    }

    /// So many requests were due and not sent.
    pub(crate) fn set_unsent(&mut self, requests: u64) {
        self.unsent = requests;
    }

    /// Requests that were answered with 200.
    pub(crate) fn answered(&self) -> u64 {
        self.latencies.total()
    }

    /// The printed object. `requests` and the rate count answers with 200 alone, `errors` all others that
    /// were sent, `unsent` those of an open loop that were not; latencies are in milliseconds, and null when nothing was
    /// answered.
    pub(crate) fn to_json(&self) -> Value {
        let seconds = self.elapsed.as_secs_f64();
        let rate = if seconds > 0.0 {
            self.answered() as f64 / seconds
        } else {
            0.0
        };
        let mean = (self.answered() > 0).then(|| self.sum.div_f64(self.answered() as f64));
        let milliseconds = |value: Option<Duration>| value.map(|value| value.as_secs_f64() * 1e3);
        json!({
            "requests": self.answered(),
            "errors": self.errors,
            "error_sample": self.error_sample,
            "unsent": self.unsent,
            "answers": self.answers,
            "seconds": seconds,
            "requests_per_second": rate,
            "latency_ms": {
                "min": milliseconds(self.latencies.min()),
                "mean": milliseconds(mean),
                "p50": milliseconds(self.latencies.quantile(0.5)),
                "p90": milliseconds(self.latencies.quantile(0.9)),
                "p99": milliseconds(self.latencies.quantile(0.99)),
                "max": milliseconds(self.latencies.max()),
            },
        })
    }
}
