use super::{ExitRows, Outcome, Setting, exit_of, is_lost};

/// Each setting lets about this part more of the rows leave at some exit.
const PARTS: usize = 64;

/// Settings that let more and more rows leave: from nearly none to all at the lowest exit. Each lowers the threshold of one
/// exit, the one that saves most work for each row that it loses among `learned`.
pub(super) fn find(rows: &ExitRows, learned: &[u32]) -> Vec<Setting> {
    let count = rows.confidences.len();
    let mut setting: Setting = vec![None; count];
    let mut exits: Vec<usize> = vec![count; learned.len()];
    let mut path = Vec::new();
    loop {
        let moves = (0..count).filter_map(|exit| {
            let threshold = lower(rows, learned, &exits, exit)?;
            let change = change(rows, learned, &exits, exit, threshold);
            Some((exit, threshold, change))
        });
        let best = moves.max_by(|(.., a), (.., b)| a.is_worse_than(*b));
        let Some((exit, threshold, _)) = best else {
            return path;
        };
        setting[exit] = Some(threshold);
        for (row, exit) in learned.iter().zip(&mut exits) {
            *exit = exit_of(rows, *row as usize, &setting);
        }
        path.push(setting.clone());
    }
}

/// The threshold at `exit` by which the next part of the rows leaves there, out of those that go on; none if no row does. With
/// six decimals, which a manifest gives back as they are.
fn lower(rows: &ExitRows, learned: &[u32], exits: &[usize], exit: usize) -> Option<f32> {
    let on = learned.iter().zip(exits).filter(|(_, now)| **now > exit);
    let mut confidences: Vec<f32> = on
        .map(|(row, _)| rows.confidences[exit][*row as usize])
        .filter(|confidence| confidence.is_finite())
        .collect();
    confidences.sort_by(|a, b| b.total_cmp(a));
    let part = learned.len().div_ceil(PARTS).min(confidences.len());
    let value = confidences.get(part.checked_sub(1)?)?;
    Some(((f64::from(*value) * 1e6).floor() / 1e6) as f32)
}

/// What a lower threshold changes.
#[derive(Clone, Copy, Debug)]
struct Change {
    saved: f64,
    lost: f64,
}

impl Change {
    /// By what is saved for each row that is lost; where none is, or some are won, by what is saved.
    fn is_worse_than(self, other: Self) -> std::cmp::Ordering {
        // Half a row on top: losing none of a few rows does not mean that none would ever be.
        let value = |change: Self| change.saved / (change.lost.max(0.0) + 0.5);
        value(self).total_cmp(&value(other))
    }
}

/// What changes if the rows that leave at `exits` left at `exit` from `threshold` on.
fn change(
    rows: &ExitRows,
    learned: &[u32],
    exits: &[usize],
    exit: usize,
    threshold: f32,
) -> Change {
    let (mut before, mut after) = (Outcome::default(), Outcome::default());
    for (row, now) in learned.iter().zip(exits) {
        let row = *row as usize;
        if *now > exit && rows.confidences[exit][row] >= threshold {
            for (sum, exit) in [(&mut before, *now), (&mut after, exit)] {
                sum.lost += usize::from(is_lost(rows, row, exit));
                sum.work += rows.work[exit];
            }
        }
    }
    Change {
        saved: before.work - after.work,
        lost: after.lost as f64 - before.lost as f64,
    }
}
