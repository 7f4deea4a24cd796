//! Each operation made of Burn's own: what other devices than the CPU run, and what the kernels are tested against.
//!
//! Maps are `[height, width, images, channels]`. What is computed on maps is computed in `f32`, whatever their format.

use burn::tensor::{
    DType, Int, Tensor, TensorData, activation,
    module::{self, adaptive_avg_pool2d, avg_pool2d},
    ops::{AvgPoolOptions, ConvOptions, MaxPoolOptions},
};
use strata_kernels::{BatchNormSettings, Format, Gelu, Window, burn_ops::Normalized};

pub(crate) fn dense(
    x: Tensor<2>,
    weight: Tensor<2>,
    bias: Tensor<1>,
    relu: bool,
    _: Format,
) -> Tensor<2> {
    let y = x.matmul(weight.transpose()) + bias.unsqueeze();
    if relu { activation::relu(y) } else { y }
}

pub(crate) fn conv2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    window: Window,
    groups: usize,
) -> Tensor<4> {
    let options = ConvOptions::new(window.stride, window.padding, window.dilation, groups);
    let weight = weight.permute([3, 2, 0, 1]);
    on_images(x, |x| module::conv2d(x, weight, bias, options))
}

pub(crate) fn batch_norm(
    x: Tensor<4>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    residual: Option<Tensor<4>>,
    settings: BatchNormSettings,
) -> Normalized {
    let dtype = x.dtype();
    let rows = rows_of_channels(x.clone());
    let mean = rows.clone().mean_dim(0);
    let variance = (rows - mean.clone()).square().mean_dim(0);
    let [mean, variance] = [mean, variance].map(|statistics| statistics.squeeze_dim::<1>(0));
    let statistics = [mean.clone(), variance.clone()];
    let y = batch_norm_with(x, gamma, beta, statistics, residual, settings).cast(dtype);
    Normalized { y, mean, variance }
}

pub(crate) fn batch_norm_with(
    x: Tensor<4>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    [mean, variance]: [Tensor<1>; 2],
    residual: Option<Tensor<4>>,
    settings: BatchNormSettings,
) -> Tensor<4> {
    let (shape, dtype) = (x.dims(), x.dtype());
    let deviation = (variance + settings.epsilon).sqrt();
    let normalized = (rows_of_channels(x) - mean.unsqueeze()) / deviation.unsqueeze();
    let y = (normalized * gamma.unsqueeze() + beta.unsqueeze()).reshape(shape);
    let y = match residual {
        Some(residual) => y + residual.cast(DType::F32),
        None => y,
    };
    let y = if settings.relu {
        activation::relu(y)
    } else {
        y
    };
    y.cast(dtype)
}

pub(crate) fn layer_norm(
    x: Tensor<2>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    epsilon: f32,
) -> Tensor<2> {
    let centred = x.clone() - x.mean_dim(1);
    let variance = centred.clone().square().mean_dim(1);
    centred / (variance + epsilon).sqrt() * gamma.unsqueeze() + beta.unsqueeze()
}

pub(crate) fn max_pool(x: Tensor<4>, window: Window) -> Tensor<4> {
    let mut options = MaxPoolOptions::new(window.kernel);
    options.stride = window.stride;
    options.padding = window.padding.map(|size| (size, size));
    options.dilation = window.dilation;
    options.ceil_mode = window.ceil;
    on_images(x, |x| module::max_pool2d(x, options))
}

pub(crate) fn average_pool(x: Tensor<4>, window: Window, count_padding: bool) -> Tensor<4> {
    let mut options = AvgPoolOptions::new(window.kernel);
    options.stride = window.stride;
    options.padding = window.padding.map(|size| (size, size));
    options.count_include_pad = count_padding;
    on_images(x, |x| avg_pool2d(x, options))
}

