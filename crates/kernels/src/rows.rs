//! What the kernels that go through rows of channels share: how rows are cut into parts, and how few channels fill
//! whole vectors.

use crate::Isa;

/// Elements that a part has, about: some ten microseconds of work, and in the second cache still.
const PART_LENGTH: usize = 1 << 15;
/// Rows of a tile have at least this many elements.
const LEAST_TILE: usize = 128;
/// The most lanes that a vector has.
const LANES: usize = 16;

/// The instructions in use; a test may choose others, see `testing`.
pub(crate) fn isa() -> Isa {
    #[cfg(test)]
    if let Some(isa) = testing::CHOSEN.get() {
        return isa;
    }
    crate::isa()
}

/// Elements of as many rows of `channels` as are gone through together: few channels are repeated until they are a
/// whole number of vectors and worth a loop.
pub(crate) fn tile_width(channels: usize) -> usize {
    if channels >= LEAST_TILE {
        return channels;
    }
    let common = 1 << channels.trailing_zeros().min(LANES.trailing_zeros());
    let vectors = channels * (LANES / common);
    vectors * LEAST_TILE.div_ceil(vectors)
}

/// Elements of a part: a multiple of `unit`, about `PART_LENGTH`. It depends on the shape alone,
/// so sums over parts do not depend on the number of threads.
pub(crate) fn part_length(unit: usize) -> usize {
    part_length_of_at_least(1, unit)
}

/// The same with at least `least` units in a part, where something is stored for each part.
pub(crate) fn part_length_of_at_least(least: usize, unit: usize) -> usize {
    least.max(PART_LENGTH / unit).max(1) * unit
}

/// The chunks of an optional slice of `length` elements: as many as it would have if it were there.
pub(crate) fn chunks_of<T>(slice: Option<&[T]>, length: usize, chunk: usize) -> Vec<Option<&[T]>> {
    match slice {
        Some(slice) => slice.chunks(chunk).map(Some).collect(),
        None => vec![None; length.div_ceil(chunk)],
    }
}

/// The same of a slice to write to.
pub(crate) fn chunks_of_mut<T>(
    slice: Option<&mut [T]>,
    length: usize,
    chunk: usize,
) -> Vec<Option<&mut [T]>> {
    match slice {
        Some(slice) => slice.chunks_mut(chunk).map(Some).collect(),
        None => (0..length.div_ceil(chunk)).map(|_| None).collect(),
    }
}

/// Adds up the repetitions of `channels` numbers that a tile's row holds.
pub(crate) fn fold(tile: &[f32], channels: usize, sums: &mut [f64]) {
    for row in tile.chunks(channels) {
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum += f64::from(*value);
        }
    }
}

/// Some columns of some rows that lie next to each other.
pub(crate) struct Block<'a, T> {
    pub(crate) first_row: usize,
    pub(crate) first_column: usize,
    pub(crate) rows: Vec<&'a mut [T]>,
}

/// Cuts `matrix`, rows of `width`, into blocks of at most `rows` times `columns`; blocks of the same columns follow
/// each other.
pub(crate) fn blocks_mut<T>(
    matrix: &mut [T],
    width: usize,
    rows: usize,
    columns: usize,
) -> Vec<Block<'_, T>> {
    if matrix.is_empty() {
        return Vec::new();
    }
    let height = matrix.len() / width;
    let (down, across) = (height.div_ceil(rows), width.div_ceil(columns));
    let place = |index: usize| Block {
        first_row: index % down * rows,
        first_column: index / down * columns,
        rows: Vec::with_capacity(rows.min(height)),
    };
    let mut blocks: Vec<_> = (0..down * across).map(place).collect();
    for (row, numbers) in matrix.chunks_mut(width).enumerate() {
        for (column, piece) in numbers.chunks_mut(columns).enumerate() {
            blocks[column * down + row / rows].rows.push(piece);
        }
    }
    blocks
}

#[cfg(test)]
pub(crate) mod testing {
    //! What the tests of these kernels share. The same bits for any number of threads are not tested: parts follow from
    //! shapes alone, each is computed by one thread, and they are added up in their order.

    use std::cell::Cell;

    use crate::{Element, Format, Isa};

