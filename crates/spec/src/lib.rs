//! What people write and what is stored: recipes, levels, layers, tasks, preparation, manifests.
//!
//! Everything here is plain text turned into checked types. A value that parsed is valid, so no other crate
//! checks it again; and nothing here reads files, opens sockets or knows of tensors.
//!
//! ```
//! use strata_spec::Recipe;
//!
//! let text = r#"
//! format = 1
//! name = "tiny"
//!
//! [data]
//! source = "digits"
//!
//! [preparation.image]
//! height = 28
//! width = 28
//!
//! [[tasks]]
//! name = "digit"
//! classification = { classes = 10 }
//!
//! [[levels]]
//! name = "digits"
//! layers = ["flatten"]
//! head = { task = "digit", layers = [{ dense = { units = 10 } }] }
//!
//! [train]
//! epochs = 1
//! "#;
//! let recipe = Recipe::parse(text, "tiny.toml", &[])?;
//! assert_eq!(recipe.levels[0].name.as_str(), "digits");
//!
//! let error = Recipe::parse(&text.replace("epochs", "epoch"), "tiny.toml", &[]).unwrap_err();
//! assert_eq!(
//!     error.to_string(),
//!     "tiny.toml:22: train.epoch: unknown field; did you mean `epochs`?"
//! );
//! # Ok::<(), strata_spec::RecipeError>(())
//! ```

mod augmentation;
mod change;
mod checks;
mod contract;
mod data;
mod digest;
mod error;
mod exits;
mod interface;
mod layer;
mod level;
mod manifest;
mod name;
pub mod networks;
pub mod paths;
mod preparation;
mod recipe;
mod source;
mod strategy;
mod task;
mod train;

pub use augmentation::{
    Augmentation, ColourJitter, Cutout, Margin, Mix, PaddedCrop, RandAugment, RandomResizedCrop,
};
pub use change::{
    Gate, GateCheck, GateFigure, GateHead, LevelChange, LevelOrigin, LevelSource, Retrained,
};
pub use contract::Misfit;
pub use data::{DataSpec, Validation};
pub use digest::{Digest, DigestError};
pub use error::RecipeError;
pub use exits::{ExitCalibration, ExitThreshold, exits};
pub use interface::Interface;
pub use layer::{
    AdaptiveAveragePool, Approximation, AveragePool, BatchNorm, Branches, Conv, Dense, DenseStart,
    Dropout, Gelu, Layer, LayerNorm, MaxPool, Pair, Residual, Scale, ShapeError, Start, Subsample,
    Window,
};
pub use level::{Head, Level, LevelShapes, default_head, level_shapes};
pub use manifest::{
    Blob, Contract, DataDigest, ElementType, Lineage, MANIFEST_FORMAT, Manifest, ManifestError,
    ManifestLevel,
};
pub use name::{Name, NameError};
pub use preparation::{ChannelOrder, Crop, ImagePreparation, Preparation};
pub use recipe::{NamedHead, RECIPE_FORMAT, Recipe};
pub use strategy::{Boundary, LevelRule, Schedule, Strategy};
pub use task::{Classification, Task};
pub use train::{
    Adam, AdamW, Clip, Cosine, EarlyStopping, FeatureCache, Greedy, InfoPro, LevelTraining,
    Lookahead, MonitoredMetric, Objective, OneCycle, Optimizer, Precision, RateSchedule, Rates,
    Sgd, Staged, Step, Train,
};
