use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
};

use jiff::Timestamp;
use serde::Serialize;

/// Writes one line of JSON to standard error for each refused access, at most [`LINES`] a second: who
/// knocks without a key must not be able to fill a disk.
#[derive(Debug, Default)]
pub(crate) struct RefusalLog {
    second: AtomicU64,
    lines: AtomicU64,
}

/// What a line says. Never a credential.
#[derive(Serialize)]
pub(crate) struct Refused<'a> {
    pub(crate) event: &'static str,
    pub(crate) time: Timestamp,
    pub(crate) peer: SocketAddr,
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) status: u16,
    pub(crate) reason: String,
    pub(crate) key: Option<&'a str>,
}

const LINES: u64 = 20;
const LONGEST_PATH: usize = 200;

impl RefusalLog {
    pub(crate) fn write(&self, mut refused: Refused<'_>) {
        let second = refused.time.as_second().unsigned_abs();
        if self.second.swap(second, Ordering::Relaxed) != second {
            self.lines.store(0, Ordering::Relaxed);
        }
        if self.lines.fetch_add(1, Ordering::Relaxed) >= LINES {
            return;
        }
        // A path is ASCII: hyper refuses others.
        refused.path = refused.path.get(..LONGEST_PATH).unwrap_or(refused.path);
        if let Ok(line) = serde_json::to_string(&refused) {
            eprintln!("{line}");
        }
    }
}
