//! What others see of requests: a line for each in the log, and spans by OpenTelemetry. Neither has anything of what was
//! asked or answered.

mod lines;
mod spans;

use std::{
    net::SocketAddr,
    time::{Duration, SystemTime},
};

use hyper::HeaderMap;

use self::spans::Spans;
use crate::{
    ServeError, ServeOptions,
    log::Log,
    runtime::{Took, Version},
};

/// Tells of each request that came to its end.
#[derive(Debug, Default)]
pub(crate) struct Observer {
    lines: Option<Log>,
    spans: Option<Spans>,
}

/// A request that came to its end, answered or refused.
pub(crate) struct Exchange<'a> {
    /// `http` or `grpc`.
    pub(crate) protocol: &'static str,
    pub(crate) peer: SocketAddr,
    pub(crate) method: &'a str,
    /// As the table of routes has it, with `{model}` and the like: what callers put into a path is not told. None if there
    /// is no such route.
    pub(crate) route: Option<&'static str>,
    /// The identifier of the caller's key, if it has a valid one.
    pub(crate) key: Option<&'a str>,
    pub(crate) version: Option<&'a Version>,
    /// The HTTP status, or the one that stands for that of gRPC.
    pub(crate) status: u16,
    pub(crate) all: Duration,
    /// What the parts took, if a network answered.
    pub(crate) took: Option<&'a Took>,
    pub(crate) headers: &'a HeaderMap,
}

impl Observer {
    /// # Errors
    /// The thread that sends spans cannot be started, or the settings in the environment are wrong.
    pub(crate) fn new(options: &ServeOptions, log: &Log) -> Result<Self, ServeError> {
        Ok(Self {
            lines: options.log_requests.then(|| log.clone()),
            spans: options.export_spans.then(Spans::start).transpose()?,
        })
    }

    /// Tells of a request. What is told is handed to others, so this takes no longer than to write it down.
    pub(crate) fn note(&self, exchange: &Exchange<'_>) {
        if self.lines.is_none() && self.spans.is_none() {
            return;
        }
        let end = SystemTime::now();
        if let Some(log) = &self.lines {
            lines::write(log, exchange, end);
        }
        if let Some(spans) = &self.spans {
            spans.record(exchange, end);
        }
    }

    /// Sends what was not sent yet, for some seconds. Blocks.
    pub(crate) fn end(&self) {
        if let Some(spans) = &self.spans {
            spans.end();
        }
    }
}
