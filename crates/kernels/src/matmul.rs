use gemm::Parallelism;

use crate::pool;

/// A matrix of `f32` in a slice, with the distance between its rows and between its columns.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

/// A row-major matrix that is written to.
#[derive(Debug)]
pub struct MatrixMut<'a> {
    values: &'a mut [f32],
    rows: usize,
    columns: usize,
}

/// Products below this number of multiplications are not worth a second thread.
const WORTH_A_THREAD: usize = 1 << 18;

impl<'a> Matrix<'a> {
    /// A row-major matrix.
    ///
    /// # Panics
    /// `values` is not `rows * columns` long.
    pub fn new(values: &'a [f32], rows: usize, columns: usize) -> Self {
        assert_eq!(values.len(), rows * columns, "a value for each place");
        Self {
            values,
            rows,
            columns,
            row_stride: columns,
            column_stride: 1,
        }
    }

    /// The same values with rows and columns exchanged.
    pub fn transposed(self) -> Self {
        Self {
            values: self.values,
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }

    /// `rows` rows from `first` on.
    fn band(self, first: usize, rows: usize) -> Self {
        assert!(first + rows <= self.rows, "rows of this matrix");
        Self {
            values: &self.values[first * self.row_stride..],
            rows,
            ..self
        }
    }
}

impl<'a> MatrixMut<'a> {
    /// A row-major matrix.
    ///
    /// # Panics
    /// `values` is not `rows * columns` long.
    pub fn new(values: &'a mut [f32], rows: usize, columns: usize) -> Self {
        assert_eq!(values.len(), rows * columns, "a value for each place");
        Self {
            values,
            rows,
            columns,
        }
    }
}

/// `to = left * right`, or `to += left * right` where `add` is set, in `f32`, on the kernels' threads.
///
/// The same operands and number of threads give the same bits.
///
/// # Panics
/// The shapes do not fit.
pub fn matmul(to: MatrixMut<'_>, left: Matrix<'_>, right: Matrix<'_>, add: bool) {
    assert_eq!(
        (to.rows, to.columns),
        (left.rows, right.columns),
        "shape of the product"
    );
    assert_eq!(
        left.columns, right.rows,
        "columns of the left, rows of the right"
    );
    if to.values.is_empty() {
        return;
    }
    let threads = crate::threads();
    if threads == 1 || to.rows * to.columns * left.columns < WORTH_A_THREAD {
        return multiply(to.values, left, right, add);
    }
    // A band of rows for each thread: one start and one wait, where sharing packed operands would need several.
    let band = to.rows.div_ceil(threads);
    let bands = to.values.chunks_mut(band * to.columns).enumerate();
    pool::parallel_for_each(bands, |(index, values)| {
        let left = left.band(index * band, band.min(left.rows - index * band));
        multiply(values, left, right, add);
    });
}

/// `to` is row-major and of the product's shape, which the caller checked.
fn multiply(to: &mut [f32], left: Matrix<'_>, right: Matrix<'_>, add: bool) {
    assert_eq!(to.len(), left.rows * right.columns, "room for the product");
    // SAFETY: rows, columns and strides describe places inside the slices, as the constructors and `band` see to; `to`
    // is borrowed exclusively, so it overlaps neither operand.
    unsafe {
        gemm::gemm(
            left.rows,
            right.columns,
            left.columns,
            to.as_mut_ptr(),
            1,
            right.columns as isize,
            add,
            left.values.as_ptr(),
            left.column_stride as isize,
            left.row_stride as isize,
            right.values.as_ptr(),
            right.column_stride as isize,
            right.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn products_match_the_definition(m in 1_usize..90, n in 1_usize..90, k in 1_usize..90, flip_left: bool, flip_right: bool) {
            let left: Vec<f32> = (0..m * k).map(|i| (i * 7 % 13) as f32 - 6.0).collect();
            let right: Vec<f32> = (0..k * n).map(|i| (i * 5 % 11) as f32 - 5.0).collect();
            let view = |values, rows, columns, flip: bool| {
                if flip { Matrix::new(values, columns, rows).transposed() } else { Matrix::new(values, rows, columns) }
            };
            let at = |values: &[f32], rows: usize, columns: usize, flip: bool, r: usize, c: usize| {
                if flip { values[c * rows + r] } else { values[r * columns + c] }
            };
            let mut product = vec![f32::NAN; m * n];
            matmul(MatrixMut::new(&mut product, m, n), view(&left, m, k, flip_left), view(&right, k, n, flip_right), false);
            for (index, found) in product.iter().enumerate() {
                let (r, c) = (index / n, index % n);
                // Whole numbers of this size are exact in any order.
                let expected: f32 =
                    (0..k).map(|i| at(&left, m, k, flip_left, r, i) * at(&right, k, n, flip_right, i, c)).sum();
                prop_assert_eq!(*found, expected);
            }
        }
    }
}
