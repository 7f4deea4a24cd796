use burn::{
    backend::{Backend, Dispatch, Flex, backend_extension, tensor::FloatTensor},
    tensor::Tensor,
};
use burn_autodiff::{Autodiff, checkpoint::strategy::CheckpointStrategy};
use burn_flex::FlexTensor;

use super::{
    flex::{contiguous, dims, format, in_format, room, tensor, values, with_element},
    tape::{Tracked, record},
};
use crate::{add_relu, relu_backward};

/// `max(0, x)`.
pub fn relu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    Tensor::from_dispatch(Dispatch::relu_of(x.into_dispatch()))
}

/// `a + b`, or `max(0, a + b)` with `relu`.
///
/// # Panics
/// The shapes or formats differ.
pub fn add<const D: usize>(a: Tensor<D>, b: Tensor<D>, relu: bool) -> Tensor<D> {
    assert_eq!(a.dims(), b.dims(), "equal shapes");
    let sum = Dispatch::sum_of(a.into_dispatch(), b.into_dispatch(), relu);
    Tensor::from_dispatch(sum)
}

#[backend_extension(Flex, Autodiff)]
trait ReluOps: Backend {
    fn relu_of(x: FloatTensor<Self>) -> FloatTensor<Self>;

    fn sum_of(a: FloatTensor<Self>, b: FloatTensor<Self>, relu: bool) -> FloatTensor<Self>;
}

impl ReluOps for Flex {
    fn relu_of(x: FlexTensor) -> FlexTensor {
        let x = contiguous(x);
        with_element!(x, T => {
            let x_values = values::<T>(&x);
            let mut y = room::<T>(x_values.len());
            crate::relu(x_values, &mut y);
            tensor(y, &dims(&x))
        })
    }

    fn sum_of(a: FlexTensor, b: FlexTensor, relu: bool) -> FlexTensor {
        let (a, b) = (contiguous(a), contiguous(b));
        with_element!(a, T => {
            let a_values = values::<T>(&a);
            let mut y = room::<T>(a_values.len());
            add_relu(a_values, values::<T>(&b), relu, &mut y);
            tensor(y, &dims(&a))
        })
    }
}

impl<C: CheckpointStrategy> ReluOps for Autodiff<Flex, C> {
    fn relu_of(x: Tracked<C>) -> Tracked<C> {
        let (x, node) = x.into_parts();
        let y = Flex::relu_of(x);
        let kept = y.clone();
        record::<C, _, 1>([node], y, || kept, |y, dy, _| [Some(masked(y, dy))])
    }

    fn sum_of(a: Tracked<C>, b: Tracked<C>, relu: bool) -> Tracked<C> {
        let ((a, a_node), (b, b_node)) = (a.into_parts(), b.into_parts());
        let format = format(&a);
        let y = Flex::sum_of(a, b, relu);
        let kept = relu.then(|| y.clone());
        record::<C, _, 2>(
            [a_node, b_node],
            y,
            || (kept, format),
            |(y, format), dy, _| {
                let gradient = match y {
                    Some(y) => masked(y, dy),
                    None => in_format(format, dy),
                };
                [Some(gradient.clone()), Some(gradient)]
            },
        )
    }
}

/// `dy` where `y` is positive, 0 elsewhere.
fn masked(y: FlexTensor, dy: FlexTensor) -> FlexTensor {
    let dy = in_format(format(&y), dy);
    let y = contiguous(y);
    with_element!(y, T => {
        let y_values = values::<T>(&y);
        let mut dx = room::<T>(y_values.len());
        relu_backward(y_values, values::<T>(&dy), &mut dx);
        tensor(dx, &dims(&y))
    })
}
