use std::path::{Path, PathBuf};

use anyhow::Context;
use etcetera::BaseStrategy;

/// Where the user's own files of this program lie.
pub(crate) fn data_folder() -> anyhow::Result<PathBuf> {
    let strategy =
        etcetera::choose_base_strategy().context("no home folder: set HOME, or name a folder")?;
    Ok(strategy.data_dir().join("strata"))
}

/// The store that was named, or the user's own.
pub(crate) fn store_folder(named: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    match named {
        Some(folder) => Ok(folder),
        None => Ok(data_folder()?.join("store")),
    }
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