pub(crate) fn adaptive_average_pool(x: Tensor<4>, output: [usize; 2]) -> Tensor<4> {
    on_images(x, |x| adaptive_avg_pool2d(x, output))
}

pub(crate) fn subsample(x: Tensor<4>, stride: [usize; 2], channels: usize) -> Tensor<4> {
    let ([height, width, images, own], device, dtype) = (x.dims(), x.device(), x.dtype());
    let every = |size: usize, stride: usize| {
        let places = Tensor::<1, Int>::arange(0..size.div_ceil(stride) as i64, &device);
        places * stride as i64
    };
    let x = x.select(0, every(height, stride[0]));
    let x = x.select(1, every(width, stride[1]));
    let [height, width, ..] = x.dims();
    let added = (channels - own) / 2;
    let zeros = Tensor::<4>::zeros([height, width, images, added], &device).cast(dtype);
    Tensor::cat(vec![zeros.clone(), x, zeros], 3)
}

pub(crate) fn dropout<const D: usize>(x: Tensor<D>, seed: u64, rate: f64) -> Tensor<D> {
    let (shape, dtype) = (x.dims(), x.dtype());
    let count = shape.iter().product();
    let mut factors = vec![0.0_f32; count];
    strata_kernels::dropout(seed, rate, &vec![1.0; count], &mut factors);
    let factors = Tensor::<D>::from_data(TensorData::new(factors, shape), &x.device());
    (x.cast(DType::F32) * factors).cast(dtype)
}

pub(crate) fn relu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    activation::relu(x)
}

pub(crate) fn gelu<const D: usize>(x: Tensor<D>, kind: Gelu) -> Tensor<D> {
    let dtype = x.dtype();
    let x = x.cast(DType::F32);
    let y = match kind {
        Gelu::Erf => activation::gelu(x),
        Gelu::Tanh => activation::gelu_approximate(x),
    };
    y.cast(dtype)
}

pub(crate) fn add<const D: usize>(a: Tensor<D>, b: Tensor<D>, relu: bool) -> Tensor<D> {
    if relu { activation::relu(a + b) } else { a + b }
}

pub(crate) fn rows_to_maps(
    rows: Tensor<2>,
    channels: usize,
    [height, width]: [usize; 2],
    format: Format,
) -> Tensor<4> {
    let [images, _] = rows.dims();
    let maps = rows.reshape([images, channels, height, width]);
    maps.permute([2, 3, 0, 1]).cast(match format {
        Format::F32 => DType::F32,
        Format::Bf16 => DType::BF16,
    })
}

pub(crate) fn maps_to_rows(maps: Tensor<4>) -> Tensor<2> {
    let [height, width, images, channels] = maps.dims();
    let rows = maps.cast(DType::F32).permute([2, 3, 0, 1]);
    rows.reshape([images, channels * height * width])
}

pub(crate) fn cross_entropy(logits: Tensor<2>, targets: &[f32]) -> Tensor<1> {
    let shape = logits.dims();
    let has_target = |row: &&[f32]| row.iter().any(|share| *share != 0.0);
    let rows = targets.chunks(shape[1]).filter(has_target).count();
    let targets = Tensor::from_data(TensorData::new(targets.to_vec(), shape), &logits.device());
    let log = activation::log_softmax(logits, 1);
    (log * targets).sum().neg() / rows.max(1) as f32
}

/// Runs what takes `[images, channels, height, width]` on maps.
fn on_images(maps: Tensor<4>, run: impl FnOnce(Tensor<4>) -> Tensor<4>) -> Tensor<4> {
    let dtype = maps.dtype();
    let images = maps.cast(DType::F32).permute([2, 3, 0, 1]);
    run(images).permute([2, 3, 0, 1]).cast(dtype)
}

fn rows_of_channels(maps: Tensor<4>) -> Tensor<2> {
    let [height, width, images, channels] = maps.dims();
    maps.cast(DType::F32)
        .reshape([height * width * images, channels])
}
