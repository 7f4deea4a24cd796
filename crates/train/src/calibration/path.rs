use super::{ExitRows, Outcome, Setting, exit_of, is_lost};

/// Thresholds that are tried at an exit: as many parts of the rows pass one after the other.
const PARTS: usize = 64;

/// Settings that let more and more rows leave: from nearly none to all at the lowest exit. Each lowers the threshold of one
/// exit, the one that saves most work for each row that it loses among `learned`.
pub(super) fn find(rows: &ExitRows, learned: &[u32]) -> Vec<Setting> {
    let candidates: Vec<Vec<f32>> = rows
        .confidences
        .iter()
        .map(|confidences| candidates(learned.iter().map(|row| confidences[*row as usize])))
        .collect();
    let mut setting: Setting = vec![None; candidates.len()];
    let mut next = vec![0; candidates.len()];
    let mut exits: Vec<usize> = vec![candidates.len(); learned.len()];
    let mut path = Vec::new();
    loop {
        let moves = (0..candidates.len()).filter_map(|exit| {
            let threshold = *candidates[exit].get(next[exit])?;
            Some((
                exit,
                threshold,
                change(rows, learned, &exits, exit, threshold),
            ))
        });
        let best = moves.max_by(|(.., a), (.., b)| a.is_worse_than(*b));
        let Some((exit, threshold, _)) = best else {
            return path;
        };
        next[exit] += 1;
        setting[exit] = Some(threshold);
        for (row, exit) in learned.iter().zip(&mut exits) {
            *exit = exit_of(rows, *row as usize, &setting);
        }
        path.push(setting.clone());
    }
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

/// Thresholds of which each lets about as many more rows pass, the highest first. With six decimals, which a manifest
/// gives back as they are.
fn candidates(confidences: impl Iterator<Item = f32>) -> Vec<f32> {
    let mut sorted: Vec<f32> = confidences.filter(|value| value.is_finite()).collect();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let count = sorted.len();
    let parts = PARTS.min(count);
    let mut candidates: Vec<f32> = (1..=parts)
        .map(|part| {
            let value = sorted[part * count / parts - 1];
            ((f64::from(value) * 1e6).floor() / 1e6) as f32
        })
        .collect();
    candidates.dedup();
    candidates
}
