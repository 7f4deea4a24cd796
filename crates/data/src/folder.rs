//! Folders of image files, one folder a class, as torchvision's `ImageFolder` reads them.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{DataError, split::stratified};

/// Image files of a source; row numbers are 32-bit anyway.
const MOST_FILES: usize = 10_000_000;

/// Folders within a class's folder, one in the other.
const MOST_DEPTH: usize = 8;

/// Share of each class that is kept aside as test rows where a folder has none.
pub(crate) const TEST_SHARE: f64 = 0.1;

/// Endings of image files. Those of other formats than PNG and JPEG count as files that cannot be read.
const ENDINGS: [&str; 16] = [
    "png", "jpg", "jpeg", "jpe", "jfif", "bmp", "gif", "webp", "tif", "tiff", "ppm", "pgm", "pnm",
    "avif", "heic", "jp2",
];

/// The image files of a folder.
#[derive(Debug)]
pub(crate) struct Listing {
    pub(crate) root: PathBuf,
    /// Names of the classes, sorted.
    pub(crate) classes: Vec<String>,
    pub(crate) train: Vec<ImageFile>,
    /// From `val/`, where there is `test/` too.
    pub(crate) validation: Option<Vec<ImageFile>>,
    /// Absent where the folder has no parts.
    pub(crate) test: Option<Vec<ImageFile>>,
    /// Files that are no images by their names.
    pub(crate) other_files: usize,
    /// Symbolic links that lead out of the folder, to folders or nowhere; none is followed.
    pub(crate) links: usize,
}

/// One image file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImageFile {
    /// Below the root of the listing.
    pub(crate) path: PathBuf,
    pub(crate) class: u32,
}

/// Whether a folder has folders in it that may be classes.
pub(crate) fn has_folders(folder: &Path) -> Result<bool, DataError> {
    let entries = entries(folder)?;
    Ok(entries.iter().any(|entry| entry.kind == Kind::Folder))
}

/// Lists the image files of a folder that has a folder for each class, or `train/` and `val/` or `test/` with these in
/// them.
///
/// Files and folders whose names start with a dot are left out.
pub(crate) fn list(folder: &Path) -> Result<Listing, DataError> {
    let mut walk = Walk {
        root: folder.to_owned(),
        real_root: fs::canonicalize(folder).map_err(at(folder))?,
        files: 0,
        other_files: 0,
        links: 0,
    };
    let folders = walk.folders(Path::new(""))?;
    let has = |part: &str| folders.iter().any(|name| name == part);
    let is_split = has("train") && folders.iter().all(|name| PARTS.contains(&name.as_str()));
    let mut listing = if is_split {
        let classes = walk.folders(Path::new("train"))?;
        let mut part = |name: &str| -> Result<Option<Vec<ImageFile>>, DataError> {
            has(name)
                .then(|| walk.part(Path::new(name), &classes))
                .transpose()
        };
        let train = part("train")?.unwrap_or_default();
        let (validation, test) = match (part("val")?, part("test")?) {
            // ImageNet has no labels for its test images and is tested with `val/`.
            (Some(validation), None) => (None, Some(validation)),
            parts => parts,
        };
        Listing {
            root: folder.to_owned(),
            classes,
            train,
            validation,
            test,
            other_files: 0,
            links: 0,
        }
    } else {
        let train = walk.part(Path::new(""), &folders)?;
        Listing {
            root: folder.to_owned(),
            classes: folders,
            train,
            validation: None,
            test: None,
            other_files: 0,
            links: 0,
        }
    };
    listing.other_files = walk.other_files;
    listing.links = walk.links;
    Ok(listing)
}

const PARTS: [&str; 3] = ["train", "val", "test"];

impl Listing {
    /// Keeps a tenth of each class aside as test rows if there are none. Whether it did.
    pub(crate) fn keep_test_aside(&mut self) -> Result<bool, DataError> {
        if self.test.is_some() {
            return Ok(false);
        }
        let test = split_off(&mut self.train, TEST_SHARE, 0);
        if test.is_empty() {
            return Err(DataError::TooFew {
                rows: self.train.len(),
                fraction: TEST_SHARE,
                what: "tests",
            });
        }
        self.test = Some(test);
        Ok(true)
    }
}

