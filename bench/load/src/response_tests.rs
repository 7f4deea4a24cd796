use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::ReadBuf;

use super::*;

/// Gives its bytes a few at a time, to hit every place where an answer can be torn.
struct Pieces<'a> {
    bytes: &'a [u8],
    size: usize,
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let size = self.size.min(self.bytes.len()).min(buffer.remaining());
        let (now, later) = self.bytes.split_at(size);
        buffer.put_slice(now);
        self.bytes = later;
        Poll::Ready(Ok(()))
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

/// Reads `answers.len()` answers in pieces of every size; an answer is its status, whether the connection can go on,
/// and the start of its body.
fn check(bytes: &str, answers: &[(u16, bool, &str)]) {
    for size in 1..=bytes.len() {
        let mut stream = Pieces {
            bytes: bytes.as_bytes(),
            size,
        };
        let mut reader = Reader::new(0);
        for &(status, keep_alive, body) in answers {
            let found = block_on(reader.read(&mut stream)).unwrap();
            let found = (found.status, found.keep_alive, found.body_start());
            assert_eq!(
                found,
                (status, keep_alive, body.to_owned()),
                "pieces of {size}"
            );
        }
        assert!(
            stream.bytes.is_empty() && reader.start == reader.end,
            "bytes left over"
        );
        assert!(reader.buffer.is_empty(), "a buffer is kept without a need");
    }
}

fn error(bytes: &str) -> String {
    let mut stream = Pieces {
        bytes: bytes.as_bytes(),
        size: 7,
    };
    block_on(Reader::new(0).read(&mut stream)).unwrap_err()
}

#[test]
fn an_answer_with_a_length_ends_there() {
    check(
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\nno",
        &[(200, true, ""), (404, true, "no")],
    );
}

#[test]
fn a_chunked_answer_ends_with_the_empty_chunk() {
    check(
        "HTTP/1.1 500 X\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nA;x=y\r\n, you\r\nall\r\n0\r\n\r\n\
         HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n1\r\na\r\n0\r\nTrailer: x\r\n\r\n",
        &[(500, true, "hello, you\r\nall"), (200, true, "")],
    );
}

#[test]
fn an_answer_without_a_length_ends_with_the_connection() {
    check("HTTP/1.1 400 X\r\n\r\nwrong", &[(400, false, "wrong")]);
}

#[test]
fn the_connection_header_is_obeyed() {
    check(
        "HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: 0\r\n\r\n",
        &[(200, false, "")],
    );
    check(
        "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        &[(200, false, "")],
    );
    check(
        "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
        &[(200, true, "")],
    );
}

#[test]
fn interim_and_empty_answers_have_no_body() {
    check(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
        &[(204, true, ""), (200, true, "")],
    );
}

#[test]
fn a_long_body_is_not_kept() {
    let body = "x".repeat(3 * BUFFER);
    let bytes = format!(
        "HTTP/1.1 503 X\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = Pieces {
        bytes: bytes.as_bytes(),
        size: 10_000,
    };
    let found = block_on(Reader::new(0).read(&mut stream)).unwrap();
    assert_eq!(found.body_start(), "x".repeat(KEPT));
}

#[test]
fn a_broken_answer_says_what_is_wrong() {
    let torn = "the connection was closed before the answer was complete";
    assert_eq!(error(""), torn);
    assert_eq!(error("HTTP/1.1 200 OK\r\nContent-Len"), torn);
    assert_eq!(
        error("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi"),
        torn
    );
    assert_eq!(
        error("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
        torn
    );
    assert!(error("SSH-2.0-x\r\n\r\n").contains("not an HTTP answer"));
    assert!(error("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n").contains("wrong length"));
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert!(error(&format!("{chunked}zz\r\n")).contains("without a size"));
    assert!(error(&format!("{chunked}2\r\nabc\r\n")).contains("longer than its size"));
    let endless = format!("HTTP/1.1 200 OK\r\nA: {}", "b".repeat(2 * BUFFER));
    assert!(error(&endless).contains("more than"));
}
