//! The binary archives of CIFAR-10 and CIFAR-100 (<https://www.cs.toronto.edu/~kriz/cifar.html>, "Binary version").
//!
//! A gzip tar file with a folder of files of rows. A row is one byte (CIFAR-100: two) of labels, then 1,024 red, 1,024
//! green and 1,024 blue pixels. The archive is read as a stream; nothing of it is written to a disk.

use std::{
    collections::HashMap,
    io::{self, BufRead, Read},
    path::{Component, Path},
};

use flate2::bufread::GzDecoder;
use tar::Archive;

use crate::Images;

/// Height and width of an image.
const SIDE: usize = 32;
const PLANE: usize = SIDE * SIDE;

/// Rows that a file may have; the largest of the published ones has as many.
const MOST_ROWS: u64 = 50_000;

/// What an archive may unpack to: the published ones take 185 MB.
const MOST_UNPACKED: u64 = 256 << 20;

/// Size of a file of class names.
const MOST_NAMES: u64 = 64 << 10;

/// What lies where in an archive.
#[derive(Debug)]
pub(crate) struct Layout {
    folder: &'static str,
    train: &'static [&'static str],
    test: &'static str,
    /// File with a class name in each line.
    names: &'static str,
    classes: usize,
    /// Bytes before the pixels of a row; the last is the label.
    label_bytes: usize,
}

pub(crate) const CIFAR_10: Layout = Layout {
    folder: "cifar-10-batches-bin",
    train: &[
        "data_batch_1.bin",
        "data_batch_2.bin",
        "data_batch_3.bin",
        "data_batch_4.bin",
        "data_batch_5.bin",
    ],
    test: "test_batch.bin",
    names: "batches.meta.txt",
    classes: 10,
    label_bytes: 1,
};

/// With its fine labels; each row's first byte is the coarse one.
pub(crate) const CIFAR_100: Layout = Layout {
    folder: "cifar-100-binary",
    train: &["train.bin"],
    test: "test.bin",
    names: "fine_label_names.txt",
    classes: 100,
    label_bytes: 2,
};

/// What is wrong with an archive.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// Its gzip stream, its table of contents or a file in it ends too early or is damaged.
    #[error("cut short or damaged: {0}")]
    Broken(io::Error),
    /// It unpacks to more than it may.
    #[error("it unpacks to more than {MOST_UNPACKED} bytes")]
    TooLarge,
    /// A member whose path leaves the folder into which the archive would be unpacked.
    #[error("`{member}` climbs out of the archive's folder")]
    Climbs {
        /// Its path.
        member: String,
    },
    /// A file is not there, or is something else, such as a link.
    #[error("it holds no file `{member}`")]
    Missing {
        /// Its path.
        member: String,
    },
    /// A file is there twice.
    #[error("it holds `{member}` twice")]
    Twice {
        /// Its path.
        member: String,
    },
    /// A file does not consist of rows.
    #[error("`{member}` has {bytes} bytes: expected 1 to {MOST_ROWS} rows of {row} bytes")]
    Size {
        /// Its path.
        member: String,
        /// Its size.
        bytes: u64,
        /// Size of a row.
        row: usize,
    },
    /// A label that is no class.
    #[error("`{member}`: label {found} of row {row} is out of range: expected 0 to {}", classes - 1)]
    Label {
        /// Path of the file.
        member: String,
        /// The row, from 0.
        row: usize,
        /// Its label.
        found: u8,
        /// Number of classes.
        classes: usize,
    },
    /// The class names are too few or too many.
    #[error("`{member}`: expected {expected} class names, one a line, found {found}")]
    Names {
        /// Path of the file.
        member: String,
        /// Number of classes.
        expected: usize,
        /// Number of names.
        found: usize,
    },
}

/// What an archive holds.
#[derive(Debug)]
pub(crate) struct Contents {
    pub(crate) train: Images,
    pub(crate) test: Images,
    /// A name for each class.
    pub(crate) names: Vec<String>,
}

impl Layout {
    /// Number of classes.
    pub(crate) fn classes(&self) -> usize {
        self.classes
    }

