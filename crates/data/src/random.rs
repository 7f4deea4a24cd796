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

    /// The stream for one purpose, seed, epoch and row or batch.
    pub(crate) fn of_row(purpose: &[u8; 8], seed: u64, epoch: u64, row: u64) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(purpose);
        key[8..16].copy_from_slice(&seed.to_le_bytes());
        key[16..24].copy_from_slice(&epoch.to_le_bytes());
        key[24..].copy_from_slice(&row.to_le_bytes());
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

    /// Uniform in `[low, high)`, of 53 bits.
    pub(crate) fn between(&mut self, low: f64, high: f64) -> f64 {
        let unit = (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        low + (high - low) * unit
    }

    /// From the beta distribution with both parameters `alpha` (Joehnk 1964): quick up to about 4.
    pub(crate) fn beta(&mut self, alpha: f64) -> f64 {
        loop {
            // Never 0, whose logarithm is none.
            let [x, y] = [(); 2].map(|()| (1.0 - self.between(0.0, 1.0)).ln() / alpha);
            // Both may be too small for their powers to be numbers; their ratio is one.
            let sum = x.exp() + y.exp();
            if sum <= 1.0 {
                return 1.0 / (1.0 + (y - x).exp());
            }
        }
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

    /// The variance of a beta distribution with both parameters a is 1 / (4 (2 a + 1)).
    #[test]
    fn beta_has_its_mean_and_variance() {
        for alpha in [0.01, 0.2, 1.0, 4.0] {
            let mut random = Random::new(b"testing\0", 0, 0);
            let draws: Vec<f64> = (0..20_000).map(|_| random.beta(alpha)).collect();
            assert!(draws.iter().all(|draw| (0.0..=1.0).contains(draw)));
            let mean = draws.iter().sum::<f64>() / draws.len() as f64;
            let variance =
                draws.iter().map(|draw| (draw - 0.5).powi(2)).sum::<f64>() / draws.len() as f64;
            let expected = 0.25 / (2.0 * alpha + 1.0);
            assert!(
                (mean - 0.5).abs() < 0.015 && (variance / expected - 1.0).abs() < 0.05,
                "{alpha}: {mean} {variance}"
            );
        }
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
