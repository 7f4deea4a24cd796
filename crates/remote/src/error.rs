use std::path::PathBuf;

use strata_package::PackageError;
use strata_spec::Name;

/// What went wrong with a store at an address. None of it holds credentials.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// The store cannot be reached, or does not let itself be read or written.
    #[error("{address}: cannot {action}: {problem}")]
    Store {
        /// Where it lies.
        address: String,
        /// What was tried.
        action: &'static str,
        /// What it or the network said.
        problem: String,
    },
    /// What was asked for is not there.
    #[error("{address}: no {what}")]
    None {
        /// Where the store lies.
        address: String,
        /// Such as ``model `mnist` ``.
        what: String,
    },
    /// A version is damaged, half uploaded or not signed as it must be.
    #[error("{address}: {name}@{version}: {problem}")]
    Version {
        /// Where the store lies.
        address: String,
        /// The model.
        name: Name,
        /// The version.
        version: u64,
        /// What is wrong.
        problem: String,
    },
    /// Another version has this number in the store.
    #[error(
        "{address}: version {version} of model `{name}` is there already, and another one: versions never change, \
         so add this one anew to get another number"
    )]
    Taken {
        /// Where the store lies.
        address: String,
        /// The model.
        name: Name,
        /// The number.
        version: u64,
    },
    /// Others changed the same thing again and again.
    #[error("{address}: others are changing model `{name}` all the time: try again")]
    Contended {
        /// Where the store lies.
        address: String,
        /// The model.
        name: Name,
    },
    /// The store has nothing any more, though it had something.
    #[error(
        "{address}: empty, though it had models: taken for a store that is gone, so what it had is kept"
    )]
    Emptied {
        /// Where the store lies.
        address: String,
    },
    /// Another server keeps its mirror in the folder.
    #[error("{}: another process keeps its mirror there: give each a folder of its own", .path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// A folder on this machine.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// A file on this machine.
    #[error("{}: cannot {action}: {source}", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
}
