use std::{io, path::PathBuf};

use strata_spec::Digest;

use crate::{ArchiveError, IdxError, MOST_PIXELS, MOST_SIDE, Unreadable};

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
    /// An archive is not what it should be.
    #[error("{}: {source}", path.display())]
    Archive {
        /// The archive.
        path: PathBuf,
        /// What is wrong.
        source: ArchiveError,
    },
    /// Some rows have no class in the task.
    #[error("`{name}` has {found} classes, but the task has {classes}")]
    Classes {
        /// The source.
        name: String,
        /// Its classes.
        found: usize,
        /// Classes of the task.
        classes: usize,
    },
    /// A folder has no folders in it that could be classes.
    #[error(
        "{}: expected a folder for each class with PNG or JPEG files in it, found no folders",
        folder.display()
    )]
    NoClasses {
        /// The folder.
        folder: PathBuf,
    },
    /// A class without images.
    #[error(
        "{}: no image files: a class needs at least one PNG or JPEG file that can be read; add some, or remove the folder",
        folder.display()
    )]
    EmptyClass {
        /// The class's folder.
        folder: PathBuf,
    },
    /// A class that the training rows do not have.
    #[error("{}: no such class in {}: add it there, or remove it here", folder.display(), known.display())]
    UnknownClass {
        /// The class's folder.
        folder: PathBuf,
        /// The folder with the classes that there are.
        known: PathBuf,
    },
    /// Folders that lie deeper within each other than any data set's.
    #[error("{}: the folder of a class is more than 8 folders deep", folder.display())]
    TooDeep {
        /// The folder.
        folder: PathBuf,
    },
    /// More image files than row numbers are kept for.
    #[error("{}: more than {most} image files", folder.display())]
    TooManyFiles {
        /// The folder.
        folder: PathBuf,
        /// The bound.
        most: usize,
    },
    /// Too many of a source's image files cannot be read.
    #[error(
        "{}: {count} of {files} image files cannot be read, more than one in {}; the first is {}: {}; \
         `strata data inspect` lists them",
        folder.display(), crate::files::FILES_FOR_ONE_UNREADABLE, first.path.display(), first.problem
    )]
    TooManyUnreadable {
        /// The folder.
        folder: PathBuf,
        /// How many cannot be read.
        count: usize,
        /// How many there are.
        files: usize,
        /// One of them.
        first: Box<Unreadable>,
    },
    /// A share of the rows would be none.
    #[error("{rows} rows are too few to keep {fraction} of each class for {what}")]
    TooFew {
        /// Number of rows.
        rows: usize,
        /// The share.
        fraction: f64,
        /// What it is kept for.
        what: &'static str,
    },
    /// Validation rows are asked for where there are some already.
    #[error(
        "{} has validation images of its own: leave out `data.validation`, or remove the folder",
        folder.display()
    )]
    HasValidation {
        /// The folder with these.
        folder: PathBuf,
    },
    /// Images cannot be made to fit.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
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
