use std::path::{Path, PathBuf};

use crate::{
    DataError, Places, Progress,
    catalogue::{self, Entry},
    download,
};

/// What a name in a recipe stands for.
pub(crate) enum Source {
    /// Digits that this crate draws.
    Digits,
    /// A folder of the user.
    Folder(PathBuf),
    /// A set with a public home.
    Catalogue(&'static Entry),
}

impl Source {
    /// The source of that name; paths count from `base`.
    pub(crate) fn of(name: &str, base: &Path) -> Result<Self, DataError> {
        if name == "digits" {
            return Ok(Self::Digits);
        }
        if let Some(entry) = catalogue::entry(name) {
            return Ok(Self::Catalogue(entry));
        }
        if name.contains('/') {
            return Ok(Self::Folder(base.join(name)));
        }
        let known = catalogue::ENTRIES
            .iter()
            .map(|entry| entry.name)
            .chain(["digits"])
            .collect();
        Err(DataError::Unknown {
            found: name.to_owned(),
            known,
        })
    }
}

/// Names of the sets that can be downloaded.
pub fn catalogue() -> impl Iterator<Item = &'static str> {
    catalogue::ENTRIES.iter().map(|entry| entry.name)
}

/// Where the files of a set are; absent ones are downloaded if `progress` is there to tell, and else nothing is found.
pub(crate) fn locate(
    entry: &Entry,
    places: &Places,
    progress: Option<&mut dyn FnMut(Progress)>,
) -> Result<Option<Vec<PathBuf>>, DataError> {
    let may_download = progress.is_some();
    if let Some(progress) = progress {
        download::fetch_missing(entry, places, progress)?;
    }
    let found: Option<Vec<PathBuf>> = entry
        .files
        .iter()
        .map(|file| places.find(entry.name, file.name))
        .collect();
    if found.is_none() && may_download {
        // Someone removed a file since.
        return Err(DataError::Missing {
            folder: places.cache_folder(entry.name),
            names: entry
                .files
                .iter()
                .map(|file| file.name.to_owned())
                .collect(),
        });
    }
    Ok(found)
}
