//! The downloader against a small HTTP server on this machine, which does what a script says.

use std::{
    io::{BufRead, BufReader},
    net::{TcpListener, TcpStream},
    thread::{self, JoinHandle},
};

use sha2::{Digest as _, Sha256};
use strata_spec::Digest;

use super::*;

/// What the server does with one request.
#[derive(Clone, Copy)]
enum Reply {
    /// Sends the range that was asked for, or all.
    Serve,
    /// Sends all, whatever was asked for.
    IgnoreRange,
    /// Sends so many bytes of what was asked for, then closes the connection.
    Cut(usize),
    /// Sends so many bytes of what was asked for, then nothing.
    Stall(usize),
    /// Sends all, with its first byte changed.
    Damage,
    /// Sends all and more, without saying how much.
    Endless,
    /// Sends a status and no file.
    Status(u16),
}

/// The byte from which each request asked, and whether it asked for a range at all.
type Asked = Vec<Option<usize>>;

/// Answers one request for each reply, then stops.
fn serve(content: Vec<u8>, script: &[Reply]) -> (String, JoinHandle<Asked>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let home = format!("http://{}/", listener.local_addr().unwrap());
    let script = script.to_vec();
    let answers = move || {
        script
            .into_iter()
            .map(|reply| answer(&listener, &content, reply))
            .collect()
    };
    (home, thread::spawn(answers))
}

