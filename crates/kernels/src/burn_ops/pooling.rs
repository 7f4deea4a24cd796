use burn::{
    backend::{Backend, Dispatch, Flex, backend_extension, tensor::FloatTensor},
    tensor::Tensor,
};
use burn_autodiff::{Autodiff, checkpoint::strategy::CheckpointStrategy};
use burn_flex::FlexTensor;

use super::{
    flex::{contiguous, format, in_format, room, shape, tensor, values, with_element},
    tape::{Tracked, record},
};
use crate::{
    Pool2d, Subsample2d, Window, adaptive_average_pool_backward, average_pool_backward,
    max_pool_backward, max_pool_eval, subsample_backward,
};

/// The highest number in each window of maps.
///
/// # Panics
/// The window does not fit the maps.
pub fn max_pool(x: Tensor<4>, window: Window) -> Tensor<4> {
    Tensor::from_dispatch(Dispatch::max_pool(x.into_dispatch(), window))
}

/// The mean of each window of maps; with `count_padding` the zeros around the maps count as places.
///
/// # Panics
/// The window does not fit the maps.
pub fn average_pool(x: Tensor<4>, window: Window, count_padding: bool) -> Tensor<4> {
    let y = Dispatch::average_pool(x.into_dispatch(), window, count_padding);
    Tensor::from_dispatch(y)
}

/// The means of `[height, width]` parts of maps.
pub fn adaptive_average_pool(x: Tensor<4>, [height, width]: [usize; 2]) -> Tensor<4> {
    let y = Dispatch::adaptive_average_pool(x.into_dispatch(), height, width);
    Tensor::from_dispatch(y)
}

/// Every so many places of maps, with channels of zeros around their own; `channels` come out.
///
/// # Panics
/// The maps have more channels, or ones that differ by an odd number.
pub fn subsample(x: Tensor<4>, stride: [usize; 2], channels: usize) -> Tensor<4> {
    let y = Dispatch::subsampled(x.into_dispatch(), stride, channels);
    Tensor::from_dispatch(y)
}

#[backend_extension(Flex, Autodiff)]
trait PoolOps: Backend {
    fn max_pool(x: FloatTensor<Self>, window: Window) -> FloatTensor<Self>;

    fn average_pool(x: FloatTensor<Self>, window: Window, count_padding: bool)
    -> FloatTensor<Self>;

    fn adaptive_average_pool(
        x: FloatTensor<Self>,
        height: usize,
        width: usize,
    ) -> FloatTensor<Self>;

    fn subsampled(x: FloatTensor<Self>, stride: [usize; 2], channels: usize) -> FloatTensor<Self>;
}

impl PoolOps for Flex {
    fn max_pool(x: FlexTensor, window: Window) -> FlexTensor {
        let x = contiguous(x);
        let pool = sizes(&x, window);
        with_element!(x, T => {
            let mut y = room::<T>(pool.output_len());
            max_pool_eval(&pool, values::<T>(&x), &mut y);
            tensor(y, &output_shape(&pool))
        })
    }

    fn average_pool(x: FlexTensor, window: Window, count_padding: bool) -> FlexTensor {
        let x = contiguous(x);
        let pool = sizes(&x, window);
        with_element!(x, T => {
            let mut y = room::<T>(pool.output_len());
            crate::average_pool(&pool, count_padding, values::<T>(&x), &mut y);
            tensor(y, &output_shape(&pool))
        })
    }

    fn adaptive_average_pool(x: FlexTensor, height: usize, width: usize) -> FlexTensor {
        let x = contiguous(x);
        let [in_height, in_width, images, channels] = shape(&x);
        let (input, output) = ([in_height, in_width], [height, width]);
        with_element!(x, T => {
            let mut y = room::<T>(height * width * images * channels);
            crate::adaptive_average_pool(images, channels, input, output, values::<T>(&x), &mut y);
            tensor(y, &[height, width, images, channels])
        })
    }

    fn subsampled(x: FlexTensor, stride: [usize; 2], channels: usize) -> FlexTensor {
        let x = contiguous(x);
        let sizes = sizes_of_subsampling(&x, stride, channels);
        with_element!(x, T => {
            let mut y = room::<T>(sizes.output_len());
            crate::subsample(&sizes, values::<T>(&x), &mut y);
            let [height, width] = sizes.output();
            tensor(y, &[height, width, sizes.images, channels])
        })
    }
}

