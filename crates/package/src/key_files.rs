//! Files and folders that hold keys: who may read and write them.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use crate::error::{PackageError, io_error};

/// Makes a folder that is its owner's alone; one that is there already must not be writable for others.
#[cfg(unix)]
pub(crate) fn make_private_folder(folder: &Path) -> Result<(), PackageError> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(io_error("make", folder))?;
    let mode = fs::metadata(folder)
        .map_err(io_error("read", folder))?
        .permissions()
        .mode()
        & 0o7777;
    // Whoever may write to the folder could put keys of their own there.
    if mode & 0o022 != 0 {
        return Err(PackageError::KeyPermissions {
            path: folder.to_owned(),
            mode,
            wanted: 0o700,
        });
    }
    Ok(())
}

#[cfg(not(unix))]
pub(crate) fn make_private_folder(folder: &Path) -> Result<(), PackageError> {
    fs::create_dir_all(folder).map_err(io_error("make", folder))
}

/// Refuses a secret key that others may use.
///
/// Asks the open file, not its path, so that the file that is checked is the one that is read.
#[cfg(unix)]
pub(crate) fn refuse_if_open_to_others(file: &File, path: &Path) -> Result<(), PackageError> {
    use std::os::unix::fs::PermissionsExt;
    let mode = file
        .metadata()
        .map_err(io_error("read", path))?
        .permissions()
        .mode()
        & 0o7777;
    if mode & 0o077 != 0 {
        return Err(PackageError::KeyPermissions {
            path: path.to_owned(),
            mode,
            wanted: 0o600,
        });
    }
    Ok(())
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
