//! The kernels' operations against those made of Burn's own, values and gradients.

use burn::tensor::{DType, Device, Tensor, TensorData};
use strata_kernels::{BatchNormSettings, Format, Gelu, Window, burn_ops};

use crate::{composed, one_hot};

/// Tensors of some numbers, flat; an operation gives them their shapes.
type Op<'a> = &'a dyn Fn(&[Tensor<1>]) -> Tensor<1>;

fn numbers(count: usize, salt: usize) -> Vec<f32> {
    let value = |i: usize| ((i * 37 + salt * 11) % 101) as f32 / 50.0 - 1.0;
    // No two are equal, so that a maximum is one number only.
    (0..count).map(|i| value(i) + i as f32 * 1e-4).collect()
}

/// What comes out, and the gradient of each input.
fn run(sizes: &[usize], op: Op<'_>) -> Vec<Vec<f32>> {
    let device = Device::flex().autodiff();
    let input = |(salt, size): (usize, &usize)| {
        let data = TensorData::new(numbers(*size, salt), [*size]);
        Tensor::<1>::from_data(data, &device).require_grad()
    };
    let inputs: Vec<Tensor<1>> = sizes.iter().enumerate().map(input).collect();
    let y = op(&inputs);
    let [count] = y.dims();
    let weights = Tensor::<1>::from_data(TensorData::new(numbers(count, 9), [count]), &device);
    let gradients = (y.clone() * weights).sum().backward();
    let mut found = vec![y.inner()];
    found.extend(inputs.iter().map(|input| {
        let gradient = input.grad(&gradients);
        gradient.unwrap_or_else(|| input.clone().inner().zeros_like())
    }));
    let values = |tensor: Tensor<1>| tensor.into_data().try_into_vec().unwrap();
    found.into_iter().map(values).collect()
}

fn check(name: &str, sizes: &[usize], op: Op<'_>, reference: Op<'_>, tolerance: f32) {
    let (found, expected) = (run(sizes, op), run(sizes, reference));
    for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
        assert_eq!(found.len(), expected.len(), "{name} {index}");
        let largest = expected
            .iter()
            .fold(1e-3, |most: f32, value| most.max(value.abs()));
        for (found, expected) in found.iter().zip(expected) {
            let error = (found - expected).abs() / largest;
            assert!(
                error < tolerance,
                "{name} {index}: {found}, expected {expected}"
            );
        }
    }
}

/// The operation on maps of shape `[height, width, images, channels]`, in both formats.
macro_rules! check_maps {
    ($name:expr, $sizes:expr, |$operations:ident, $inputs:ident, $format:ident| $body:expr) => {
        for ($format, tolerance) in [(DType::F32, 1e-5), (DType::BF16, 2e-2)] {
            let own = |$inputs: &[Tensor<1>]| {
                use burn_ops as $operations;
                flat($body)
            };
            // The reference gets what the format leaves of the numbers, and computes in `f32`.
            let reference = |$inputs: &[Tensor<1>]| {
                use composed as $operations;
                flat($body)
            };
            check(
                &format!("{} {:?}", $name, $format),
                $sizes,
                &own,
                &reference,
                tolerance,
            );
        }
    };
}

fn flat<const D: usize>(tensor: Tensor<D>) -> Tensor<1> {
    let count = tensor.dims().iter().product::<usize>();
    tensor.cast(DType::F32).reshape([count])
}

fn maps(input: &Tensor<1>, shape: [usize; 4], format: DType) -> Tensor<4> {
    input.clone().reshape(shape).cast(format)
}

fn window(kernel: [usize; 2], stride: [usize; 2], padding: [usize; 2]) -> Window {
    Window {
        kernel,
        stride,
        padding,
        dilation: [1; 2],
        ceil: false,
    }
}

#[test]
fn convolutions_are_burns() {
    let dilated = Window {
        dilation: [2, 1],
        ..window([3, 2], [1, 2], [2, 1])
    };
    for (window, groups, with_bias) in [
        (Window::square(1, 1), 1, false),
        (Window::square(3, 2).padded(1), 1, true),
        (dilated, 2, true),
        (Window::square(3, 1).padded(1), 4, false),
    ] {
        let [height, width] = window.kernel;
        let shape = [height, width, 4 / groups, 8];
        let sizes = [7 * 6 * 3 * 4, shape.iter().product(), 8];
        check_maps!(
            format!("{window:?} {groups}"),
            &sizes,
            |ops, inputs, format| {
                let x = maps(&inputs[0], [7, 6, 3, 4], format);
                let weight = inputs[1].clone().reshape(shape);
                let bias = with_bias.then(|| inputs[2].clone());
                ops::conv2d(x, weight, bias, window, groups)
            }
        );
    }
}

#[test]
fn batch_normalizations_are_burns() {
    let shape = [3, 2, 5, 4];
    let count = shape.iter().product();
    for (relu, with_residual) in [(false, false), (true, false), (false, true), (true, true)] {
        let settings = BatchNormSettings {
            channels: 4,
            epsilon: 1e-5,
            relu,
        };
        check_maps!(
            format!("of the batch {relu} {with_residual}"),
            &[count, 4, 4, count],
            |ops, inputs, format| {
                let residual = with_residual.then(|| maps(&inputs[3], shape, format));
                let x = maps(&inputs[0], shape, format);
                let found =
                    ops::batch_norm(x, inputs[1].clone(), inputs[2].clone(), residual, settings);
                Tensor::cat(
                    vec![flat(found.y), found.mean.detach(), found.variance.detach()],
                    0,
                )
            }
        );
        check_maps!(
            format!("given {relu} {with_residual}"),
            &[count, 4, 4, count],
            |ops, inputs, format| {
                let residual = with_residual.then(|| maps(&inputs[3], shape, format));
                let x = maps(&inputs[0], shape, format);
                let (gamma, beta) = (inputs[1].clone(), inputs[2].clone());
                let mean = Tensor::from_data([0.1, -0.2, 0.3, 0.0], &Device::flex());
                let variance = Tensor::from_data([1.0, 0.5, 2.0, 0.1], &Device::flex());
                ops::batch_norm_with(x, gamma, beta, [mean, variance], residual, settings)
            }
        );
    }
}

