#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{__m256, __m512};

use crate::{
    Isa, isa,
    simd::{MOST_LANES, Portable, Vector},
};

/// Vectors of outputs that a tile computes together.
const TILE_VECTORS: usize = 4;

/// Weights of a dense layer, packed for answering.
///
/// Every output is one sum over the inputs in their order, whatever rows are computed beside it, so a row's answer is
/// the same bits in any batch.
#[derive(Debug)]
pub struct DenseWeights {
    isa: Isa,
    /// Panels of `TILE_VECTORS` vectors of outputs (the last one may be narrower), each `[inputs, width]`.
    panels: Vec<f32>,
    /// Padded with zeros to whole vectors.
    bias: Vec<f32>,
    inputs: usize,
    outputs: usize,
}

impl DenseWeights {
    /// Packs `weight` `[outputs, inputs]` and `bias` `[outputs]`.
    ///
    /// # Panics
    /// `weight` is not `bias.len()` times `inputs` long.
    pub fn pack(weight: &[f32], bias: &[f32], inputs: usize) -> Self {
        Self::pack_for(isa(), weight, bias, inputs)
    }

    /// Number of inputs of a row.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Number of outputs of a row.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// `output = input * weight' + bias` for each row of `input` `[rows, inputs]`, then the larger of it and 0 where
    /// `relu` is set.
    ///
    /// # Panics
    /// `input` and `output` are not the same number of whole rows.
    pub fn apply(&self, input: &[f32], output: &mut [f32], relu: bool) {
        let rows = output.len() / self.outputs;
        assert_eq!(input.len(), rows * self.inputs, "whole rows of inputs");
        assert_eq!(output.len(), rows * self.outputs, "whole rows of outputs");
        match self.isa {
            // SAFETY: `isa` asked the CPU for these instructions; lengths were checked above.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 | Isa::Avx512Bf16 | Isa::Amx => unsafe {
                apply_avx512(self, input, output, relu)
            },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => unsafe { apply_avx2(self, input, output, relu) },
            // SAFETY: lengths were checked above.
            _ => unsafe { apply::<Portable>(self, input, output, relu) },
        }
    }

    fn pack_for(isa: Isa, weight: &[f32], bias: &[f32], inputs: usize) -> Self {
        let outputs = bias.len();
        assert_eq!(
            weight.len(),
            outputs * inputs,
            "one row of weights for each output"
        );
        let lanes = if isa >= Isa::Avx512 { 16 } else { 8 };
        let padded = outputs.div_ceil(lanes) * lanes;
        let mut panels = Vec::with_capacity(padded * inputs);
        for first in (0..padded).step_by(TILE_VECTORS * lanes) {
            let width = (padded - first).min(TILE_VECTORS * lanes);
            for input in 0..inputs {
                let value = |output: usize| {
                    if output < outputs {
                        weight[output * inputs + input]
                    } else {
                        0.0
                    }
                };
                panels.extend((first..first + width).map(value));
            }
        }
        let mut bias = bias.to_vec();
        bias.resize(padded, 0.0);
        Self {
            isa,
            panels,
            bias,
            inputs,
            outputs,
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx2,fma")]
fn apply_avx512(weights: &DenseWeights, input: &[f32], output: &mut [f32], relu: bool) {
    // SAFETY: this function is compiled for the instructions; the caller checked the lengths.
    unsafe { apply::<__m512>(weights, input, output, relu) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn apply_avx2(weights: &DenseWeights, input: &[f32], output: &mut [f32], relu: bool) {
    // SAFETY: as above.
    unsafe { apply::<__m256>(weights, input, output, relu) }
}

/// # Safety
/// As for [`Vector`]; `input` and `output` are the same number of whole rows; `weights` were packed for `V`'s lanes.
#[inline(always)]
unsafe fn apply<V: Vector>(weights: &DenseWeights, input: &[f32], output: &mut [f32], relu: bool) {
    let panel_width = TILE_VECTORS * V::LANES;
    // Their sums, the numbers of the rows and a vector of weights are no more than there are registers: 16, or 32 with AVX-512.
    let tile_rows = if V::LANES == MOST_LANES { 4 } else { 3 };
    for (index, bias) in weights.bias.chunks(panel_width).enumerate() {
        let panel =
            &weights.panels[index * panel_width * weights.inputs..][..bias.len() * weights.inputs];
        let first = index * panel_width;
        let valid = (weights.outputs - first).min(panel_width);
        let row_blocks = input
            .chunks(tile_rows * weights.inputs)
            .zip(output.chunks_mut(tile_rows * weights.outputs));
        for (input, output) in row_blocks {
            let rows = input.len() / weights.inputs;
            let tile = Tile {
                input,
                panel,
                bias,
                first,
                valid,
                outputs: weights.outputs,
                relu,
            };
            // SAFETY: passed on from the caller; the slices above have the sizes that the tile needs.
            unsafe {
                match (rows, bias.len() / V::LANES) {
                    (1, 1) => tile.run::<V, 1, 1>(output),
                    (1, 2) => tile.run::<V, 1, 2>(output),
                    (1, 3) => tile.run::<V, 1, 3>(output),
                    (1, _) => tile.run::<V, 1, 4>(output),
                    (2, 1) => tile.run::<V, 2, 1>(output),
                    (2, 2) => tile.run::<V, 2, 2>(output),
                    (2, 3) => tile.run::<V, 2, 3>(output),
                    (2, _) => tile.run::<V, 2, 4>(output),
                    (3, 1) => tile.run::<V, 3, 1>(output),
                    (3, 2) => tile.run::<V, 3, 2>(output),
                    (3, 3) => tile.run::<V, 3, 3>(output),
                    (3, _) => tile.run::<V, 3, 4>(output),
                    (_, 1) => tile.run::<V, 4, 1>(output),
                    (_, 2) => tile.run::<V, 4, 2>(output),
                    (_, 3) => tile.run::<V, 4, 3>(output),
                    (_, _) => tile.run::<V, 4, 4>(output),
                }
            }
        }
    }
}

/// A few rows times one panel of weights.
struct Tile<'a> {
    input: &'a [f32],
    panel: &'a [f32],
    bias: &'a [f32],
    /// First output of the panel.
    first: usize,
    /// Outputs of the panel that are no padding.
    valid: usize,
    outputs: usize,
    relu: bool,
}

impl Tile<'_> {
    /// # Safety
    /// As for [`Vector`]; `input` has `ROWS` rows, `panel` and `bias` are `VECTORS` vectors wide.
    #[inline(always)]
    unsafe fn run<V: Vector, const ROWS: usize, const VECTORS: usize>(&self, output: &mut [f32]) {
        let width = VECTORS * V::LANES;
        let inputs = self.panel.len() / width;
        debug_assert_eq!(self.input.len(), ROWS * inputs);
        debug_assert_eq!(self.bias.len(), width);
        // SAFETY: indices stay below `ROWS * inputs` in `input`, `inputs * width` in `panel`, `width` in `bias` and in
        // the row of `finished`; the instructions are the caller's promise.
        unsafe {
            let mut sums = [[V::zero(); VECTORS]; ROWS];
            for k in 0..inputs {
                let x: [V; ROWS] = std::array::from_fn(|row| {
                    V::splat(*self.input.get_unchecked(row * inputs + k))
                });
                for v in 0..VECTORS {
                    let weight = V::load(self.panel.as_ptr().add(k * width + v * V::LANES));
                    for (sums, x) in sums.iter_mut().zip(x) {
                        sums[v] = sums[v].add_product(x, weight);
                    }
                }
            }
            for (row, sums) in sums.iter().enumerate() {
                let mut finished = [0.0_f32; TILE_VECTORS * MOST_LANES];
                for (v, sum) in sums.iter().enumerate() {
                    let mut sum = sum.add(V::load(self.bias.as_ptr().add(v * V::LANES)));
                    if self.relu {
                        // What is no number stays none.
                        sum = V::zero().max(sum);
                    }
                    sum.store(finished.as_mut_ptr().add(v * V::LANES));
                }
                let start = row * self.outputs + self.first;
                output[start..start + self.valid].copy_from_slice(&finished[..self.valid]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{isa::available, rows::testing};

    fn numbers(count: usize, seed: u64) -> Vec<f32> {
        let numbers = testing::numbers::<f32>(count, seed);
        numbers.into_iter().map(|number| number / 2.0).collect()
    }

    proptest! {
        #[test]
        fn every_path_computes_the_layer_and_writes_every_output(
            rows in 1_usize..10, inputs in 1_usize..70, outputs in 1_usize..140, relu: bool, seed: u64,
        ) {
            let (weight, bias) = (numbers(outputs * inputs, seed), numbers(outputs, !seed));
            let input = numbers(rows * inputs, seed ^ 77);
            for isa in available() {
                let packed = DenseWeights::pack_for(isa, &weight, &bias, inputs);
                let mut output = vec![f32::NAN; rows * outputs];
                packed.apply(&input, &mut output, relu);
                for (index, found) in output.iter().enumerate() {
                    let (row, unit) = (index / outputs, index % outputs);
                    let product = |k: usize| f64::from(input[row * inputs + k]) * f64::from(weight[unit * inputs + k]);
                    let sum = f64::from(bias[unit]) + (0..inputs).map(product).sum::<f64>();
                    let expected = if relu { sum.max(0.0) } else { sum };
                    prop_assert!((f64::from(*found) - expected).abs() < 1e-5, "{isa:?} {found} {expected}");
                }
            }
        }

        #[test]
        fn a_row_is_the_same_bits_in_any_batch(rows in 2_usize..12, outputs in 1_usize..80, seed: u64) {
            let inputs = 33;
            let (weight, bias) = (numbers(outputs * inputs, seed), numbers(outputs, !seed));
            let input = numbers(rows * inputs, seed ^ 5);
            for isa in available() {
                let packed = DenseWeights::pack_for(isa, &weight, &bias, inputs);
                let mut together = vec![0.0; rows * outputs];
                packed.apply(&input, &mut together, false);
                for (input, expected) in input.chunks(inputs).zip(together.chunks(outputs)) {
                    let mut alone = vec![0.0; outputs];
                    packed.apply(input, &mut alone, false);
                    prop_assert_eq!(&alone[..], expected);
                }
            }
        }
    }
}
