//! The Open Inference Protocol, version 2, over gRPC, with the calls for repository, statistics and streams that clients of
//! the Triton Inference Server use; `grpc.health.v1`, and reflection.
//!
//! What a model takes and gives is in [`infer`](crate::infer). Tensors are raw (`raw_input_contents`) or typed (`contents`),
//! and one request has them in one form; its answer has the same. `FP16` and `BF16` are always raw. Files are elements of
//! `BYTES` as they are.
//!
//! Keys, limits, counters and the log of refusals are those of HTTP. Health, `ServerLive` and `ServerReady` need no key; all
//! else does, reflection and calls that do not exist too. `table` lists them.

mod arriving;
mod calls;
mod codec;
mod health;
mod infer;
mod packed;
mod service;
mod status;
mod table;

pub(crate) use codec::{Bound, Bounded, Codec};
pub(crate) use service::{Service, answer, only_listens};

/// What the messages are, made of `inference.proto`.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    reason = "generated from inference.proto"
)]
pub(crate) mod pb {
    include!("generated/inference.rs");

    /// The same for reflection.
    pub(crate) const DESCRIPTORS: &[u8] = include_bytes!("generated/inference.bin");
}
