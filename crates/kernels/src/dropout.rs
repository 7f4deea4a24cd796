use crate::{Element, pool, rows::part_length};

/// What SplitMix64 counts by (Steele, Lea & Flood 2014).
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// A seed for part `number` of what `seed` decides: both together decide it, and neighbours have nothing in common.
pub fn derive_seed(seed: u64, number: u64) -> u64 {
    mixed(seed ^ mixed(number.wrapping_add(1).wrapping_mul(STEP)))
}

/// Leaves numbers out: number `i` of `y` is 0 with probability `rate` and else that of `x` times `1 / (1 - rate)`, as `seed`
/// and `i` decide. The same with `dy` for `x` is the gradient of `x`.
///
/// # Panics
/// The lengths differ, or `rate` is not at least 0 and less than 1.
pub fn dropout<T: Element>(seed: u64, rate: f64, x: &[T], y: &mut [T]) {
    assert_eq!(x.len(), y.len(), "as many numbers go in as come out");
    assert!((0.0..1.0).contains(&rate), "a rate from 0 to less than 1");
    let least = (rate * 2_f64.powi(32)) as u32;
    let factor = (1.0 / (1.0 - rate)) as f32;
    // Each random word decides two numbers, so a part begins with an even one.
    let length = part_length(2);
    let parts = x.chunks(length).zip(y.chunks_mut(length)).enumerate();
    pool::parallel_for_each(parts, |(part, (x, y))| {
        let first = part * length / 2;
        for (index, (x, y)) in x.chunks(2).zip(y.chunks_mut(2)).enumerate() {
            let count = (first + index) as u64 + 1;
            let word = mixed(seed.wrapping_add(count.wrapping_mul(STEP)));
            let halves = [word as u32, (word >> 32) as u32];
            for ((x, y), half) in x.iter().zip(y).zip(halves) {
                let factor = if half < least { 0.0 } else { factor };
                *y = T::from_f32(x.to_f32() * factor);
            }
        }
    });
}

/// What SplitMix64 makes of its counter.
fn mixed(counter: u64) -> u64 {
    let word = (counter ^ (counter >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;
    use crate::rows::testing::poison;

    fn factors<T: Element>(seed: u64, rate: f64, count: usize) -> Vec<f32> {
        let mut y = poison::<T>(count);
        dropout(seed, rate, &vec![T::from_f32(1.0); count], &mut y);
        y.iter().map(|factor| factor.to_f32()).collect()
    }

    #[test]
    fn words_are_those_of_splitmix64() {
        // The first numbers for the seed 1234567, as published with the generator.
        let words = [6_457_827_717_110_365_317, 3_203_168_211_198_807_973];
        for (count, expected) in (1_u64..).zip(words) {
            let word = mixed(1_234_567_u64.wrapping_add(count.wrapping_mul(STEP)));
            assert_eq!(word, expected);
        }
    }

    #[test]
    fn as_many_are_left_out_as_the_rate_says() {
        for rate in [0.0, 0.2, 0.5, 0.99] {
            let count = 200_001;
            let found = factors::<f32>(7, rate, count);
            let kept = (1.0 / (1.0 - rate)) as f32;
            assert!(found.iter().all(|factor| [0.0, kept].contains(factor)));
            let left_out = found.iter().filter(|factor| **factor == 0.0).count();
            let (share, deviation) = (
                left_out as f64 / count as f64,
                (rate * (1.0 - rate) / count as f64).sqrt(),
            );
            assert!((share - rate).abs() <= 4.0 * deviation, "{rate}: {share}");
        }
    }

    #[test]
    fn the_seed_and_the_place_alone_decide() {
        let found = factors::<f32>(7, 0.5, 100_000);
        assert_eq!(factors::<f32>(7, 0.5, 999), found[..999]);
        assert_eq!(factors::<bf16>(7, 0.5, 100_000), found);
        for other in [derive_seed(7, 0), derive_seed(7, 1), derive_seed(8, 0)] {
            let other = factors::<f32>(other, 0.5, 100_000);
            let equal = found.iter().zip(&other).filter(|(a, b)| a == b).count();
            assert!((49_000..51_000).contains(&equal), "{equal}");
        }
    }
}
