//! Image files to rows of one size, decoded by all cores.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    thread,
};

use fast_image_resize::Resizer;
use sha2::{Digest as _, Sha256};
use strata_spec::Digest;

use crate::{DataError, Image, Images, PrepareError, Preparer, decode, folder::ImageFile};

/// Size of one encoded image.
const MOST_BYTES: u64 = 64 << 20;

/// Of so many files of a source, one may be unreadable; it is left out.
pub(crate) const FILES_FOR_ONE_UNREADABLE: usize = 20;

/// An image file that cannot be read, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: String,
}

/// The files of a part as rows.
pub(crate) struct Rows {
    pub(crate) images: Images,
    pub(crate) unreadable: Vec<Unreadable>,
    /// Of every file's path and content.
    pub(crate) digest: Digest,
}

/// Reads image files and prepares them: each row is what [`Preparer::request`] makes of the file, before normalisation.
///
/// Memory: the rows, and for each core one file (at most 64 MiB) and its pixels (at most 12 bytes for each of
/// [`MOST_PIXELS`](crate::MOST_PIXELS)).
pub(crate) fn read(
    root: &Path,
    files: &[ImageFile],
    preparer: &Preparer,
) -> Result<Rows, DataError> {
    let row_len = preparer.row_len();
    let memory = || PrepareError::Memory {
        rows: files.len(),
        bytes: row_len,
    };
    let total = files.len().checked_mul(row_len).ok_or_else(memory)?;
    let mut pixels = Vec::new();
    pixels.try_reserve_exact(total).map_err(|_| memory())?;
    pixels.resize(total, 0);
    let mut outcomes: Vec<Option<Outcome>> = files.iter().map(|_| None).collect();

    let rows = pixels.chunks_exact_mut(row_len).zip(&mut outcomes);
    let tasks = Mutex::new(files.iter().zip(rows));
    each_core(files.len(), || {
        let mut resizer = Resizer::new();
        loop {
            let task = tasks.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((file, (row, outcome))) = task else {
                break;
            };
            *outcome = Some(match read_image(&root.join(&file.path)) {
                Ok((digest, image)) => {
                    let prepared = image.and_then(|image| preparer.image(&image, &mut resizer));
                    let problem = match prepared {
                        Ok(prepared) => {
                            row.copy_from_slice(&prepared);
                            None
                        }
                        Err(error) => Some(error.to_string()),
                    };
                    Outcome { digest, problem }
                }
                Err(problem) => Outcome {
                    digest: [0; 32],
                    problem: Some(problem),
                },
            });
        }
    });

    let mut hash = Sha256::new();
    let mut labels = Vec::with_capacity(files.len());
    let mut unreadable = Vec::new();
    for (index, (file, outcome)) in files.iter().zip(outcomes).enumerate() {
        let outcome = outcome.expect("every file was somebody's task");
        hash.update(file.path.to_string_lossy().as_bytes());
        hash.update([0]);
        hash.update(outcome.digest);
        match outcome.problem {
            None => {
                pixels.copy_within(
                    index * row_len..(index + 1) * row_len,
                    labels.len() * row_len,
                );
                labels.push(file.class);
            }
            Some(problem) => unreadable.push(Unreadable {
                path: root.join(&file.path),
                problem,
            }),
        }
    }
    pixels.truncate(labels.len() * row_len);
    Ok(Rows {
        images: preparer.images(pixels, labels),
        unreadable,
        digest: Digest::from_bytes(hash.finalize().into()),
    })
}

struct Outcome {
    digest: [u8; 32],
    problem: Option<String>,
}

/// The digest of a file, and the image in it; or why it cannot be read at all.
#[allow(clippy::type_complexity)]
pub(crate) fn read_image(path: &Path) -> Result<([u8; 32], Result<Image, PrepareError>), String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    file.take(MOST_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(format!("more than {MOST_BYTES} bytes"));
    }
    Ok((Sha256::digest(&bytes).into(), decode(&bytes)))
}

/// Calls `work` on as many threads as there are cores, at most `most`.
pub(crate) fn each_core(most: usize, work: impl Fn() + Sync) {
    let threads = thread::available_parallelism().map_or(1, |threads| threads.get());
    thread::scope(|scope| {
        for _ in 1..threads.min(most) {
            scope.spawn(&work);
        }
        work();
    });
}
