//! Requests with mistakes of all kinds, made of good ones by chance: nothing that a caller sends is the server's fault.
//!
//! The seeds are fixed; `STRATA_MUTATIONS` says how many requests each test sends, for a longer run.

mod grpc;
mod http;

use std::{
    env,
    sync::{Mutex, Once, PoisonError},
};

/// Panics of the server's own threads, wherever their message goes.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// How many requests a test sends.
pub(crate) fn count(default: usize) -> usize {
    env::var("STRATA_MUTATIONS").map_or(default, |count| count.parse().unwrap())
}

/// From here on, panics outside of the tests themselves are remembered.
pub(crate) fn watch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let file = info.location().map_or("", |location| location.file());
            if !file.contains("tests/") {
                let mut panics = PANICS.lock().unwrap_or_else(PoisonError::into_inner);
                panics.push(info.to_string());
            }
            before(info);
        }));
    });
}

pub(crate) fn assert_no_panics() {
    let panics = PANICS.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(panics.is_empty(), "{panics:?}");
}

/// Changes bytes by chance. SplitMix64 (Steele, Lea & Flood 2014).
pub(crate) struct Mutator(u64);

/// Bytes and words that parsers take for something.
const WORDS: [&[u8]; 34] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\"",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"\0",
    b"\xff",
    b"\xe2\x82",
    b"-",
    b"0",
    b"-1",
    b"1e999",
    b"1e-999",
    b"0.1",
    b"4294967296",
    b"18446744073709551615",
    b"18446744073709551616",
    b"null",
    b"true",
    b"NaN",
    b"-Infinity",
    b"[[[[[[[[[[",
    b"{\"b64\":\"\"}",
    b"\"image\":",
    b"\"binary_data_size\":",
    b"\"UINT8\"",
    b"\"BYTES\"",
    b"\r\n",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
];

impl Mutator {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound.max(1) as u64) as usize
    }

    pub(crate) fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    /// Makes one to four mistakes; `other` is what parts may be taken from.
    pub(crate) fn mutate(&mut self, bytes: &mut Vec<u8>, other: &[u8]) {
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len() + 1);
            let end = at + self.below((bytes.len() - at).min(40) + 1);
            match self.below(8) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                1 if at < bytes.len() => bytes[at] = self.below(256) as u8,
                2 => drop(bytes.drain(at..end)),
                3 => {
                    let part = bytes[at..end].to_vec();
                    bytes.splice(at..at, part);
                }
                4 => bytes.truncate(at),
                5 => {
                    let from = self.below(other.len() + 1);
                    bytes.truncate(at);
                    bytes.extend_from_slice(&other[from..]);
                }
                6 => drop(bytes.splice(at..end, self.pick(&WORDS).to_vec())),
                _ => drop(bytes.splice(at..at, self.pick(&WORDS).to_vec())),
            }
        }
    }
}
