//! Strategies, the training loop, metrics, checkpoints, runs and reports.
//!
//! A training is a function of its recipe and data: the same seed gives the same weights, bit for bit, on the same
//! machine with the same number of threads. So a [`Run`], which is a folder, can be stopped or killed at any moment and
//! goes on from its last checkpoint to the very weights that it would have had.
//!
//! ```
//! use strata_data::{Places, Preparer, load};
//! use strata_spec::{Preparation, Recipe};
//! use strata_train::{Outcome, Run, train};
//!
//! let text = include_str!("../../../recipes/mnist-mlp.toml");
//! let smaller = ["data.source=digits", "train.epochs=1", "levels[0].layers[1].dense.units=8"].map(String::from);
//! let recipe = Recipe::parse(text, "mnist-mlp.toml", &smaller)?;
//! let Preparation::Image(image) = &recipe.preparation;
//! let data = load(&recipe.data, &Preparer::new(image), ".".as_ref(), 10, &Places::from_env(), &mut |_| ())?;
//!
//! let folder = std::env::temp_dir().join(format!("strata-doc-{}", std::process::id()));
//! let mut run = Run::create(&folder, recipe, ".".as_ref())?;
//! let Outcome::Finished(trained) = train(&mut run, data, &|| false, &mut |_| ())? else { unreachable!() };
//! assert!(trained.test.accuracy > 0.5);
//! # std::fs::remove_dir_all(&folder)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod cache;
mod calibration;
mod checkpoint;
mod compare;
mod curriculum;
mod error;
mod evaluate;
mod events;
mod exits;
mod files;
pub mod gate;
mod metrics;
mod report;
mod retrain;
mod run;
mod schedule;
mod targets;
mod trainer;

pub use calibration::{
    CalibrationError, ExitRows, METHOD as CALIBRATION_METHOD, Thresholds, calibrate, p_value,
    rows_needed,
};
pub use compare::{Cell, Summary, mebibytes, points, summaries};
pub use error::TrainError;
pub use evaluate::{HeadMetrics, evaluate};
pub use events::{Event, EventKind, LevelMemory, StopReason};
pub use exits::{ExitResult, WayResult, exit_results, exit_rows, follow};
pub use metrics::{MOST_CONFUSION_CLASSES, Metrics, TOP_K};
pub use report::comparison::comparison_page;
pub use retrain::{Retraining, retrain};
pub use run::{Run, recipe_digest};
pub use schedule::rate_factor;
pub use targets::{held_rows_of_task, origin_of, rows_of_task};
pub use trainer::{Outcome, Progress, Trained, check_available, train};
