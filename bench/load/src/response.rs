//! One answer from a socket, whichever way its length is given (RFC 9112, section 6.3).

use std::{cell::Cell, future::poll_fn, io, pin::Pin};

use httparse::Status;
use tokio::io::{AsyncRead, ReadBuf};

/// Bytes that are held at once; the head of an answer must fit.
const BUFFER: usize = 64 * 1024;
/// Header lines of an answer, at most.
const MAX_HEADERS: usize = 100;
/// Bytes of a body that are kept, for the error sample.
const KEPT: usize = 200;

thread_local! {
    /// A buffer that nobody needs: thousands of connections that each kept their own would measure the processor's cache.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// An answer without most of its body.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// Whether the connection can carry another request.
    pub(crate) keep_alive: bool,
    /// The first bytes of the body; for status 200 as many as the reader was made for.
    kept: Vec<u8>,
}

impl Response {
    /// The body, cut off after as many bytes as are kept.
    pub(crate) fn body(&self) -> &[u8] {
        &self.kept
    }

    /// The beginning of the body, for people.
    pub(crate) fn body_start(&self) -> String {
        String::from_utf8_lossy(&self.kept).into_owned()
    }
}

/// How the end of a body is known.
enum Length {
    Known(u64),
    Chunked,
    UntilClose,
}

struct Head {
    status: u16,
    length: Length,
    keep_alive: bool,
    bytes: usize,
}

/// Reads one answer after another from a connection.
pub(crate) struct Reader {
    /// Empty while nothing is held.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Bytes that are kept of the body of an answer with status 200.
    keep: usize,
}

impl Reader {
    /// Keeps `keep` bytes of the body of an answer with status 200.
    pub(crate) fn new(keep: usize) -> Self {
        Self {
            keep,
            buffer: Vec::new(),
            start: 0,
            end: 0,
        }
    }

