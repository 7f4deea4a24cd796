//! Rows of a batch mixed with each other: MixUp and CutMix of torchvision's `transforms.v2`.

use super::frame::Part;

/// Whose labels count for the rows of a mixed batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Mixed {
    /// For each row of the batch, the number of the row (among all training rows) that was mixed in.
    pub partners: Vec<u32>,
    /// For each row of the batch, the share of its own label; the rest is that of its partner's.
    pub shares: Vec<f32>,
}

impl Mixed {
    pub(super) fn with_the_row_before(indices: &[u32], share: f32) -> Self {
        let mut partners = indices.to_vec();
        if !partners.is_empty() {
            partners.rotate_right(1);
        }
        Self {
            partners,
            shares: vec![share; indices.len()],
        }
    }
}

/// Each row becomes `share` of itself and the rest of the row before it; the first takes the last.
pub(super) fn blend(rows: &mut [f32], row_len: usize, share: f32) {
    with_the_row_before(rows, row_len, |row, before| {
        for (value, before) in row.iter_mut().zip(before) {
            *value = *value * share + before * (1.0 - share);
        }
    });
}

/// Each row of `[channels, height, width]` takes a rectangle of the row before it; the first takes it from the last.
pub(super) fn paste(rows: &mut [f32], row_len: usize, [height, width]: [usize; 2], part: Part) {
    with_the_row_before(rows, row_len, |row, before| {
        for plane in (0..row_len).step_by(height * width) {
            for y in part.top..part.top + part.height {
                let start = plane + y * width + part.left;
                let columns = start..start + part.width;
                row[columns.clone()].copy_from_slice(&before[columns]);
            }
        }
    });
}

/// The rectangle around a pixel that leaves about `share` of the image, as far as it lies within.
pub(super) fn rectangle([height, width]: [usize; 2], [y, x]: [usize; 2], share: f64) -> Part {
    let half = 0.5 * (1.0 - share).sqrt();
    let side = |centre: usize, end: usize| {
        let half = (half * end as f64) as usize;
        let start = centre.saturating_sub(half);
        (start, (centre + half).min(end) - start)
    };
    let (top, part_height) = side(y, height);
    let (left, part_width) = side(x, width);
    Part {
        top,
        left,
        height: part_height,
        width: part_width,
    }
}

/// Changes each row by the row before it, as that was.
fn with_the_row_before(rows: &mut [f32], row_len: usize, change: impl Fn(&mut [f32], &[f32])) {
    let count = rows.len() / row_len;
    let Some(last) = count.checked_sub(1) else {
        return;
    };
    let wrapped = rows[last * row_len..].to_vec();
    for index in (1..count).rev() {
        let (before, row) = rows.split_at_mut(index * row_len);
        change(&mut row[..row_len], &before[(index - 1) * row_len..]);
    }
    change(&mut rows[..row_len], &wrapped);
}
