//! How an operation gets onto the tape of Burn's automatic differentiation.

use burn::backend::{Flex, tensor::FloatTensor};
use burn_autodiff::{
    Autodiff,
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, NodeGuard, Ops, OpsKind},
};
use burn_flex::FlexTensor;

/// Tensors on the tape.
pub(super) type Tracked<C> = FloatTensor<Autodiff<Flex, C>>;

/// The gradients of what went in, from the state that was kept and the gradient of what came out. The flags say which are
/// wanted; the others may be nothing.
///
/// Gradients are not themselves differentiable: nothing of this project needs second derivatives.
pub(super) type Gradient<S, const N: usize> =
    fn(S, FlexTensor, [bool; N]) -> [Option<FlexTensor>; N];

#[derive(Debug)]
struct Step<S, const N: usize>(Gradient<S, N>);

impl<S: Clone + Send + std::fmt::Debug + 'static, const N: usize> Backward<Flex, N> for Step<S, N> {
    type State = S;

    fn backward(self, ops: Ops<S, N>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let output = gradients.consume::<Flex>(&ops.node);
        let wanted = ops.parents.each_ref().map(Option::is_some);
        let found = (self.0)(ops.state, output, wanted);
        for (node, gradient) in ops.parents.into_iter().zip(found) {
            if let (Some(node), Some(gradient)) = (node, gradient) {
                gradients.register::<Flex>(node.id, gradient);
            }
        }
    }
}

/// Puts `output` on the tape, if one of `inputs` is there. `state` is then kept until the gradient is asked for.
pub(super) fn record<C: CheckpointStrategy, S, const N: usize>(
    inputs: [NodeGuard; N],
    output: FlexTensor,
    state: impl FnOnce() -> S,
    gradient: Gradient<S, N>,
) -> Tracked<C>
where
    S: Clone + Send + std::fmt::Debug + 'static,
{
    match Step(gradient)
        .prepare::<C>(inputs)
        .compute_bound()
        .stateful()
    {
        OpsKind::Tracked(step) => step.finish(state(), output),
        OpsKind::UnTracked(step) => step.finish(output),
    }
}
