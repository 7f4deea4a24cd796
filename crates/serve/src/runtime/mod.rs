//! Models in memory: loaded from packages, asked in batches.

mod batcher;
mod load;
mod origin;
mod registry;
mod version;

pub(crate) use batcher::{BatchLimits, Batcher, Unanswered};
pub(crate) use load::load;
pub(crate) use registry::{Model, Registry};
pub(crate) use version::Version;
