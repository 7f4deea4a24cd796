//! The kernels as operations of Burn's CPU backend, with handwritten gradients.
//!
//! [`dense`] and [`cross_entropy`] are differentiable once; [`sgd`] and [`adam`] step weights in place when nobody else
//! holds them. Tensors are `f32`.

use burn::{
    backend::{AutodiffBackend, Backend, Dispatch, Flex, backend_extension, tensor::FloatTensor},
    tensor::{Tensor, TensorData},
};
use burn_autodiff::{
    Autodiff,
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};
use burn_flex::FlexTensor;

use crate::{AdamStep, Matrix, MatrixMut, SgdStep, isa::for_each_isa, isa::isa, matmul};

/// `activation(x weight' + bias)` with `x` `[rows, inputs]`, `weight` `[outputs, inputs]`, `bias` `[outputs]`; the
/// activation is ReLU or none.
pub fn dense(x: Tensor<2>, weight: Tensor<2>, bias: Tensor<1>, relu: bool) -> Tensor<2> {
    let y = Dispatch::dense(
        x.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
        relu,
    );
    Tensor::from_dispatch(y)
}

/// Mean softmax cross-entropy of `logits` `[rows, classes]` against a class for each row, as `[1]`.
pub fn cross_entropy(logits: Tensor<2>, targets: &[u32]) -> Tensor<1> {
    let (loss, _) = Dispatch::cross_entropy(logits.into_dispatch(), targets.to_vec());
    Tensor::from_dispatch(loss)
}

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

/// What a network needs to learn.
#[backend_extension(Flex, Autodiff)]
trait LearnOps: Backend {
    fn dense(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        relu: bool,
    ) -> FloatTensor<Self>;

    /// Gradients of `x` (a dummy of one element unless `wants_x`), `weight` and `bias`.
    fn dense_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        y: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        relu: bool,
        wants_x: bool,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    /// The mean loss as `[1]`, and its gradient with respect to the logits.
    fn cross_entropy(
        logits: FloatTensor<Self>,
        targets: Vec<u32>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
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

impl LearnOps for Flex {
    fn dense(x: FlexTensor, weight: FlexTensor, bias: FlexTensor, relu: bool) -> FlexTensor {
        let (x, weight, bias) = (contiguous(x), contiguous(weight), contiguous(bias));
        let ([rows, inputs], [outputs, _]) = (shape(&x), shape(&weight));
        let bias = values(&bias);
        let mut y = Vec::with_capacity(rows * outputs);
        for _ in 0..rows {
            y.extend_from_slice(bias);
        }
        let left = Matrix::new(values(&x), rows, inputs);
        let right = Matrix::new(values(&weight), outputs, inputs).transposed();
        matmul(MatrixMut::new(&mut y, rows, outputs), left, right, true);
        if relu {
            clamp_at_zero(isa(), &mut y);
        }
        tensor(y, &[rows, outputs])
    }

    fn dense_backward(
        x: FlexTensor,
        weight: FlexTensor,
        y: FlexTensor,
        dy: FlexTensor,
        relu: bool,
        wants_x: bool,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        let (x, weight) = (contiguous(x), contiguous(weight));
        let ([rows, inputs], [outputs, _]) = (shape(&x), shape(&weight));
        let dy = contiguous(dy);
        let masked;
        let mut dy: &[f32] = values(&dy);
        if relu {
            let mut gradient = dy.to_vec();
            keep_where_positive(isa(), &mut gradient, values(&contiguous(y)));
            masked = gradient;
            dy = &masked;
        }

        let mut dbias = vec![0.0; outputs];
        for row in dy.chunks_exact(outputs) {
            dbias
                .iter_mut()
                .zip(row)
                .for_each(|(sum, value)| *sum += value);
        }
        let mut dweight = vec![0.0; outputs * inputs];
        let dy = Matrix::new(dy, rows, outputs);
        let x = Matrix::new(values(&x), rows, inputs);
        matmul(
            MatrixMut::new(&mut dweight, outputs, inputs),
            dy.transposed(),
            x,
            false,
        );
        let dx = if wants_x {
            let mut dx = vec![0.0; rows * inputs];
            let weight = Matrix::new(values(&weight), outputs, inputs);
            matmul(MatrixMut::new(&mut dx, rows, inputs), dy, weight, false);
            tensor(dx, &[rows, inputs])
        } else {
            tensor(vec![0.0], &[1])
        };
        (
            dx,
            tensor(dweight, &[outputs, inputs]),
            tensor(dbias, &[outputs]),
        )
    }

    fn cross_entropy(logits: FlexTensor, targets: Vec<u32>) -> (FlexTensor, FlexTensor) {
        let logits = contiguous(logits);
        let [rows, classes] = shape(&logits);
        let mut gradient = vec![0.0; rows * classes];
        let total = crate::cross_entropy(values(&logits), &targets, &mut gradient);
        let mean = (total / rows as f64) as f32;
        (tensor(vec![mean], &[1]), tensor(gradient, &[rows, classes]))
    }
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

impl<B: Backend + LearnOps, C: CheckpointStrategy> LearnOps for Autodiff<B, C> {
    fn dense(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        relu: bool,
    ) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Dense;

        impl<B: Backend + LearnOps> Backward<B, 3> for Dense {
            type State = (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>, bool);

            fn backward(
                self,
                ops: Ops<Self::State, 3>,
                gradients: &mut Gradients,
                _: &mut Checkpointer,
            ) {
                let (x, weight, y, relu) = ops.state;
                let dy = gradients.consume::<B>(&ops.node);
                let [x_node, weight_node, bias_node] = ops.parents;
                let (dx, dweight, dbias) =
                    B::dense_backward(x, weight, y, dy, relu, x_node.is_some());
                let nodes = [(x_node, dx), (weight_node, dweight), (bias_node, dbias)];
                for (node, gradient) in nodes {
                    if let Some(node) = node {
                        gradients.register::<B>(node.id, gradient);
                    }
                }
            }
        }

        let nodes = [x.node(), weight.node(), bias.node()];
        let (x, weight, bias) = (
            x.into_primitive(),
            weight.into_primitive(),
            bias.into_primitive(),
        );
        let y = B::dense(x.clone(), weight.clone(), bias, relu);
        match Dense.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(step) => step.finish((x, weight, y.clone(), relu), y),
            OpsKind::UnTracked(step) => step.finish(y),
        }
    }

    fn dense_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        y: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        relu: bool,
        wants_x: bool,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        // Gradients are not themselves differentiable: nothing of this project needs second derivatives.
        let (x, weight) = (x.into_primitive(), weight.into_primitive());
        let (dx, dweight, dbias) = B::dense_backward(
            x,
            weight,
            y.into_primitive(),
            dy.into_primitive(),
            relu,
            wants_x,
        );
        (
            Self::from_inner(dx),
            Self::from_inner(dweight),
            Self::from_inner(dbias),
        )
    }

