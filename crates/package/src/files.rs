//! Files: bounded reads, durable writes, links.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::Path,
};

use sha2::{Digest as _, Sha256};
use strata_spec::Digest;

use crate::error::{PackageError, io_error};

/// The SHA-256 of `bytes`.
pub(crate) fn digest(bytes: &[u8]) -> Digest {
    Digest::from_bytes(Sha256::digest(bytes).into())
}

/// All bytes of a plain file, read once; a file with more than `limit` bytes is refused.
pub(crate) fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>, PackageError> {
    read_if_there(path, limit)?
        .ok_or_else(|| io_error("read", path)(io::ErrorKind::NotFound.into()))
}

/// [`read_bounded`] for a file that is open already.
pub(crate) fn read_open_file(file: File, path: &Path, limit: u64) -> Result<Vec<u8>, PackageError> {
    let metadata = file.metadata().map_err(io_error("read", path))?;
    if !metadata.is_file() {
        return Err(PackageError::Irregular {
            path: path.to_owned(),
        });
    }
    let too_large = || PackageError::TooLarge {
        path: path.to_owned(),
        limit,
    };
    if metadata.len() > limit {
        return Err(too_large());
    }
    // The size is only a hint: the file may grow while it is read, hence the second check.
    let mut bytes = Vec::with_capacity(metadata.len() as usize + 1);
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(io_error("read", path))?;
    if bytes.len() as u64 > limit {
        return Err(too_large());
    }
    Ok(bytes)
}

/// Like [`read_bounded`], but a file that is not there is `None`.
pub(crate) fn read_if_there(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, PackageError> {
    open_if_there(path)?
        .map(|file| read_open_file(file, path, limit))
        .transpose()
}

/// Opens a plain file for reading; one that is not there is `None`.
///
/// What it is is asked before it is opened, because opening a pipe waits for its other end, and again by
/// [`read_open_file`], because it may have been replaced meanwhile.
pub(crate) fn open_if_there(path: &Path) -> Result<Option<File>, PackageError> {
    let open = || {
        let is_file = fs::metadata(path)?.is_file();
        is_file.then(|| File::open(path)).transpose()
    };
    match open() {
        Ok(None) => Err(PackageError::Irregular {
            path: path.to_owned(),
        }),
        Ok(file) => Ok(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error("read", path)(error)),
    }
}

/// Writes a file that must not exist yet, and waits until the disk has it.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), PackageError> {
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(io_error("write", path))
}

/// Replaces a file by way of `temporary`, so that at every moment either the old or the new content is
/// there. Both paths must be on one file system.
pub(crate) fn replace(path: &Path, temporary: &Path, bytes: &[u8]) -> Result<(), PackageError> {
    let result = write_new(temporary, bytes)
        .and_then(|()| fs::rename(temporary, path).map_err(io_error("write", path)));
    if result.is_err() {
        // The first error is the one to tell; a leftover is swept by the next writer.
        let _ = fs::remove_file(temporary);
    }
    result?;
    sync_parent(path)
}

/// Gives a file a second name; where the file system has no links, a copy under that name.
///
/// A copy is not atomic: the caller links into a folder that nobody reads yet, or renames afterwards.
pub(crate) fn link_or_copy(from: &Path, to: &Path) -> Result<(), PackageError> {
    let Err(error) = fs::hard_link(from, to) else {
        return Ok(());
    };
    match error.kind() {
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound | io::ErrorKind::StorageFull => {
            Err(io_error("link", to)(error))
        }
        _ => {
            let copy = || {
                let mut target = OpenOptions::new().write(true).create_new(true).open(to)?;
                io::copy(&mut File::open(from)?, &mut target)?;
                target.sync_all()
            };
            copy().map_err(io_error("copy", to))
        }
    }
}

/// Waits until the disk has the entries of a folder.
pub(crate) fn sync_folder(path: &Path) -> Result<(), PackageError> {
    // Only Unix opens folders as files; elsewhere the file system keeps its own order.
    if cfg!(unix) {
        let sync = || File::open(path)?.sync_all();
        sync().map_err(io_error("sync", path))?;
    }
    Ok(())
}

/// [`sync_folder`] of the folder that holds `path`.
pub(crate) fn sync_parent(path: &Path) -> Result<(), PackageError> {
    match path.parent() {
        None => Ok(()),
        Some(here) if here.as_os_str().is_empty() => sync_folder(Path::new(".")),
        Some(parent) => sync_folder(parent),
    }
}

/// Removes a file or folder with all that is in it; nothing there is fine. Links are removed, not followed.
pub(crate) fn remove_all(path: &Path) -> Result<(), PackageError> {
    let remove = || {
        if fs::symlink_metadata(path)?.is_dir() {
            fs::remove_dir_all(path)
        } else {
            fs::remove_file(path)
        }
    };
    match remove() {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(io_error("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// The names in a folder, sorted; a folder that is not there is empty. Names that are no UTF-8 get a
/// replacement character, so they never equal one that belongs there.
pub(crate) fn names_in(path: &Path) -> Result<Vec<String>, PackageError> {
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(io_error("list", path))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(io_error("list", path))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_stops_at_its_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        write_new(&path, b"12345").unwrap();
        assert_eq!(read_bounded(&path, 5).unwrap(), b"12345");
        assert!(matches!(
            read_bounded(&path, 4),
            Err(PackageError::TooLarge { limit: 4, .. })
        ));
        assert!(matches!(
            read_bounded(folder.path(), 4),
            Err(PackageError::Irregular { .. })
        ));
        assert!(
            read_if_there(&folder.path().join("none"), 4)
                .unwrap()
                .is_none()
        );
        assert!(write_new(&path, b"again").is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_pipe_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        if !made.is_ok_and(|status| status.success()) {
            println!("skipped: no mkfifo");
            return;
        }
        for read in [read_bounded(&path, 4).map(Some), read_if_there(&path, 4)] {
            assert!(matches!(read, Err(PackageError::Irregular { .. })));
        }
    }

    #[test]
    fn replacing_leaves_no_temporary_file() {
        let folder = tempfile::tempdir().unwrap();
        let [path, temporary] = ["file", "file.new"].map(|name| folder.path().join(name));
        replace(&path, &temporary, b"one").unwrap();
        replace(&path, &temporary, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(names_in(folder.path()).unwrap(), ["file"]);
    }

    #[test]
    fn where_links_are_impossible_a_copy_is_made() {
        // Two file systems, as many machines have them; between them a link is refused.
        let Ok(elsewhere) = tempfile::tempdir_in("/dev/shm") else {
            println!("skipped: no second file system");
            return;
        };
        let folder = tempfile::tempdir().unwrap();
        let [from, to] = [folder.path().join("from"), elsewhere.path().join("to")];
        write_new(&from, b"content").unwrap();
        link_or_copy(&from, &to).unwrap();
        assert_eq!(fs::read(&to).unwrap(), b"content");
        assert!(link_or_copy(&from, &to).is_err());
        assert!(
            link_or_copy(&folder.path().join("none"), &elsewhere.path().join("other")).is_err()
        );
    }
}
