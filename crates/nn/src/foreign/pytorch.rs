use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::BufReader,
    path::Path,
};

use pytorch_reader::{DType, PytorchError, PytorchReader, Tensor};
use zip::ZipArchive;

use super::{
    file::{Entry, Problem},
    numbers::Format,
    pickle::is_longer_than,
};

/// Largest description of what is in a file, in bytes or steps; that of a network has some hundred for each tensor. Each
/// becomes some hundred bytes in memory.
const LONGEST_PICKLE: usize = 4 << 20;

/// A file that `torch.save` wrote. The reader runs no code: what is no tensor, no number and no text, it passes over.
#[derive(Debug)]
pub(super) struct PytorchFile {
    tensors: HashMap<String, Tensor>,
}

impl PytorchFile {
    /// Whether a file that begins so is, or was, one: a ZIP archive, a pickle, or a TAR archive.
    pub(super) fn is_one(start: &[u8]) -> bool {
        start.starts_with(b"PK")
            || start.starts_with(&[0x80])
            || start.get(257..262) == Some(b"ustar")
    }

    pub(super) fn open(path: &Path) -> Result<(Self, BTreeMap<String, Entry>), Problem> {
        check_pickle(path)?;
        let tensors = PytorchReader::new(path).map_err(problem)?.into_tensors();
        let entry = |(key, tensor): (&String, &Tensor)| {
            let format = match tensor.dtype() {
                DType::F32 => Ok(Format::F32),
                DType::F16 => Ok(Format::F16),
                DType::BF16 => Ok(Format::Bf16),
                other => Err(format!("{other:?}")),
            };
            let shape = tensor.shape().to_vec();
            (key.clone(), Entry { shape, format })
        };
        let entries = tensors.iter().map(entry).collect();
        Ok((Self { tensors }, entries))
    }

    /// The bytes of one of its tensors.
    pub(super) fn read(&self, key: &str) -> Result<Vec<u8>, Problem> {
        Ok(self.tensors[key].read()?)
    }
}

/// Refuses a file whose pickle is too long: the reader would take more, and a compressed one of 100 MiB would fill the
/// memory.
fn check_pickle(path: &Path) -> Result<(), Problem> {
    let too_long = |found: String| {
        let text = format!("its pickle has {found}, expected at most {LONGEST_PICKLE}");
        Err(Problem::Form(text))
    };
    let Ok(mut archive) = ZipArchive::new(BufReader::new(File::open(path)?)) else {
        let mut file = BufReader::new(File::open(path)?);
        return match is_longer_than(LONGEST_PICKLE, &mut file)? {
            true => too_long("more steps".to_owned()),
            false => Ok(()),
        };
    };
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index);
        let entry = entry.map_err(|error| Problem::Form(error.to_string()))?;
        let is_pickle = entry.name().is_ok_and(|name| name.ends_with("data.pkl"));
        if is_pickle && entry.size() > LONGEST_PICKLE as u64 {
            return too_long(format!("{} bytes", entry.size()));
        }
    }
    Ok(())
}

fn problem(error: PytorchError) -> Problem {
    match error {
        PytorchError::Io(error) => error.into(),
        other => {
            let text: String = other.to_string().chars().take(300).collect();
            Problem::Form(format!("not a PyTorch file: {}", text.escape_debug()))
        }
    }
}
