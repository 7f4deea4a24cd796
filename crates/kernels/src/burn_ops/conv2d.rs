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
use crate::{Conv2d, Format, Window, column_sums, conv2d_input_gradient, conv2d_weight_gradient};

/// Convolution of maps `x` with `weight` `[kernel height, kernel width, channels in / groups, channels out]` and `bias`
/// `[channels out]`.
///
/// # Panics
/// The shapes do not fit each other.
pub fn conv2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    window: Window,
    groups: usize,
) -> Tensor<4> {
    let has_bias = bias.is_some();
    let bias = bias.unwrap_or_else(|| Tensor::zeros([1], &weight.device()));
    let y = Dispatch::conv2d(
        x.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
        has_bias,
        window,
        groups,
    );
    Tensor::from_dispatch(y)
}

#[backend_extension(Flex, Autodiff)]
trait Conv2dOp: Backend {
    /// `bias` is not looked at unless `has_bias`.
    fn conv2d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        has_bias: bool,
        window: Window,
        groups: usize,
    ) -> FloatTensor<Self>;
}

impl Conv2dOp for Flex {
    fn conv2d(
        x: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        has_bias: bool,
        window: Window,
        groups: usize,
    ) -> FlexTensor {
        let (x, weight, bias) = (contiguous(x), contiguous(weight), contiguous(bias));
        let conv = sizes(&x, &weight, window, groups);
        let bias = has_bias.then(|| values(&bias));
        with_element!(x, T => {
            let mut y = room::<T>(conv.output_len());
            crate::conv2d(&conv, values::<T>(&x), values(&weight), bias, &mut y);
            tensor(y, &output_shape(&conv))
        })
    }
}

impl<C: CheckpointStrategy> Conv2dOp for Autodiff<Flex, C> {
    fn conv2d(
        x: Tracked<C>,
        weight: Tracked<C>,
        bias: Tracked<C>,
        has_bias: bool,
        window: Window,
        groups: usize,
    ) -> Tracked<C> {
        let ((x, x_node), (weight, weight_node), (bias, bias_node)) =
            (x.into_parts(), weight.into_parts(), bias.into_parts());
        let y = Flex::conv2d(x.clone(), weight.clone(), bias, has_bias, window, groups);
        record::<C, _, 3>(
            [x_node, weight_node, bias_node],
            y,
            || (x, weight, window, groups),
            gradients,
        )
    }
}

fn gradients(
    (x, weight, window, groups): (FlexTensor, FlexTensor, Window, usize),
    dy: FlexTensor,
    [wants_x, wants_weight, wants_bias]: [bool; 3],
) -> [Option<FlexTensor>; 3] {
    let dy = in_format(format(&x), dy);
    let (x, weight) = (contiguous(x), contiguous(weight));
    let conv = sizes(&x, &weight, window, groups);
    with_element!(x, T => {
        let dy = values::<T>(&dy);
        let dweight = wants_weight.then(|| {
            let mut dweight = room(conv.weight_len());
            conv2d_weight_gradient(&conv, values::<T>(&x), dy, &mut dweight);
            tensor(dweight, &shape::<4>(&weight))
        });
        let dx = wants_x.then(|| {
            let mut dx = room::<T>(conv.input_len());
            conv2d_input_gradient(&conv, dy, values(&weight), &mut dx);
            tensor(dx, &shape::<4>(&x))
        });
        let dbias = wants_bias.then(|| {
            let mut dbias = room(conv.out_channels);
            column_sums(conv.out_channels, dy, &mut dbias);
            tensor(dbias, &[conv.out_channels])
        });
        [dx, dweight, dbias]
    })
}

fn sizes(x: &FlexTensor, weight: &FlexTensor, window: Window, groups: usize) -> Conv2d {
    let [height, width, images, in_channels] = shape(x);
    let [kernel_height, kernel_width, group_channels, out_channels] = shape(weight);
    assert_eq!(format(weight), Format::F32, "weights are f32");
    assert_eq!(
        (window.kernel, group_channels * groups),
        ([kernel_height, kernel_width], in_channels),
        "a weight of the kernel's and the maps' sizes"
    );
    Conv2d {
        images,
        input: [height, width],
        in_channels,
        out_channels,
        groups,
        window,
    }
}

fn output_shape(conv: &Conv2d) -> [usize; 4] {
    let [height, width] = conv.output();
    [height, width, conv.images, conv.out_channels]
}
