//! Files that users name, read up to a limit: a pipe or a device may have no end.

use std::{fs::File, io::Read, path::Path};

use anyhow::{Context, ensure};

/// All bytes of what lies at `path`; more than `limit` are refused.
pub(crate) fn read_file(path: &Path, limit: u64) -> anyhow::Result<Vec<u8>> {
    let read = || read_to_end(File::open(path)?, limit);
    read().with_context(|| format!("cannot read {}", path.display()))
}

/// All bytes of `source`; more than `limit` are refused.
pub(crate) fn read_to_end(source: impl Read, limit: u64) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(limit + 1).read_to_end(&mut bytes)?;
    ensure!(
        bytes.len() as u64 <= limit,
        "larger than the {limit} bytes that are read"
    );
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_without_an_end_is_refused() {
        assert_eq!(read_to_end(&b"12345"[..], 5).unwrap(), b"12345");
        assert!(read_to_end(&b"12345"[..], 4).is_err());
        let error = read_to_end(std::io::repeat(0), 1 << 20).unwrap_err();
        assert_eq!(
            error.to_string(),
            "larger than the 1048576 bytes that are read"
        );
    }
}
