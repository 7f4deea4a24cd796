//! Downloads into the user's cache: resumed where they stopped, bounded, and in place only once
//! their checksum is right.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use ureq::{Agent, Body, http::Response};

use crate::{
    DataError, Places,
    catalogue::{self, Entry},
    file_digest,
};

/// How long a server may take to connect, to start its answer, and between any two parts of it.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often a home is asked to go on with a file after it cut the connection.
const MOST_CUTS: usize = 20;

/// How far a download is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Name of the file.
    pub file: &'static str,
    /// Bytes that are there, those of an earlier, interrupted download included.
    pub done: u64,
    /// Bytes of the whole file.
    pub total: u64,
}

/// Why a home did not give a file.
enum Problem {
    /// The connection broke; another try may go on from there.
    Cut(String),
    /// What the home gives is not the file.
    Refused(String),
    /// The file cannot be written.
    Disk(PathBuf, io::Error),
}

/// Downloads the files of a data set that are in none of the places.
///
/// A lock file keeps two processes from downloading the same set at once: the second waits, and
/// finds the files.
pub(crate) fn fetch_missing(
    entry: &Entry,
    places: &Places,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), DataError> {
    let is_missing = |file: &&catalogue::File| places.find(entry.name, file.name).is_none();
    if !entry.files.iter().any(|file| is_missing(&file)) {
        return Ok(());
    }
    let folder = places.cache_folder(entry.name);
    fs::create_dir_all(&folder).map_err(at(&folder))?;
    let _lock = lock(&folder.join(".lock"))?;

    let agent = agent(PATIENCE);
    for file in entry.files.iter().filter(is_missing) {
        fetch(&agent, file, entry.homes, &folder, progress)?.map_err(|tried| {
            DataError::Download {
                name: entry.name,
                file: file.name,
                tried,
                folder: folder.clone(),
            }
        })?;
    }
    Ok(())
}

/// Holds the lock until it is dropped.
fn lock(path: &Path) -> Result<File, DataError> {
    let file = File::create(path).map_err(at(path))?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => file.lock().map_err(at(path))?,
        // A file system without locks: at worst two downloads mix, and the checksum refuses the result.
        Ok(()) | Err(TryLockError::Error(_)) => {}
    }
    Ok(file)
}

fn agent(patience: Duration) -> Agent {
    Agent::config_builder()
        .timeout_resolve(Some(patience))
        .timeout_connect(Some(patience))
        .timeout_recv_response(Some(patience))
        .timeout_per_read(Some(patience))
        .http_status_as_error(false)
        // The bytes of the file itself: a server must not compress what a range counts.
        .accept_encoding("identity")
        .user_agent(concat!("strata/", env!("CARGO_PKG_VERSION")))
        .build()
        .into()
}

/// Downloads one file from the first home that gives it. The inner error is what each home answered.
fn fetch(
    agent: &Agent,
    file: &catalogue::File,
    homes: &[&str],
    folder: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<Result<(), Vec<String>>, DataError> {
    let part = folder.join(format!("{}.part", file.name));
    let mut tried = Vec::new();
    for home in homes {
        let address = format!("{home}{}", file.name);
        match fetch_from(agent, &address, file, &part, progress) {
            Ok(()) => {
                let place = folder.join(file.name);
                fs::rename(&part, &place).map_err(at(&place))?;
                return Ok(Ok(()));
            }
            Err(Problem::Cut(text) | Problem::Refused(text)) => {
                tried.push(format!("{address}: {text}"))
            }
            Err(Problem::Disk(path, source)) => return Err(DataError::Io { path, source }),
        }
    }
    Ok(Err(tried))
}

/// Downloads one file from one home into `part`, whose checksum is right on return.
fn fetch_from(
    agent: &Agent,
    address: &str,
    file: &catalogue::File,
    part: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), Problem> {
    let mut holds_old_bytes = size(part) > 0;
    let mut cuts = 0;
    loop {
        let before = size(part);
        match transfer(agent, address, file, part, progress) {
            Err(Problem::Cut(_)) if size(part) > before && cuts < MOST_CUTS => {
                cuts += 1;
                continue;
            }
            result => result?,
        }
        let found = file_digest(part).map_err(disk(part))?.digest;
        if found == file.digest() {
            return Ok(());
        }
        fs::remove_file(part).map_err(disk(part))?;
        if !holds_old_bytes {
            return Err(Problem::Refused(format!(
                "expected {}, found {found}",
                file.digest()
            )));
        }
        // What an earlier download left may be to blame rather than this home.
        holds_old_bytes = false;
    }
}

/// Asks once for what `part` lacks, and appends it.
fn transfer(
    agent: &Agent,
    address: &str,
    file: &catalogue::File,
    part: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), Problem> {
    let total = file.bytes;
    let present = size(part);
    if present == total {
        return Ok(());
    }
    let present = if present < total { present } else { 0 };

    let mut request = agent.get(address);
    if present > 0 {
        request = request.header("Range", format!("bytes={present}-"));
    }
    let mut response = request
        .call()
        .map_err(|error| Problem::Refused(error.to_string()))?;
    let mut done = match response.status().as_u16() {
        206 if present > 0 && starts_at(&response, present) => present,
        // The server knows no ranges and sends all of it.
        200 => 0,
        status => return Err(Problem::Refused(format!("HTTP status {status}"))),
    };
    if let Some(offered) = response
        .body()
        .content_length()
        .filter(|offered| done + offered != total)
    {
        let text = format!("expected {} bytes, but it offers {offered}", total - done);
        return Err(Problem::Refused(text));
    }

    let mut options = File::options();
    let options = if done > 0 {
        options.append(true)
    } else {
        options.write(true).truncate(true)
    };
    let mut written = options.create(true).open(part).map_err(disk(part))?;
    let mut body = response.body_mut().as_reader();
    let mut buffer = vec![0; 1 << 16];
    loop {
        progress(Progress {
            file: file.name,
            done,
            total,
        });
        let count = body
            .read(&mut buffer)
            .map_err(|error| Problem::Cut(error.to_string()))?;
        if count == 0 {
            break;
        }
        done += count as u64;
        if done > total {
            // Whatever it is, it is not the start of the file.
            written.set_len(0).map_err(disk(part))?;
            return Err(Problem::Refused(format!(
                "it sends more than {total} bytes"
            )));
        }
        written.write_all(&buffer[..count]).map_err(disk(part))?;
    }
    written.sync_all().map_err(disk(part))?;
    if done < total {
        return Err(Problem::Cut(format!(
            "it ended after {done} of {total} bytes"
        )));
    }
    Ok(())
}

/// Whether a partial answer starts at that byte (RFC 9110, 14.4: `Content-Range: bytes 5-9/10`).
fn starts_at(response: &Response<Body>, byte: u64) -> bool {
    let range = response
        .headers()
        .get("Content-Range")
        .and_then(|value| value.to_str().ok());
    let start = range
        .and_then(|range| range.strip_prefix("bytes "))
        .and_then(|range| range.split('-').next());
    start.and_then(|start| start.parse().ok()) == Some(byte)
}

/// Size of a file; 0 if there is none.
fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> DataError {
    move |source| DataError::Io {
        path: path.to_owned(),
        source,
    }
}

fn disk(path: &Path) -> impl FnOnce(io::Error) -> Problem {
    move |source| Problem::Disk(path.to_owned(), source)
}

#[cfg(test)]
#[path = "download_tests.rs"]
mod tests;
