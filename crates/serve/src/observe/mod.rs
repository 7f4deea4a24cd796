//! What others see of requests: a line for each in the log, and spans by OpenTelemetry. Neither has anything of what was
//! asked or answered.

mod lines;
mod spans;

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

use hyper::{HeaderMap, header::HeaderValue};

use self::spans::Spans;
use crate::{
    ServeError, ServeOptions,
    http::{REQUEST_ID, request_id},
    log::Log,
    runtime::{Took, Version},
};

/// Tells of each request that came to its end.
#[derive(Debug, Default)]
pub(crate) struct Observer {
    lines: Option<Lines>,
    spans: Option<Spans>,
}

#[derive(Debug)]
struct Lines {
    log: Log,
    /// Of the first request without a name; those of the others follow.
    first: u64,
    named: AtomicU64,
}

/// The status of a request whose caller left before it was answered: no caller ever gets it.
pub(crate) const LEFT: u16 = 499;

/// A request that came to its end: answered, refused or left.
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
    /// The HTTP status, the one that stands for that of gRPC, or [`LEFT`].
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
        let lines = || -> Result<Lines, ServeError> {
            let first = getrandom::u64().map_err(|error| ServeError::Random(error.to_string()))?;
            Ok(Lines {
                log: log.clone(),
                first,
                named: AtomicU64::new(0),
            })
        };
        Ok(Self {
            lines: options.log_requests.then(lines).transpose()?,
            spans: options.export_spans.then(Spans::start).transpose()?,
        })
    }

    /// Names a request that has no name, or one that is not taken, so that its line is found by what its caller was told.
    pub(crate) fn name(&self, headers: &mut HeaderMap) {
        let Some(lines) = &self.lines else { return };
        if request_id(headers).is_some() {
            return;
        }
        let number = lines
            .first
            .wrapping_add(lines.named.fetch_add(1, Ordering::Relaxed));
        if let Ok(name) = HeaderValue::try_from(format!("{number:016x}")) {
            headers.insert(REQUEST_ID, name);
        }
    }

    /// Tells of a request. What is told is handed to others, so this takes no longer than to write it down.
    pub(crate) fn note(&self, exchange: &Exchange<'_>) {
        if self.lines.is_none() && self.spans.is_none() {
            return;
        }
        let end = SystemTime::now();
        if let Some(lines) = &self.lines {
            lines::write(&lines.log, exchange, end);
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
