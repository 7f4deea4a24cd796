//! Convolutions in which each channel is on its own: nothing to multiply matrices for.

use crate::{Element, Isa, conv::Conv2d, gemm::SharedMut, isa::for_each_isa, pool};

/// Images and places that one task takes.
const TASKS: usize = 64;

pub(super) fn forward<T: Element>(
    isa: Isa,
    conv: &Conv2d,
    x: &[T],
    weight: &[f32],
    bias: Option<&[f32]>,
    y: &mut [T],
) {
    let (channels, images) = (conv.in_channels, conv.images);
    let output = conv.output();
    let weight = &rounded::<T>(weight);
    let places = output[0] * output[1];
    let y = SharedMut::new(y);
    pool::run(places.min(TASKS), &|task| {
        let mut sums = vec![0.0; images * channels];
        for place in (task..places).step_by(TASKS) {
            match bias {
                Some(bias) => sums
                    .chunks_exact_mut(channels)
                    .for_each(|row| row.copy_from_slice(bias)),
                None => sums.fill(0.0),
            }
            for_each_tap(conv, |tap, [ky, kx]| {
                let iy = conv.window.place(0, place / output[1], ky, conv.input[0])?;
                let ix = conv.window.place(1, place % output[1], kx, conv.input[1])?;
                let x = &x[(iy * conv.input[1] + ix) * images * channels..][..images * channels];
                add_scaled(isa, x, &weight[tap * channels..][..channels], &mut sums);
                Some(())
            });
            // SAFETY: each place is one task's.
            let y = unsafe { y.part(place * images * channels..(place + 1) * images * channels) };
            y.iter_mut()
                .zip(&sums)
                .for_each(|(y, sum)| *y = T::from_f32(*sum));
        }
    });
}

pub(super) fn input_gradient<T: Element>(
    isa: Isa,
    conv: &Conv2d,
    dy: &[T],
    weight: &[f32],
    dx: &mut [T],
) {
    let (channels, images) = (conv.in_channels, conv.images);
    let output = conv.output();
    let weight = &rounded::<T>(weight);
    let places = conv.input[0] * conv.input[1];
    let dx = SharedMut::new(dx);
    pool::run(places.min(TASKS), &|task| {
        let mut sums = vec![0.0; images * channels];
        for place in (task..places).step_by(TASKS) {
            sums.fill(0.0);
            for_each_tap(conv, |tap, [ky, kx]| {
                let (iy, ix) = (place / conv.input[1], place % conv.input[1]);
                let oy = conv.window.output_at(0, iy, ky, output[0])?;
                let ox = conv.window.output_at(1, ix, kx, output[1])?;
                let dy = &dy[(oy * output[1] + ox) * images * channels..][..images * channels];
                add_scaled(isa, dy, &weight[tap * channels..][..channels], &mut sums);
                Some(())
            });
            // SAFETY: each place is one task's.
            let dx = unsafe { dx.part(place * images * channels..(place + 1) * images * channels) };
            dx.iter_mut()
                .zip(&sums)
                .for_each(|(dx, sum)| *dx = T::from_f32(*sum));
        }
    });
}

pub(super) fn weight_gradient<T: Element>(
    isa: Isa,
    conv: &Conv2d,
    x: &[T],
    dy: &[T],
    dweight: &mut [f32],
) {
    let (channels, images) = (conv.in_channels, conv.images);
    let output = conv.output();
    let taps = dweight.chunks_exact_mut(channels).enumerate();
    pool::parallel_for_each(taps, |(tap, dweight)| {
        dweight.fill(0.0);
        let (ky, kx) = (tap / conv.window.kernel[1], tap % conv.window.kernel[1]);
        for place in 0..output[0] * output[1] {
            let iy = conv.window.place(0, place / output[1], ky, conv.input[0]);
            let ix = conv.window.place(1, place % output[1], kx, conv.input[1]);
            let (Some(iy), Some(ix)) = (iy, ix) else {
                continue;
            };
            let x = &x[(iy * conv.input[1] + ix) * images * channels..][..images * channels];
            let dy = &dy[place * images * channels..][..images * channels];
            add_products(isa, x, dy, dweight);
        }
    });
}

/// Weights as numbers of the format of the products.
fn rounded<T: Element>(weight: &[f32]) -> Vec<f32> {
    weight
        .iter()
        .map(|weight| T::from_f32(*weight).to_f32())
        .collect()
}

fn for_each_tap(conv: &Conv2d, mut visit: impl FnMut(usize, [usize; 2]) -> Option<()>) {
    for ky in 0..conv.window.kernel[0] {
        for kx in 0..conv.window.kernel[1] {
            // A tap that sees padding adds nothing.
            let _ = visit(ky * conv.window.kernel[1] + kx, [ky, kx]);
        }
    }
}

for_each_isa! {
    /// Adds rows of numbers, each times its channel's factor.
    fn add_scaled<T: Element>(from: &[T], factors: &[f32], sums: &mut [f32]) {
        for (from, sums) in from.chunks_exact(factors.len()).zip(sums.chunks_exact_mut(factors.len())) {
            for ((sum, from), factor) in sums.iter_mut().zip(from).zip(factors) {
                *sum += from.to_f32() * factor;
            }
        }
    }
}

for_each_isa! {
    /// Adds the products of two maps' rows to a sum for each channel.
    fn add_products<T: Element>(a: &[T], b: &[T], sums: &mut [f32]) {
        for (a, b) in a.chunks_exact(sums.len()).zip(b.chunks_exact(sums.len())) {
            for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
                *sum += a.to_f32() * b.to_f32();
            }
        }
    }
}