#[test]
fn poolings_are_burns() {
    let shape = [7, 6, 2, 3];
    let count = shape.iter().product();
    let rounded_up = |window| Window {
        ceil: true,
        ..window
    };
    for window in [
        rounded_up(Window::square(2, 2)),
        rounded_up(window([3, 4], [2, 3], [1, 0])),
    ] {
        check_maps!(
            format!("max {window:?}"),
            &[count],
            |ops, inputs, format| ops::max_pool(maps(&inputs[0], shape, format), window)
        );
    }
    for window in [
        Window::square(2, 2),
        Window::square(3, 2).padded(1),
        window([3, 2], [1, 3], [1, 0]),
    ] {
        check_maps!(
            format!("max {window:?}"),
            &[count],
            |ops, inputs, format| ops::max_pool(maps(&inputs[0], shape, format), window)
        );
        for count_padding in [false, true] {
            check_maps!(
                format!("average {window:?} {count_padding}"),
                &[count],
                |ops, inputs, format| {
                    ops::average_pool(maps(&inputs[0], shape, format), window, count_padding)
                }
            );
        }
    }
    for (stride, channels) in [([1, 1], 3), ([2, 2], 7), ([3, 2], 5)] {
        check_maps!(
            format!("subsample {stride:?} {channels}"),
            &[count],
            |ops, inputs, format| ops::subsample(maps(&inputs[0], shape, format), stride, channels)
        );
    }
    for output in [[1, 1], [3, 2], [7, 6]] {
        check_maps!(
            format!("adaptive {output:?}"),
            &[count],
            |ops, inputs, format| {
                ops::adaptive_average_pool(maps(&inputs[0], shape, format), output)
            }
        );
    }
}

#[test]
fn what_goes_number_by_number_is_burns() {
    let shape = [3, 2, 5, 4];
    let count = shape.iter().product();
    for kind in [Gelu::Erf, Gelu::Tanh] {
        check_maps!(format!("{kind:?}"), &[count], |ops, inputs, format| {
            ops::gelu(maps(&inputs[0], shape, format) * 2.0, kind)
        });
    }
    check_maps!("relu", &[count], |ops, inputs, format| {
        ops::relu(maps(&inputs[0], shape, format))
    });
    for rate in [0.0, 0.4] {
        check_maps!(
            format!("dropout {rate}"),
            &[count],
            |ops, inputs, format| ops::dropout(maps(&inputs[0], shape, format), 5, rate)
        );
    }
    for relu in [false, true] {
        check_maps!(
            format!("sum {relu}"),
            &[count, count],
            |ops, inputs, format| {
                let [a, b] = [0, 1].map(|index| maps(&inputs[index], shape, format));
                ops::add(a, b, relu)
            }
        );
    }
    check_maps!("rows of maps", &[count], |ops, inputs, format| {
        ops::maps_to_rows(maps(&inputs[0], shape, format))
    });
    check_maps!("maps of rows", &[count], |ops, inputs, format| {
        let format = match format {
            DType::BF16 => Format::Bf16,
            _ => Format::F32,
        };
        ops::rows_to_maps(inputs[0].clone().reshape([5, 24]), 4, [3, 2], format)
    });
}

#[test]
fn layers_of_rows_are_burns() {
    let both = |op: fn(&[Tensor<1>]) -> Tensor<1>, reference: fn(&[Tensor<1>]) -> Tensor<1>| {
        check("rows", &[5 * 7, 7, 7, 3 * 7, 3], &op, &reference, 1e-5);
    };
    both(
        |x| {
            let rows = x[0].clone().reshape([5, 7]);
            flat(burn_ops::layer_norm(rows, x[1].clone(), x[2].clone(), 1e-5))
        },
        |x| {
            let rows = x[0].clone().reshape([5, 7]);
            flat(composed::layer_norm(rows, x[1].clone(), x[2].clone(), 1e-5))
        },
    );
    both(
        |x| {
            let (rows, weight) = (x[0].clone().reshape([5, 7]), x[3].clone().reshape([3, 7]));
            flat(burn_ops::dense(
                rows,
                weight,
                x[4].clone(),
                true,
                Format::F32,
            ))
        },
        |x| {
            let (rows, weight) = (x[0].clone().reshape([5, 7]), x[3].clone().reshape([3, 7]));
            flat(composed::dense(
                rows,
                weight,
                x[4].clone(),
                true,
                Format::F32,
            ))
        },
    );
    both(
        |x| burn_ops::cross_entropy(x[0].clone().reshape([5, 7]), &shares()),
        |x| composed::cross_entropy(x[0].clone().reshape([5, 7]), &shares()),
    );
}

/// Targets of five rows with seven classes: also shares of classes, and a row without a target.
fn shares() -> Vec<f32> {
    let mut targets = one_hot(&[0, 6, 2, 2, 5], 7);
    targets[14..21].fill(0.0);
    targets[0] = 0.75;
    targets[3] = 0.25;
    targets
}
