//! Dense layers: `y = x * weight'`, with `x` `[rows, inputs]` and `weight` `[outputs, inputs]`.

mod packed;

use std::ops::Range;

pub use packed::DenseWeights;

use crate::{
    Element, Isa,
    gemm::{
        Matrix, Order, PANEL, Panels, Purpose, Right, Rows, SharedMut, block_stride, multiply,
        multiply_transposed, part_of, with_words,
    },
    isa, pool,
};

/// Panels of the weights that a task packs, at most.
const MOST_PANELS: usize = 16;

/// `y = x * weight' + bias`, then the larger of it and 0 where `relu` is set. `x` and `weight` take part in products as
/// numbers of format `T`.
///
/// # Panics
/// The lengths do not fit `bias.len()` outputs and `inputs`.
pub fn dense<T: Element>(
    x: &[T],
    weight: &[f32],
    bias: &[f32],
    inputs: usize,
    relu: bool,
    y: &mut [f32],
) {
    dense_for(isa(), x, weight, bias, inputs, relu, y);
}

/// The gradient of `x`, from that of `y`.
///
/// # Panics
/// The lengths do not fit `inputs` and `outputs`.
pub fn dense_input_gradient<T: Element>(
    dy: &[T],
    weight: &[f32],
    [inputs, outputs]: [usize; 2],
    dx: &mut [f32],
) {
    input_gradient_for(isa(), dy, weight, [inputs, outputs], dx);
}

/// The gradient of the weights, from that of `y`.
///
/// # Panics
/// The lengths do not fit `inputs` and `outputs`.
pub fn dense_weight_gradient<T: Element>(
    x: &[T],
    dy: &[T],
    [inputs, outputs]: [usize; 2],
    dweight: &mut [f32],
) {
    weight_gradient_for(isa(), x, dy, [inputs, outputs], dweight);
}

fn dense_for<T: Element>(
    isa: Isa,
    x: &[T],
    weight: &[f32],
    bias: &[f32],
    inputs: usize,
    relu: bool,
    y: &mut [f32],
) {
    let outputs = bias.len();
    let order = Order::Columns {
        stride: inputs,
        run: inputs.max(1),
        run_stride: 0,
    };
    let floor = if relu { 0.0 } else { f32::NEG_INFINITY };
    product(
        isa,
        x,
        Matrix {
            values: weight,
            depth: inputs,
            columns: outputs,
            order,
        },
        y,
        |columns, sums, to| {
            for ((to, sum), bias) in to.iter_mut().zip(sums).zip(&bias[columns]) {
                let value = sum + bias;
                *to = if value < floor { floor } else { value };
            }
        },
    );
}

fn input_gradient_for<T: Element>(
    isa: Isa,
    dy: &[T],
    weight: &[f32],
    [inputs, outputs]: [usize; 2],
    dx: &mut [f32],
) {
    let order = Order::Steps { stride: inputs };
    let matrix = Matrix {
        values: weight,
        depth: outputs,
        columns: inputs,
        order,
    };
    product(isa, dy, matrix, dx, |_, sums, to| to.copy_from_slice(sums));
}

fn weight_gradient_for<T: Element>(
    isa: Isa,
    x: &[T],
    dy: &[T],
    [inputs, outputs]: [usize; 2],
    dweight: &mut [f32],
) {
    assert!(inputs > 0 && outputs > 0, "inputs and outputs");
    let rows = x.len() / inputs;
    assert!(
        x.len() == rows * inputs && dy.len() == rows * outputs,
        "as many rows of both"
    );
    assert_eq!(
        dweight.len(),
        inputs * outputs,
        "room for the gradient of the weights"
    );
    let right = Right {
        values: x,
        stride: inputs,
        columns: inputs,
    };
    multiply_transposed(
        isa,
        &Plain {
            values: dy,
            depth: outputs,
        },
        right,
        dweight,
        inputs,
    );
}

/// `to = left * right`, with each row finished by `finish`.
fn product<T: Element>(
    isa: Isa,
    left: &[T],
    right: Matrix<'_>,
    to: &mut [f32],
    finish: impl Fn(Range<usize>, &[f32], &mut [f32]) + Sync,
) {
    let Matrix { depth, columns, .. } = right;
    assert!(depth > 0 && columns > 0, "inputs and outputs");
    let rows = left.len() / depth;
    assert_eq!(left.len(), rows * depth, "whole rows");
    assert_eq!(to.len(), rows * columns, "room for a result of each row");
    assert_eq!(
        right.values.len(),
        depth * columns,
        "a weight for each input and output"
    );
    let (left, to) = (
        Plain {
            values: left,
            depth,
        },
        SharedMut::new(to),
    );
    // Each thread packs the columns that it multiplies by: what another one packed would first have to come from its
    // cache.
    let panels = columns.div_ceil(PANEL);
    let tasks = if panels < pool::threads() {
        1
    } else {
        pool::threads().max(panels / MOST_PANELS)
    };
    pool::run(tasks, &|task| {
        let panels = part_of(task, tasks, panels);
        let first = panels.start * PANEL;
        let part = right.columns(first..columns.min(panels.end * PANEL));
        with_words(
            Purpose::Panels,
            Panels::words::<T>(depth, part.columns),
            |words| {
                let whole = 0..depth;
                let panels = Panels::pack::<T>(isa, part, std::slice::from_ref(&whole), words);
                multiply(isa, &left, panels, part.columns, |row, of_row, sums| {
                    let of_row = first + of_row.start..first + of_row.end;
                    // SAFETY: each row and column comes once.
                    let to = unsafe {
                        to.part(row * columns + of_row.start..row * columns + of_row.end)
                    };
                    finish(of_row, sums, to);
                });
            },
        );
    });
}

