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
use crate::{Gelu, gelu_backward};

/// `x P(x)`, where `P` is the normal distribution.
pub fn gelu<const D: usize>(x: Tensor<D>, kind: Gelu) -> Tensor<D> {
    Tensor::from_dispatch(Dispatch::gelu_of(x.into_dispatch(), kind))
}

#[backend_extension(Flex, Autodiff)]
trait GeluOps: Backend {
    fn gelu_of(x: FloatTensor<Self>, kind: Gelu) -> FloatTensor<Self>;
}

impl GeluOps for Flex {
    fn gelu_of(x: FlexTensor, kind: Gelu) -> FlexTensor {
        let x = contiguous(x);
        with_element!(x, T => {
            let x_values = values::<T>(&x);
            let mut y = room::<T>(x_values.len());
            crate::gelu(kind, x_values, &mut y);
            tensor(y, &dims(&x))
        })
    }
}

impl<C: CheckpointStrategy> GeluOps for Autodiff<Flex, C> {
    fn gelu_of(x: Tracked<C>, kind: Gelu) -> Tracked<C> {
        let (x, node) = x.into_parts();
        let kept = x.clone();
        let y = Flex::gelu_of(x, kind);
        record::<C, _, 1>(
            [node],
            y,
            || (kept, kind),
            |(x, kind), dy, _| [Some(gradient(x, kind, dy))],
        )
    }
}

fn gradient(x: FlexTensor, kind: Gelu, dy: FlexTensor) -> FlexTensor {
    let dy = in_format(format(&x), dy);
    let x = contiguous(x);
    with_element!(x, T => {
        let x_values = values::<T>(&x);
        let mut dx = room::<T>(x_values.len());
        gelu_backward(kind, x_values, values::<T>(&dy), &mut dx);
        tensor(dx, &dims(&x))
    })
}
