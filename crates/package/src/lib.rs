//! Packages: sealed, signed versions of models, and the store that they live in.
//!
//! A version of a model is a folder that is complete by itself: a manifest, a card, the weights of each
//! level and a signature over all of them. Weights are sealed in the [`age`
//! format](https://age-encryption.org/v1), for the identity that packages them, for other recipients or by
//! a passphrase ([`Sealing`]), so any `age` tool opens them with the right key; the signature is an
//! [OpenSSF model signature](https://github.com/ossf/model-signing-spec), so the `model_signing` tool
//! checks it with the public key.
//!
//! ```text
//! store/
//!   blobs/sha256/<digest>                   level weights by content, shared by versions
//!   models/<name>/versions/<n>/manifest.json
//!   models/<name>/versions/<n>/card.md
//!   models/<name>/versions/<n>/levels/<level>.safetensors.age    a blob by hard link (plain: without .age)
//!   models/<name>/versions/<n>/model.sig
//!   models/<name>/aliases.json
//!   models/<name>/rollout.json              a change from one version to another that is under way, or the last one
//!   models/<name>/next                      the next version's number, once a version was removed
//!   mirror                                  the address of the store that the folder mirrors, if it mirrors one
//! ```
//!
//! What holds:
//!
//! - Reading fails closed. Signature and digests are checked before a weight is handed out, on the same
//!   bytes that are handed out; what is unsigned or unsealed is refused unless [`Access`] allows it by
//!   name.
//! - A version is there as a whole or not at all, also after a crash or on a full disk, and is never
//!   changed.
//! - The store never holds plain weights of a sealed version. Where they were learned is another matter: a
//!   run folder holds them in the open.
//!
//! Aliases are not signed: whoever may write to the store decides which of its signed versions
//! `name:stable` means.
//!
//! ```
//! use strata_package::{Identity, Store};
//!
//! # let folder = tempfile::tempdir()?;
//! let identity = Identity::init(&folder.path().join("identity"))?;
//! let store = Store::create_if_missing(&folder.path().join("store"))?;
//! assert!(store.models()?.is_empty());
//!
//! let error = store.open_version(&"mnist:stable".parse()?, &identity.access()).unwrap_err();
//! assert!(error.to_string().ends_with("no model `mnist`"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod access;
mod add;
mod alias;
mod blobs;
mod error;
mod files;
mod identity;
mod key_files;
mod key_source;
mod keys;
pub mod layout;
mod passphrase;
mod received;
mod remove;
mod revise;
mod rollout;
mod seal;
mod selector;
mod signature;
mod store;
mod version;

pub use access::{Access, Opener};
pub use add::{NewLevel, NewVersion, Sealing};
pub use alias::parse_aliases;
pub use error::PackageError;
pub use identity::{
    AGE_KEY_VARIABLE, FOLDER_VARIABLE, Identity, PASSPHRASE_VARIABLE, SIGNING_KEY_VARIABLE,
};
pub use keys::{AgeKey, KeyError, Recipient, Signer, Verifier};
pub use passphrase::Passphrase;
pub use received::Head;
pub use rollout::{
    Bounds, Compared, Ended, Figures, Outcome, Percent, PercentError, Rollout, RolloutMode, Side,
};
pub use seal::{
    MAX_PLAIN_BYTES, MAX_WORK_FACTOR, SealError, SealedFor, open, seal, seal_by_passphrase,
};
pub use selector::{Pick, Selector, SelectorError};
pub use signature::SignatureError;
pub use store::{ModelEntry, Store};
pub use version::{
    MAX_CARD_BYTES, MAX_MANIFEST_BYTES, MAX_SIGNATURE_BYTES, OpenPackage, VerifiedVersion,
};

/// The time, RFC 3339 in UTC to the second.
fn now() -> String {
    format!("{:.0}", jiff::Timestamp::now())
}
