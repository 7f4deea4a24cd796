use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read, Seek, SeekFrom},
    sync::Mutex,
};

use safetensors::{Dtype, tensor::Metadata};

use super::{
    error::shown,
    file::{Entry, Problem},
    numbers::Format,
};

/// Longest header that is read: of some hundred thousand tensors.
const LONGEST_HEADER: u64 = 16 << 20;

/// A safetensors file: the length of a header, the header, numbers.
#[derive(Debug)]
pub(super) struct SafetensorsFile {
    file: Mutex<File>,
    /// Where the numbers begin.
    start: u64,
    /// Where the bytes of each tensor lie after that.
    places: BTreeMap<String, (usize, usize)>,
}

impl SafetensorsFile {
    /// Whether a file that begins so is, or was, one: the header is JSON.
    pub(super) fn is_one(start: &[u8]) -> bool {
        start.get(8) == Some(&b'{')
    }

    pub(super) fn open(mut file: File) -> Result<(Self, BTreeMap<String, Entry>), Problem> {
        let wrong = |text: String| Problem::Form(format!("not a safetensors file: {text}"));
        let size = file.metadata()?.len();
        let mut length = [0; 8];
        file.seek(SeekFrom::Start(0))?;
        file.read_exact(&mut length)?;
        let length = u64::from_le_bytes(length);
        if length > LONGEST_HEADER {
            let text = format!("a header of {length} bytes, expected at most {LONGEST_HEADER}");
            return Err(wrong(text));
        }
        let start = 8 + length;
        if start > size {
            return Err(wrong(format!(
                "its header ends at byte {start}, the file at {size}"
            )));
        }
        let mut header = vec![0; length as usize];
        file.read_exact(&mut header)?;
        // Reading it checks that tensors follow each other without gaps and are as long as their shapes say.
        let header: Metadata =
            serde_json::from_slice(&header).map_err(|error| wrong(short(&error)))?;
        let end = (header.data_len() as u64).checked_add(start);
        if end != Some(size) {
            let end = end.map_or("beyond all files".to_owned(), |end| {
                format!("at byte {end}")
            });
            return Err(wrong(format!("its tensors end {end}, the file at {size}")));
        }
        let mut entries = BTreeMap::new();
        let mut places = BTreeMap::new();
        for (key, info) in header.tensors() {
            let format = match info.dtype {
                Dtype::F32 => Ok(Format::F32),
                Dtype::F16 => Ok(Format::F16),
                Dtype::BF16 => Ok(Format::Bf16),
                other => Err(format!("{other:?}")),
            };
            let shape = info.shape.clone();
            places.insert(key.clone(), info.data_offsets);
            entries.insert(key, Entry { shape, format });
        }
        let file = Mutex::new(file);
        Ok((
            Self {
                file,
                start,
                places,
            },
            entries,
        ))
    }

    /// The bytes of one of its tensors.
    pub(super) fn read(&self, key: &str) -> Result<Vec<u8>, Problem> {
        let (from, to) = self.places[key];
        let mut file = self.file.lock().expect("no reader panics");
        file.seek(SeekFrom::Start(self.start + from as u64))?;
        let mut bytes = vec![0; to - from];
        let read = file.read_exact(&mut bytes);
        read.map_err(|_| Problem::Form(format!("tensor {} is cut short", shown(key))))?;
        Ok(bytes)
    }
}

/// What the reader says of a header, which may repeat a long piece of it.
fn short(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.char_indices().nth(200) {
        Some((end, _)) => format!("{}…", text[..end].escape_debug()),
        None => text.escape_debug().to_string(),
    }
}
