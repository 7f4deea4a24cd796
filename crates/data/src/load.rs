use std::{
    fs,
    path::{Path, PathBuf},
    thread,
};

use sha2::{Digest as _, Sha256};
use strata_spec::{DataDigest, DataSpec, Digest};

use crate::{
    DIGITS_TEST_ROWS, DIGITS_TRAIN_ROWS, DataError, Dataset, Images, Origin, Places, Preparer,
    Progress,
    archive::read_archive,
    catalogue::{Entry, Format},
    class_folder::read_class_folder,
    digits, folder, idx,
    images::takes_parts,
    source::{Source, locate},
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
/// `preparer` is the recipe's: image files become rows of its size, and so do the rows of several sources. The rows of
/// other sources are as they were read, and become such by [`Dataset::prepared`]. `base` is the recipe's folder, from
/// which a path in `spec` counts; `classes` bounds the labels. A set of the catalogue is looked for in `places`, file by
/// file, and what is missing is downloaded into the cache. A file must have the published checksum; only an archive
/// (CIFAR) in the user's own folder may be another one. `progress` is called while a download goes on.
///
/// # Errors
/// The data is not there and cannot be downloaded, or it is not what it should be; the error names the file.
pub fn load(
    spec: &DataSpec,
    preparer: &Preparer,
    base: &Path,
    classes: usize,
    places: &Places,
    progress: &mut dyn FnMut(Progress),
) -> Result<Dataset, DataError> {
    let found = load_all(spec, Some(preparer), base, classes, places, Some(progress))?;
    Ok(found.expect("what is not there was downloaded, or is an error"))
}

/// As [`load()`], but never downloads: nothing where a set of the catalogue is not on this machine.
///
/// # Errors
/// The data is there, but is not what it should be.
pub fn load_offline(
    spec: &DataSpec,
    preparer: &Preparer,
    base: &Path,
    classes: usize,
    places: &Places,
) -> Result<Option<Dataset>, DataError> {
    load_all(spec, Some(preparer), base, classes, places, None)
}

/// Downloads what is missing of a set of the catalogue, checks it, and says what it is.
///
/// # Errors
/// There is no such set, or it cannot be had.
pub fn fetch(
    name: &str,
    places: &Places,
    progress: &mut dyn FnMut(Progress),
) -> Result<Dataset, DataError> {
    match Source::of(name, Path::new("."))? {
        Source::Catalogue(entry) => {
            let found = read_entry(entry, usize::MAX, places, Some(progress))?;
            Ok(found.expect("what is not there was downloaded, or is an error"))
        }
        Source::Digits | Source::Folder(_) => Err(DataError::Unknown {
            found: name.to_owned(),
            known: crate::catalogue().collect(),
        }),
    }
}

/// The rows of a source of one size, as they are; nothing for a folder of image files.
pub(crate) fn read_plain(
    name: &str,
    base: &Path,
    places: &Places,
    progress: &mut dyn FnMut(Progress),
) -> Result<Option<Dataset>, DataError> {
    let any = usize::MAX;
    load_all(&DataSpec::of(name), None, base, any, places, Some(progress))
}

fn load_all(
    spec: &DataSpec,
    preparer: Option<&Preparer>,
    base: &Path,
    classes: usize,
    places: &Places,
    mut progress: Option<&mut dyn FnMut(Progress)>,
) -> Result<Option<Dataset>, DataError> {
    let mut all: Option<Dataset> = None;
    for (origin, name) in spec.sources().enumerate() {
        let found = match Source::of(name, base)? {
            Source::Digits => Some(drawn(classes)?),
            Source::Folder(path) if is_class_folder(&path)? => preparer
                .map(|preparer| read_class_folder(&path, spec, preparer, classes))
                .transpose()?,
            Source::Folder(path) => Some(read_folder(&path, classes)?),
            Source::Catalogue(entry) => {
                let progress = progress
                    .as_mut()
                    .map(|progress| &mut **progress as &mut dyn FnMut(Progress));
                read_entry(entry, classes, places, progress)?
            }
        };
        let Some(mut found) = found else {
            return Ok(None);
        };
        name.clone_into(&mut found.origins[0].name);
        let Some(preparer) = preparer.filter(|_| !spec.also.is_empty()) else {
            return Ok(Some(found));
        };
        let prepared = alike(found, spec, preparer)?;
        match &mut all {
            None => all = Some(prepared),
            Some(all) => append(all, prepared, origin),
        }
    }
    Ok(all)
}

/// A source's rows in the size in which those of several sources are mixed.
fn alike(found: Dataset, spec: &DataSpec, preparer: &Preparer) -> Result<Dataset, DataError> {
    let mut prepared = found.prepared(spec, preparer)?;
    if takes_parts(spec) {
        prepared.train = preparer.for_crops().fit(prepared.train)?;
    }
    let name = &prepared.origins[0].name;
    for digest in &mut prepared.digests {
        digest.name = format!("{name}: {}", digest.name);
    }
    Ok(prepared)
}

fn append(all: &mut Dataset, more: Dataset, origin: usize) {
    let origin = u8::try_from(origin).expect("checked when parsed: at most 17 sources");
    all.train.append(more.train, origin);
    all.test.append(more.test, origin);
    match (&mut all.validation, more.validation) {
        (Some(validation), Some(more)) => validation.append(more, origin),
        (validation @ None, Some(mut more)) => {
            more.origins = vec![origin; more.len()];
            *validation = Some(more);
        }
        (_, None) => {}
    }
    all.source = format!("{}; {}", all.source, more.source);
    all.digests.extend(more.digests);
    all.origins.extend(more.origins);
}

fn drawn(classes: usize) -> Result<Dataset, DataError> {
    check_classes("digits", 10, classes)?;
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
        validation: None,
        source,
        digests: digests.into(),
        origins: vec![unnamed()],
    })
}

