use std::{
    fs,
    path::{Path, PathBuf},
    thread,
};

use sha2::{Digest as _, Sha256};
use strata_spec::{DataDigest, DataSpec, Digest};

use crate::{
    DIGITS_TEST_ROWS, DIGITS_TRAIN_ROWS, DataError, Dataset, Images, Places, Progress,
    catalogue::{self, Entry},
    digits, download, idx,
};

/// Seeds of the drawn training and test rows. They are part of what the name `digits` means.
const DIGITS_SEEDS: [u64; 2] = [1, 2];

/// Names of the four files of a data set without the endings that may follow: training images and
/// labels, then test images and labels.
const STEMS: [(&str, &str); 4] = [
    ("train-images", "idx3-ubyte"),
    ("train-labels", "idx1-ubyte"),
    ("t10k-images", "idx3-ubyte"),
    ("t10k-labels", "idx1-ubyte"),
];

/// Reads the data that a recipe names.
///
/// `base` is the recipe's folder, from which a path in `spec` counts; `classes` bounds the labels.
/// A set of the catalogue is looked for in `places`, file by file, and what is missing is
/// downloaded into the cache; whatever its place, a file must have the published checksum.
/// `progress` is called while a download goes on.
///
/// # Errors
/// The data is not there and cannot be downloaded, or it is not what it should be; the error names
/// the file.
pub fn load(
    spec: &DataSpec,
    base: &Path,
    classes: usize,
    places: &Places,
    progress: &mut dyn FnMut(Progress),
) -> Result<Dataset, DataError> {
    match Source::of(spec)? {
        Source::Digits => drawn(classes),
        Source::Folder(path) => read_folder(&base.join(path), classes),
        Source::Catalogue(entry) => {
            download::fetch_missing(entry, places, progress)?;
            let names = || {
                entry
                    .files
                    .iter()
                    .map(|file| file.name.to_owned())
                    .collect()
            };
            let files = find(entry, places).ok_or_else(|| {
                // Someone removed a file since.
                DataError::Missing {
                    folder: places.cache_folder(entry.name),
                    names: names(),
                }
            })?;
            read_entry(entry, files, classes)
        }
    }
}

/// As [`load()`], but never downloads: nothing where a set of the catalogue is not on this machine.
///
/// # Errors
/// The data is there, but is not what it should be.
pub fn load_offline(
    spec: &DataSpec,
    base: &Path,
    classes: usize,
    places: &Places,
) -> Result<Option<Dataset>, DataError> {
    match Source::of(spec)? {
        Source::Digits => drawn(classes).map(Some),
        Source::Folder(path) => read_folder(&base.join(path), classes).map(Some),
        Source::Catalogue(entry) => find(entry, places)
            .map(|files| read_entry(entry, files, classes))
            .transpose(),
    }
}

