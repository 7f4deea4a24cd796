use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

use crate::SEED;

/// Rows and classes, the same in each run.
pub(crate) struct Random(ChaCha8Rng);

impl Random {
    pub(crate) fn new() -> Self {
        Self(ChaCha8Rng::seed_from_u64(SEED))
    }

    /// `count` numbers, uniform with mean 0 and variance 1, as prepared images have them.
    pub(crate) fn numbers(&mut self, count: usize) -> Vec<f32> {
        let mut number = || (self.0.next_u32() >> 8) as f32 / (1 << 24) as f32;
        (0..count)
            .map(|_| (number() - 0.5) * 12_f32.sqrt())
            .collect()
    }

    /// `count` numbers below `classes`.
    pub(crate) fn classes(&mut self, count: usize, classes: usize) -> Vec<u32> {
        let mut number = || self.0.next_u64() % classes as u64;
        (0..count).map(|_| number() as u32).collect()
    }
}
