use burn::{
    backend::{AutodiffBackend, Backend, Dispatch, Flex, backend_extension, tensor::FloatTensor},
    tensor::Tensor,
};
use burn_autodiff::{Autodiff, checkpoint::strategy::CheckpointStrategy};
use burn_flex::FlexTensor;

use super::{
    flex::{contiguous, dims, format, in_format, nothing, room, tensor, values, with_element},
    tape::{Tracked, record},
};
use crate::{
    BatchNormSettings, batch_norm_eval, batch_norm_eval_backward, batch_norm_train,
    batch_norm_train_backward,
};

/// Maps normalized by their own statistics.
#[derive(Clone, Debug)]
pub struct Normalized {
    /// The maps.
    pub y: Tensor<4>,
    /// Mean of each channel, not differentiable.
    pub mean: Tensor<1>,
    /// Biased variance of each channel, not differentiable.
    pub variance: Tensor<1>,
}

/// `act((x - mean) / √(variance + epsilon) gamma + beta + residual)` with the mean and the biased variance of each channel
/// of `x` itself. `act` is ReLU where the settings say so; `gamma` and `beta` are `[channels]`.
///
/// # Panics
/// The shapes do not fit each other, or `residual` is in another format than `x`.
pub fn batch_norm(
    x: Tensor<4>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    residual: Option<Tensor<4>>,
    settings: BatchNormSettings,
) -> Normalized {
    let has_residual = residual.is_some();
    let beta = beta.into_dispatch();
    // Where there is no residual, any tensor can stand for it.
    let residual = residual.map_or_else(|| beta.clone(), Tensor::into_dispatch);
    let (y, mean, variance) = Dispatch::batch_norm(
        x.into_dispatch(),
        gamma.into_dispatch(),
        beta,
        residual,
        has_residual,
        settings,
    );
    Normalized {
        y: Tensor::from_dispatch(y),
        mean: Tensor::from_dispatch(mean),
        variance: Tensor::from_dispatch(variance),
    }
}

/// As [`batch_norm`], with statistics that are given and count as constants.
///
/// # Panics
/// As [`batch_norm`].
pub fn batch_norm_with(
    x: Tensor<4>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    [mean, variance]: [Tensor<1>; 2],
    residual: Option<Tensor<4>>,
    settings: BatchNormSettings,
) -> Tensor<4> {
    let has_residual = residual.is_some();
    let beta = beta.into_dispatch();
    let residual = residual.map_or_else(|| beta.clone(), Tensor::into_dispatch);
    let y = Dispatch::batch_norm_with(
        x.into_dispatch(),
        gamma.into_dispatch(),
        beta,
        mean.into_dispatch(),
        variance.into_dispatch(),
        residual,
        has_residual,
        settings,
    );
    Tensor::from_dispatch(y)
}

#[backend_extension(Flex, Autodiff)]
#[allow(clippy::too_many_arguments)]
trait BatchNormOps: Backend {
    /// `y`, mean and variance; `residual` is not looked at unless `has_residual`.
    fn batch_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        has_residual: bool,
        settings: BatchNormSettings,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    /// `residual` is not looked at unless `has_residual`.
    fn batch_norm_with(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        has_residual: bool,
        settings: BatchNormSettings,
    ) -> FloatTensor<Self>;
}

impl BatchNormOps for Flex {
    fn batch_norm(
        x: FlexTensor,
        gamma: FlexTensor,
        beta: FlexTensor,
        residual: FlexTensor,
        has_residual: bool,
        settings: BatchNormSettings,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        let (x, gamma, beta) = (contiguous(x), contiguous(gamma), contiguous(beta));
        let residual = has_residual.then(|| contiguous(residual));
        let channels = settings.channels;
        let (mut mean, mut variance) = (room(channels), room(channels));
        let y = with_element!(x, T => {
            let x_values = values::<T>(&x);
            let mut y = room::<T>(x_values.len());
            batch_norm_train(
                settings,
                x_values,
                values(&gamma),
                values(&beta),
                residual.as_ref().map(values),
                &mut y,
                &mut mean,
                &mut variance,
            );
            tensor(y, &dims(&x))
        });
        (y, tensor(mean, &[channels]), tensor(variance, &[channels]))
    }

    fn batch_norm_with(
        x: FlexTensor,
        gamma: FlexTensor,
        beta: FlexTensor,
        mean: FlexTensor,
        variance: FlexTensor,
        residual: FlexTensor,
        has_residual: bool,
        settings: BatchNormSettings,
    ) -> FlexTensor {
        let (x, gamma, beta) = (contiguous(x), contiguous(gamma), contiguous(beta));
        let (mean, variance) = (contiguous(mean), contiguous(variance));
        let residual = has_residual.then(|| contiguous(residual));
        with_element!(x, T => {
            let x_values = values::<T>(&x);
            let mut y = room::<T>(x_values.len());
            batch_norm_eval(
                settings,
                x_values,
                values(&gamma),
                values(&beta),
                values(&mean),
                values(&variance),
                residual.as_ref().map(values),
                &mut y,
            );
            tensor(y, &dims(&x))
        })
    }
}

