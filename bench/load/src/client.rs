//! The connections, until the time or the number of requests is over.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use crate::grpc::{Call, Channel};
use crate::response::Reader;
use crate::tally::Tally;

/// How long an answer is waited for after the last request may be sent; then it counts as an error.
const GRACE: Duration = Duration::from_secs(5);
/// Pause after a failed attempt to connect, so that a server that is gone does not turn into a busy loop.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// What is to be sent.
pub(crate) struct Load {
    pub(crate) address: SocketAddr,
    pub(crate) request: Request,
    pub(crate) connections: u16,
    /// How long new requests are sent.
    pub(crate) duration: Duration,
    /// Requests in all, at most.
    pub(crate) limit: u64,
    /// Bodies that an answer may have, to the byte; if there are none, any.
    pub(crate) answers: Vec<Vec<u8>>,
}

pub(crate) enum Request {
    /// The whole request, head and body.
    Http1(Vec<u8>),
    Grpc(Box<Call>),
}

impl Load {
    /// Which of the answers a body is; nothing where any will do.
    fn recognized(&self, body: &[u8]) -> Result<Option<usize>, String> {
        if self.answers.is_empty() {
            return Ok(None);
        }
        let found = self.answers.iter().position(|answer| answer == body);
        let unknown = || format!("no expected answer: {}", String::from_utf8_lossy(body));
        found.map(Some).ok_or_else(unknown)
    }

    /// Bytes of a body that tell it from the others: one more than an answer has, so that a longer one is none.
    fn kept(&self) -> usize {
        let longest = self.answers.iter().map(Vec::len).max();
        longest.map_or(0, |longest| longest + 1)
    }
}

/// The state that all connections share; they run on one thread.
struct Shared {
    load: Load,
    start: Instant,
    sent: Cell<u64>,
    tally: RefCell<Tally>,
}

/// Sends the load and returns once every connection is done.
pub(crate) async fn run(load: Load) -> Tally {
    let shared = Rc::new(Shared {
        start: Instant::now(),
        sent: Cell::new(0),
        tally: RefCell::new(Tally::new()),
        load,
    });
    let connections = tokio::task::LocalSet::new();
    connections
        .run_until(async {
            let mut tasks = JoinSet::new();
            for _ in 0..shared.load.connections {
                tasks.spawn_local(connection(Rc::clone(&shared)));
            }
            while tasks.join_next().await.is_some() {}
        })
        .await;
    shared.tally.replace(Tally::new())
}

/// One connection: a request, its answer, the next request. Opens a new socket when the server closed the last.
async fn connection(shared: Rc<Shared>) {
    let last_send = shared.start + shared.load.duration;
    let mut socket: Option<Socket> = None;
    // One deadline for the whole loop: a timer for each request would cost more than reading its answer.
    let finished = timeout_at(last_send + GRACE, async {
        while Instant::now() < last_send && shared.sent.get() < shared.load.limit {
            shared.sent.set(shared.sent.get() + 1);
            match exchange(&mut socket, &shared).await {
                Ok((latency, answer)) => {
                    let elapsed = shared.start.elapsed();
                    let mut tally = shared.tally.borrow_mut();
                    tally.add_answer(latency, elapsed, answer);
                }
                Err(error) => shared.tally.borrow_mut().add_error(error),
            }
        }
    });
    if finished.await.is_err() {
        shared
            .tally
            .borrow_mut()
            .add_error("no answer in time".to_owned());
    }
}

enum Socket {
    Http1 { stream: TcpStream, reader: Reader },
    Grpc(Channel),
}

/// One request and its answer: the latency from the first byte sent to the last byte read, and which answer it was. Leaves `None` behind
/// when the socket cannot be used again.
async fn exchange(
    socket: &mut Option<Socket>,
    shared: &Shared,
) -> Result<(Duration, Option<usize>), String> {
    let mut open = match socket.take() {
        Some(open) => open,
        None => match connect(&shared.load).await {
            Ok(open) => open,
            Err(error) => {
                sleep(RETRY_PAUSE).await;
                return Err(error);
            }
        },
    };
    let sent = Instant::now();
    let load = &shared.load;
    match (&mut open, &load.request) {
        (Socket::Http1 { stream, reader }, Request::Http1(request)) => {
            let written = stream.write_all(request).await;
            written.map_err(|error| format!("cannot send: {error}"))?;
            let response = reader.read(stream).await?;
            let latency = sent.elapsed();
            if response.keep_alive {
                *socket = Some(open);
            }
            if response.status == 200 {
                Ok((latency, load.recognized(response.body())?))
            } else {
                let (status, body) = (response.status, response.body_start());
                Err(format!("status {status}: {body}"))
            }
        }
        (Socket::Grpc(channel), Request::Grpc(call)) => {
            let message = channel.call(call, load.kept()).await?;
            let latency = sent.elapsed();
            *socket = Some(open);
            Ok((latency, load.recognized(&message)?))
        }
        _ => unreachable!("a socket is opened for the request"),
    }
}

async fn connect(load: &Load) -> Result<Socket, String> {
    let connected = async {
        let stream = TcpStream::connect(load.address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    };
    let stream = connected
        .await
        .map_err(|error: io::Error| format!("cannot connect: {error}"))?;
    Ok(match &load.request {
        Request::Http1(_) => Socket::Http1 {
            stream,
            reader: Reader::new(load.kept()),
        },
        Request::Grpc(_) => Socket::Grpc(Channel::open(stream).await?),
    })
}
