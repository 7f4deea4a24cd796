//! What the gradients of both modes are made of.

use super::{BatchNormSettings, Tile};
use crate::{Element, Isa, isa::for_each_isa, rows::fold};

/// What is added to a scaled gradient: `slope * (x - mean) + shift`.
pub(super) struct Line {
    pub(super) slope: Vec<f32>,
    pub(super) shift: Vec<f32>,
}

/// Adds the parts up, in their order.
pub(super) fn finish_sums(
    settings: BatchNormSettings,
    variance: &[f32],
    partials: &[f64],
    dgamma: &mut [f32],
    dbeta: &mut [f32],
) {
    let mut total = vec![0.0_f64; 2 * settings.channels];
    for partial in partials.chunks(total.len()) {
        for (total, partial) in total.iter_mut().zip(partial) {
            *total += partial;
        }
    }
    let (gradient, product) = total.split_at(settings.channels);
    for (dbeta, gradient) in dbeta.iter_mut().zip(gradient) {
        *dbeta = *gradient as f32;
    }
    for ((dgamma, product), variance) in dgamma.iter_mut().zip(product).zip(variance) {
        *dgamma = (product * f64::from(settings.root(*variance))) as f32;
    }
}

/// Sums of the gradients, and of the gradients times `x - mean`, over the rows of a part.
pub(super) fn part_sums<T: Element>(
    isa: Isa,
    x: &[T],
    y: Option<&[T]>,
    dy: &[T],
    dresidual: Option<&mut [T]>,
    tile: &Tile,
    partial: &mut [f64],
) {
    let (mut sums, mut products) = (vec![0.0; tile.width], vec![0.0; tile.width]);
    sum_gradients(
        isa,
        x,
        y,
        dy,
        dresidual,
        &tile.mean,
        &mut sums,
        &mut products,
    );
    let channels = partial.len() / 2;
    let (gradient, product) = partial.split_at_mut(channels);
    fold(&sums, channels, gradient);
    fold(&products, channels, product);
}

for_each_isa! {
    // Sums come as slices of their own: the compiler knows that these overlap with nothing.
    fn sum_gradients<T: Element>(
        x: &[T], y: Option<&[T]>, dy: &[T], dresidual: Option<&mut [T]>,
        mean: &[f32], sums: &mut [f32], products: &mut [f32],
    ) {
        let starts = (0..x.len()).step_by(mean.len());
        let range = |start: usize| start..x.len().min(start + mean.len());
        match (y, dresidual) {
            (None, None) => {
                for range in starts.map(range) {
                    let gradient = dy[range.clone()].iter().map(|dy| dy.to_f32());
                    add_row(&x[range], gradient, mean, sums, products);
                }
            }
            (Some(y), None) => {
                for range in starts.map(range) {
                    let gradient = dy[range.clone()].iter().zip(&y[range.clone()]);
                    let gradient = gradient.map(|(dy, y)| masked(*dy, *y).to_f32());
                    add_row(&x[range], gradient, mean, sums, products);
                }
            }
            (y, Some(dresidual)) => {
                for range in starts.map(range) {
                    let dresidual = &mut dresidual[range.clone()];
                    match y {
                        None => dresidual.copy_from_slice(&dy[range.clone()]),
                        Some(y) => mask_row(&dy[range.clone()], &y[range.clone()], dresidual),
                    }
                    let gradient = dresidual.iter().map(|dy| dy.to_f32());
                    add_row(&x[range], gradient, mean, sums, products);
                }
            }
        }
    }
}

/// The gradient before a ReLU that gave `y`.
#[inline(always)]
fn masked<T: Element>(dy: T, y: T) -> T {
    if y.to_f32() <= 0.0 { T::default() } else { dy }
}

#[inline(always)]
fn mask_row<T: Element>(dy: &[T], y: &[T], gradient: &mut [T]) {
    for ((gradient, dy), y) in gradient.iter_mut().zip(dy).zip(y) {
        *gradient = masked(*dy, *y);
    }
}

#[inline(always)]
fn add_row<T: Element>(
    x: &[T],
    gradient: impl Iterator<Item = f32>,
    mean: &[f32],
    sums: &mut [f32],
    products: &mut [f32],
) {
    let of_channel = sums.iter_mut().zip(products).zip(mean);
    for ((x, g), ((sum, product), mean)) in x.iter().zip(gradient).zip(of_channel) {
        *sum += g;
        *product += g * (x.to_f32() - mean);
    }
}

for_each_isa! {
    pub(super) fn input_gradient<T: Element>(
        x: &[T], y: Option<&[T]>, dy: &[T], tile: &Tile, line: &Line, dx: &mut [T],
    ) {
        let width = tile.width;
        let rows = x.chunks(width).zip(dy.chunks(width)).zip(dx.chunks_mut(width));
        match y {
            None => {
                for ((x, dy), dx) in rows {
                    gradient_row(x, dy.iter().map(|dy| dy.to_f32()), tile, line, dx);
                }
            }
            Some(y) => {
                for (((x, dy), dx), y) in rows.zip(y.chunks(width)) {
                    let gradient = dy.iter().zip(y).map(|(dy, y)| masked(*dy, *y).to_f32());
                    gradient_row(x, gradient, tile, line, dx);
                }
            }
        }
    }
}

#[inline(always)]
fn gradient_row<T: Element>(
    x: &[T],
    gradient: impl Iterator<Item = f32>,
    tile: &Tile,
    line: &Line,
    dx: &mut [T],
) {
    let of_channel = tile
        .mean
        .iter()
        .zip(&tile.scale)
        .zip(&line.slope)
        .zip(&line.shift);
    for (((dx, x), g), (((mean, scale), slope), shift)) in
        dx.iter_mut().zip(x).zip(gradient).zip(of_channel)
    {
        *dx = T::from_f32(scale * g + slope * (x.to_f32() - mean) + shift);
    }
}
