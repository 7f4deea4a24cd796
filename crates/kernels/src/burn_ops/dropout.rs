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

/// Leaves numbers out with probability `rate`, as `seed` decides; see [`crate::dropout`].
///
/// # Panics
/// `rate` is not at least 0 and less than 1.
pub fn dropout<const D: usize>(x: Tensor<D>, seed: u64, rate: f64) -> Tensor<D> {
    Tensor::from_dispatch(Dispatch::left_out(x.into_dispatch(), seed, rate))
}

#[backend_extension(Flex, Autodiff)]
trait DropoutOps: Backend {
    fn left_out(x: FloatTensor<Self>, seed: u64, rate: f64) -> FloatTensor<Self>;
}

impl DropoutOps for Flex {
    fn left_out(x: FlexTensor, seed: u64, rate: f64) -> FlexTensor {
        let x = contiguous(x);
        with_element!(x, T => {
            let x_values = values::<T>(&x);
            let mut y = room::<T>(x_values.len());
            crate::dropout(seed, rate, x_values, &mut y);
            tensor(y, &dims(&x))
        })
    }
}

impl<C: CheckpointStrategy> DropoutOps for Autodiff<Flex, C> {
    fn left_out(x: Tracked<C>, seed: u64, rate: f64) -> Tracked<C> {
        let (x, node) = x.into_parts();
        let kept = (format(&x), seed, rate);
        let y = Flex::left_out(x, seed, rate);
        record::<C, _, 1>(
            [node],
            y,
            || kept,
            |(format, seed, rate), dy, _| [Some(Flex::left_out(in_format(format, dy), seed, rate))],
        )
    }
}
