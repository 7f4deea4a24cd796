use std::{fmt, io, path::PathBuf};

/// As many of each kind of difference are told.
const TOLD: usize = 8;
/// As many characters of a key are told.
const LONGEST_KEY: usize = 120;

/// A file that a network cannot take its weights from.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ForeignError {
    /// The system does not let it be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is neither a whole safetensors file nor a whole PyTorch file.
    #[error("{}: {problem}", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// What the network needs is not there.
    #[error("{} does not fit the network{mismatch}", path.display())]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// What is missing, and of another shape or type.
        mismatch: Box<Mismatch>,
    },
}

/// How a file differs from what a network needs. As text, a line for each difference, of each kind the first eight.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mismatch {
    /// Keys that are not there, and their shapes.
    pub missing: Vec<(String, Vec<usize>)>,
    /// Keys of another shape: the one expected, and the one found.
    pub shapes: Vec<(String, Vec<usize>, Vec<usize>)>,
    /// Keys of a type that is no weight's, and the type found.
    pub types: Vec<(String, String)>,
    /// Keys that the network has no use for, and their shapes. Of these alone there is no error.
    pub extra: Vec<(String, Vec<usize>)>,
}

impl Mismatch {
    /// Whether the network lacks something.
    pub(super) fn is_error(&self) -> bool {
        !(self.missing.is_empty() && self.shapes.is_empty() && self.types.is_empty())
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        tell(f, "missing", &self.missing, |(key, shape)| {
            format!("{}: expected {shape:?}", shown(key))
        })?;
        tell(
            f,
            "of another shape",
            &self.shapes,
            |(key, expected, found)| {
                format!(
                    "{}: expected {expected:?}, found {}",
                    shown(key),
                    dimensions(found)
                )
            },
        )?;
        tell(f, "of another type", &self.types, |(key, found)| {
            format!("{}: expected F32, F16 or BF16, found {found}", shown(key))
        })?;
        tell(f, "extra", &self.extra, |(key, shape)| {
            format!("{}: found {}", shown(key), dimensions(shape))
        })
    }
}

fn tell<T>(
    f: &mut fmt::Formatter<'_>,
    what: &str,
    items: &[T],
    line: impl Fn(&T) -> String,
) -> fmt::Result {
    if items.is_empty() {
        return Ok(());
    }
    write!(f, "\n  {what}: {}", items.len())?;
    for item in items.iter().take(TOLD) {
        write!(f, "\n    {}", line(item))?;
    }
    match items.len().checked_sub(TOLD) {
        Some(more) if more > 0 => write!(f, "\n    and {more} more"),
        _ => Ok(()),
    }
}

/// A key from a file, short and without control characters.
pub(super) fn shown(key: &str) -> String {
    let mut characters = key.chars();
    let begin: String = characters.by_ref().take(LONGEST_KEY).collect();
    let end = if characters.next().is_some() {
        "…"
    } else {
        ""
    };
    format!("`{}{end}`", begin.escape_debug())
}

/// A shape from a file, short.
fn dimensions(shape: &[usize]) -> String {
    match shape.get(..TOLD) {
        Some(first) if shape.len() > TOLD => format!("{first:?} and {} more", shape.len() - TOLD),
        _ => format!("{shape:?}"),
    }
}
