//! Models in memory: loaded from packages, asked in batches, exchanged while requests run.

mod batcher;
mod exits;
mod follow;
mod index;
mod load;
mod memory;
mod mirrored;
mod origin;
mod pace;
mod queue;
mod registry;
mod repository;
mod rows;
mod statistics;
mod version;
mod watch;

pub(crate) use batcher::{Answered, Ask, BatchLimits, Batcher, Unanswered};
pub(crate) use exits::{Exits, Leave};
pub(crate) use follow::follow;
pub(crate) use index::{Condition, index};
pub(crate) use load::{Source, load};
pub(crate) use mirrored::{Keeper, mirror};
pub(crate) use queue::Priority;
pub(crate) use registry::{Asleep, LiveRegistry, Model, Registry};
pub(crate) use repository::Repository;
pub(crate) use rows::Rows;
pub(crate) use statistics::{Counted, Duration, Took};
pub(crate) use version::Version;
