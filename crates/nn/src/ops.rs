//! Each operation that layers are made of: on the CPU that of the kernels, elsewhere one made of Burn's own.

use burn::tensor::{Device, Tensor};
use strata_kernels::{BatchNormSettings, Format, Gelu, Window, burn_ops, burn_ops::Normalized};

use crate::composed;

macro_rules! by_device {
    ($name:ident $(<$dimensions:ident>)? ($first:ident: $first_type:ty $(, $argument:ident: $type:ty)* $(,)?) -> $output:ty) => {
        pub(crate) fn $name $(<const $dimensions: usize>)? ($first: $first_type, $($argument: $type),*) -> $output {
            // Whether a device is autodiff's does not matter to the comparison.
            if $first.device() == Device::flex() {
                burn_ops::$name($first, $($argument),*)
            } else {
                composed::$name($first, $($argument),*)
            }
        }
    };
}

by_device!(dense(x: Tensor<2>, weight: Tensor<2>, bias: Tensor<1>, relu: bool, format: Format) -> Tensor<2>);
by_device!(conv2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    window: Window,
    groups: usize,
) -> Tensor<4>);
by_device!(batch_norm(
    x: Tensor<4>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    residual: Option<Tensor<4>>,
    settings: BatchNormSettings,
) -> Normalized);
by_device!(batch_norm_with(
    x: Tensor<4>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    statistics: [Tensor<1>; 2],
    residual: Option<Tensor<4>>,
    settings: BatchNormSettings,
) -> Tensor<4>);
by_device!(layer_norm(x: Tensor<2>, gamma: Tensor<1>, beta: Tensor<1>, epsilon: f32) -> Tensor<2>);
by_device!(max_pool(x: Tensor<4>, window: Window) -> Tensor<4>);
by_device!(average_pool(x: Tensor<4>, window: Window, count_padding: bool) -> Tensor<4>);
by_device!(adaptive_average_pool(x: Tensor<4>, output: [usize; 2]) -> Tensor<4>);
by_device!(subsample(x: Tensor<4>, stride: [usize; 2], channels: usize) -> Tensor<4>);
by_device!(dropout<D>(x: Tensor<D>, seed: u64, rate: f64) -> Tensor<D>);
by_device!(relu<D>(x: Tensor<D>) -> Tensor<D>);
by_device!(gelu<D>(x: Tensor<D>, kind: Gelu) -> Tensor<D>);
by_device!(add<D>(a: Tensor<D>, b: Tensor<D>, relu: bool) -> Tensor<D>);
by_device!(rows_to_maps(rows: Tensor<2>, channels: usize, size: [usize; 2], format: Format) -> Tensor<4>);
by_device!(maps_to_rows(maps: Tensor<4>) -> Tensor<2>);
by_device!(cross_entropy(logits: Tensor<2>, targets: &[f32]) -> Tensor<1>);
