use std::{fs, io::Write, path::Path};

use crate::TrainError;

/// Writes a file so that, whatever happens, either the old or the whole new content is there.
pub(crate) fn write_whole(file: &Path, content: &[u8]) -> Result<(), TrainError> {
    let temporary = file.with_extension("tmp");
    let write = || {
        let mut handle = fs::File::create(&temporary)?;
        handle.write_all(content)?;
        handle.sync_all()?;
        fs::rename(&temporary, file)?;
        let folder = file.parent().unwrap_or(Path::new("."));
        fs::File::open(folder)?.sync_all()
    };
    write().map_err(|error| {
        // The rename did not happen or its folder could not be synced; a leftover is of no use to anyone.
        let _ = fs::remove_file(&temporary);
        TrainError::io(file)(error)
    })
}

/// The largest file of a run that is read back: more than any network that fits in memory.
const LARGEST: u64 = 1 << 38;

/// Reads a file of a run.
pub(crate) fn read(file: &Path) -> Result<Vec<u8>, TrainError> {
    let size = fs::metadata(file).map_err(TrainError::io(file))?.len();
    if size > LARGEST {
        let problem = format!("{size} bytes are more than any run writes");
        return Err(TrainError::Damaged {
            file: file.to_owned(),
            problem,
        });
    }
    fs::read(file).map_err(TrainError::io(file))
}
