//! Files and folders that hold keys: who may read and write them.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use crate::error::{PackageError, io_error};

/// Makes a folder that is its owner's alone, in one that is there.
pub(crate) fn make_private_folder(folder: &Path) -> Result<(), PackageError> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).map_err(io_error("make", folder))
}

/// Makes the folders that lead to `path`, which are their owner's alone.
pub(crate) fn make_parents(path: &Path) -> Result<(), PackageError> {
    let Some(parent) = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    else {
        return Ok(());
    };
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(parent).map_err(io_error("make", parent))
}

/// Refuses a key file or folder that others may write to: they could put keys of their own there.
#[cfg(unix)]
pub(crate) fn refuse_if_others_may_write(
    metadata: io::Result<Metadata>,
    path: &Path,
) -> Result<(), PackageError> {
    use std::os::unix::fs::PermissionsExt;
    let metadata = metadata.map_err(io_error("read", path))?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o022 != 0 {
        return Err(PackageError::KeyWritable {
            path: path.to_owned(),
            mode,
        });
    }
    Ok(())
}

#[cfg(not(unix))]
pub(crate) fn refuse_if_others_may_write(
    metadata: io::Result<Metadata>,
    path: &Path,
) -> Result<(), PackageError> {
    metadata.map(drop).map_err(io_error("read", path))
}

/// Refuses a secret key that others may use.
///
/// Asks the open file, not its path, so that the file that is checked is the one that is read.
#[cfg(unix)]
pub(crate) fn refuse_if_open_to_others(file: &File, path: &Path) -> Result<(), PackageError> {
    use std::os::unix::fs::MetadataExt;
    let metadata = file.metadata().map_err(io_error("read", path))?;
    let mode = metadata.mode() & 0o7777;
    if !is_closed_to_others(mode, metadata.uid()) {
        return Err(PackageError::KeyPermissions {
            path: path.to_owned(),
            mode,
            wanted: 0o600,
        });
    }
    Ok(())
}

/// Whether only its owner may use a file, or only its group may read what root handed out and nobody may write: as
/// Kubernetes mounts a secret for a process that is not root's.
#[cfg(unix)]
fn is_closed_to_others(mode: u32, owner: u32) -> bool {
    mode & 0o077 == 0 || (mode == 0o440 && owner == 0)
}

#[cfg(not(unix))]
pub(crate) fn refuse_if_open_to_others(_: &File, _: &Path) -> Result<(), PackageError> {
    Ok(())
}

/// Writes a key file that must not exist yet, and notes that it was made.
pub(crate) fn write_key(
    path: &Path,
    text: &str,
    mode: u32,
    written: &mut Vec<PathBuf>,
) -> Result<(), PackageError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    let mut file = match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(PackageError::KeyExists {
                path: path.to_owned(),
            });
        }
        file => file.map_err(io_error("write", path))?,
    };
    written.push(path.to_owned());
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(io_error("write", path))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_group_may_read_only_what_root_handed_out() {
        for (mode, owner, closed) in [
            (0o600, 1000, true),
            (0o400, 0, true),
            (0o440, 0, true),
            (0o440, 1000, false),
            (0o640, 0, false),
            (0o444, 0, false),
        ] {
            assert_eq!(is_closed_to_others(mode, owner), closed, "{mode:o} {owner}");
        }
    }
}