    /// Reads an archive to its end. Files with fewer rows than the published ones are taken.
    pub(crate) fn read(&self, archive: impl BufRead) -> Result<Contents, ArchiveError> {
        let mut unpacked = GzDecoder::new(archive).take(MOST_UNPACKED);
        let found = self.read_members(&mut unpacked).and_then(|members| {
            // The end of the gzip stream holds its checksum.
            io::copy(&mut unpacked, &mut io::sink()).map_err(ArchiveError::Broken)?;
            Ok(members)
        });
        // A stream that was cut here looks like one that ends too early.
        let (mut rows, names) = match found {
            _ if unpacked.limit() == 0 => return Err(ArchiveError::TooLarge),
            found => found?,
        };
        let mut take = |name| {
            let missing = || ArchiveError::Missing {
                member: self.path(name),
            };
            rows.remove(name).ok_or_else(missing)
        };
        let test = take(self.test)?;
        let mut train = images(Vec::new(), Vec::new());
        for &name in self.train {
            let part = take(name)?;
            train.pixels.extend_from_slice(&part.pixels);
            train.labels.extend_from_slice(&part.labels);
        }
        let names = names.ok_or_else(|| ArchiveError::Missing {
            member: self.path(self.names),
        })?;
        Ok(Contents { train, test, names })
    }

    #[allow(clippy::type_complexity)]
    fn read_members(
        &self,
        unpacked: &mut impl Read,
    ) -> Result<(HashMap<&'static str, Images>, Option<Vec<String>>), ArchiveError> {
        let (mut rows, mut names) = (HashMap::new(), None);
        let mut archive = Archive::new(unpacked);
        for member in archive.entries().map_err(ArchiveError::Broken)? {
            let mut member = member.map_err(ArchiveError::Broken)?;
            let path = member.path().map_err(ArchiveError::Broken)?.into_owned();
            let is_inside = |part| matches!(part, Component::Normal(_) | Component::CurDir);
            let text = path.display().to_string();
            if !path.components().all(is_inside) {
                return Err(ArchiveError::Climbs { member: text });
            }
            if !member.header().entry_type().is_file() {
                continue;
            }
            let is_twice = if let Some(name) = self.file_of_rows(&path) {
                let part = self.read_rows(&text, member.size(), &mut member)?;
                rows.insert(name, part).is_some()
            } else if path == Path::new(self.folder).join(self.names) {
                let found = self.read_names(&text, &mut member)?;
                names.replace(found).is_some()
            } else {
                false
            };
            if is_twice {
                return Err(ArchiveError::Twice { member: text });
            }
        }
        Ok((rows, names))
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.folder)
    }

    fn file_of_rows(&self, path: &Path) -> Option<&'static str> {
        let name = path.strip_prefix(self.folder).ok()?;
        let mut wanted = self.train.iter().chain([&self.test]);
        wanted.find(|wanted| name == Path::new(wanted)).copied()
    }

    fn read_rows(
        &self,
        member: &str,
        bytes: u64,
        file: &mut impl Read,
    ) -> Result<Images, ArchiveError> {
        let row_len = self.label_bytes + 3 * PLANE;
        let count = bytes / row_len as u64;
        if !(1..=MOST_ROWS).contains(&count) || bytes != count * row_len as u64 {
            return Err(ArchiveError::Size {
                member: member.to_owned(),
                bytes,
                row: row_len,
            });
        }
        // Memory is taken as rows arrive, not for what a header announces.
        let (mut pixels, mut labels) = (Vec::new(), Vec::new());
        let mut row = vec![0; row_len];
        for index in 0..count as usize {
            file.read_exact(&mut row).map_err(ArchiveError::Broken)?;
            let (head, planes) = row.split_at(self.label_bytes);
            let label = head[self.label_bytes - 1];
            if usize::from(label) >= self.classes {
                return Err(ArchiveError::Label {
                    member: member.to_owned(),
                    row: index,
                    found: label,
                    classes: self.classes,
                });
            }
            labels.push(u32::from(label));
            let (red, rest) = planes.split_at(PLANE);
            let (green, blue) = rest.split_at(PLANE);
            let start = pixels.len();
            pixels.resize(start + 3 * PLANE, 0);
            let (pixels, _) = pixels[start..].as_chunks_mut::<3>();
            for (((pixel, &red), &green), &blue) in pixels.iter_mut().zip(red).zip(green).zip(blue)
            {
                *pixel = [red, green, blue];
            }
        }
        Ok(images(pixels, labels))
    }

    fn read_names(&self, member: &str, file: &mut impl Read) -> Result<Vec<String>, ArchiveError> {
        let mut text = String::new();
        file.take(MOST_NAMES)
            .read_to_string(&mut text)
            .map_err(ArchiveError::Broken)?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let names: Vec<String> = lines.map(str::to_owned).collect();
        if names.len() != self.classes {
            return Err(ArchiveError::Names {
                member: member.to_owned(),
                expected: self.classes,
                found: names.len(),
            });
        }
        Ok(names)
    }
}

fn images(pixels: Vec<u8>, labels: Vec<u32>) -> Images {
    Images {
        height: SIDE,
        width: SIDE,
        channels: 3,
        pixels,
        labels,
        origins: Vec::new(),
    }
}

#[cfg(test)]
#[path = "cifar_tests.rs"]
mod tests;
