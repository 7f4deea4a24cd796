use crate::random::Random;

/// Splits rows into a training and a validation part of which the latter holds `fraction` of each
/// class.
///
/// Both parts hold row numbers in ascending order. A class of at least two rows has at least one on
/// each side; a class of one row is in the training part. Equal arguments give equal parts.
pub fn stratified(labels: &[u32], fraction: f64, seed: u64) -> (Vec<u32>, Vec<u32>) {
    let mut rows: Vec<u32> = (0..labels.len() as u32).collect();
    rows.sort_by_key(|&row| labels[row as usize]);

    let (mut train, mut validation) = (Vec::new(), Vec::new());
    for class in rows.chunk_by_mut(|&a, &b| labels[a as usize] == labels[b as usize]) {
        let label = labels[class[0] as usize];
        Random::new(b"split\0\0\0", seed, u64::from(label)).shuffle(class);
        let share = (class.len() as f64 * fraction).round() as usize;
        let kept_aside = if class.len() < 2 {
            0
        } else {
            share.clamp(1, class.len() - 1)
        };
        let (aside, rest) = class.split_at(kept_aside);
        validation.extend_from_slice(aside);
        train.extend_from_slice(rest);
    }
    train.sort_unstable();
    validation.sort_unstable();
    (train, validation)
}

/// The order in which an epoch visits its rows: each of `0..rows` once.
///
/// It depends on nothing but its arguments, so a training that resumes in epoch 7 has the order of
/// epoch 7.
pub fn permutation(rows: usize, seed: u64, epoch: u64) -> Vec<u32> {
    let mut order: Vec<u32> = (0..rows as u32).collect();
    Random::new(b"epoch\0\0\0", seed, epoch).shuffle(&mut order);
    order
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_split_is_a_partition_with_each_class_on_both_sides(
            labels in prop::collection::vec(0_u32..6, 0..200),
            fraction in 0.001_f64..0.5,
            seed: u64,
        ) {
            let (train, validation) = stratified(&labels, fraction, seed);
            prop_assert!(train.is_sorted() && validation.is_sorted());
            let mut all = [train.clone(), validation.clone()].concat();
            all.sort_unstable();
            prop_assert!(all.iter().copied().eq(0..labels.len() as u32));
            for class in 0..6 {
                let count = |rows: &[u32]| rows.iter().filter(|&&row| labels[row as usize] == class).count();
                let (learned, aside) = (count(&train), count(&validation));
                let share = (learned + aside) as f64 * fraction;
                if learned + aside >= 2 {
                    prop_assert!(learned >= 1 && aside >= 1);
                    prop_assert!((aside as f64 - share).abs() <= 1.0);
                } else {
                    prop_assert_eq!(aside, 0);
                }
            }
        }

        #[test]
        fn a_permutation_visits_each_row_once(rows in 0_usize..500, seed: u64, epoch: u64) {
            let order = permutation(rows, seed, epoch);
            prop_assert_eq!(order.len(), rows);
            prop_assert_eq!(order.iter().collect::<HashSet<_>>().len(), rows);
            prop_assert!(order.iter().all(|&row| (row as usize) < rows));
            prop_assert_eq!(order, permutation(rows, seed, epoch));
        }
    }

    #[test]
    fn each_seed_and_each_epoch_has_its_own_order() {
        let orders: HashSet<Vec<u32>> = [(1, 0), (1, 1), (2, 0), (0, 1)]
            .map(|(seed, epoch)| permutation(100, seed, epoch))
            .into();
        assert_eq!(orders.len(), 4);
    }
}
