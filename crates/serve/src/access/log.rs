use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
};

use jiff::Timestamp;
use serde::Serialize;

use crate::log::{Log, plain};

/// Writes one line of JSON for each refused access, at most [`LINES`] a second: who knocks without a key
/// must not be able to fill a disk.
#[derive(Debug)]
pub(crate) struct RefusalLog {
    log: Log,
    second: AtomicU64,
    lines: AtomicU64,
}

/// What a line says. Never a credential.
#[derive(Serialize)]
pub(crate) struct Refused<'a> {
    pub(crate) event: &'static str,
    pub(crate) time: Timestamp,
    pub(crate) peer: SocketAddr,
    /// As the caller sent it, like the path; what is written is [`plain`].
    #[serde(serialize_with = "plain_method")]
    pub(crate) method: &'a str,
    #[serde(serialize_with = "plain_path")]
    pub(crate) path: &'a str,
    /// Of the `traceparent`, if there is a valid one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) trace: Option<&'a str>,
    /// The caller's `X-Request-Id`, if it is short and printable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) request: Option<&'a str>,
    pub(crate) status: u16,
    pub(crate) reason: String,
    pub(crate) key: Option<&'a str>,
}

const LINES: u64 = 20;
/// In characters, like that of the method.
const LONGEST_PATH: usize = 200;
const LONGEST_METHOD: usize = 20;

impl RefusalLog {
    pub(crate) fn new(log: Log) -> Self {
        Self {
            log,
            second: AtomicU64::new(0),
            lines: AtomicU64::new(0),
        }
    }

    pub(crate) fn write(&self, refused: &Refused<'_>) {
        let second = refused.time.as_second().unsigned_abs();
        if self.second.swap(second, Ordering::Relaxed) != second {
            self.lines.store(0, Ordering::Relaxed);
        }
        if self.lines.fetch_add(1, Ordering::Relaxed) >= LINES {
            return;
        }
        if let Ok(line) = serde_json::to_string(refused) {
            self.log.write(line);
        }
    }
}

fn plain_method<S: serde::Serializer>(method: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&plain(method, LONGEST_METHOD))
}

fn plain_path<S: serde::Serializer>(path: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&plain(path, LONGEST_PATH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_short_and_plain_whatever_the_caller_sent() {
        let path = format!("/{}", "\u{202e}\u{9b}ü".repeat(10_000));
        let line = serde_json::to_string(&Refused {
            event: "access-refused",
            time: Timestamp::UNIX_EPOCH,
            peer: ([127, 0, 0, 1], 1).into(),
            method: &"M".repeat(10_000),
            path: &path,
            trace: None,
            request: None,
            status: 401,
            reason: String::new(),
            key: None,
        });
        let line = line.unwrap();
        assert!(line.len() < 3000 && line.bytes().all(|c| (b' '..=b'~').contains(&c)));
        assert!(
            line.contains(r#""method":"MMMMMMMMMMMMMMMMMMMM","path":"/\\u{202e}\\u{9b}\\u{fc}"#)
        );
    }
}
