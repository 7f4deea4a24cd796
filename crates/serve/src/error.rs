use std::{io, net::SocketAddr, path::PathBuf};

use strata_nn::WeightsError;
use strata_package::{PackageError, Selector};
use strata_remote::RemoteError;

use crate::KeysError;

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// A model cannot be opened.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// The store at an address cannot be used.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// A model's weights are not its levels'.
    #[error("{selector}: {source}")]
    Weights {
        /// The version.
        selector: Selector,
        /// What is wrong.
        source: WeightsError,
    },
    /// This program fails at a model.
    #[error("{selector}: cannot be made ready: this is a fault of the program")]
    Fault {
        /// The version.
        selector: Selector,
    },
    /// A computation of a version that was served failed.
    #[error("it answers no more requests until it is loaded again: this is a fault of the program")]
    Broken,
    /// The API keys cannot be read.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// There is nothing to serve.
    #[error("{}: no model to serve", .store.display())]
    NoModels {
        /// The store.
        store: PathBuf,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Address {
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// Spans cannot be sent with the settings of the environment.
    #[error("spans cannot be sent: {0}")]
    Telemetry(String),
    /// The operating system gives no random numbers.
    #[error("no random numbers: {0}")]
    Random(String),
    /// The operating system refused a thread.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}
