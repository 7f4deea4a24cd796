//! What a source holds: classes, sizes, repeated images, files that cannot be read.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Mutex, PoisonError},
};

use sha2::{Digest as _, Sha256};
use strata_spec::{DataDigest, Digest};

use crate::{
    DataError, Image, Images, Places, PrepareError, Progress, Summary, Unreadable,
    files::{each_core, read_image},
    folder::{self, ImageFile},
    inspect,
    inspect::Histograms,
    load::{is_class_folder, read_plain},
    source::Source,
};

/// How many repeated images are named.
const MOST_NAMED: usize = 20;

/// What a source holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Inspection {
    /// For people: which data, from where.
    pub source: String,
    /// What was read, by content.
    pub digests: Vec<DataDigest>,
    /// What its classes are called; empty where nothing says so.
    pub labels: Vec<String>,
    /// `train`, `validation` and `test`, as far as there are such.
    pub parts: Vec<PartSummary>,
    /// Images whose pixels are the same.
    pub duplicates: Duplicates,
    /// Image files that cannot be read.
    pub unreadable: Vec<Unreadable>,
    /// Files that are no images by their names.
    pub other_files: usize,
    /// Symbolic links that are not followed.
    pub links: usize,
}

/// What a part of a source holds.
#[derive(Clone, Debug, PartialEq)]
pub struct PartSummary {
    /// `train`, `validation` or `test`.
    pub name: &'static str,
    /// Counts and averages. Its shape is that of all rows, or of the largest height and width.
    pub summary: Summary,
    /// Lowest, middle and highest height in pixels.
    pub heights: [usize; 3],
    /// Lowest, middle and highest width in pixels.
    pub widths: [usize; 3],
}

/// Images with the same size, channels and pixels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Duplicates {
    /// For each part, the rows that repeat an earlier row of it.
    pub within: Vec<(&'static str, usize)>,
    /// Rows of later parts that are in an earlier part, too: what is tested with was learned.
    pub between: usize,
    /// Repeated rows whose classes differ.
    pub with_other_labels: usize,
    /// The first of them: the earlier row and the later one.
    pub examples: Vec<[String; 2]>,
}

/// Reads a source to its end, downloads it if need be, and says what it holds. `base` is the folder from which a path
/// counts.
///
/// # Errors
/// The data is not there and cannot be downloaded, or it is not what it should be.
pub fn inspect_source(
    name: &str,
    base: &Path,
    places: &Places,
    progress: &mut dyn FnMut(Progress),
) -> Result<Inspection, DataError> {
    match Source::of(name, base)? {
        Source::Folder(path) if is_class_folder(&path)? => inspect_folder(&path),
        _ => {
            let data = read_plain(name, base, places, progress)?;
            let data = data.expect("only folders of image files have no rows of one size");
            let parts = [("train", &data.train), ("test", &data.test)];
            let mut duplicates = Finder::default();
            for (part, images) in parts {
                duplicates.begin(part);
                for (row, digest) in row_digests(images).into_iter().enumerate() {
                    duplicates.see(digest, images.labels[row], || format!("{part} row {row}"));
                }
            }
            Ok(Inspection {
                source: data.source,
                digests: data.digests,
                labels: data
                    .origins
                    .into_iter()
                    .flat_map(|origin| origin.labels)
                    .collect(),
                parts: parts.map(|(name, images)| of_one_size(name, images)).into(),
                duplicates: duplicates.found,
                unreadable: Vec::new(),
                other_files: 0,
                links: 0,
            })
        }
    }
}

fn of_one_size(name: &'static str, images: &Images) -> PartSummary {
    PartSummary {
        name,
        summary: inspect(images),
        heights: [images.height; 3],
        widths: [images.width; 3],
    }
}

fn row_digests(images: &Images) -> Vec<[u8; 32]> {
    let mut digests = vec![[0; 32]; images.len()];
    let tasks = Mutex::new(digests.chunks_mut(256).enumerate());
    each_core(images.len(), || {
        loop {
            let task = tasks.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((chunk, digests)) = task else { break };
            for (offset, digest) in digests.iter_mut().enumerate() {
                *digest = Sha256::digest(images.row(chunk * 256 + offset)).into();
            }
        }
    });
    digests
}

fn inspect_folder(path: &Path) -> Result<Inspection, DataError> {
    let listing = folder::list(path)?;
    let mut found = Inspection {
        source: format!(
            "{} classes of images from {}",
            listing.classes.len(),
            path.display()
        ),
        digests: Vec::new(),
        labels: listing.classes,
        parts: Vec::new(),
        duplicates: Duplicates::default(),
        unreadable: Vec::new(),
        other_files: listing.other_files,
        links: listing.links,
    };
    let mut duplicates = Finder::default();
    let parts = [
        ("train", Some(listing.train)),
        ("validation", listing.validation),
        ("test", listing.test),
    ];
    for (name, files) in parts {
        let Some(files) = files else { continue };
        duplicates.begin(name);
        inspect_part(path, name, &files, &mut duplicates, &mut found);
    }
    found.duplicates = duplicates.found;
    Ok(found)
}

