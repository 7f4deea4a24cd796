use std::{io, path::PathBuf};

use strata_spec::Digest;

use crate::{IdxError, MOST_PIXELS, MOST_SIDE};

/// Data that cannot be read, found or downloaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Its reason.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{}: {source}", path.display())]
    Idx {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: IdxError,
    },
    /// A folder lacks a file.
    #[error("{}: expected one of {}, found none of them", folder.display(), names.join(", "))]
    Missing {
        /// The folder.
        folder: PathBuf,
        /// Each name under which the file would have been taken.
        names: Vec<String>,
    },
    /// An image file and its label file do not belong together.
    #[error(
        "{} holds {images} images, but {} holds {labels} labels",
        images_path.display(),
        labels_path.display()
    )]
    Counts {
        /// File of the images.
        images_path: PathBuf,
        /// Number of images.
        images: usize,
        /// File of the labels.
        labels_path: PathBuf,
        /// Number of labels.
        labels: usize,
    },
    /// Training and test images are of different sizes.
    #[error("training images are {train}, but test images are {test} (height x width)")]
    Sizes {
        /// Height x width of the training images.
        train: String,
        /// Height x width of the test images.
        test: String,
    },
    /// A drawn digit has no class in the task.
    #[error("`digits` has 10 classes, but the task has {classes}")]
    Classes {
        /// Classes of the task.
        classes: usize,
    },
    /// A file of the catalogue is not the published one.
    #[error(
        "{}: not the published file: expected {expected}, found {found}; remove it, and strata downloads it",
        path.display()
    )]
    Checksum {
        /// The file.
        path: PathBuf,
        /// Digest of the published file.
        expected: Digest,
        /// Digest of this one.
        found: Digest,
    },
    /// No public home gave a file.
    #[error(
        "cannot download {file}:\n{}\nput the file into {}, \
         or set STRATA_DATA to a folder with {name}/{file}, or use `data.source = \"digits\"`",
        tried.iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n"),
        folder.display()
    )]
    Download {
        /// Name in the catalogue.
        name: &'static str,
        /// Name of the file.
        file: &'static str,
        /// Each address that was tried, and what it answered.
        tried: Vec<String>,
        /// Where the file would be found.
        folder: PathBuf,
    },
    /// A name that is neither of the catalogue nor a path.
    #[error("no data set is named `{found}`: expected {}, or the path of a folder", known.join(", "))]
    Unknown {
        /// The name.
        found: String,
        /// Every name that there is.
        known: Vec<&'static str>,
    },
}

/// An image that cannot be prepared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PrepareError {
    /// Bytes that begin neither like a PNG nor like a JPEG file.
    #[error("not an image: expected a PNG or JPEG file")]
    NotAnImage,
    /// A PNG or JPEG file that does not decode.
    #[error("broken image: {0}")]
    Broken(String),
    /// An image that is too large to decode.
    #[error(
        "image too large: {width}x{height} pixels, \
         expected at most {MOST_SIDE} a side and {MOST_PIXELS} in all"
    )]
    TooLarge {
        /// Width that it claims.
        width: u64,
        /// Height that it claims.
        height: u64,
    },
    /// An image without a pixel.
    #[error("image without pixels: {width}x{height}")]
    Empty {
        /// Width that it claims.
        width: usize,
        /// Height that it claims.
        height: usize,
    },
    /// A number of channels that is neither grey nor RGB.
    #[error("expected 1 channel (grey) or 3 (RGB), found {found}")]
    Channels {
        /// The number.
        found: usize,
    },
    /// As many bytes as the shape asks for are not there.
    #[error("expected {expected} bytes (height x width x channels), found {found}")]
    Length {
        /// Height x width x channels.
        expected: usize,
        /// Number of bytes.
        found: usize,
    },
    /// The prepared rows do not fit into memory.
    #[error("{rows} rows of {bytes} bytes do not fit into memory")]
    Memory {
        /// Number of rows.
        rows: usize,
        /// Bytes of one prepared row.
        bytes: usize,
    },
}
