//! A data set that is one archive.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::Path,
};

use sha2::{Digest as _, Sha256};
use strata_spec::{DataDigest, Digest};

use crate::{DataError, Dataset, Origin, cifar::Layout, load::file_name};

/// Reads an archive, which must be the published one unless it is the user's own.
pub(crate) fn read_archive(
    path: &Path,
    layout: &Layout,
    published: Digest,
    is_own: bool,
    mut source: String,
) -> Result<Dataset, DataError> {
    let at = |source| DataError::Io {
        path: path.to_owned(),
        source,
    };
    let mut file = BufReader::with_capacity(
        1 << 18,
        Hashing {
            file: File::open(path).map_err(at)?,
            hash: Sha256::new(),
        },
    );
    let contents = layout.read(&mut file);
    io::copy(&mut file, &mut io::sink()).map_err(at)?;
    let digest = Digest::from_bytes(file.into_inner().hash.finalize().into());
    let is_published = digest == published;
    if !is_published && !is_own {
        // Rather than what this other file has wrong with it.
        return Err(DataError::Checksum {
            path: path.to_owned(),
            expected: published,
            found: digest,
        });
    }
    let contents = contents.map_err(|source| DataError::Archive {
        path: path.to_owned(),
        source,
    })?;
    if !is_published {
        let (train, test) = (contents.train.len(), contents.test.len());
        source.push_str(&format!(
            " (not the published archive: {train} training and {test} test rows)"
        ));
    }
    let digest = DataDigest {
        name: file_name(path),
        digest,
    };
    Ok(Dataset {
        train: contents.train,
        validation: None,
        test: contents.test,
        source,
        digests: vec![digest],
        origins: vec![Origin {
            name: String::new(),
            labels: contents.names,
        }],
    })
}

/// A file whose digest is taken while it is read.
struct Hashing {
    file: File,
    hash: Sha256,
}

impl Read for Hashing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.hash.update(&buffer[..count]);
        Ok(count)
    }
}
