//! A convolution that makes what it sees white.

use burn::{
    module::Param,
    tensor::{Tensor, TensorData},
};
use nalgebra::{DMatrix, SymmetricEigen};
use strata_kernels::Window;

use crate::{
    Network, WeightTensor,
    layers::{Kind, kernel_in_kernels_order},
};

/// Added to the eigenvalues, so that what hardly varies is not blown up (Jordan 2024).
const EPSILON: f64 = 5e-4;

impl Network {
    /// Whether its lowest layer is fitted to the rows that it learns from; see [`strata_spec::Start::Whitening`].
    pub fn is_fitted(&self) -> bool {
        let lowest = self.levels.levels[0].body.first();
        lowest.is_some_and(|layer| matches!(&layer.kind, Kind::Conv(conv) if !conv.learns))
    }

    /// Fits its lowest layer to `rows`, `[rows, channels, height, width]`, if it is fitted at all.
    ///
    /// # Panics
    /// `rows` are not whole rows, or there are none.
    pub fn fit(&mut self, rows: &[f32]) {
        if !self.is_fitted() {
            return;
        }
        let layer = &mut self.levels.levels[0].body[0];
        let shape: [usize; 3] = layer.input[..].try_into().expect("a map");
        let Kind::Conv(conv) = &mut layer.kind else {
            return;
        };
        let [.., outputs] = conv.weight.dims();
        let kernel = whitening_kernel(rows, shape, &conv.window, outputs);
        let (values, shape) = kernel_in_kernels_order(&kernel);
        let data = TensorData::new(values, shape);
        conv.weight = Param::from_tensor(Tensor::from_data(data, &self.device));
    }
}

/// The kernel `[outputs, channels, height, width]` of rows `[channels, height, width]`.
fn whitening_kernel(
    rows: &[f32],
    [channels, height, width]: [usize; 3],
    window: &Window,
    outputs: usize,
) -> WeightTensor {
    let [kernel_height, kernel_width] = window.kernel;
    let patch_len = channels * kernel_height * kernel_width;
    let row_len = channels * height * width;
    assert!(
        !rows.is_empty() && rows.len().is_multiple_of(row_len),
        "whole rows"
    );
    let mut sums = DMatrix::<f64>::zeros(patch_len, patch_len);
    let mut patch = Vec::with_capacity(patch_len);
    let mut count = 0.0;
    for row in rows.chunks_exact(row_len) {
        for top in 0..=height - kernel_height {
            for left in 0..=width - kernel_width {
                patch.clear();
                for channel in 0..channels {
                    for y in top..top + kernel_height {
                        let start = (channel * height + y) * width + left;
                        patch.extend(
                            row[start..start + kernel_width]
                                .iter()
                                .map(|x| f64::from(*x)),
                        );
                    }
                }
                for (a, x) in patch.iter().enumerate() {
                    for (b, y) in patch.iter().enumerate() {
                        sums[(a, b)] += x * y;
                    }
                }
                count += 1.0;
            }
        }
    }
    let found = SymmetricEigen::new(sums / count);
    let mut order: Vec<usize> = (0..patch_len).collect();
    order.sort_by(|a, b| found.eigenvalues[*b].total_cmp(&found.eigenvalues[*a]));
    let mut values = Vec::with_capacity(outputs * patch_len);
    for sign in [1.0, -1.0] {
        for index in &order[..outputs / 2] {
            let deviation = (found.eigenvalues[*index].max(0.0) + EPSILON).sqrt();
            let vector = found.eigenvectors.column(*index);
            values.extend(vector.iter().map(|x| (sign * x / deviation) as f32));
        }
    }
    WeightTensor {
        shape: vec![outputs, channels, kernel_height, kernel_width],
        values,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_gives_is_white() {
        // Two channels of one place each, which vary together.
        let mut state = 7_u32;
        let mut uniform = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        let mut rows = Vec::new();
        for _ in 0..4000 {
            let (a, b) = (3.0 * uniform(), uniform());
            rows.extend([a + b, a - 0.5 * b]);
        }
        let window = Window {
            kernel: [1, 1],
            stride: [1, 1],
            padding: [0, 0],
            dilation: [1, 1],
            ceil: false,
        };
        let kernel = whitening_kernel(&rows, [2, 1, 1], &window, 4);
        assert_eq!(kernel.shape, [4, 2, 1, 1]);
        let outputs: Vec<[f64; 2]> = rows
            .chunks_exact(2)
            .map(|row| {
                [0, 1].map(|output| {
                    let weights = &kernel.values[2 * output..];
                    f64::from(weights[0] * row[0] + weights[1] * row[1])
                })
            })
            .collect();
        let mean = |of: &dyn Fn(&[f64; 2]) -> f64| {
            outputs.iter().map(of).sum::<f64>() / outputs.len() as f64
        };
        assert!((mean(&|y| y[0] * y[0]) - 1.0).abs() < 0.01);
        assert!((mean(&|y| y[1] * y[1]) - 1.0).abs() < 0.01);
        assert!(mean(&|y| y[0] * y[1]).abs() < 1e-4);
        let negatives = kernel.values[..4].iter().zip(&kernel.values[4..]);
        assert!(negatives.into_iter().all(|(a, b)| *a == -*b));
    }
}
