//! The real server in this process, for targets that send it whatever a fuzzer makes up.
//!
//! A panic in any of its threads, also one that the server would survive, ends the process: the fuzzer keeps what was sent.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "shared with tests that use all of it"
)]

#[path = "../../tests/server/client.rs"]
mod client;
#[path = "../../tests/server/grpc_client.rs"]
mod grpc_client;
#[path = "../../tests/server/model.rs"]
mod model;
#[path = "../../tests/server/running.rs"]
mod running;

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::{LazyLock, Mutex},
    time::Duration,
};

use self::{client::Client, grpc_client::GrpcClient, running::Running};
use flate2::{Compression, write::GzEncoder};
use tokio::runtime::Runtime;

static SERVER: LazyLock<Running> = LazyLock::new(Running::start);
static CLIENT: LazyLock<Mutex<Client>> = LazyLock::new(|| Mutex::new(SERVER.admin()));
static GRPC: LazyLock<(Runtime, GrpcClient)> = LazyLock::new(|| {
    let runtime = grpc_client::runtime();
    let client = runtime.block_on(GrpcClient::connect(&SERVER));
    (runtime, client)
});

/// Stands for a key that may do everything.
const KEY: &[u8] = b"KEY";

/// Ends a connection after the answer. Who closes its side before is taken for one that left.
const LAST: &[u8] = b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

/// For answers to what may be a part of a request.
const WAIT: Duration = Duration::from_millis(20);

/// All that a caller sends on a connection, and another request after it.
pub fn http(sent: &[u8]) {
    let sent = [&with_key(sent), LAST].concat();
    let mut stream = TcpStream::connect(SERVER.address).unwrap();
    stream.set_read_timeout(Some(WAIT)).unwrap();
    // The server may have closed it already.
    let _ = stream.write_all(&sent);
    let mut answers = Vec::new();
    let _ = stream.read_to_end(&mut answers);
    // The next answer begins right behind the body of the one before.
    let answers = String::from_utf8_lossy(&answers).replace("}HTTP/1.1 ", "}\nHTTP/1.1 ");
    for line in answers.lines() {
        if let Some(status) = line.strip_prefix("HTTP/1.1 ") {
            check(status.get(..3).and_then(|status| status.parse().ok()));
        }
    }
}

fn with_key(sent: &[u8]) -> Vec<u8> {
    let Some(at) = sent.windows(KEY.len()).position(|part| part == KEY) else {
        return sent.to_vec();
    };
    [
        &sent[..at],
        SERVER.admin.as_bytes(),
        &sent[at + KEY.len()..],
    ]
    .concat()
}

/// Where bodies go to.
const ROUTES: [&str; 10] = [
    "/v2/models/tiny/infer",
    "/v2/models/deep/versions/2/infer",
    "/v2/models/tiny/explain",
    "/v2/repository/index",
    "/v2/repository/models/none/load",
    "/v1/models/tiny:predict",
    "/v1/models/deep/labels/plain:predict",
    "/v1/models/tiny:classify",
    "/v1/models/tiny:regress",
    "/v1/models/tiny:explain",
];

/// A body: of its first two bytes one is the route, and one says whether the first line is the JSON
/// before binary tensors, whether the body is packed, and whether it says so.
pub fn body(sent: &[u8]) {
    let [route, form, body @ ..] = sent else {
        return;
    };
    let route = ROUTES[usize::from(*route) % ROUTES.len()];
    let line = body.iter().position(|byte| *byte == b'\n');
    let json = line.map_or(0, |end| end + 1).to_string();
    let mut headers = Vec::new();
    if form & 1 != 0 {
        headers.push(("Inference-Header-Content-Length", json.as_str()));
    }
    let mut packed = body.to_vec();
    if form & 2 != 0 {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(body).unwrap();
        packed = encoder.finish().unwrap();
    }
    if form & 4 != 0 {
        headers.push(("Content-Encoding", "gzip"));
    }
    let mut client = CLIENT.lock().unwrap();
    let reply = client.ask("POST", route, &headers, &packed);
    check(Some(reply.status));
    if reply.header("connection") == Some("close") {
        *client = SERVER.admin();
    }
}

/// Calls of `inference.GRPCInferenceService`, without the one that would leave nothing to ask.
const CALLS: [&str; 7] = [
    "ModelInfer",
    "ModelMetadata",
    "ModelReady",
    "ModelStatistics",
    "RepositoryIndex",
    "RepositoryModelLoad",
    "ServerMetadata",
];

/// A message, for the call that its first byte names.
pub fn message(sent: &[u8]) {
    let [call, message @ ..] = sent else { return };
    let call = CALLS[usize::from(*call) % CALLS.len()];
    let (runtime, client) = &*GRPC;
    if let Err(status) = runtime.block_on(client.ask(call, message.to_vec())) {
        use tonic::Code::{Internal, Unavailable, Unknown};
        let is_ours = matches!(status.code(), Internal | Unknown | Unavailable);
        assert!(!is_ours, "{call}: {status}");
    }
}

/// Whether the caller is told of a mistake of its own, or of none. One explanation that takes long keeps others away.
fn check(status: Option<u16>) {
    let status = status.expect("an answer begins with a status");
    assert!(
        status < 500 || matches!(status, 503 | 504 | 505),
        "{status}"
    );
}
