use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

/// A stream of random numbers that is the same on every machine and in every version of this program.
///
/// The draws are spelled out here, because those of the `rand` crate may change from one version to
/// the next, and a training that resumes must see the same order of rows.
pub(crate) struct Random(ChaCha8Rng);

impl Random {
    /// The stream for one purpose, seed and counter. Different ones share no numbers.
    pub(crate) fn new(purpose: &[u8; 8], seed: u64, counter: u64) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(purpose);
        key[8..16].copy_from_slice(&seed.to_le_bytes());
        key[16..24].copy_from_slice(&counter.to_le_bytes());
        Self(ChaCha8Rng::from_seed(key))
    }

    /// A whole number from 0 to `end - 1`; 0 if `end` is 0.
    ///
    /// The high half of a 128-bit product (Lemire 2019) without its rejection step: its bias is
    /// below `end / 2^64`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.0.next_u64()) * end as u128) >> 64) as usize
    }

    /// Uniform in `[low, high)`.
    pub(crate) fn uniform(&mut self, low: f32, high: f32) -> f32 {
        let unit = (self.0.next_u32() >> 8) as f32 / (1 << 24) as f32;
        low + (high - low) * unit
    }

    /// About normal, mean 0, standard deviation 1: the sum of four uniform numbers, scaled.
    ///
    /// Only operations that IEEE 754 fixes, so the bits are the same everywhere; logarithms and
    /// cosines are not.
    pub(crate) fn bell(&mut self) -> f32 {
        const SCALE: f32 = 1.732_050_8;
        (0..4).map(|_| self.uniform(-0.5, 0.5)).sum::<f32>() * SCALE
    }

    /// Puts the items into a random order (Fisher and Yates).
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_never_changes() {
        let mut random = Random::new(b"testing\0", 1, 2);
        let first: Vec<usize> = (0..6).map(|_| random.below(1000)).collect();
        assert_eq!(first, [735, 939, 679, 725, 284, 491]);
    }

    #[test]
    fn bell_has_mean_zero_and_deviation_one() {
        let mut random = Random::new(b"testing\0", 0, 0);
        let draws: Vec<f32> = (0..20_000).map(|_| random.bell()).collect();
        let mean = draws.iter().sum::<f32>() / draws.len() as f32;
        let variance = draws.iter().map(|draw| draw * draw).sum::<f32>() / draws.len() as f32;
        assert!(
            mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05,
            "{mean} {variance}"
        );
    }
}