pub(crate) fn check_classes(name: &str, found: usize, classes: usize) -> Result<(), DataError> {
    if found <= classes {
        return Ok(());
    }
    Err(DataError::Classes {
        name: name.to_owned(),
        found,
        classes,
    })
}

fn read_entry(
    entry: &Entry,
    classes: usize,
    places: &Places,
    progress: Option<&mut dyn FnMut(Progress)>,
) -> Result<Option<Dataset>, DataError> {
    let Some(files) = locate(entry, places, progress)? else {
        return Ok(None);
    };
    let folder = files[0].parent().unwrap_or(Path::new("."));
    let source = format!("{} from {}", entry.title, folder.display());
    let expected: Vec<Digest> = entry.files.iter().map(|file| file.digest()).collect();
    match entry.format {
        Format::Idx => {
            let files = files.try_into().expect("a set of IDX files has four");
            let mut each = expected.into_iter().map(Some);
            let expected = std::array::from_fn(|_| each.next().flatten());
            read_files(files, expected, classes, source).map(Some)
        }
        Format::Cifar(layout) => {
            check_classes(entry.name, layout.classes(), classes)?;
            let is_own = !files[0].starts_with(places.cache_folder(entry.name));
            read_archive(&files[0], layout, expected[0], is_own, source).map(Some)
        }
    }
}

/// Whether a folder is one of image files rather than of IDX files.
pub(crate) fn is_class_folder(folder: &Path) -> Result<bool, DataError> {
    let names = STEMS.iter().flat_map(|&stem| idx_names(stem));
    let has_idx = names.into_iter().any(|name| folder.join(name).is_file());
    Ok(folder::has_folders(folder)? && !has_idx)
}

fn idx_names((stem, kind): (&str, &str)) -> [String; 4] {
    [
        format!("{stem}-{kind}"),
        format!("{stem}-{kind}.gz"),
        format!("{stem}.{kind}"),
        format!("{stem}.{kind}.gz"),
    ]
}

fn read_folder(folder: &Path, classes: usize) -> Result<Dataset, DataError> {
    let locate = |stem| {
        let names = idx_names(stem);
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
        validation: None,
        source,
        digests,
        origins: vec![unnamed()],
    })
}

/// The origin of rows whose classes have no names; `load_all` names it.
fn unnamed() -> Origin {
    Origin {
        name: String::new(),
        labels: Vec::new(),
    }
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
        origins: Vec::new(),
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
    let name = file_name(path);
    Ok((bytes, DataDigest { name, digest }))
}

pub(crate) fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
