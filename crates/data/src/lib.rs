//! From a name or a folder to rows that a network takes.
//!
//! [`load()`] reads a data set: IDX files of a folder, a set of the catalogue (MNIST,
//! Fashion-MNIST; looked for, then downloaded with its checksum), or [digits](draw) that this crate
//! draws by itself. [`Preparer`] turns images into the numbers that a network takes, by the same
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
//! use strata_spec::{Crop, ImagePreparation};
//!
//! let digits = draw(20, 7);
//! let setting = ImagePreparation {
//!     height: 28,
//!     width: 28,
//!     channels: 1,
//!     crop: Crop::Stretch,
//!     mean: vec![0.13],
//!     std: vec![0.31],
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

mod catalogue;
mod decode;
mod digits;
mod download;
mod error;
mod idx;
mod images;
mod inspect;
mod load;
mod places;
mod prepare;
mod random;
mod split;
// Points stay in rows: one a line, they would fill 500 lines.
#[rustfmt::skip]
mod strokes;

pub use decode::{Image, MOST_PIXELS, MOST_SIDE, decode};
pub use digits::{DIGITS_TEST_ROWS, DIGITS_TRAIN_ROWS, draw};
pub use download::Progress;
pub use error::{DataError, PrepareError};
pub use idx::IdxError;
pub use images::{Dataset, Images};
pub use inspect::{Summary, inspect};
pub use load::{load, load_offline};
pub use places::Places;
pub use prepare::Preparer;
pub use split::{permutation, stratified};