fn answer(listener: &TcpListener, content: &[u8], reply: Reply) -> Option<usize> {
    let (mut stream, _) = listener.accept().unwrap();
    let asked = asked_from(&stream);
    let mut body = content.to_vec();
    let mut start = asked;
    let mut send = usize::MAX;
    match reply {
        Reply::Serve => {}
        Reply::IgnoreRange => start = None,
        Reply::Cut(bytes) | Reply::Stall(bytes) => send = bytes,
        Reply::Damage => {
            start = None;
            body[0] ^= 1;
        }
        Reply::Endless => {
            start = None;
            body.extend_from_within(..);
        }
        Reply::Status(status) => {
            write!(
                stream,
                "HTTP/1.1 {status} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            )
            .unwrap();
            return asked;
        }
    }
    let (first, last) = (start.unwrap_or(0), body.len() - 1);
    let status = if start.is_some() {
        "206 Partial Content"
    } else {
        "200 OK"
    };
    write!(stream, "HTTP/1.1 {status}\r\nConnection: close\r\n").unwrap();
    if start.is_some() {
        write!(
            stream,
            "Content-Range: bytes {first}-{last}/{}\r\n",
            body.len()
        )
        .unwrap();
    }
    if !matches!(reply, Reply::Endless) {
        write!(stream, "Content-Length: {}\r\n", body.len() - first).unwrap();
    }
    stream.write_all(b"\r\n").unwrap();
    let rest = &body[first..];
    // A client that has seen enough may close the connection first.
    let _ = stream.write_all(&rest[..send.min(rest.len())]);
    if matches!(reply, Reply::Stall(_)) {
        let _ = stream.read(&mut [0]);
    }
    asked
}

fn asked_from(stream: &TcpStream) -> Option<usize> {
    let lines = BufReader::new(stream)
        .lines()
        .map(Result::unwrap)
        .take_while(|line| !line.is_empty());
    lines.fold(None, |asked, line| {
        let range = line.to_ascii_lowercase();
        let start = range
            .strip_prefix("range: bytes=")
            .and_then(|range| range.strip_suffix('-').map(str::to_owned));
        asked.or(start.and_then(|start| start.parse().ok()))
    })
}

fn content() -> Vec<u8> {
    (0..300_000_u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect()
}

fn published(content: &[u8]) -> catalogue::File {
    let digest = Digest::from_bytes(Sha256::digest(content).into());
    catalogue::File::new("file.gz", content.len() as u64, digest.hex().leak())
}

/// Downloads with `old` in the part file; what each home answered, what was asked, and the progress.
fn check(old: &[u8], script: &[Reply]) -> (Result<(), Vec<String>>, Asked, Vec<Progress>) {
    let folder = tempfile::tempdir().unwrap();
    let part = folder.path().join("file.gz.part");
    if !old.is_empty() {
        fs::write(&part, old).unwrap();
    }
    let file = published(&content());
    let (home, server) = serve(content(), script);
    let mut steps = Vec::new();
    let agent = agent(Duration::from_millis(500));
    let result = fetch(&agent, &file, &[&home], folder.path(), &mut |step| {
        steps.push(step)
    })
    .unwrap();
    let place = folder.path().join("file.gz");
    if result.is_ok() {
        assert_eq!(fs::read(&place).unwrap(), content());
        assert!(!part.exists(), "the part file is left behind");
    } else {
        assert!(!place.exists(), "a file that failed is in place");
    }
    (result, server.join().unwrap(), steps)
}

#[test]
fn a_whole_file_comes_with_its_progress() {
    let (result, asked, steps) = check(&[], &[Reply::Serve]);
    assert_eq!((result, asked), (Ok(()), vec![None]));
    assert_eq!(
        steps[0],
        Progress {
            file: "file.gz",
            done: 0,
            total: 300_000
        }
    );
    assert_eq!(steps.last().unwrap().done, 300_000);
    assert!(steps.is_sorted_by_key(|step| step.done));
}

#[test]
fn an_interrupted_download_goes_on_where_it_stopped() {
    let (result, asked, steps) = check(&content()[..100_000], &[Reply::Serve]);
    assert_eq!((result, asked), (Ok(()), vec![Some(100_000)]));
    assert_eq!(steps[0].done, 100_000);
}

#[test]
fn a_finished_part_needs_no_request() {
    let (result, asked, _) = check(&content(), &[]);
    assert_eq!((result, asked), (Ok(()), vec![]));
}

#[test]
fn a_server_without_ranges_sends_it_all_again() {
    let (result, asked, steps) = check(&content()[..100_000], &[Reply::IgnoreRange]);
    assert_eq!((result, asked), (Ok(()), vec![Some(100_000)]));
    assert_eq!(steps[0].done, 0);
}

#[test]
fn a_cut_connection_is_taken_up_again() {
    let (result, asked, _) = check(&[], &[Reply::Cut(70_000), Reply::Cut(80_000), Reply::Serve]);
    assert_eq!(
        (result, asked),
        (Ok(()), vec![None, Some(70_000), Some(150_000)])
    );
}

#[test]
fn a_server_that_falls_silent_is_asked_again() {
    let (result, asked, _) = check(&[], &[Reply::Stall(70_000), Reply::Serve]);
    assert_eq!((result, asked), (Ok(()), vec![None, Some(70_000)]));
}

#[test]
fn a_cut_without_a_byte_ends_the_tries() {
    let (result, asked, _) = check(&[], &[Reply::Cut(5), Reply::Cut(0)]);
    assert!(result.is_err());
    assert_eq!(asked, [None, Some(5)]);
}

#[test]
fn a_wrong_checksum_is_refused() {
    let (result, asked, _) = check(&[], &[Reply::Damage]);
    let tried = result.unwrap_err();
    assert!(
        tried[0].contains("file.gz: expected sha256:") && tried[0].contains("found sha256:"),
        "{tried:?}"
    );
    assert_eq!(asked, [None]);
}

#[test]
fn a_damaged_part_does_not_spoil_the_download() {
    let (result, asked, _) = check(&[0; 100_000], &[Reply::Serve, Reply::Serve]);
    assert_eq!((result, asked), (Ok(()), vec![Some(100_000), None]));
    let (result, asked, _) = check(&[0; 300_001], &[Reply::Serve]);
    assert_eq!((result, asked), (Ok(()), vec![None]));
}

#[test]
fn a_server_that_sends_too_much_is_stopped() {
    let (result, ..) = check(&[], &[Reply::Endless]);
    assert!(result.unwrap_err()[0].ends_with("it sends more than 300000 bytes"));
}

#[test]
fn a_page_of_another_length_is_refused_unread() {
    let folder = tempfile::tempdir().unwrap();
    let (home, server) = serve(b"<html>log in first</html>".to_vec(), &[Reply::Serve]);
    let file = published(&content());
    let result = fetch(
        &agent(PATIENCE),
        &file,
        &[&home],
        folder.path(),
        &mut |_| (),
    )
    .unwrap();
    assert!(result.unwrap_err()[0].ends_with("expected 300000 bytes, but it offers 25"));
    server.join().unwrap();
}

#[test]
fn the_next_home_gives_what_the_first_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let (first, first_server) = serve(content(), &[Reply::Cut(1_000), Reply::Status(503)]);
    let (second, second_server) = serve(content(), &[Reply::Serve]);
    let file = published(&content());
    fetch(
        &agent(PATIENCE),
        &file,
        &[&first, &second],
        folder.path(),
        &mut |_| (),
    )
    .unwrap()
    .unwrap();
    assert_eq!(first_server.join().unwrap(), [None, Some(1_000)]);
    assert_eq!(second_server.join().unwrap(), [Some(1_000)]);
}

/// A data set of four files with the same content.
fn entry(home: String) -> Entry {
    let file = |name| catalogue::File {
        name,
        ..published(&content())
    };
    let homes: &[&str] = Box::leak(Box::new([&*home.leak()]));
    Entry {
        name: "mnist",
        title: "Test",
        homes,
        format: catalogue::Format::Idx,
        files: Box::leak(Box::new(["a.gz", "b.gz", "c.gz", "d.gz"].map(file))),
    }
}

#[test]
fn two_downloads_at_once_fetch_each_file_once() {
    let folder = tempfile::tempdir().unwrap();
    let places = Places {
        strata_data: None,
        cache: folder.path().to_owned(),
    };
    let (home, server) = serve(content(), &[Reply::Serve; 4]);
    let entry = entry(home);
    thread::scope(|scope| {
        let download = || fetch_missing(&entry, &places, &mut |_| ()).unwrap();
        let other = scope.spawn(download);
        download();
        other.join().unwrap();
    });
    assert_eq!(server.join().unwrap(), [None; 4]);
    assert!(
        entry
            .files
            .iter()
            .all(|file| places.find("mnist", file.name).is_some())
    );
}

#[test]
fn without_a_network_the_error_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let places = Places {
        strata_data: None,
        cache: folder.path().to_owned(),
    };
    // Bound and dropped: nobody listens there.
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let entry = entry(format!("http://{closed}/"));
    let error = fetch_missing(&entry, &places, &mut |_| ())
        .unwrap_err()
        .to_string();
    for part in [
        "cannot download a.gz",
        &format!("http://{closed}/a.gz: "),
        "STRATA_DATA",
        "`data.source = \"digits\"`",
    ] {
        assert!(error.contains(part), "`{error}` lacks `{part}`");
    }
}
