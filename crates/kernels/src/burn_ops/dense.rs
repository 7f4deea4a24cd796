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
use crate::{Format, column_sums, dense_input_gradient, dense_weight_gradient, relu_backward};

/// `activation(x weight' + bias)` with `x` `[rows, inputs]`, `weight` `[outputs, inputs]`, `bias` `[outputs]`, all `f32`;
/// the activation is ReLU or none. Numbers take part in products as `format` says; sums are `f32`.
pub fn dense(
    x: Tensor<2>,
    weight: Tensor<2>,
    bias: Tensor<1>,
    relu: bool,
    format: Format,
) -> Tensor<2> {
    let y = Dispatch::dense(
        x.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
        relu,
        format,
    );
    Tensor::from_dispatch(y)
}

#[backend_extension(Flex, Autodiff)]
trait DenseOp: Backend {
    fn dense(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        relu: bool,
        format: Format,
    ) -> FloatTensor<Self>;
}

impl DenseOp for Flex {
    fn dense(
        x: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        relu: bool,
        format: Format,
    ) -> FlexTensor {
        forward(
            &in_format(format, x),
            &contiguous(weight),
            &contiguous(bias),
            relu,
        )
    }
}

impl<C: CheckpointStrategy> DenseOp for Autodiff<Flex, C> {
    fn dense(
        x: Tracked<C>,
        weight: Tracked<C>,
        bias: Tracked<C>,
        relu: bool,
        format: Format,
    ) -> Tracked<C> {
        let ((x, x_node), (weight, weight_node), (bias, bias_node)) =
            (x.into_parts(), weight.into_parts(), bias.into_parts());
        let (x, weight) = (in_format(format, x), contiguous(weight));
        let y = forward(&x, &weight, &contiguous(bias), relu);
        let kept = relu.then(|| y.clone());
        record::<C, _, 3>(
            [x_node, weight_node, bias_node],
            y,
            || (x, weight, kept),
            gradients,
        )
    }
}

fn forward(x: &FlexTensor, weight: &FlexTensor, bias: &FlexTensor, relu: bool) -> FlexTensor {
    let ([rows, inputs], [outputs, _]) = (shape(x), shape(weight));
    let mut y = room(rows * outputs);
    with_element!(x, T => {
        crate::dense(values::<T>(x), values(weight), values(bias), inputs, relu, &mut y);
    });
    tensor(y, &[rows, outputs])
}

/// `x` is in the format of the products; `y` is what came out, where a ReLU was in it.
fn gradients(
    (x, weight, y): (FlexTensor, FlexTensor, Option<FlexTensor>),
    dy: FlexTensor,
    [wants_x, wants_weight, wants_bias]: [bool; 3],
) -> [Option<FlexTensor>; 3] {
    let ([rows, inputs], [outputs, _]) = (shape(&x), shape(&weight));
    let mut dy = contiguous(dy);
    if let Some(y) = y {
        let mut masked = room::<f32>(rows * outputs);
        relu_backward::<f32>(values(&y), values(&dy), &mut masked);
        dy = tensor(masked, &[rows, outputs]);
    }
    let dbias = wants_bias.then(|| {
        let mut dbias = room(outputs);
        column_sums::<f32>(outputs, values(&dy), &mut dbias);
        tensor(dbias, &[outputs])
    });
    with_element!(x, T => {
        let dy = in_format(format(&x), dy);
        let dy = values::<T>(&dy);
        let dweight = wants_weight.then(|| {
            let mut dweight = room(outputs * inputs);
            dense_weight_gradient(values::<T>(&x), dy, [inputs, outputs], &mut dweight);
            tensor(dweight, &[outputs, inputs])
        });
        let dx = wants_x.then(|| {
            let mut dx = room(rows * inputs);
            dense_input_gradient(dy, values(&weight), [inputs, outputs], &mut dx);
            tensor(dx, &[rows, inputs])
        });
        [dx, dweight, dbias]
    })
}