    thread_local! {
        pub(crate) static CHOSEN: Cell<Option<Isa>> = const { Cell::new(None) };
    }

    /// What `run` gives, as vectors of numbers, which is the same with each instruction set that this machine has:
    /// the same operations in the same order, since the compiler does not fuse them.
    pub(crate) fn with_each_isa(run: impl Fn() -> Vec<Vec<f64>>) -> Vec<Vec<f64>> {
        let with = |isa| {
            CHOSEN.set(Some(isa));
            let results = run();
            CHOSEN.set(None);
            results
        };
        let expected = with(Isa::Portable);
        for isa in crate::isa::available() {
            for (index, (found, expected)) in with(isa).iter().zip(&expected).enumerate() {
                let same = |(a, b): (&f64, &f64)| a == b || a.is_nan() && b.is_nan();
                assert_eq!(found.len(), expected.len());
                assert!(
                    found.iter().zip(expected).all(same),
                    "result {index} with {isa:?}"
                );
            }
        }
        expected
    }

    /// Numbers between -1 and 1.
    pub(crate) fn numbers<T: Element>(count: usize, seed: u64) -> Vec<T> {
        let mut state = seed.wrapping_mul(2).wrapping_add(1);
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            T::from_f32((state >> 40) as f32 / (1 << 23) as f32 - 1.0)
        };
        (0..count).map(|_| next()).collect()
    }

    /// What a kernel must write over.
    pub(crate) fn poison<T: Element>(count: usize) -> Vec<T> {
        vec![T::from_f32(f32::NAN); count]
    }

    pub(crate) fn exact<T: Element>(values: &[T]) -> Vec<f64> {
        values
            .iter()
            .map(|value| f64::from(value.to_f32()))
            .collect()
    }

    /// Asserts that numbers of the format `T` are near those expected, as measured by the larger of these and `size`.
    pub(crate) fn assert_close<T: Element>(what: &str, found: &[f64], expected: &[f64], size: f64) {
        let tolerance = if T::FORMAT == Format::F32 { 1e-5 } else { 1e-2 };
        assert_eq!(found.len(), expected.len(), "{what}");
        let size = expected
            .iter()
            .fold(size, |size, value| size.max(value.abs()));
        for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
            assert!(
                (found - expected).abs() <= tolerance * size,
                "{what} {index}: {found}, not {expected}"
            );
        }
    }

    /// The slope of `function` along each of its arguments.
    pub(crate) fn slopes(function: impl Fn(&[f64]) -> f64, at: &[f64]) -> Vec<f64> {
        let step = 1e-5;
        let slope = |index: usize| {
            let mut moved = at.to_vec();
            moved[index] = at[index] + step;
            let up = function(&moved);
            moved[index] = at[index] - step;
            (up - function(&moved)) / (2.0 * step)
        };
        (0..at.len()).map(slope).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tile_is_whole_vectors_of_whole_rows() {
        for channels in 1..300 {
            let width = tile_width(channels);
            assert!(width.is_multiple_of(channels) && width >= LEAST_TILE);
            assert!(width.is_multiple_of(LANES) || width == channels);
            assert!(width < 20 * LEAST_TILE, "{channels} {width}");
        }
    }

    #[test]
    fn blocks_cover_a_matrix_in_the_order_of_columns() {
        for (height, width, rows, columns) in
            [(5, 7, 2, 3), (4, 6, 2, 3), (1, 1, 9, 9), (3, 2, 1, 5)]
        {
            let mut matrix = vec![0; height * width];
            for (number, block) in blocks_mut(&mut matrix, width, rows, columns)
                .into_iter()
                .enumerate()
            {
                for (y, row) in block.rows.into_iter().enumerate() {
                    for (x, value) in row.iter_mut().enumerate() {
                        assert_eq!(*value, 0);
                        *value = 1000 * (number + 1)
                            + 100 * (block.first_row + y)
                            + block.first_column
                            + x;
                    }
                }
            }
            for (index, value) in matrix.into_iter().enumerate() {
                let (y, x) = (index / width, index % width);
                assert_eq!(value % 1000, 100 * y + x);
                assert_eq!(
                    value / 1000 - 1,
                    x / columns * height.div_ceil(rows) + y / rows
                );
            }
        }
    }
}
