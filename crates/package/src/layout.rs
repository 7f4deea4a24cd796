//! Where things lie in a store, below its folder or its address: parts are separated by `/`.

use strata_spec::{Digest, Name};

use crate::{
    signature::SIGNATURE_FILE,
    version::{CARD_FILE, MANIFEST_FILE},
};

/// Level weights by content.
pub const BLOBS: &str = "blobs/sha256";

/// A folder for each model.
pub const MODELS: &str = "models";

/// A blob.
pub fn blob(digest: &Digest) -> String {
    format!("{BLOBS}/{}", digest.hex())
}

/// All of a model.
pub fn model(name: &Name) -> String {
    format!("{MODELS}/{name}")
}

/// What the aliases of a model name.
pub fn aliases(name: &Name) -> String {
    format!("{MODELS}/{name}/aliases.json")
}

/// A model's rollout that is under way, or the last one.
pub fn rollout(name: &Name) -> String {
    format!("{MODELS}/{name}/rollout.json")
}

/// A folder for each version of a model.
pub fn versions(name: &Name) -> String {
    format!("{MODELS}/{name}/versions")
}

/// All of a version.
pub fn version(name: &Name, version: u64) -> String {
    format!("{MODELS}/{name}/versions/{version}")
}

/// A version's manifest.
pub fn manifest(name: &Name, version: u64) -> String {
    format!("{}/{MANIFEST_FILE}", self::version(name, version))
}

/// A version's card.
pub fn card(name: &Name, version: u64) -> String {
    format!("{}/{CARD_FILE}", self::version(name, version))
}

/// A version's signature.
pub fn signature(name: &Name, version: u64) -> String {
    format!("{}/{SIGNATURE_FILE}", self::version(name, version))
}

/// The number of a version as it is written in paths: decimal, from 1, without leading zeros.
pub fn parse_version(text: &str) -> Option<u64> {
    crate::selector::parse_version(text)
}
