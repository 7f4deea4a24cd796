//! From a name or a folder to rows that a network takes.
//!
//! [`load()`] reads a data set: a folder of IDX files or of image files, a set of the catalogue (MNIST,
//! Fashion-MNIST, CIFAR-10, CIFAR-100; looked for, then downloaded with its checksum), or [digits](draw)
//! that this crate draws by itself. [`TrainingRows`] are changed by chance, a [`Loader`] makes batches of
//! them ahead. [`Preparer`] turns images into the numbers that a network takes, by the same
//! code for training rows and for requests. [`stratified`] and [`permutation`] say which rows, in
//! which order; both are functions of a seed and hold no state, so a training that resumes computes
//! the same order again.
//!
//! Images stay 8-bit until a batch is made: a fourth of the memory, and normalisation is one table
//! look-up a pixel. The crate knows nothing of tensors and of Burn; it draws no progress bar, it
//! reports [`Progress`].
//!
//! ```
//! use strata_data::{Preparer, draw, permutation};
//! use strata_spec::ImagePreparation;
//!
//! let digits = draw(20, 7);
//! let setting = ImagePreparation {
//!     mean: vec![0.13],
//!     std: vec![0.31],
//!     ..ImagePreparation::new(28, 28, 1)
//! };
//! let preparer = Preparer::new(&setting);
//! let fitted = preparer.fit(digits)?;
//!
//! let order = permutation(fitted.len(), 7, 0);
//! let mut batch = vec![0.0; 4 * preparer.row_len()];
//! preparer.rows(&fitted, &order[..4], &mut batch);
//! assert!(batch.iter().all(|value| (-0.5..3.0).contains(value)));
//! # Ok::<(), strata_data::PrepareError>(())
//! ```

mod archive;
mod augment;
mod catalogue;
mod cifar;
mod class_folder;
mod decode;
mod digest;
mod digits;
mod download;
mod error;
mod files;
mod folder;
mod idx;
mod images;
mod inspect;
mod inspection;
mod load;
mod loader;
mod places;
mod prepare;
mod random;
mod source;
mod split;
// Points stay in rows: one a line, they would fill 500 lines.
#[rustfmt::skip]
mod strokes;

pub use augment::{Mixed, TrainingRows};
pub use cifar::ArchiveError;
pub use decode::{Image, MOST_PIXELS, MOST_SIDE, decode};
pub use digest::file_digest;
pub use digits::{DIGITS_TEST_ROWS, DIGITS_TRAIN_ROWS, draw};
pub use download::Progress;
pub use error::{DataError, PrepareError};
pub use files::Unreadable;
pub use idx::IdxError;
pub use images::{Dataset, Images, Origin};
pub use inspect::{Summary, inspect};
pub use inspection::{Duplicates, Inspection, PartSummary, inspect_source};
pub use load::{fetch, load, load_offline};
pub use loader::{Batch, Loader};
pub use places::Places;
pub use prepare::Preparer;
pub use source::catalogue;
pub use split::{permutation, stratified};
