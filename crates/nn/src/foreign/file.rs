use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use super::{
    ForeignError, error::shown, numbers::Format, pytorch::PytorchFile,
    safetensors_file::SafetensorsFile,
};

/// A file of weights: what is in it is known, the numbers are read when they are asked for.
#[derive(Debug)]
pub(super) struct WeightFile {
    path: PathBuf,
    /// Its tensors by key.
    pub(super) entries: BTreeMap<String, Entry>,
    source: Source,
}

/// What a file says of a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) shape: Vec<usize>,
    /// Its numbers' format, or the word for one that weights do not have.
    pub(super) format: Result<Format, String>,
}

#[derive(Debug)]
enum Source {
    Safetensors(SafetensorsFile),
    Pytorch(PytorchFile),
}

/// Why a file cannot be read, without its name.
#[derive(Debug)]
pub(super) enum Problem {
    Io(io::Error),
    Form(String),
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => {
                Self::Form(error.to_string())
            }
            _ => Self::Io(error),
        }
    }
}

impl WeightFile {
    /// Reads what is in a file.
    pub(super) fn open(path: &Path) -> Result<Self, ForeignError> {
        let opened = || {
            // Before it is opened, since a pipe would be waited for.
            if !fs::metadata(path)?.is_file() {
                return Err(Problem::Form("not a file".to_owned()));
            }
            let mut file = File::open(path)?;
            let mut start = Vec::new();
            file.by_ref().take(512).read_to_end(&mut start)?;
            Ok(if SafetensorsFile::is_one(&start) {
                let (file, entries) = SafetensorsFile::open(file)?;
                (entries, Source::Safetensors(file))
            } else if PytorchFile::is_one(&start) {
                let (file, entries) = PytorchFile::open(path)?;
                (entries, Source::Pytorch(file))
            } else {
                let text = "neither a safetensors file nor one that PyTorch wrote".to_owned();
                return Err(Problem::Form(text));
            })
        };
        let (entries, source) = opened().map_err(|problem| problem.in_file(path))?;
        Ok(Self {
            path: path.to_owned(),
            entries,
            source,
        })
    }

    /// The numbers of one of its tensors, whose format is one.
    pub(super) fn read(&self, key: &str) -> Result<Vec<f32>, ForeignError> {
        let entry = &self.entries[key];
        let format = entry.format.as_ref().expect("a format of weights");
        let bytes = match &self.source {
            Source::Safetensors(file) => file.read(key),
            Source::Pytorch(file) => file.read(key),
        };
        let values = format.widen(&bytes.map_err(|problem| problem.in_file(&self.path))?);
        if values.len() != entry.shape.iter().product::<usize>() {
            return Err(self.value_error(key, "has not as many numbers as its shape says"));
        }
        Ok(values)
    }

    pub(super) fn value_error(&self, key: &str, problem: &str) -> ForeignError {
        Problem::Form(format!("tensor {} {problem}", shown(key))).in_file(&self.path)
    }
}

impl Problem {
    fn in_file(self, path: &Path) -> ForeignError {
        let path = path.to_owned();
        match self {
            Self::Io(source) => ForeignError::Io { path, source },
            Self::Form(problem) => ForeignError::Form { path, problem },
        }
    }
}
