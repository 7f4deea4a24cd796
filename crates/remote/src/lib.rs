//! Stores at the addresses of object stores: S3 and what speaks like it, Google Cloud Storage, Azure Blob Storage.
//!
//! Such a store is laid out as a folder's ([`strata_package::layout`]), but that a version's levels lie among the blobs only:
//!
//! ```text
//! blobs/sha256/<digest>
//! models/<name>/versions/<n>/{card.md,model.sig,manifest.json}
//! models/<name>/{aliases.json,rollout.json}
//! ```
//!
//! What holds:
//!
//! - The manifest is written last and only if there is none, so a version is there from one moment on, never changes, and of
//!   two that are pushed with the same number one is refused. Without a manifest a version is half uploaded.
//! - A version that is taken from there is checked first: its signature before a byte of its weights is fetched, and each
//!   blob by its digest while it is fetched.
//! - Aliases and rollouts are changed by conditional writes, so that none of two who change them at a time is lost.
//! - Credentials come from the environment only (`AWS_*`, `GOOGLE_*`, `AZURE_*`); an address has none.
//!
//! All of it blocks, with a time limit on everything that is waited for; it must not be called from asynchronous code.

mod address;
mod change;
mod error;
mod listing;
mod mirror;
mod objects;
mod pull;
mod push;

pub use address::{Address, AddressError, Bucket, Service};
pub use error::RemoteError;
pub use listing::{Listing, RemoteModel};
pub use mirror::{Mirror, Synced};
pub use objects::Remote;
pub use push::copy;
