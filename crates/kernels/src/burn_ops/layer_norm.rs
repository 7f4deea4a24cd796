use burn::{
    backend::{Backend, Dispatch, Flex, backend_extension, tensor::FloatTensor},
    tensor::Tensor,
};
use burn_autodiff::{Autodiff, checkpoint::strategy::CheckpointStrategy};
use burn_flex::FlexTensor;

use super::{
    flex::{contiguous, room, shape, tensor, values},
    tape::{Tracked, record},
};
use crate::layer_norm_backward;

/// Each row of `x` `[rows, features]` as `(x - mean) / √(variance + epsilon) gamma + beta` with its own mean and biased
/// variance; `gamma` and `beta` are `[features]`, all are `f32`.
///
/// # Panics
/// The shapes do not fit each other.
pub fn layer_norm(x: Tensor<2>, gamma: Tensor<1>, beta: Tensor<1>, epsilon: f32) -> Tensor<2> {
    let y = Dispatch::layer_norm(
        x.into_dispatch(),
        gamma.into_dispatch(),
        beta.into_dispatch(),
        epsilon,
    );
    Tensor::from_dispatch(y)
}

#[backend_extension(Flex, Autodiff)]
trait LayerNormOp: Backend {
    fn layer_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f32,
    ) -> FloatTensor<Self>;
}

impl LayerNormOp for Flex {
    fn layer_norm(x: FlexTensor, gamma: FlexTensor, beta: FlexTensor, epsilon: f32) -> FlexTensor {
        normalize(contiguous(x), &contiguous(gamma), beta, epsilon).0
    }
}

impl<C: CheckpointStrategy> LayerNormOp for Autodiff<Flex, C> {
    fn layer_norm(x: Tracked<C>, gamma: Tracked<C>, beta: Tracked<C>, epsilon: f32) -> Tracked<C> {
        let ((x, x_node), (gamma, gamma_node), (beta, beta_node)) =
            (x.into_parts(), gamma.into_parts(), beta.into_parts());
        let (x, gamma) = (contiguous(x), contiguous(gamma));
        let (y, mean, rstd) = normalize(x.clone(), &gamma, beta, epsilon);
        record::<C, _, 3>(
            [x_node, gamma_node, beta_node],
            y,
            || (x, gamma, mean, rstd),
            gradients,
        )
    }
}

/// What comes out, and of each row the mean and `1 / √(variance + epsilon)`.
fn normalize(
    x: FlexTensor,
    gamma: &FlexTensor,
    beta: FlexTensor,
    epsilon: f32,
) -> (FlexTensor, Vec<f32>, Vec<f32>) {
    let beta = contiguous(beta);
    let [rows, width] = shape(&x);
    let mut y = room::<f32>(rows * width);
    let (mut mean, mut rstd) = (room(rows), room(rows));
    crate::layer_norm(
        width,
        epsilon,
        values(&x),
        values(gamma),
        values(&beta),
        &mut y,
        &mut mean,
        &mut rstd,
    );
    (tensor(y, &[rows, width]), mean, rstd)
}

fn gradients(
    (x, gamma, mean, rstd): (FlexTensor, FlexTensor, Vec<f32>, Vec<f32>),
    dy: FlexTensor,
    _: [bool; 3],
) -> [Option<FlexTensor>; 3] {
    let dy = contiguous(dy);
    let [rows, width] = shape(&x);
    let mut dx = room::<f32>(rows * width);
    let (mut dgamma, mut dbeta) = (room(width), room(width));
    layer_norm_backward(
        width,
        values(&x),
        values(&dy),
        values(&gamma),
        &mean,
        &rstd,
        &mut dx,
        &mut dgamma,
        &mut dbeta,
    );
    [
        Some(tensor(dx, &[rows, width])),
        Some(tensor(dgamma, &[width])),
        Some(tensor(dbeta, &[width])),
    ]
}
