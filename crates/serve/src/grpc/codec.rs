use std::marker::PhantomData;

use bytes::Buf;
use prost::{
    DecodeError, Message,
    encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field},
};
use tonic::{
    Status,
    codec::{DecodeBuf, Decoder, EncodeBuf, Encoder},
};

/// Reads and writes messages. One that cannot be read is the caller's fault, and so is one whose parts would take many times
/// its own bytes in memory.
#[derive(Debug)]
pub(crate) struct Codec<E, D>(PhantomData<(E, D)>);

/// A message that callers send.
pub(crate) trait Bounded {
    /// How often its fields may be there; others have one value, or are no longer in memory than in the message.
    const BOUNDS: &'static [Bound] = &[];
}

/// How often a field of a message may be there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    /// Its number.
    pub(crate) field: u32,
    pub(crate) name: &'static str,
    pub(crate) most: usize,
    /// The most bytes of a value.
    pub(crate) longest: usize,
    /// Bounds of its own fields, if it is a message.
    pub(crate) inner: &'static [Bound],
}

impl<E, D> Default for Codec<E, D> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<E, D> tonic::codec::Codec for Codec<E, D>
where
    E: Message + 'static,
    D: Message + Bounded + Default + 'static,
{
    type Encode = E;
    type Decode = D;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self::default()
    }

    fn decoder(&mut self) -> Self {
        Self::default()
    }
}

impl<E: Message, D> Encoder for Codec<E, D> {
    type Item = E;
    type Error = Status;

    fn encode(&mut self, item: E, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.encode(buffer)
            .map_err(|_| Status::internal("the answer could not be written"))
    }
}

impl<E, D: Message + Bounded + Default> Decoder for Codec<E, D> {
    type Item = D;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<D>, Status> {
        // Not copied: it is one piece already, and parts of the message will be parts of it.
        let bytes = buffer.copy_to_bytes(buffer.remaining());
        let broken = |error: DecodeError| Status::invalid_argument(format!("the message: {error}"));
        check(&bytes, D::BOUNDS)?;
        D::decode(bytes).map(Some).map_err(broken)
    }
}

/// Refuses a message in which a field is more often there, or longer, than it may be. Fields that are broken are left to who
/// decodes.
pub(crate) fn check(message: &[u8], bounds: &[Bound]) -> Result<(), Status> {
    if bounds.is_empty() {
        return Ok(());
    }
    let mut counts = vec![0; bounds.len()];
    let mut rest = message;
    while rest.has_remaining() {
        let Ok((field, wire)) = decode_key(&mut rest) else {
            return Ok(());
        };
        let bounded = bounds.iter().position(|bound| bound.field == field);
        if let Some(index) = bounded {
            let bound = &bounds[index];
            counts[index] += 1;
            if counts[index] > bound.most {
                return Err(Status::invalid_argument(format!(
                    "the message: {}: more than {}",
                    bound.name, bound.most
                )));
            }
            if wire == WireType::LengthDelimited {
                let mut value = rest;
                let Ok(length) = decode_varint(&mut value) else {
                    return Ok(());
                };
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                let Some(value) = value.get(..length) else {
                    return Ok(());
                };
                if length > bound.longest {
                    return Err(Status::invalid_argument(format!(
                        "the message: {}: longer than {} bytes",
                        bound.name, bound.longest
                    )));
                }
                check(value, bound.inner)?;
            }
        }
        if skip_field(wire, field, &mut rest, DecodeContext::default()).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::grpc::pb::{
        InferTensorContents, ModelInferRequest, model_infer_request::InferInputTensor,
    };

    fn check_message(request: &ModelInferRequest, expected: Option<&str>) {
        let checked = check(&request.encode_to_vec(), ModelInferRequest::BOUNDS);
        match (checked, expected) {
            (Ok(()), None) => {}
            (Err(status), Some(expected)) => {
                assert!(status.message().contains(expected), "{status}");
            }
            (found, _) => panic!("{found:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn a_message_of_many_small_parts_is_refused_before_it_is_read() {
        let of_inputs = |inputs| ModelInferRequest {
            inputs,
            ..ModelInferRequest::default()
        };
        let input = InferInputTensor::default;
        check_message(&of_inputs(vec![input(); 16]), None);
        check_message(&of_inputs(vec![input(); 17]), Some("inputs: more than 16"));
        let of_texts = |count| {
            of_inputs(vec![InferInputTensor {
                contents: Some(InferTensorContents {
                    bytes_contents: vec![bytes::Bytes::new(); count],
                    ..InferTensorContents::default()
                }),
                ..input()
            }])
        };
        check_message(&of_texts(1 << 16), None);
        check_message(&of_texts((1 << 16) + 1), Some("bytes_contents: more than"));
        let shape = vec![1; 1000];
        check_message(
            &of_inputs(vec![InferInputTensor { shape, ..input() }]),
            Some("shape: longer than"),
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_checked(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = check(&bytes, ModelInferRequest::BOUNDS);
        }
    }
}
