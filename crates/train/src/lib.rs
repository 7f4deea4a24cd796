//! Strategies, the training loop, metrics, checkpoints, runs and reports.
//!
//! A training is a function of its recipe and data: the same seed gives the same weights, bit for bit, on the same
//! machine with the same number of threads. So a [`Run`], which is a folder, can be stopped or killed at any moment and
//! goes on from its last checkpoint to the very weights that it would have had.
//!
//! ```
//! use strata_data::{Places, load};
//! use strata_spec::Recipe;
//! use strata_train::{Outcome, Run, train};
//!
//! let text = include_str!("../../../recipes/mnist-mlp.toml");
//! let smaller = ["data.source=digits", "train.epochs=1", "levels[0].layers[1].dense.units=8"].map(String::from);
//! let recipe = Recipe::parse(text, "mnist-mlp.toml", &smaller)?;
//! let data = load(&recipe.data, ".".as_ref(), 10, &Places::from_env(), &mut |_| ())?;
//!
//! let folder = std::env::temp_dir().join(format!("strata-doc-{}", std::process::id()));
//! let mut run = Run::create(&folder, recipe, ".".as_ref())?;
//! let Outcome::Finished(trained) = train(&mut run, data, &|| false, &mut |_| ())? else { unreachable!() };
//! assert!(trained.test.accuracy > 0.5);
//! # std::fs::remove_dir_all(&folder)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod checkpoint;
mod error;
mod evaluate;
mod events;
mod files;
mod metrics;
mod report;
mod run;
mod schedule;
mod trainer;

pub use error::TrainError;
pub use evaluate::evaluate;
pub use events::{Event, EventKind, StopReason};
pub use metrics::{MOST_CONFUSION_CLASSES, Metrics, TOP_K};
pub use run::Run;
pub use schedule::rate_factor;
pub use trainer::{Outcome, Progress, Trained, check_available, train};