/// Rows that already stand next to each other.
struct Plain<'a, T> {
    values: &'a [T],
    depth: usize,
}

impl<T: Element> Rows<T> for Plain<'_, T> {
    fn rows(&self) -> usize {
        self.values.len() / self.depth
    }

    fn depth(&self) -> usize {
        self.depth
    }

    fn unit(&self) -> usize {
        self.rows().max(1)
    }

    fn live(&self, _: Range<usize>, ranges: &mut Vec<Range<usize>>) {
        ranges.push(0..self.depth);
    }

    fn gather(&self, rows: Range<usize>, depth: Range<usize>, block: &mut [T]) {
        for (row, to) in rows.zip(block.chunks_mut(block_stride::<T>())) {
            to[..depth.len()].copy_from_slice(&self.values[row * self.depth..][depth.clone()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Format, bf16, isa::available, rows::testing::numbers};

    fn check<T: Element>(rows: usize, inputs: usize, outputs: usize, relu: bool, seed: u64) {
        let (x, dy): (Vec<T>, Vec<T>) = (
            numbers(rows * inputs, seed),
            numbers(rows * outputs, seed + 1),
        );
        // In products a weight is of the format of what it meets.
        let weight = numbers::<T>(inputs * outputs, seed + 2);
        let weight: Vec<f32> = weight.into_iter().map(Element::to_f32).collect();
        let bias: Vec<f32> = numbers(outputs, seed + 3);
        let at = |values: &[T], i: usize| f64::from(values[i].to_f32());
        let sum = |count: usize, term: &dyn Fn(usize) -> f64| {
            let terms: Vec<f64> = (0..count).map(term).collect();
            (
                terms.iter().sum::<f64>(),
                terms.iter().map(|term| term.abs()).sum::<f64>(),
            )
        };
        let near = |what: &str, found: f32, (expected, size): (f64, f64)| {
            let error = (f64::from(found) - expected).abs();
            assert!(
                error <= 1e-5 * (size + 1.0),
                "{what} {:?}: {found} {expected}",
                T::FORMAT
            );
        };
        for isa in available() {
            let mut y = vec![f32::NAN; rows * outputs];
            dense_for(isa, &x, &weight, &bias, inputs, relu, &mut y);
            let mut dx = vec![f32::NAN; rows * inputs];
            input_gradient_for(isa, &dy, &weight, [inputs, outputs], &mut dx);
            let mut dweight = vec![f32::NAN; inputs * outputs];
            weight_gradient_for(isa, &x, &dy, [inputs, outputs], &mut dweight);
            for (row, output) in (0..rows * outputs).map(|i| (i / outputs, i % outputs)) {
                let (value, size) = sum(inputs, &|i| {
                    at(&x, row * inputs + i) * f64::from(weight[output * inputs + i])
                });
                let value = value + f64::from(bias[output]);
                near(
                    "y",
                    y[row * outputs + output],
                    (if relu { value.max(0.0) } else { value }, size),
                );
            }
            for (row, input) in (0..rows * inputs).map(|i| (i / inputs, i % inputs)) {
                let expected = sum(outputs, &|o| {
                    at(&dy, row * outputs + o) * f64::from(weight[o * inputs + input])
                });
                near("dx", dx[row * inputs + input], expected);
            }
            for (output, input) in (0..outputs * inputs).map(|i| (i / inputs, i % inputs)) {
                let expected = sum(rows, &|row| {
                    at(&dy, row * outputs + output) * at(&x, row * inputs + input)
                });
                near("dweight", dweight[output * inputs + input], expected);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn every_path_computes_a_layer_and_its_gradients(
            rows in 1_usize..40, inputs in 1_usize..90, outputs in 1_usize..80, relu: bool, seed in 0_u64..1000,
        ) {
            check::<f32>(rows, inputs, outputs, relu, seed);
            check::<bf16>(rows, inputs, outputs, relu, seed);
        }
    }

    #[test]
    fn large_layers_too() {
        check::<f32>(190, 560, 37, true, 1);
        check::<bf16>(190, 560, 37, false, 2);
        assert_eq!(<bf16 as Element>::FORMAT, Format::Bf16);
    }
}
