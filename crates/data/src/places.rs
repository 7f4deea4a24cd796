use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;

/// The folders in which data is looked for. Only [`Places::from_env`] reads the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// `STRATA_DATA`: the user's own folder with `mnist/` and the like. Nothing is written into it.
    pub strata_data: Option<PathBuf>,
    /// Strata's folder in the user's cache; downloads go to `data/<name>/` in it.
    pub cache: PathBuf,
}

impl Places {
    /// `STRATA_DATA` if it is set and not empty, and `strata` in the user's cache
    /// (`XDG_CACHE_HOME`, `~/.cache`, on Windows the local application data). A user without a home
    /// has the cache in `.cache` of the working folder.
    pub fn from_env() -> Self {
        let strata_data = std::env::var_os("STRATA_DATA").filter(|path| !path.is_empty());
        let cache = etcetera::choose_base_strategy().map(|user| user.cache_dir());
        Self {
            strata_data: strata_data.map(PathBuf::from),
            cache: cache
                .unwrap_or_else(|_| PathBuf::from(".cache"))
                .join("strata"),
        }
    }

    /// The file of a data set, where it exists: first in the user's own folder, then in the cache.
    pub(crate) fn find(&self, name: &str, file: &str) -> Option<PathBuf> {
        let own = self
            .strata_data
            .as_ref()
            .map(|folder| folder.join(name).join(file));
        [own, Some(self.cache_folder(name).join(file))]
            .into_iter()
            .flatten()
            .find(|path| path.is_file())
    }

    /// Where downloads of a data set go.
    pub(crate) fn cache_folder(&self, name: &str) -> PathBuf {
        self.cache.join(Path::new("data")).join(name)
    }
}
