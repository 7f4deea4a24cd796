//! A line of JSON for each request.

use std::{net::SocketAddr, time::SystemTime};

use jiff::Timestamp;
use serde::Serialize;

use super::Exchange;
use crate::{
    http::{request_id, trace_id},
    log::{Log, plain},
};

/// In characters.
const LONGEST_METHOD: usize = 20;

#[derive(Serialize)]
struct Line<'a> {
    event: &'static str,
    time: Timestamp,
    protocol: &'static str,
    peer: SocketAddr,
    method: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    status: u16,
    ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    stages_ms: Option<Stages>,
    /// The caller's `X-Request-Id`, if it is short and printable, or else the one that it got with the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<&'a str>,
    /// Of the `traceparent`, if there is a valid one.
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<&'a str>,
}

#[derive(Serialize)]
struct Stages {
    prepare: f64,
    queue: f64,
    compute: f64,
    encode: f64,
}

pub(super) fn write(log: &Log, exchange: &Exchange<'_>, end: SystemTime) {
    // A clock beyond what dates can be written for is the only way to fail.
    let Ok(time) = Timestamp::try_from(end) else {
        return;
    };
    let milliseconds = |time: std::time::Duration| (time.as_secs_f64() * 1e6).round() / 1e3;
    let line = Line {
        event: "request",
        time,
        protocol: exchange.protocol,
        peer: exchange.peer,
        method: plain(exchange.method, LONGEST_METHOD),
        route: exchange.route,
        key: exchange.key,
        model: exchange.version.map(|version| version.name.as_str()),
        version: exchange.version.map(|version| version.number),
        status: exchange.status,
        ms: milliseconds(exchange.all),
        stages_ms: exchange.took.map(|took| Stages {
            prepare: milliseconds(took.input),
            queue: milliseconds(took.queue),
            compute: milliseconds(took.compute),
            encode: milliseconds(took.output),
        }),
        request: request_id(exchange.headers).and_then(|id| id.to_str().ok()),
        trace: trace_id(exchange.headers),
    };
    if let Ok(line) = serde_json::to_string(&line) {
        log.write(line);
    }
}