enum Source<'a> {
    Digits,
    Folder(&'a Path),
    Catalogue(&'static Entry),
}

impl<'a> Source<'a> {
    fn of(spec: &'a DataSpec) -> Result<Self, DataError> {
        let name = spec.source.as_str();
        if name == "digits" {
            return Ok(Self::Digits);
        }
        if let Some(entry) = catalogue::entry(name) {
            return Ok(Self::Catalogue(entry));
        }
        if name.contains('/') {
            return Ok(Self::Folder(Path::new(name)));
        }
        let known = catalogue::ENTRIES
            .iter()
            .map(|entry| entry.name)
            .chain(["digits"])
            .collect();
        Err(DataError::Unknown {
            found: name.to_owned(),
            known,
        })
    }
}

fn drawn(classes: usize) -> Result<Dataset, DataError> {
    if classes < 10 {
        return Err(DataError::Classes { classes });
    }
    let train = digits::draw(DIGITS_TRAIN_ROWS, DIGITS_SEEDS[0]);
    let test = digits::draw(DIGITS_TEST_ROWS, DIGITS_SEEDS[1]);
    let digests = [("digits/train", &train), ("digits/test", &test)].map(|(name, images)| {
        let labels: Vec<u8> = images
            .labels
            .iter()
            .flat_map(|label| label.to_le_bytes())
            .collect();
        let hash = Sha256::new()
            .chain_update(&images.pixels)
            .chain_update(labels)
            .finalize();
        DataDigest {
            name: name.to_owned(),
            digest: Digest::from_bytes(hash.into()),
        }
    });
    let source = "digits drawn by strata".to_owned();
    Ok(Dataset {
        train,
        test,
        source,
        digests: digests.into(),
    })
}

fn find(entry: &Entry, places: &Places) -> Option<[PathBuf; 4]> {
    let found: Vec<PathBuf> = entry
        .files
        .iter()
        .map_while(|file| places.find(entry.name, file.name))
        .collect();
    found.try_into().ok()
}

fn read_entry(entry: &Entry, files: [PathBuf; 4], classes: usize) -> Result<Dataset, DataError> {
    let folder = files[0].parent().unwrap_or(Path::new("."));
    let source = format!("{} from {}", entry.title, folder.display());
    let expected = entry.files.each_ref().map(|file| Some(file.digest()));
    read_files(files, expected, classes, source)
}

fn read_folder(folder: &Path, classes: usize) -> Result<Dataset, DataError> {
    if let Err(source) = fs::read_dir(folder) {
        return Err(DataError::Io {
            path: folder.to_owned(),
            source,
        });
    }
    let locate = |(stem, kind): (&str, &str)| {
        let names = [
            format!("{stem}-{kind}"),
            format!("{stem}-{kind}.gz"),
            format!("{stem}.{kind}"),
            format!("{stem}.{kind}.gz"),
        ];
        let found = names
            .iter()
            .map(|name| folder.join(name))
            .find(|path| path.is_file());
        found.ok_or_else(|| DataError::Missing {
            folder: folder.to_owned(),
            names: names.into(),
        })
    };
    let [a, b, c, d] = STEMS.map(locate);
    read_files(
        [a?, b?, c?, d?],
        [None; 4],
        classes,
        format!("IDX files from {}", folder.display()),
    )
}

/// Reads the four files of a data set, whose digests must be the expected ones where there are such.
fn read_files(
    files: [PathBuf; 4],
    expected: [Option<Digest>; 4],
    classes: usize,
    source: String,
) -> Result<Dataset, DataError> {
    let [train_images, train_labels, test_images, test_labels] = &files;
    let (train, test) = thread::scope(|scope| {
        let test = scope.spawn(|| read_part([test_images, test_labels], &expected[2..], classes));
        let train = read_part([train_images, train_labels], &expected[..2], classes);
        (train, test.join())
    });
    let (train, train_digests) = train?;
    let (test, test_digests) = test.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;

    if (train.height, train.width) != (test.height, test.width) {
        let size = |images: &Images| format!("{}x{}", images.height, images.width);
        return Err(DataError::Sizes {
            train: size(&train),
            test: size(&test),
        });
    }
    let digests = train_digests.into_iter().chain(test_digests).collect();
    Ok(Dataset {
        train,
        test,
        source,
        digests,
    })
}

/// Reads images and their labels.
fn read_part(
    [images_path, labels_path]: [&PathBuf; 2],
    expected: &[Option<Digest>],
    classes: usize,
) -> Result<(Images, [DataDigest; 2]), DataError> {
    let wrong = |path: &PathBuf| {
        let path = path.clone();
        |source| DataError::Idx { path, source }
    };
    let (labels_file, labels_digest) = read_file(labels_path, expected[1])?;
    let labels = idx::labels(&labels_file, classes).map_err(wrong(labels_path))?;
    let (images_file, images_digest) = read_file(images_path, expected[0])?;
    let images = idx::images(&images_file).map_err(wrong(images_path))?;
    if images.count != labels.len() {
        return Err(DataError::Counts {
            images_path: images_path.clone(),
            images: images.count,
            labels_path: labels_path.clone(),
            labels: labels.len(),
        });
    }
    let idx::IdxImages {
        height,
        width,
        pixels,
        ..
    } = images;
    let images = Images {
        height,
        width,
        channels: 1,
        pixels,
        labels,
    };
    Ok((images, [images_digest, labels_digest]))
}

fn read_file(path: &Path, expected: Option<Digest>) -> Result<(Vec<u8>, DataDigest), DataError> {
    let bytes = fs::read(path).map_err(|source| DataError::Io {
        path: path.to_owned(),
        source,
    })?;
    let digest = Digest::from_bytes(Sha256::digest(&bytes).into());
    if let Some(expected) = expected.filter(|expected| *expected != digest) {
        return Err(DataError::Checksum {
            path: path.to_owned(),
            expected,
            found: digest,
        });
    }
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    Ok((bytes, DataDigest { name, digest }))
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
