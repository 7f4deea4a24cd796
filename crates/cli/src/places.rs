use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use etcetera::BaseStrategy;
use sha2::{Digest, Sha256};
use strata_remote::{Address, Bucket};

/// Where the user's own files of this program lie.
pub(crate) fn data_folder() -> anyhow::Result<PathBuf> {
    let strategy =
        etcetera::choose_base_strategy().context("no home folder: set HOME, or name a folder")?;
    Ok(strategy.data_dir().join("strata"))
}

/// The store that was named, or the user's own.
pub(crate) fn store_address(named: Option<Address>) -> anyhow::Result<Address> {
    match named {
        Some(address) => Ok(address),
        None => Ok(Address::Folder(data_folder()?.join("store"))),
    }
}

/// [`store_address`] for what needs a folder.
pub(crate) fn store_folder(named: Option<Address>) -> anyhow::Result<PathBuf> {
    match store_address(named)? {
        Address::Folder(folder) => Ok(folder),
        Address::Bucket(bucket) => bail!(
            "this needs a store in a folder, and {bucket} is none: give another one by --store; `strata models push` and \
             `strata models pull` bring versions from one to the other"
        ),
    }
}

/// A folder in the user's cache for what is taken from the store at an address: `kind`, and a name that no other address
/// has.
pub(crate) fn cache_folder(kind: &str, bucket: &Bucket) -> anyhow::Result<PathBuf> {
    let strategy =
        etcetera::choose_base_strategy().context("no home folder: set HOME, or name a folder")?;
    let digest = Sha256::digest(bucket.to_string());
    let name: String = digest[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(strategy.cache_dir().join("strata").join(kind).join(name))
}

/// A folder for a new run: `runs/NAME-1`, or the next number that is free.
pub(crate) fn new_run_folder(parent: &Path, name: &str) -> PathBuf {
    let folder = |number: u64| parent.join(format!("{name}-{number}"));
    let free = (1..).map(folder).find(|folder| !folder.exists());
    free.expect("some number is free")
}

/// The folder that a file lies in.
pub(crate) fn folder_of(file: &Path) -> &Path {
    let parent = file.parent();
    let named = parent.filter(|folder| !folder.as_os_str().is_empty());
    named.unwrap_or(Path::new("."))
}
