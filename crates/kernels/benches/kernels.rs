//! The kernels by themselves, beside what this machine can do: `cargo bench -p strata-kernels`, with the name of a kernel
//! for that one alone.
//!
//! Criterion prints and keeps the times, and says what a change cost. What is reached of the machine's peak is printed
//! after each: of the largest matrix product's speed for products, of a copy's for what moves numbers. `STRATA_ISA` sets
//! the instructions.

use std::{
    hint::black_box,
    sync::OnceLock,
    time::{Duration, Instant},
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use strata_kernels::{
    BatchNormSettings, Conv2d, Element, Format, PackedConv2d, Pool2d, SgdStep, Window,
    batch_norm_train, batch_norm_train_backward, bf16, conv2d, conv2d_input_gradient,
    conv2d_weight_gradient, dense, dense_weight_gradient, isa, max_pool_eval, parallel_for_each,
    rows_to_maps, sgd, threads,
};

/// What a kernel is measured by.
#[derive(Clone, Copy)]
enum Work {
    /// Products and sums of a product of numbers of a format.
    Products(Format, f64),
    /// Bytes that are read and written at least.
    Bytes(f64),
}

/// The fewest seconds of several calls.
fn fastest(calls: usize, mut call: impl FnMut()) -> f64 {
    let mut seconds = f64::INFINITY;
    for _ in 0..calls {
        let start = Instant::now();
        call();
        seconds = seconds.min(start.elapsed().as_secs_f64());
    }
    seconds
}

/// Products and sums a second of a large matrix product.
fn product_peak(format: Format) -> f64 {
    fn measure<T: Element>() -> f64 {
        const SIDE: usize = 1024;
        let (x, weight, bias) = (
            numbers::<T>(SIDE * SIDE),
            numbers(SIDE * SIDE),
            vec![0.0; SIDE],
        );
        let mut y = vec![0.0; SIDE * SIDE];
        2.0 * (SIDE as f64).powi(3)
            / fastest(20, || dense::<T>(&x, &weight, &bias, SIDE, false, &mut y))
    }
    static PEAKS: OnceLock<[f64; 2]> = OnceLock::new();
    let [singles, halves] = PEAKS.get_or_init(|| {
        let peaks = [measure::<f32>(), measure::<bf16>()];
        println!(
            "{} on {} threads: matrix product {:.0} GFLOP/s in f32, {:.0} in bf16; copy {:.1} GB/s",
            isa().name(),
            threads(),
            peaks[0] / 1e9,
            peaks[1] / 1e9,
            copy_peak() / 1e9
        );
        peaks
    });
    if format == Format::F32 {
        *singles
    } else {
        *halves
    }
}

/// Bytes a second, read and written, of a copy that no cache holds.
fn copy_peak() -> f64 {
    static PEAK: OnceLock<f64> = OnceLock::new();
    *PEAK.get_or_init(|| {
        const LENGTH: usize = 32 << 20;
        let (from, mut to) = (vec![1.0_f32; LENGTH], vec![0.0_f32; LENGTH]);
        let share = LENGTH / threads();
        let seconds = fastest(6, || {
            let parts = from.chunks(share).zip(to.chunks_mut(share));
            parallel_for_each(parts, |(from, to)| to.copy_from_slice(from));
        });
        (2 * LENGTH * size_of::<f32>()) as f64 / seconds
    })
}

/// Measures `call`, and prints what it reaches of the machine's peak.
fn measure(criterion: &mut Criterion, name: &str, work: Work, mut call: impl FnMut()) {
    let (peak, amount, unit) = match work {
        Work::Products(format, amount) => (product_peak(format), amount, "matrix product's"),
        Work::Bytes(amount) => (copy_peak(), amount, "copy's"),
    };
    let mut best = f64::INFINITY;
    let mut group = criterion.benchmark_group(name.split('/').next().unwrap_or(name));
    group
        .throughput(Throughput::Elements(amount as u64))
        .sample_size(10)
        .measurement_time(Duration::from_secs(1));
    group.warm_up_time(Duration::from_millis(300));
    group.bench_function(
        name.split_once('/').map_or(name, |(_, rest)| rest),
        |bencher| {
            bencher.iter_custom(|calls| {
                let start = Instant::now();
                for _ in 0..calls {
                    call();
                }
                let taken = start.elapsed();
                best = best.min(taken.as_secs_f64() / calls as f64);
                taken
            });
        },
    );
    group.finish();
    if best.is_finite() {
        println!(
            "{name}: {:.0} % of the {unit} speed\n",
            100.0 * amount / best / peak
        );
    }
}

fn numbers<T: Element>(count: usize) -> Vec<T> {
    (0..count)
        .map(|i| T::from_f32((i * 7919 % 1000) as f32 / 1000.0 - 0.5))
        .collect()
}

/// Convolutions of ResNet-18: what learns (100 images of 32x32, with either stem) and what answers (one of 224x224).
fn convolutions<T: Element>(criterion: &mut Criterion) {
    let square = |images, side, channels: [usize; 2], kernel, stride, padding| Conv2d {
        images,
        input: [side, side],
        in_channels: channels[0],
        out_channels: channels[1],
        groups: 1,
        window: Window::square(kernel, stride).padded(padding),
    };
    let cases = [
        ("100x32x32 64-64", square(100, 32, [64, 64], 3, 1, 1)),
        ("100x16x16 128-128", square(100, 16, [128, 128], 3, 1, 1)),
        ("100x8x8 256-256", square(100, 8, [256, 256], 3, 1, 1)),
        ("100x2x2 256-256", square(100, 2, [256, 256], 3, 1, 1)),
        (
            "100x32x32 64-128 stride 2",
            square(100, 32, [64, 128], 3, 2, 1),
        ),
        ("100x32x32 3-64 stem", square(100, 32, [3, 64], 7, 2, 3)),
        ("1x56x56 64-64", square(1, 56, [64, 64], 3, 1, 1)),
        ("1x7x7 512-512", square(1, 7, [512, 512], 3, 1, 1)),
    ];
    for (case, conv) in cases {
        let (x, dy) = (
            numbers::<T>(conv.input_len()),
            numbers::<T>(conv.output_len()),
        );
        let (weight, bias) = (
            numbers::<f32>(conv.weight_len()),
            vec![0.0; conv.out_channels],
        );
        let (mut y, mut dx, mut dweight) = (dy.clone(), x.clone(), weight.clone());
        // Products with padding are none.
        let seen = |axis: usize| -> usize {
            let taps = 0..conv.window.kernel[axis];
            (0..conv.output()[axis])
                .map(|place| {
                    let taps = taps.clone();
                    taps.filter(|tap| {
                        conv.window
                            .place(axis, place, *tap, conv.input[axis])
                            .is_some()
                    })
                    .count()
                })
                .sum()
        };
        let work =
            2.0 * (seen(0) * seen(1) * conv.images * conv.in_channels * conv.out_channels) as f64;
        let work = Work::Products(T::FORMAT, work);
        let name = |what: &str| format!("convolution {:?} {what}/{case}", T::FORMAT);
        measure(criterion, &name("forward"), work, || {
            conv2d(&conv, &x, &weight, None, black_box(&mut y))
        });
        measure(criterion, &name("input gradient"), work, || {
            conv2d_input_gradient(&conv, &dy, &weight, black_box(&mut dx));
        });
        measure(criterion, &name("weight gradient"), work, || {
            conv2d_weight_gradient(&conv, &x, &dy, black_box(&mut dweight));
        });
        let packed = PackedConv2d::<T>::pack(&conv, &weight, &bias);
        measure(criterion, &name("packed"), work, || {
            packed.apply(conv.images, &x, None, true, black_box(&mut y));
        });
    }
}

fn dense_layers<T: Element>(criterion: &mut Criterion) {
    let [rows, inputs, outputs] = [128, 784, 128];
    let (x, dy) = (numbers::<T>(rows * inputs), numbers::<T>(rows * outputs));
    let (weight, bias) = (numbers::<f32>(inputs * outputs), vec![0.0; outputs]);
    let (mut y, mut dweight) = (vec![0.0; rows * outputs], weight.clone());
    let work = Work::Products(T::FORMAT, 2.0 * (rows * inputs * outputs) as f64);
    measure(
        criterion,
        &format!("dense {:?}/128x784x128", T::FORMAT),
        work,
        || {
            dense(&x, &weight, &bias, inputs, true, black_box(&mut y));
        },
    );
    measure(
        criterion,
        &format!("dense {:?} weight gradient/128x784x128", T::FORMAT),
        work,
        || {
            dense_weight_gradient(&x, &dy, [inputs, outputs], black_box(&mut dweight));
        },
    );
}

fn element_wise<T: Element>(criterion: &mut Criterion) {
    let (places, images, channels) = (32 * 32, 100, 64);
    let length = places * images * channels;
    let (x, dy, mut y, mut dx) = (
        numbers::<T>(length),
        numbers::<T>(length),
        numbers::<T>(length),
        numbers::<T>(length),
    );
    let (gamma, beta) = (vec![1.0; channels], vec![0.0; channels]);
    let [mut mean, mut variance, mut dgamma, mut dbeta] =
        std::array::from_fn(|_| vec![0.0; channels]);
    let settings = BatchNormSettings {
        channels,
        epsilon: 1e-5,
        relu: true,
    };
    let maps = |count: usize| Work::Bytes((count * length * size_of::<T>()) as f64);
    let name = |what: &str| format!("{what} {:?}/100x32x32x64", T::FORMAT);
    measure(criterion, &name("batch norm"), maps(3), || {
        batch_norm_train(
            settings,
            &x,
            &gamma,
            &beta,
            None,
            black_box(&mut y),
            &mut mean,
            &mut variance,
        );
    });
    measure(criterion, &name("batch norm gradients"), maps(7), || {
        batch_norm_train_backward(
            settings,
            &x,
            &y,
            &dy,
            &gamma,
            &mean,
            &variance,
            black_box(&mut dx),
            None,
            &mut dgamma,
            &mut dbeta,
        );
    });
    let pool = Pool2d {
        images,
        channels,
        input: [32, 32],
        window: Window::square(3, 2).padded(1),
    };
    measure(
        criterion,
        &name("max pool 3x3 stride 2"),
        Work::Bytes(1.25 * (length * size_of::<T>()) as f64),
        || {
            max_pool_eval(&pool, &x, black_box(&mut y[..length / 4]));
        },
    );
    let rows = numbers::<f32>(length);
    let bytes = length * (size_of::<f32>() + size_of::<T>());
    measure(
        criterion,
        &name("rows to maps"),
        Work::Bytes(bytes as f64),
        || {
            rows_to_maps(channels, [32, 32], images, &rows, black_box(&mut y));
        },
    );
}

fn optimizers(criterion: &mut Criterion) {
    const WEIGHTS: usize = 11 << 20;
    let (mut weights, gradients, mut velocity) = (
        numbers::<f32>(WEIGHTS),
        numbers::<f32>(WEIGHTS),
        vec![0.0; WEIGHTS],
    );
    let step = SgdStep {
        rate: 1e-3,
        momentum: 0.9,
        nesterov: false,
        weight_decay: 0.0,
        gradient_scale: 1.0,
    };
    measure(
        criterion,
        "sgd/11 million weights",
        Work::Bytes((5 * WEIGHTS * size_of::<f32>()) as f64),
        || {
            sgd(black_box(&mut weights), &gradients, &mut velocity, step);
        },
    );
}

fn all(criterion: &mut Criterion) {
    convolutions::<f32>(criterion);
    convolutions::<bf16>(criterion);
    dense_layers::<f32>(criterion);
    dense_layers::<bf16>(criterion);
    element_wise::<f32>(criterion);
    element_wise::<bf16>(criterion);
    optimizers(criterion);
}

criterion_group!(kernels, all);
criterion_main!(kernels);
