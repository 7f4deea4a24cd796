//! How far two answers to the same rows agree.

use strata_nn::highest;

use crate::runtime::{Answered, Version};

/// What two versions of one interface say of the same rows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Comparison {
    pub(super) rows: u64,
    /// With the same class for every task that was asked.
    pub(super) agreeing: u64,
    /// The sum over the rows of the largest difference of a probability.
    pub(super) distance: f64,
    /// The largest of these.
    pub(super) most: f32,
}

pub(super) fn compare(
    base: (&Version, &Answered),
    candidate: (&Version, &Answered),
    rows: usize,
) -> Comparison {
    let parts: Vec<_> = parts(base).zip(parts(candidate)).collect();
    let mut comparison = Comparison::default();
    for row in 0..rows {
        let mut is_same = true;
        let mut most = 0.0_f32;
        for ((classes, own), (_, other)) in &parts {
            let place = row * classes..(row + 1) * classes;
            // Empty where the task was not asked for.
            let (Some(own), Some(other)) = (own.get(place.clone()), other.get(place)) else {
                continue;
            };
            is_same &= highest(own) == highest(other);
            let differences = own
                .iter()
                .zip(other)
                .map(|(own, other)| (own - other).abs());
            most = differences.fold(most, f32::max);
        }
        comparison.rows += 1;
        comparison.agreeing += u64::from(is_same);
        comparison.distance += f64::from(most);
        comparison.most = comparison.most.max(most);
    }
    comparison
}

/// The number of classes and the probabilities of each task, the final one first.
fn parts<'a>(
    (version, answered): (&'a Version, &'a Answered),
) -> impl Iterator<Item = (usize, &'a [f32])> {
    let others = version.others.iter().map(|task| {
        let probabilities = answered.heads.get(task.head);
        (task.labels.len(), probabilities.map_or(&[][..], |all| all))
    });
    [(version.labels.len(), &answered.probabilities[..])]
        .into_iter()
        .chain(others)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{runtime::Took, testing};

    fn answered(probabilities: &[f32], heads: &[&[f32]]) -> Answered {
        Answered {
            probabilities: probabilities.to_vec(),
            exits: Vec::new(),
            heads: heads.iter().map(|head| head.to_vec()).collect(),
            took: Took::default(),
        }
    }

    #[test]
    fn rows_agree_if_every_class_is_the_same() {
        let version = testing::version(1);
        let base = answered(&[0.5, 0.25, 0.25, 0.125, 0.75, 0.125], &[]);
        let check = |other: &[f32], expected: (u64, f64, f32)| {
            let other = answered(other, &[]);
            let found = compare((&version, &base), (&version, &other), 2);
            let (agreeing, distance, most) = expected;
            assert_eq!(
                found,
                Comparison {
                    rows: 2,
                    agreeing,
                    distance,
                    most
                }
            );
        };
        check(&base.probabilities, (2, 0.0, 0.0));
        check(&[0.75, 0.125, 0.125, 0.125, 0.75, 0.125], (2, 0.25, 0.25));
        check(&[0.25, 0.5, 0.25, 0.5, 0.25, 0.25], (0, 0.75, 0.5));
    }

    #[test]
    fn tasks_that_were_not_asked_for_do_not_count() {
        let version = testing::version_with_exits();
        let head = version.others[0].head;
        let with_kind = |kind: &[f32]| {
            let mut heads = vec![&[][..]; head + 1];
            heads[head] = kind;
            answered(&[], &heads)
        };
        let (base, other) = (with_kind(&[0.75, 0.25]), with_kind(&[0.25, 0.75]));
        let found = compare((&version, &base), (&version, &other), 1);
        let expected = Comparison {
            rows: 1,
            agreeing: 0,
            distance: 0.5,
            most: 0.5,
        };
        assert_eq!(found, expected);
        assert_eq!(compare((&version, &base), (&version, &base), 1).agreeing, 1);
    }
}
