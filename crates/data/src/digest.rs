use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use sha2::{Digest as _, Sha256};
use strata_spec::{DataDigest, Digest};

/// The name of a file and the digest of its bytes, read a piece at a time.
///
/// # Errors
/// It cannot be read.
pub fn file_digest(path: &Path) -> io::Result<DataDigest> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut piece = vec![0; 1 << 20];
    loop {
        let count = file.read(&mut piece)?;
        if count == 0 {
            break;
        }
        hash.update(&piece[..count]);
    }
    let name = path.file_name().unwrap_or(path.as_os_str());
    Ok(DataDigest {
        name: name.to_string_lossy().into_owned(),
        digest: Digest::from_bytes(hash.finalize().into()),
    })
}