/// What the gradient needs.
#[derive(Clone, Debug)]
struct Kept {
    x: FlexTensor,
    /// What came out, where a ReLU was in it.
    y: Option<FlexTensor>,
    gamma: FlexTensor,
    mean: FlexTensor,
    variance: FlexTensor,
    settings: BatchNormSettings,
    /// Whether the statistics are those of `x` itself.
    own_statistics: bool,
}

impl<C: CheckpointStrategy> BatchNormOps for Autodiff<Flex, C> {
    fn batch_norm(
        x: Tracked<C>,
        gamma: Tracked<C>,
        beta: Tracked<C>,
        residual: Tracked<C>,
        has_residual: bool,
        settings: BatchNormSettings,
    ) -> (Tracked<C>, Tracked<C>, Tracked<C>) {
        let ((x, x_node), (gamma, gamma_node)) = (x.into_parts(), gamma.into_parts());
        let ((beta, beta_node), (residual, residual_node)) =
            (beta.into_parts(), residual.into_parts());
        let (y, mean, variance) = Flex::batch_norm(
            x.clone(),
            gamma.clone(),
            beta,
            residual,
            has_residual,
            settings,
        );
        let statistics = (mean.clone(), variance.clone());
        let kept = settings.relu.then(|| y.clone());
        let state = || {
            let (mean, variance) = statistics;
            Kept {
                x,
                y: kept,
                gamma,
                mean,
                variance,
                settings,
                own_statistics: true,
            }
        };
        let y = if has_residual {
            let nodes = [x_node, gamma_node, beta_node, residual_node];
            record::<C, _, 4>(nodes, y, state, gradients)
        } else {
            record::<C, _, 3>([x_node, gamma_node, beta_node], y, state, own_gradients)
        };
        (y, Self::from_inner(mean), Self::from_inner(variance))
    }

    fn batch_norm_with(
        x: Tracked<C>,
        gamma: Tracked<C>,
        beta: Tracked<C>,
        mean: Tracked<C>,
        variance: Tracked<C>,
        residual: Tracked<C>,
        has_residual: bool,
        settings: BatchNormSettings,
    ) -> Tracked<C> {
        let ((x, x_node), (gamma, gamma_node)) = (x.into_parts(), gamma.into_parts());
        let ((beta, beta_node), (residual, residual_node)) =
            (beta.into_parts(), residual.into_parts());
        let (mean, variance) = (mean.into_primitive(), variance.into_primitive());
        let y = Flex::batch_norm_with(
            x.clone(),
            gamma.clone(),
            beta,
            mean.clone(),
            variance.clone(),
            residual,
            has_residual,
            settings,
        );
        let kept = settings.relu.then(|| y.clone());
        let state = || Kept {
            x,
            y: kept,
            gamma,
            mean,
            variance,
            settings,
            own_statistics: false,
        };
        if has_residual {
            let nodes = [x_node, gamma_node, beta_node, residual_node];
            record::<C, _, 4>(nodes, y, state, gradients)
        } else {
            record::<C, _, 3>([x_node, gamma_node, beta_node], y, state, own_gradients)
        }
    }
}

/// The gradients of `x`, `gamma` and `beta`, where there is no residual.
fn own_gradients(
    kept: Kept,
    dy: FlexTensor,
    [wants_x, wants_gamma, wants_beta]: [bool; 3],
) -> [Option<FlexTensor>; 3] {
    let wanted = [wants_x, wants_gamma, wants_beta, false];
    let [dx, dgamma, dbeta, _] = gradients(kept, dy, wanted);
    [dx, dgamma, dbeta]
}

/// The gradients of `x`, `gamma`, `beta` and the residual.
fn gradients(
    kept: Kept,
    dy: FlexTensor,
    [.., wants_residual]: [bool; 4],
) -> [Option<FlexTensor>; 4] {
    let settings = kept.settings;
    let dy = in_format(format(&kept.x), dy);
    let (x, gamma) = (contiguous(kept.x), contiguous(kept.gamma));
    let y = kept.y.map_or_else(nothing, contiguous);
    let (mean, variance) = (contiguous(kept.mean), contiguous(kept.variance));
    let channels = settings.channels;
    let (mut dgamma, mut dbeta) = (room(channels), room(channels));
    with_element!(x, T => {
        let x_values = values::<T>(&x);
        let mut dx = room::<T>(x_values.len());
        // Without a ReLU the residual's gradient is `dy` itself.
        let mut masked = (wants_residual && settings.relu).then(|| room::<T>(x_values.len()));
        let backward = if kept.own_statistics {
            batch_norm_train_backward
        } else {
            batch_norm_eval_backward
        };
        backward(
            settings,
            x_values,
            if settings.relu { values::<T>(&y) } else { &[] },
            values::<T>(&dy),
            values(&gamma),
            values(&mean),
            values(&variance),
            &mut dx,
            masked.as_deref_mut(),
            &mut dgamma,
            &mut dbeta,
        );
        let shape = dims(&x);
        let dresidual = masked.map_or_else(|| dy.clone(), |masked| tensor(masked, &shape));
        [
            Some(tensor(dx, &shape)),
            Some(tensor(dgamma, &[channels])),
            Some(tensor(dbeta, &[channels])),
            wants_residual.then_some(dresidual),
        ]
    })
}