/// What is kept of an image.
struct Seen {
    file: [u8; 32],
    image: Result<Shape, String>,
}

struct Shape {
    height: usize,
    width: usize,
    is_grey: bool,
    digest: [u8; 32],
}

fn inspect_part(
    root: &Path,
    name: &'static str,
    files: &[ImageFile],
    duplicates: &mut Finder,
    found: &mut Inspection,
) {
    let mut seen: Vec<Option<Seen>> = files.iter().map(|_| None).collect();
    let tasks = Mutex::new(files.iter().zip(&mut seen));
    let totals = Mutex::new(Histograms::new(3));
    each_core(files.len(), || {
        let mut histograms = Histograms::new(3);
        loop {
            let task = tasks.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((file, seen)) = task else { break };
            *seen = Some(look_at(&root.join(&file.path), &mut histograms));
        }
        totals
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .add(&histograms);
    });

    let mut hash = Sha256::new();
    let (mut heights, mut widths) = (Vec::new(), Vec::new());
    let mut class_counts = vec![0; found.labels.len()];
    let mut is_grey = true;
    for (file, seen) in files.iter().zip(seen) {
        let seen = seen.expect("every file was somebody's task");
        let path = file.path.to_string_lossy();
        hash.update(path.as_bytes());
        hash.update([0]);
        hash.update(seen.file);
        match seen.image {
            Ok(shape) => {
                heights.push(shape.height);
                widths.push(shape.width);
                is_grey &= shape.is_grey;
                class_counts[file.class as usize] += 1;
                duplicates.see(shape.digest, file.class, || path.into_owned());
            }
            Err(problem) => found.unreadable.push(Unreadable {
                path: root.join(&file.path),
                problem,
            }),
        }
    }
    let spread = |mut sides: Vec<usize>| {
        sides.sort_unstable();
        let middle = sides.get(sides.len() / 2).copied().unwrap_or(0);
        let (first, last) = (sides.first().copied(), sides.last().copied());
        [first.unwrap_or(0), middle, last.unwrap_or(0)]
    };
    let rows = heights.len();
    let (heights, widths) = (spread(heights), spread(widths));
    let channels = if is_grey { 1 } else { 3 };
    let histograms = totals.into_inner().unwrap_or_else(PoisonError::into_inner);
    let (mut mean, mut std) = histograms.mean_and_std();
    mean.truncate(channels);
    std.truncate(channels);
    found.digests.push(DataDigest {
        name: format!("images/{name}"),
        digest: Digest::from_bytes(hash.finalize().into()),
    });
    found.parts.push(PartSummary {
        name,
        summary: Summary {
            rows,
            shape: [channels, heights[2], widths[2]],
            class_counts,
            mean,
            std,
        },
        heights,
        widths,
    });
}

fn look_at(path: &Path, histograms: &mut Histograms) -> Seen {
    let (file, image) = match read_image(path) {
        Ok((file, image)) => (file, image.map_err(|error: PrepareError| error.to_string())),
        Err(problem) => ([0; 32], Err(problem)),
    };
    let image = image.map(|image| {
        let Image {
            height,
            width,
            channels,
            ref pixels,
        } = image;
        histograms.count(channels, pixels);
        let mut hash = Sha256::new();
        for side in [height, width, channels] {
            hash.update((side as u64).to_le_bytes());
        }
        hash.update(pixels);
        Shape {
            height,
            width,
            is_grey: channels == 1,
            digest: hash.finalize().into(),
        }
    });
    Seen { file, image }
}

/// Finds images that come again.
#[derive(Default)]
struct Finder {
    first: HashMap<[u8; 32], (usize, u32, String)>,
    found: Duplicates,
}

impl Finder {
    fn begin(&mut self, part: &'static str) {
        self.found.within.push((part, 0));
    }

    fn see(&mut self, digest: [u8; 32], label: u32, name: impl FnOnce() -> String) {
        let part = self.found.within.len() - 1;
        match self.first.get(&digest) {
            None => {
                self.first.insert(digest, (part, label, name()));
            }
            Some((earlier, other, first)) => {
                if *earlier == part {
                    self.found.within[part].1 += 1;
                } else {
                    self.found.between += 1;
                }
                self.found.with_other_labels += usize::from(*other != label);
                if self.found.examples.len() < MOST_NAMED {
                    self.found.examples.push([first.clone(), name()]);
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "inspection_tests.rs"]
mod tests;