    /// Reads the next answer to its last byte. An error says what was wrong with it; the connection is then of no use.
    pub(crate) async fn read(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
    ) -> Result<Response, String> {
        let head = loop {
            let head = self.head(stream).await?;
            self.start += head.bytes;
            // Interim answers, such as 100 (continue), come before the one that counts.
            if head.status >= 200 {
                break head;
            }
        };
        let mut kept = Vec::new();
        let keep = if head.status == 200 { self.keep } else { KEPT };
        match head.length {
            Length::Known(bytes) => self.skip(stream, bytes, keep, &mut kept).await?,
            Length::Chunked => self.chunks(stream, keep, &mut kept).await?,
            Length::UntilClose => {
                while self.start < self.end || self.fill(stream).await? > 0 {
                    self.take(u64::MAX, keep, &mut kept);
                }
            }
        }
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            SPARE.set(std::mem::take(&mut self.buffer));
        }
        Ok(Response {
            status: head.status,
            keep_alive: head.keep_alive,
            kept,
        })
    }

    async fn head(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> Result<Head, String> {
        loop {
            let held = &self.buffer[self.start..self.end];
            if !held.is_empty()
                && let Some(head) = parse_head(held)?
            {
                return Ok(head);
            }
            self.fill_more(stream).await?;
        }
    }

    async fn chunks(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        keep: usize,
        kept: &mut Vec<u8>,
    ) -> Result<(), String> {
        loop {
            let size = loop {
                match httparse::parse_chunk_size(&self.buffer[self.start..self.end]) {
                    Ok(Status::Complete((bytes, size))) => {
                        self.start += bytes;
                        break size;
                    }
                    Ok(Status::Partial) => self.fill_more(stream).await?,
                    Err(_) => return Err("a chunk without a size".to_owned()),
                }
            };
            if size == 0 {
                break;
            }
            self.skip(stream, size, keep, kept).await?;
            if !self.line(stream).await?.is_empty() {
                return Err("a chunk longer than its size".to_owned());
            }
        }
        // Trailer fields, up to the empty line.
        while !self.line(stream).await?.is_empty() {}
        Ok(())
    }

    /// The next line without its end.
    async fn line(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, String> {
        loop {
            let held = &self.buffer[self.start..self.end];
            if let Some(length) = held.windows(2).position(|pair| pair == b"\r\n") {
                let line = held[..length].to_vec();
                self.start += length + 2;
                return Ok(line);
            }
            self.fill_more(stream).await?;
        }
    }

    /// Reads past `bytes` bytes of a body.
    async fn skip(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        bytes: u64,
        keep: usize,
        kept: &mut Vec<u8>,
    ) -> Result<(), String> {
        let mut left = bytes;
        loop {
            left -= self.take(left, keep, kept);
            if left == 0 {
                return Ok(());
            }
            self.fill_more(stream).await?;
        }
    }

    /// Takes up to `limit` bytes out of the buffer and says how many; keeps the first `keep` of a body.
    fn take(&mut self, limit: u64, keep: usize, kept: &mut Vec<u8>) -> u64 {
        let held = &self.buffer[self.start..self.end];
        let taken = held.len().min(usize::try_from(limit).unwrap_or(usize::MAX));
        let wanted = keep.saturating_sub(kept.len()).min(taken);
        kept.extend_from_slice(&held[..wanted]);
        self.start += taken;
        taken as u64
    }

    /// Reads more, where the answer is known not to be complete.
    async fn fill_more(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> Result<(), String> {
        match self.fill(stream).await? {
            0 => Err("the connection was closed before the answer was complete".to_owned()),
            _ => Ok(()),
        }
    }

    /// Reads more; 0 when the other side closed the connection.
    async fn fill(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> Result<usize, String> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.end == BUFFER {
            return Err(format!("a head or a line of more than {BUFFER} bytes"));
        }
        let read = poll_fn(|context| {
            if self.buffer.is_empty() {
                self.buffer = SPARE.take();
                self.buffer.resize(BUFFER, 0);
            }
            let mut free = ReadBuf::new(&mut self.buffer[self.end..]);
            let polled = Pin::new(&mut *stream).poll_read(context, &mut free);
            let bytes = free.filled().len();
            if polled.is_pending() && self.end == 0 {
                SPARE.set(std::mem::take(&mut self.buffer));
            }
            polled.map_ok(|()| bytes)
        });
        let failed = |error: io::Error| format!("cannot receive: {error}");
        let bytes = read.await.map_err(failed)?;
        self.end += bytes;
        Ok(bytes)
    }
}

/// The head at the beginning of `bytes`; `None` when it is not complete.
fn parse_head(bytes: &[u8]) -> Result<Option<Head>, String> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Response::new(&mut headers);
    let bytes = match parsed.parse(bytes) {
        Ok(Status::Complete(bytes)) => bytes,
        Ok(Status::Partial) => return Ok(None),
        Err(error) => return Err(format!("not an HTTP answer: {error}")),
    };
    let status = parsed.code.unwrap_or_default();
    let mut length = None;
    let mut chunked = false;
    let mut keep_alive = parsed.version == Some(1);
    for header in parsed.headers.iter() {
        let value = std::str::from_utf8(header.value).unwrap_or_default().trim();
        if header.name.eq_ignore_ascii_case("content-length") {
            let bytes: u64 = value
                .parse()
                .map_err(|_| format!("wrong length {value:?}"))?;
            length = Some(bytes);
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            chunked = value.to_ascii_lowercase().ends_with("chunked");
        } else if header.name.eq_ignore_ascii_case("connection") {
            let named = |option| {
                value
                    .split(',')
                    .any(|o| o.trim().eq_ignore_ascii_case(option))
            };
            keep_alive = (keep_alive || named("keep-alive")) && !named("close");
        }
    }
    let length = match length {
        _ if status < 200 || status == 204 || status == 304 => Length::Known(0),
        _ if chunked => Length::Chunked,
        Some(bytes) => Length::Known(bytes),
        None => Length::UntilClose,
    };
    let keep_alive = keep_alive && !matches!(length, Length::UntilClose);
    Ok(Some(Head {
        status,
        length,
        keep_alive,
        bytes,
    }))
}

#[cfg(test)]
#[path = "response_tests.rs"]
mod tests;
