//! One unary call over HTTP/2, as <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md> has it.

use anyhow::{Context, Result, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use h2::client::{Builder, SendRequest};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use tokio::net::TcpStream;

use crate::request::{Target, header};

/// Bytes before a message: whether it is compressed, and its length.
const PREFIX: usize = 5;
/// Bytes that may be on their way at once: more than any answer has, so that no request waits for a window.
const WINDOW: u32 = 64 << 20;

/// What is called, built once.
pub(crate) struct Call {
    head: http::Request<()>,
    /// The message behind its prefix.
    body: Bytes,
}

impl Call {
    pub(crate) fn new(target: &Target, metadata: &[String], message: &[u8]) -> Result<Self> {
        let uri = format!("http://{}:{}{}", target.host, target.port, target.path);
        let uri: Uri = uri.parse().context("no path of a method")?;
        ensure!(target.path.len() > 1, "expected /SERVICE/METHOD in the URL");
        let mut head = http::Request::builder()
            .method(Method::POST)
            .uri(uri)
            .header("te", "trailers")
            .header("content-type", "application/grpc")
            .body(())?;
        for line in metadata {
            let (name, value) = header(line)?;
            let name: HeaderName = name.to_ascii_lowercase().parse()?;
            head.headers_mut()
                .append(name, value.parse::<HeaderValue>()?);
        }
        let length = u32::try_from(message.len()).context("a message beyond 4 GiB")?;
        let mut body = BytesMut::with_capacity(PREFIX + message.len());
        body.put_u8(0);
        body.put_u32(length);
        body.put_slice(message);
        Ok(Self {
            head,
            body: body.freeze(),
        })
    }
}

/// An open connection.
pub(crate) struct Channel {
    sender: SendRequest<Bytes>,
}

impl Channel {
    /// Shakes hands; the connection is driven by a task of its own on this thread.
    pub(crate) async fn open(stream: TcpStream) -> Result<Self, String> {
        let mut builder = Builder::new();
        builder.initial_window_size(WINDOW);
        builder.initial_connection_window_size(WINDOW);
        let shaken = builder.handshake(stream).await;
        let (sender, connection) = shaken.map_err(|error| format!("no HTTP/2: {error}"))?;
        // Its end shows in the call that it interrupts.
        tokio::task::spawn_local(async move { drop(connection.await) });
        Ok(Self { sender })
    }

    /// One call: the first `kept` bytes of the message that answers it.
    pub(crate) async fn call(&mut self, call: &Call, kept: usize) -> Result<Vec<u8>, String> {
        let told = |error: h2::Error| format!("the call broke: {error}");
        let mut sender = self.sender.clone().ready().await.map_err(told)?;
        let (response, mut stream) = sender
            .send_request(call.head.clone(), false)
            .map_err(told)?;
        stream.send_data(call.body.clone(), true).map_err(told)?;
        let (head, mut body) = response.await.map_err(told)?.into_parts();
        if head.status != 200 {
            return Err(format!("HTTP status {}", head.status));
        }
        let (mut message, mut skipped) = (Vec::new(), 0);
        while let Some(data) = body.data().await {
            let data = data.map_err(told)?;
            let flow = body.flow_control();
            flow.release_capacity(data.len()).map_err(told)?;
            let from = data.len().min(PREFIX - skipped);
            skipped += from;
            let room = kept - message.len();
            message.extend_from_slice(&data[from..data.len().min(from + room)]);
        }
        let trailers = body.trailers().await.map_err(told)?;
        check_status(trailers.as_ref().unwrap_or(&head.headers))?;
        Ok(message)
    }
}

/// Status 0 is the only good one; it stands in the trailers, or in the head of an answer without a body.
fn check_status(headers: &HeaderMap) -> Result<(), String> {
    let text = |name| {
        let value = headers.get(name).map(HeaderValue::as_bytes);
        String::from_utf8_lossy(value.unwrap_or_default()).into_owned()
    };
    match text("grpc-status").as_str() {
        "0" => Ok(()),
        "" => Err("no grpc-status".to_owned()),
        status => Err(format!("grpc-status {status}: {}", text("grpc-message"))),
    }
}
