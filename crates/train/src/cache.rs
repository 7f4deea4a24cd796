//! What frozen levels make of the rows, computed once.

use std::{
    fs::{self, File},
    io::{BufWriter, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use crate::TrainError;

/// Bytes that a cache in memory may take.
const MOST_MEMORY: u64 = 8 << 30;
/// Bytes that a cache on disk may take.
const MOST_DISK: u64 = 1 << 40;

/// The features of every row, as often as there are views of it.
#[derive(Debug)]
pub(crate) struct FeatureCache {
    rows: usize,
    /// Numbers of a row.
    width: usize,
    store: Store,
}

#[derive(Debug)]
enum Store {
    Memory(Vec<f32>),
    /// A file, which is removed with the cache.
    Disk(File, PathBuf),
}

/// Where a cache is to be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place<'a> {
    Memory,
    File(&'a Path),
}

impl FeatureCache {
    /// Fills a cache with `views` times `rows` features of `width` numbers each. `compute` is asked for chunks of rows of
    /// each view, in order.
    ///
    /// # Errors
    /// It would be too large, or the disk refuses.
    pub(crate) fn fill(
        place: Place<'_>,
        [views, rows, width]: [usize; 3],
        mut compute: impl FnMut(usize, std::ops::Range<usize>) -> Result<Vec<f32>, TrainError>,
    ) -> Result<Self, TrainError> {
        const CHUNK: usize = 256;
        let bytes = views as u64 * rows as u64 * width as u64 * size_of::<f32>() as u64;
        let (most, instead) = match place {
            Place::Memory => (MOST_MEMORY, "`disk` or `none`, or fewer views"),
            Place::File(_) => (MOST_DISK, "`none`, or fewer views"),
        };
        if bytes > most {
            let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
            return Err(TrainError::Cache(format!(
                "train.greedy.cache: what the frozen levels make of {rows} rows takes {:.1} GiB, at most {:.0} fit: use \
                 {instead}",
                gib(bytes),
                gib(most)
            )));
        }
        let chunks = (0..views).flat_map(|view| {
            (0..rows)
                .step_by(CHUNK)
                .map(move |start| (view, start..rows.min(start + CHUNK)))
        });
        let store = match place {
            Place::Memory => {
                let mut numbers = Vec::with_capacity(views * rows * width);
                for (view, rows) in chunks {
                    numbers.extend(compute(view, rows)?);
                }
                Store::Memory(numbers)
            }
            Place::File(path) => {
                let file = File::options()
                    .create(true)
                    .truncate(true)
                    .read(true)
                    .write(true)
                    .open(path)
                    .map_err(TrainError::io(path))?;
                let mut writer = BufWriter::with_capacity(1 << 20, &file);
                for (view, rows) in chunks {
                    for number in compute(view, rows)? {
                        let written = writer.write_all(&number.to_le_bytes());
                        written.map_err(TrainError::io(path))?;
                    }
                }
                writer.flush().map_err(TrainError::io(path))?;
                drop(writer);
                Store::Disk(file, path.to_owned())
            }
        };
        Ok(Self { rows, width, store })
    }

    /// The features of some rows in a view, in their order.
    ///
    /// # Errors
    /// The disk refuses.
    pub(crate) fn read(&self, view: usize, indices: &[u32]) -> Result<Vec<f32>, TrainError> {
        let mut found = Vec::with_capacity(indices.len() * self.width);
        let mut bytes = vec![0; self.width * size_of::<f32>()];
        for index in indices {
            let place = (view * self.rows + *index as usize) * self.width;
            match &self.store {
                Store::Memory(numbers) => found.extend(&numbers[place..place + self.width]),
                Store::Disk(file, path) => {
                    let offset = place as u64 * size_of::<f32>() as u64;
                    let mut file: &File = file;
                    file.seek(SeekFrom::Start(offset))
                        .and_then(|_| file.read_exact(&mut bytes))
                        .map_err(TrainError::io(path))?;
                    let (words, _) = bytes.as_chunks();
                    found.extend(words.iter().map(|word| f32::from_le_bytes(*word)));
                }
            }
        }
        Ok(found)
    }
}

impl Drop for FeatureCache {
    fn drop(&mut self) {
        if let Store::Disk(_, path) = &self.store {
            // Whatever is left of it is overwritten by the next one.
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_gives_the_same_numbers_as_memory_and_is_gone_with_the_cache() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("features");
        let compute = |view: usize, rows: std::ops::Range<usize>| {
            Ok(rows
                .flat_map(|row| [(view * 1000 + row) as f32, 0.5])
                .collect())
        };
        let sizes = [2, 300, 2];
        let memory = FeatureCache::fill(Place::Memory, sizes, compute).unwrap();
        let disk = FeatureCache::fill(Place::File(&path), sizes, compute).unwrap();
        for cache in [&memory, &disk] {
            assert_eq!(
                cache.read(1, &[299, 0]).unwrap(),
                [1299.0, 0.5, 1000.0, 0.5]
            );
        }
        assert!(path.exists());
        drop(disk);
        assert!(!path.exists());
    }

    #[test]
    fn one_that_is_too_large_is_refused_before_it_is_computed() {
        let error = FeatureCache::fill(Place::Memory, [1, 50_000, 1 << 20], |_, _| unreachable!());
        assert_eq!(
            error.unwrap_err().to_string(),
            "train.greedy.cache: what the frozen levels make of 50000 rows takes 195.3 GiB, at most 8 fit: use `disk` or \
             `none`, or fewer views"
        );
    }
}
