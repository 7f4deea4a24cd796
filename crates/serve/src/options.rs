use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use strata_package::{Access, Selector};
use strata_remote::Bucket;

use crate::KeyStore;

/// What to serve, where, and how much of it.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// The folder of the model store.
    pub store: PathBuf,
    /// Where the store lies that the folder mirrors. Default: nowhere, the folder is the store.
    pub origin: Option<Origin>,
    /// Keys for opening packages, and what is allowed of them.
    pub access: Access,
    /// Where to listen; port 0 for any free one. Default: 127.0.0.1:8080.
    pub address: SocketAddr,
    /// Where to listen for gRPC besides; port 0 for any free one. Default: nowhere.
    pub grpc: Option<SocketAddr>,
    /// What to serve. A bare name stands for its highest version and each version that an alias names.
    /// Default: every model in the store that can be opened; of models that are named, all must.
    ///
    /// A running server follows the store: a new version and an alias that moves take the place of what they replace within
    /// a second, while requests run. Only `NAME@VERSION` stays what it is. A version that cannot be opened is never
    /// served; what was served before goes on.
    pub models: Option<Vec<Selector>>,
    /// The API keys. Default: `keys.json` in the store's folder.
    pub keys: KeyStore,
    /// Write a line of JSON for each request: who, what, which version, status and times, nothing of what was asked or
    /// answered. Lines that cannot be written as fast as they come are lost. Default: no.
    pub log_requests: bool,
    /// Send a span for each request by OpenTelemetry to where the `OTEL_…` variables of the environment say. Default: no.
    pub export_spans: bool,
    /// Bounds in size and time.
    pub limits: Limits,
}

/// A store at an address, which a server mirrors in a folder and follows.
///
/// Credentials come from the environment: see [`strata_remote::Remote::from_env`].
#[derive(Clone, Debug)]
pub struct Origin {
    /// Where it lies.
    pub bucket: Bucket,
    /// How long from one look at it to the next.
    pub poll: Duration,
}

/// Bounds of a server. Each one has an end that a caller can see: a refusal with a status of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request's head; more is 431. At least 8,192. Default: 32 KiB.
    pub head_bytes: usize,
    /// Bytes of a request's body; more is 413. Default: 16 MiB.
    pub body_bytes: usize,
    /// Bytes of all bodies that are held at the same time; more is 503. Default: 512 MiB.
    pub all_bodies_bytes: usize,
    /// Open connections of each address. For one more, those are closed on which the server has waited longest, and at least
    /// a second, for a request or the rest of its head, over gRPC for a call other than `Watch`; if there are none it waits.
    /// Of callers over HTTP/1.1 whose first request's head is not there yet, four times as many may wait besides. Default: 4,096.
    pub connections: usize,
    /// Rows that wait for one version of a model; more are 503, with the time after which the queue will be empty as
    /// `Retry-After`. Also the most rows in one request. Default: 4,096.
    pub queue_rows: usize,
    /// Rows that are computed together. Default: 64.
    pub batch_rows: usize,
    /// Bytes of the prepared rows that are computed together; a larger request is computed alone. Default: 64 MiB.
    pub batch_bytes: usize,
    /// How long a request should wait and be computed: batches get smaller until they keep it, by what they were measured
    /// to take. There is never a wait for a batch to fill. Default: none, batches are as large as they may be.
    pub latency_target: Option<Duration>,
    /// Explanations that are computed at the same time; more are 503. Default: the number of cores.
    pub explanations: usize,
    /// Rows of a request for explanations, which are explained one after the other; more are 413. Default: 16.
    pub explain_rows: usize,
    /// Bytes of all models' weights in memory. Where they are more, the models that were not asked for the longest time are
    /// put to sleep, none while it answers; who asks for one, or for its metadata, waits until it is loaded again, as long as
    /// its request may take, or gets 503 if those that are busy leave no room. Readiness, status and statistics are told
    /// without that. A model larger than this is alone. What is new in the store is
    /// loaded before others are put to sleep. Default: no bound.
    pub memory_bytes: usize,
    /// Bytes of answers that are kept, so that the same rows need not be computed again. All callers of a model
    /// share them: by how soon it is answered, one could tell that somebody asked the same rows before. Default: 0, none are.
    pub cache_bytes: usize,
    /// Requests of one key that are answered at the same time; more are 429. Default: 1,024.
    pub key_requests: usize,
    /// For a request's head, and for an idle connection, which is closed after it. Default: 30 s.
    pub head_time: Duration,
    /// For a request's body, or a message of a stream, to arrive; longer is 408. Default: 30 s.
    pub body_time: Duration,
    /// From a request's head to its answer; longer is 504. Callers may ask for less. Default: 60 s.
    pub request_time: Duration,
    /// For a stream over gRPC on which nothing is asked and nothing being answered, which ends with `DEADLINE_EXCEEDED`.
    /// Default: 10 min.
    pub stream_time: Duration,
    /// For a caller to take some bytes of an answer; after it, the connection is closed, or over gRPC the stream reset if it
    /// is only its own answer that the caller does not take. Default: 30 s.
    pub write_time: Duration,
    /// For requests in flight when the server is told to stop. Default: 30 s.
    pub drain_time: Duration,
}

impl ServeOptions {
    /// Serves all of the store at `store` with the defaults.
    pub fn new(store: impl Into<PathBuf>, access: Access) -> Self {
        let store = store.into();
        Self {
            keys: KeyStore::beside(&store),
            store,
            origin: None,
            access,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            grpc: None,
            models: None,
            log_requests: false,
            export_spans: false,
            limits: Limits::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes: 32 << 10,
            body_bytes: 16 << 20,
            all_bodies_bytes: 512 << 20,
            connections: 4096,
            queue_rows: 4096,
            batch_rows: 64,
            batch_bytes: 64 << 20,
            latency_target: None,
            memory_bytes: usize::MAX,
            cache_bytes: 0,
            key_requests: 1024,
            explain_rows: 16,
            explanations: std::thread::available_parallelism().map_or(2, usize::from),
            head_time: Duration::from_secs(30),
            body_time: Duration::from_secs(30),
            request_time: Duration::from_secs(60),
            stream_time: Duration::from_secs(600),
            write_time: Duration::from_secs(30),
            drain_time: Duration::from_secs(30),
        }
    }
}
