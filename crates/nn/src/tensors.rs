//! Named tensors of `f32` as safetensors files.

use std::collections::{BTreeMap, HashMap};

use safetensors::{Dtype, SafeTensorError, SafeTensors, tensor::TensorView};

use crate::WeightTensor;

/// Tensors by name.
pub type Tensors = BTreeMap<String, WeightTensor>;
/// What goes with the tensors of a file, by name.
pub type Texts = HashMap<String, String>;

/// A file that does not hold tensors of `f32`.
#[derive(Debug, thiserror::Error)]
pub enum TensorsError {
    /// The bytes are no safetensors file.
    #[error(transparent)]
    Form(#[from] SafeTensorError),
    /// A tensor is of another type.
    #[error("{0}")]
    Type(String),
}

/// The tensors of a file by name, and the text that goes with them.
///
/// # Errors
/// The bytes are no safetensors file, or a tensor is not `F32`.
pub fn read(bytes: &[u8]) -> Result<(Tensors, Texts), TensorsError> {
    let (header, metadata) = SafeTensors::read_metadata(bytes)?;
    // The length of the header stands before it; reading it checked that the tensors lie in what follows.
    let data = &bytes[size_of::<u64>() + header..];
    let mut tensors = Tensors::new();
    for (name, info) in metadata.tensors() {
        if info.dtype != Dtype::F32 {
            let name = name.escape_debug();
            let problem = format!("tensor `{name}`: expected F32, found {:?}", info.dtype);
            return Err(TensorsError::Type(problem));
        }
        let (words, _) = data[info.data_offsets.0..info.data_offsets.1].as_chunks();
        let values = words.iter().map(|word| f32::from_le_bytes(*word)).collect();
        let shape = info.shape.clone();
        tensors.insert(name, WeightTensor { shape, values });
    }
    Ok((tensors, metadata.metadata().clone().unwrap_or_default()))
}

/// A file of tensors, and a text by name that goes with them. Equal tensors and texts give equal bytes, as long as there
/// is at most one text.
///
/// # Panics
/// Two tensors have one name, or a tensor has not as many values as its shape says.
pub fn write<N: AsRef<str> + Ord + std::fmt::Display>(
    tensors: impl IntoIterator<Item = (N, impl AsRef<WeightTensor>)>,
    texts: Option<Texts>,
) -> Vec<u8> {
    let parts: Vec<(N, Vec<usize>, Vec<u8>)> = tensors
        .into_iter()
        .map(|(name, tensor)| {
            let tensor = tensor.as_ref();
            let bytes = tensor.values.iter().flat_map(|value| value.to_le_bytes());
            (name, tensor.shape.clone(), bytes.collect())
        })
        .collect();
    let views = parts.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes);
        (name, view.expect("as many values as the shape says"))
    });
    safetensors::serialize(views, texts).expect("names are unique and short")
}
