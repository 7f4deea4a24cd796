//! Files that commands write where users say.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    path::Path,
};

use crate::places::folder_of;

/// Writes a file as a whole or not at all. A link stays one, and what is there but is no plain file (a pipe, a device)
/// is written to as it is.
pub(crate) fn write(file: &Path, content: &[u8]) -> io::Result<()> {
    let target = match fs::metadata(file) {
        // By the name that was given: what `/dev/stdout` leads to may have none of its own.
        Ok(found) if !found.is_file() => {
            return OpenOptions::new()
                .write(true)
                .open(file)?
                .write_all(content);
        }
        Ok(_) => fs::canonicalize(file)?,
        // There is nothing there, or a link to nothing.
        Err(error) if error.kind() == io::ErrorKind::NotFound => file.to_owned(),
        Err(error) => return Err(error),
    };
    let folder = folder_of(&target);
    let mut builder = tempfile::Builder::new();
    // A temporary file is its owner's only; a picture is as readable as any file that the user makes. The system takes
    // away what the umask forbids.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut temporary = builder.tempfile_in(folder)?;
    temporary.write_all(content)?;
    temporary.persist(target)?;
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_written_file_keeps_links_and_has_the_usual_permissions() {
        let folder = tempfile::tempdir().unwrap();
        let [file, link, usual] = ["file", "link", "usual"].map(|name| folder.path().join(name));
        write(&file, b"one").unwrap();
        symlink(&file, &link).unwrap();
        write(&link, b"two").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&file).unwrap(), b"two");
        fs::write(&usual, b"").unwrap();
        let mode = |path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&file), mode(&usual));
    }

    #[test]
    fn a_device_is_written_to_and_stays_one() {
        write(Path::new("/dev/null"), b"gone").unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_link_to_a_pipe_is_written_through() {
        use std::{io::Read, os::fd::AsRawFd};
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        let (mut reader, writer) = io::pipe().unwrap();
        symlink(format!("/proc/self/fd/{}", writer.as_raw_fd()), &link).unwrap();
        write(&link, b"picture").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        let mut found = [0; 7];
        reader.read_exact(&mut found).unwrap();
        assert_eq!(&found, b"picture");
    }
}
