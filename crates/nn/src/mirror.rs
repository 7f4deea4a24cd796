//! Rows with left and right exchanged.

use strata_spec::Level;

/// The shape `[channels, height, width]` of the rows of a network that answers from each row and its mirror image.
pub(crate) fn mirrored_shape(input: &[usize], levels: &[Level]) -> Option<[usize; 3]> {
    let head = levels.last().and_then(|level| level.head.as_ref());
    let is_mirrored = head.is_some_and(|head| head.mirrored);
    is_mirrored.then(|| input.try_into().expect("checked levels: maps"))
}

/// Rows of maps `[channels, height, width]`, mirrored.
pub(crate) fn mirrored(rows: &[f32], [.., width]: [usize; 3]) -> Vec<f32> {
    let lines = rows.chunks_exact(width);
    lines.flat_map(|line| line.iter().rev().copied()).collect()
}

/// Makes `a` the mean of both.
pub(crate) fn average(a: &mut [f32], b: &[f32]) {
    for (a, b) in a.iter_mut().zip(b) {
        *a = 0.5 * (*a + b);
    }
}
