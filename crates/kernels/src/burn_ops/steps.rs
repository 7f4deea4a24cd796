use burn::{
    backend::{Backend, Dispatch, Flex, backend_extension, tensor::FloatTensor},
    tensor::Tensor,
};
use burn_flex::FlexTensor;

use super::flex::{contiguous, values};
use crate::{AdamStep, SgdStep};

/// Steps a weight by SGD; gives the new weight and velocity.
pub fn sgd<const D: usize>(
    weight: Tensor<D>,
    gradient: Tensor<D>,
    velocity: Tensor<D>,
    step: SgdStep,
) -> (Tensor<D>, Tensor<D>) {
    let (weight, velocity) = Dispatch::sgd(
        weight.into_dispatch(),
        gradient.into_dispatch(),
        velocity.into_dispatch(),
        step,
    );
    (
        Tensor::from_dispatch(weight),
        Tensor::from_dispatch(velocity),
    )
}

/// Steps a weight by Adam; gives the new weight and moments.
pub fn adam<const D: usize>(
    weight: Tensor<D>,
    gradient: Tensor<D>,
    moments: (Tensor<D>, Tensor<D>),
    step: AdamStep,
) -> (Tensor<D>, (Tensor<D>, Tensor<D>)) {
    let (weight, moment1, moment2) = Dispatch::adam(
        weight.into_dispatch(),
        gradient.into_dispatch(),
        moments.0.into_dispatch(),
        moments.1.into_dispatch(),
        step,
    );
    (
        Tensor::from_dispatch(weight),
        (
            Tensor::from_dispatch(moment1),
            Tensor::from_dispatch(moment2),
        ),
    )
}

/// What an optimizer needs; never on the tape.
#[backend_extension(Flex)]
trait StepOps: Backend {
    fn sgd(
        weight: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        velocity: FloatTensor<Self>,
        step: SgdStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    fn adam(
        weight: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        moment1: FloatTensor<Self>,
        moment2: FloatTensor<Self>,
        step: AdamStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

impl StepOps for Flex {
    fn sgd(
        mut weight: FlexTensor,
        gradient: FlexTensor,
        mut velocity: FlexTensor,
        step: SgdStep,
    ) -> (FlexTensor, FlexTensor) {
        let gradient = contiguous(gradient);
        crate::sgd(
            weight.storage_mut(),
            values(&gradient),
            velocity.storage_mut(),
            step,
        );
        (weight, velocity)
    }

    fn adam(
        mut weight: FlexTensor,
        gradient: FlexTensor,
        mut moment1: FlexTensor,
        mut moment2: FlexTensor,
        step: AdamStep,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        let gradient = contiguous(gradient);
        crate::adam(
            weight.storage_mut(),
            values(&gradient),
            moment1.storage_mut(),
            moment2.storage_mut(),
            step,
        );
        (weight, moment1, moment2)
    }
}
