use burn::{
    backend::{Backend, Dispatch, Flex, backend_extension, tensor::FloatTensor},
    tensor::Tensor,
};
use burn_autodiff::{Autodiff, checkpoint::strategy::CheckpointStrategy};
use burn_flex::FlexTensor;

use super::{
    flex::{contiguous, dims, shape, tensor, values},
    tape::{Tracked, record},
};

/// Mean softmax cross-entropy of `logits` `[rows, classes]` against shares of classes for each row, as `[1]`; see
/// [`crate::cross_entropy`].
pub fn cross_entropy(logits: Tensor<2>, targets: &[f32]) -> Tensor<1> {
    let loss = Dispatch::cross_entropy(logits.into_dispatch(), targets.to_vec());
    Tensor::from_dispatch(loss)
}

#[backend_extension(Flex, Autodiff)]
trait CrossEntropyOp: Backend {
    fn cross_entropy(logits: FloatTensor<Self>, targets: Vec<f32>) -> FloatTensor<Self>;
}

impl CrossEntropyOp for Flex {
    fn cross_entropy(logits: FlexTensor, targets: Vec<f32>) -> FlexTensor {
        loss_and_gradient(logits, &targets).0
    }
}

impl<C: CheckpointStrategy> CrossEntropyOp for Autodiff<Flex, C> {
    fn cross_entropy(logits: Tracked<C>, targets: Vec<f32>) -> Tracked<C> {
        let (logits, node) = logits.into_parts();
        let (loss, gradient) = loss_and_gradient(logits, &targets);
        record::<C, _, 1>(
            [node],
            loss,
            || gradient,
            |gradient, dloss, _| {
                let factor = values::<f32>(&contiguous(dloss))[0];
                let scaled = values::<f32>(&gradient).iter().map(|value| value * factor);
                [Some(tensor(scaled.collect(), &dims(&gradient)))]
            },
        )
    }
}

/// The mean loss as `[1]`, and its gradient with respect to the logits.
fn loss_and_gradient(logits: FlexTensor, targets: &[f32]) -> (FlexTensor, FlexTensor) {
    let logits = contiguous(logits);
    let [rows, classes] = shape(&logits);
    let mut gradient = vec![0.0; rows * classes];
    let loss = crate::cross_entropy(values(&logits), targets, classes, &mut gradient);
    (
        tensor(vec![loss.mean() as f32], &[1]),
        tensor(gradient, &[rows, classes]),
    )
}