impl<C: CheckpointStrategy> PoolOps for Autodiff<Flex, C> {
    fn max_pool(x: Tracked<C>, window: Window) -> Tracked<C> {
        let (x, node) = x.into_parts();
        let x = contiguous(x);
        let pool = sizes(&x, window);
        let mut chosen = vec![0; pool.output_len()];
        let y = with_element!(x, T => {
            let mut y = room::<T>(pool.output_len());
            crate::max_pool(&pool, values::<T>(&x), &mut y, &mut chosen);
            tensor(y, &output_shape(&pool))
        });
        let kept = (pool, format(&x), chosen);
        record::<C, _, 1>(
            [node],
            y,
            || kept,
            |(pool, format, chosen), dy, _| {
                let dy = in_format(format, dy);
                [Some(with_element!(dy, T => {
                    let mut dx = room::<T>(pool.input_len());
                    max_pool_backward(&pool, values::<T>(&dy), &chosen, &mut dx);
                    tensor(dx, &input_shape(&pool))
                }))]
            },
        )
    }

    fn average_pool(x: Tracked<C>, window: Window, count_padding: bool) -> Tracked<C> {
        let (x, node) = x.into_parts();
        let kept = (sizes(&x, window), count_padding, format(&x));
        let y = Flex::average_pool(x, window, count_padding);
        record::<C, _, 1>(
            [node],
            y,
            || kept,
            |(pool, count_padding, format), dy, _| {
                let dy = in_format(format, dy);
                [Some(with_element!(dy, T => {
                    let mut dx = room::<T>(pool.input_len());
                    average_pool_backward(&pool, count_padding, values::<T>(&dy), &mut dx);
                    tensor(dx, &input_shape(&pool))
                }))]
            },
        )
    }

    fn adaptive_average_pool(x: Tracked<C>, height: usize, width: usize) -> Tracked<C> {
        let (x, node) = x.into_parts();
        let kept = (shape::<4>(&x), format(&x));
        let y = Flex::adaptive_average_pool(x, height, width);
        record::<C, _, 1>(
            [node],
            y,
            || kept,
            |([in_height, in_width, images, channels], format), dy, _| {
                let dy = in_format(format, dy);
                let [height, width, ..] = shape::<4>(&dy);
                let (input, output) = ([in_height, in_width], [height, width]);
                [Some(with_element!(dy, T => {
                    let mut dx = room::<T>(in_height * in_width * images * channels);
                    let dy = values::<T>(&dy);
                    adaptive_average_pool_backward(images, channels, input, output, dy, &mut dx);
                    tensor(dx, &[in_height, in_width, images, channels])
                }))]
            },
        )
    }

    fn subsampled(x: Tracked<C>, stride: [usize; 2], channels: usize) -> Tracked<C> {
        let (x, node) = x.into_parts();
        let kept = (sizes_of_subsampling(&x, stride, channels), format(&x));
        let y = Flex::subsampled(x, stride, channels);
        record::<C, _, 1>(
            [node],
            y,
            || kept,
            |(sizes, format), dy, _| {
                let dy = in_format(format, dy);
                let [height, width] = sizes.input;
                [Some(with_element!(dy, T => {
                    let mut dx = room::<T>(sizes.input_len());
                    subsample_backward(&sizes, values::<T>(&dy), &mut dx);
                    tensor(dx, &[height, width, sizes.images, sizes.in_channels])
                }))]
            },
        )
    }
}

fn sizes_of_subsampling(x: &FlexTensor, stride: [usize; 2], channels: usize) -> Subsample2d {
    let [height, width, images, in_channels] = shape(x);
    Subsample2d {
        images,
        in_channels,
        out_channels: channels,
        input: [height, width],
        stride,
    }
}

fn sizes(x: &FlexTensor, window: Window) -> Pool2d {
    let [height, width, images, channels] = shape(x);
    Pool2d {
        images,
        channels,
        input: [height, width],
        window,
    }
}

fn input_shape(pool: &Pool2d) -> [usize; 4] {
    let [height, width] = pool.input;
    [height, width, pool.images, pool.channels]
}

fn output_shape(pool: &Pool2d) -> [usize; 4] {
    let [height, width] = pool.output();
    [height, width, pool.images, pool.channels]
}
