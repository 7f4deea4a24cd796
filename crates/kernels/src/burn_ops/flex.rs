//! Tensors of Burn's CPU backend as slices, and back.

use burn::tensor::{DType, TensorData};
use burn_flex::FlexTensor;

use crate::{Element, Format, bf16, convert};

/// Runs `$body` with `$element` standing for the type of the numbers in `$tensor`.
macro_rules! with_element {
    ($tensor:expr, $element:ident => $body:expr) => {
        match $crate::burn_ops::flex::format(&$tensor) {
            $crate::Format::F32 => {
                type $element = f32;
                $body
            }
            $crate::Format::Bf16 => {
                type $element = $crate::bf16;
                $body
            }
        }
    };
}
pub(super) use with_element;

/// A number of a kernel as Burn knows it, too.
pub(super) trait FlexElement: Element + burn::tensor::Element + bytemuck::Pod {}
impl FlexElement for f32 {}
impl FlexElement for bf16 {}

pub(super) fn format(tensor: &FlexTensor) -> Format {
    match tensor.dtype() {
        DType::F32 => Format::F32,
        DType::BF16 => Format::Bf16,
        other => panic!("an operation on f32 or bf16, not on {other:?}"),
    }
}

/// The same numbers, next to each other.
pub(super) fn contiguous(tensor: FlexTensor) -> FlexTensor {
    if tensor.is_contiguous() {
        tensor
    } else {
        tensor.to_contiguous()
    }
}

/// The same numbers in another format, next to each other.
pub(super) fn in_format(wanted: Format, tensor: FlexTensor) -> FlexTensor {
    let tensor = contiguous(tensor);
    match (format(&tensor), wanted) {
        (Format::F32, Format::Bf16) => converted::<f32, bf16>(&tensor),
        (Format::Bf16, Format::F32) => converted::<bf16, f32>(&tensor),
        _ => tensor,
    }
}

fn converted<A: FlexElement, B: FlexElement>(from: &FlexTensor) -> FlexTensor {
    let mut to = room::<B>(values::<A>(from).len());
    convert(values::<A>(from), &mut to);
    tensor(to, &dims(from))
}

/// The numbers of a contiguous tensor.
pub(super) fn values<T: FlexElement>(tensor: &FlexTensor) -> &[T] {
    tensor
        .as_slice()
        .expect("a contiguous tensor of the expected format")
}

pub(super) fn dims(tensor: &FlexTensor) -> Vec<usize> {
    tensor.layout().shape().to_vec()
}

pub(super) fn shape<const D: usize>(tensor: &FlexTensor) -> [usize; D] {
    dims(tensor)
        .try_into()
        .expect("the operation's number of dimensions")
}

/// Room for what an operation computes, with whatever is in the memory: writing zeros first would take as long as many
/// operations do.
pub(super) fn room<T: FlexElement>(count: usize) -> Vec<T> {
    let mut values = Vec::with_capacity(count);
    // SAFETY: the memory is there, and every pattern of bits is a number (`Pod`). It goes to a kernel, which writes every
    // element and reads none before; the kernels' tests see to that with buffers of NaN.
    #[allow(clippy::uninit_vec)]
    unsafe {
        values.set_len(count);
    }
    values
}

pub(super) fn tensor<T: FlexElement>(values: Vec<T>, shape: &[usize]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape.to_vec()))
}

/// What stands in a tuple of tensors where there is none.
pub(super) fn nothing() -> FlexTensor {
    tensor(vec![0.0_f32], &[1])
}
