use std::{io, path::PathBuf};

use strata_data::DataError;
use strata_nn::foreign::ForeignError;
use strata_spec::{Name, RecipeError};

/// Why a training cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The recipe asks for something that this version cannot do.
    #[error("{field}: `{value}` is not available yet; use `{instead}`")]
    NotAvailable {
        /// The recipe's field.
        field: &'static str,
        /// Its value.
        value: String,
        /// What can be used.
        instead: &'static str,
    },
    /// A head that the strategy does not learn.
    #[error("level `{level}` has a head, which `{strategy}` does not learn: {advice}")]
    UnlearnedHead {
        /// The level, which is not the top one.
        level: Name,
        /// The strategy's word.
        strategy: &'static str,
        /// What to write instead.
        advice: String,
    },
    /// The folder of a new run exists.
    #[error("{} exists already: choose another folder, or go on with it by `strata train --resume {}`", .0.display(), .0.display())]
    RunExists(PathBuf),
    /// The folder is no run.
    #[error("{} is no run: expected a folder made by `strata train`, with a file `{missing}`", folder.display())]
    NoRun {
        /// The folder.
        folder: PathBuf,
        /// The file that it lacks.
        missing: &'static str,
    },
    /// Another process trains in this folder.
    #[error("{} is in use by another training: wait for it, or choose another folder", .0.display())]
    RunBusy(PathBuf),
    /// The training had ended before.
    #[error("{} is finished: there is nothing to resume; `strata models add {}` packages it", .0.display(), .0.display())]
    RunFinished(PathBuf),
    /// The run's recipe is not what it was.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// A file of the run is damaged.
    #[error("{}: {problem}", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The data is not that of the run, or does not fit the recipe.
    #[error("data: {0}")]
    Data(String),
    /// The weights to begin with cannot be taken.
    #[error("train.weights: {0}")]
    Weights(#[from] ForeignError),
    /// What frozen levels make of the rows has no room.
    #[error("{0}")]
    Cache(String),
    /// The rows are too few, or cannot be made to fit.
    #[error("data: {0}")]
    Rows(#[from] DataError),
    /// Something that was computed is no longer a finite number.
    #[error(
        "the training diverged: {what} in epoch {epoch} at step {step}; lower `{rate_field}` (now {rate:e}) or set \
         `train.clip`"
    )]
    Diverged {
        /// What is no longer finite.
        what: String,
        /// Epoch, from 1.
        epoch: u64,
        /// Step of the whole training, from 1.
        step: u64,
        /// The rate at that step.
        rate: f64,
        /// The recipe's field that sets the rate.
        rate_field: &'static str,
    },
    /// The disk refused.
    #[error("{}: {source}", file.display())]
    Io {
        /// The file or folder.
        file: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl TrainError {
    /// For `map_err` on something done to `file`.
    pub(crate) fn io(file: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let file = file.into();
        move |source| Self::Io { file, source }
    }
}