    fn cross_entropy(
        logits: FloatTensor<Self>,
        targets: Vec<u32>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        #[derive(Debug)]
        struct CrossEntropy;

        impl<B: Backend + LearnOps> Backward<B, 1> for CrossEntropy {
            type State = FloatTensor<B>;

            fn backward(
                self,
                ops: Ops<Self::State, 1>,
                gradients: &mut Gradients,
                _: &mut Checkpointer,
            ) {
                let dloss = gradients.consume::<B>(&ops.node);
                if let [Some(node)] = ops.parents {
                    let dloss = B::float_reshape(dloss, [1, 1].into());
                    gradients.register::<B>(node.id, B::float_mul(ops.state, dloss));
                }
            }
        }

        let node = logits.node();
        let (loss, gradient) = B::cross_entropy(logits.into_primitive(), targets);
        let loss = match CrossEntropy.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(step) => step.finish(gradient.clone(), loss),
            OpsKind::UnTracked(step) => step.finish(loss),
        };
        (loss, Self::from_inner(gradient))
    }
}

for_each_isa! {
    fn clamp_at_zero(values: &mut [f32]) {
        for value in values {
            *value = value.max(0.0);
        }
    }
}

for_each_isa! {
    fn keep_where_positive(gradient: &mut [f32], output: &[f32]) {
        for (gradient, output) in gradient.iter_mut().zip(output) {
            *gradient = if *output > 0.0 { *gradient } else { 0.0 };
        }
    }
}

fn contiguous(tensor: FlexTensor) -> FlexTensor {
    if tensor.is_contiguous() {
        tensor
    } else {
        tensor.to_contiguous()
    }
}

fn values(tensor: &FlexTensor) -> &[f32] {
    tensor.as_slice().expect("a contiguous tensor of f32")
}

fn shape<const D: usize>(tensor: &FlexTensor) -> [usize; D] {
    tensor
        .layout()
        .shape()
        .to_vec()
        .try_into()
        .expect("the operation's number of dimensions")
}

fn tensor(values: Vec<f32>, shape: &[usize]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape.to_vec()))
}