/// Takes a share of each class out of `files`.
pub(crate) fn split_off(files: &mut Vec<ImageFile>, fraction: f64, seed: u64) -> Vec<ImageFile> {
    let labels: Vec<u32> = files.iter().map(|file| file.class).collect();
    let (rest, aside) = stratified(&labels, fraction, seed);
    let choose = |rows: &[u32]| -> Vec<ImageFile> {
        rows.iter()
            .map(|&row| files[row as usize].clone())
            .collect()
    };
    let (rest, aside) = (choose(&rest), choose(&aside));
    *files = rest;
    aside
}

struct Walk {
    root: PathBuf,
    real_root: PathBuf,
    files: usize,
    other_files: usize,
    links: usize,
}

impl Walk {
    /// Names of the folders in a folder below the root, sorted.
    fn folders(&self, below: &Path) -> Result<Vec<String>, DataError> {
        let folder = self.root.join(below);
        let folders = entries(&folder)?
            .into_iter()
            .filter(|entry| entry.kind == Kind::Folder);
        let names: Vec<String> = folders.map(|entry| entry.name).collect();
        if names.is_empty() {
            return Err(DataError::NoClasses { folder });
        }
        Ok(names)
    }

    /// The files of a part: those of each class in turn.
    fn part(&mut self, below: &Path, classes: &[String]) -> Result<Vec<ImageFile>, DataError> {
        let mut files = Vec::new();
        for name in self.folders(below)? {
            let path = below.join(&name);
            let Some(class) = classes.iter().position(|class| *class == name) else {
                return Err(DataError::UnknownClass {
                    folder: self.root.join(path),
                    known: self.root.join("train"),
                });
            };
            let before = files.len();
            self.class(&path, class as u32, 0, &mut files)?;
            if files.len() == before {
                return Err(DataError::EmptyClass {
                    folder: self.root.join(path),
                });
            }
        }
        Ok(files)
    }

    fn class(
        &mut self,
        below: &Path,
        class: u32,
        depth: usize,
        files: &mut Vec<ImageFile>,
    ) -> Result<(), DataError> {
        let folder = self.root.join(below);
        for entry in entries(&folder)? {
            let path = below.join(&entry.name);
            match entry.kind {
                Kind::Folder if depth < MOST_DEPTH => self.class(&path, class, depth + 1, files)?,
                Kind::Folder => return Err(DataError::TooDeep { folder }),
                Kind::Link if !self.leads_to_a_file_inside(&path) => self.links += 1,
                Kind::Link | Kind::File if is_image(&path) => {
                    self.files += 1;
                    if self.files > MOST_FILES {
                        return Err(DataError::TooManyFiles {
                            folder: self.root.clone(),
                            most: MOST_FILES,
                        });
                    }
                    files.push(ImageFile { path, class });
                }
                Kind::Link | Kind::File | Kind::Other => self.other_files += 1,
            }
        }
        Ok(())
    }

    fn leads_to_a_file_inside(&self, path: &Path) -> bool {
        fs::canonicalize(self.root.join(path))
            .is_ok_and(|target| target.starts_with(&self.real_root) && target.is_file())
    }
}

fn is_image(path: &Path) -> bool {
    let ending = path
        .extension()
        .map(|ending| ending.to_string_lossy().to_lowercase());
    ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str()))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Folder,
    Link,
    Other,
}

struct Entry {
    name: String,
    kind: Kind,
}

/// What is in a folder, sorted by name, without names that start with a dot.
fn entries(folder: &Path) -> Result<Vec<Entry>, DataError> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(at(folder))? {
        let entry = entry.map_err(at(folder))?;
        let Ok(name) = entry.file_name().into_string() else {
            let name = folder.join(entry.file_name());
            let error = io::Error::other("its name is not valid UTF-8: rename it");
            return Err(at(&name)(error));
        };
        if name.starts_with('.') {
            continue;
        }
        // Of the link itself, not of what it leads to.
        let kind = entry.file_type().map_err(at(folder))?;
        let kind = if kind.is_dir() {
            Kind::Folder
        } else if kind.is_file() {
            Kind::File
        } else if kind.is_symlink() {
            Kind::Link
        } else {
            Kind::Other
        };
        entries.push(Entry { name, kind });
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> DataError {
    move |source| DataError::Io {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
#[path = "folder_tests.rs"]
mod tests;
