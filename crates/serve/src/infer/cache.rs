//! Answers that were given before.

use std::{fmt, sync::Arc};

use quick_cache::{Weighter, sync};
use sha2::{Digest, Sha256};

use super::{Question, Task};
use crate::runtime::{Answered, Leave, Version};

/// Keeps answers as long as they fit, those that are asked for most.
///
/// An answer is found by the SHA-256 of the version's digest, of where the rows leave and for which tasks, and of the
/// prepared rows; so it is found whatever protocol a request came by, and whatever form its rows had. Only who may ask the
/// model gets that far.
pub(crate) struct Cache(sync::Cache<Key, Arc<Answered>, Bytes>);

/// Of all that an answer depends on.
pub(crate) type Key = [u8; 32];

#[derive(Clone)]
struct Bytes;

/// What an entry takes besides its numbers, about.
const ENTRY_BYTES: usize = 256;

/// A first guess at how many there will be; memory is taken for it.
const MOST_ENTRIES: usize = 1 << 16;

impl Cache {
    /// Keeps up to `bytes` bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        let entries = (bytes / (2 * ENTRY_BYTES)).clamp(1, MOST_ENTRIES);
        Self(sync::Cache::with_weighter(entries, bytes as u64, Bytes))
    }

    pub(crate) fn get(&self, key: &Key) -> Option<Arc<Answered>> {
        self.0.get(key)
    }

    pub(crate) fn insert(&self, key: Key, answered: Arc<Answered>) {
        self.0.insert(key, answered);
    }

    /// Bytes that are kept.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.weight()
    }
}

/// Of a question to a version, whose rows are prepared.
pub(crate) fn key(version: &Version, question: &Question, rows: &[f32]) -> Key {
    let mut hash = Sha256::new();
    hash.update(version.digest.to_string());
    let (kind, value) = match question.leave {
        Leave::AsCalibrated => (0, 0),
        Leave::At(exit) => (1, exit as u64),
        Leave::Confidence(least) => (2, u64::from(least.to_bits())),
    };
    hash.update([kind]);
    hash.update(value.to_le_bytes());
    let is_wanted = |task| {
        let mut outputs = question.outputs.iter();
        outputs.any(|wanted| wanted.output.task() == task)
    };
    let others = (0..version.others.len()).map(Task::Other);
    let tasks: Vec<u8> = [Task::Final]
        .into_iter()
        .chain(others)
        .map(|task| u8::from(is_wanted(task)))
        .collect();
    hash.update(tasks);
    let bytes: Vec<u8> = rows.iter().flat_map(|value| value.to_le_bytes()).collect();
    hash.update(bytes);
    hash.finalize().into()
}

impl Weighter<Key, Arc<Answered>> for Bytes {
    fn weight(&self, _: &Key, answered: &Arc<Answered>) -> u64 {
        let Answered {
            probabilities,
            exits,
            heads,
            ..
        } = &**answered;
        let numbers = probabilities.len() + heads.iter().map(Vec::len).sum::<usize>();
        let lists = size_of_val(heads.as_slice()) + size_of_val(exits.as_slice());
        (ENTRY_BYTES + lists + numbers * size_of::<f32>()) as u64
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("entries", &self.0.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::Took;

    #[test]
    fn it_keeps_no_more_than_its_bytes() {
        let cache = Cache::new(1 << 16);
        let answered = Arc::new(Answered {
            probabilities: vec![0.0; 64],
            exits: Vec::new(),
            heads: Vec::new(),
            took: Took::default(),
        });
        for number in 0..1000_u32 {
            let mut key = [0; 32];
            key[..4].copy_from_slice(&number.to_le_bytes());
            cache.insert(key, answered.clone());
        }
        assert!((1..=1 << 16).contains(&cache.bytes()), "{}", cache.bytes());
    }
}
