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

use crate::response::Reader;
use crate::tally::Tally;

/// How long an answer is waited for after the last request may be sent; then it counts as an error.
const GRACE: Duration = Duration::from_secs(5);
/// Pause after a failed attempt to connect, so that a server that is gone does not turn into a busy loop.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// What is to be sent.
pub(crate) struct Load {
    pub(crate) address: SocketAddr,
    /// The whole request, head and body.
    pub(crate) request: Vec<u8>,
    pub(crate) connections: u16,
    /// How long new requests are sent.
    pub(crate) duration: Duration,
    /// Requests in all, at most.
    pub(crate) limit: u64,
    /// Bodies that an answer may have, to the byte; if there are none, any.
    pub(crate) answers: Vec<Vec<u8>>,
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

struct Socket {
    stream: TcpStream,
    reader: Reader,
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
                return Err(format!("cannot connect: {error}"));
            }
        },
    };
    let sent = Instant::now();
    let written = open.stream.write_all(&shared.load.request).await;
    written.map_err(|error| format!("cannot send: {error}"))?;
    let response = open.reader.read(&mut open.stream).await?;
    let latency = sent.elapsed();
    if response.keep_alive {
        *socket = Some(open);
    }
    if response.status == 200 {
        Ok((latency, shared.load.recognized(response.body())?))
    } else {
        Err(format!(
            "status {}: {}",
            response.status,
            response.body_start()
        ))
    }
}

async fn connect(load: &Load) -> io::Result<Socket> {
    let stream = TcpStream::connect(load.address).await?;
    stream.set_nodelay(true)?;
    Ok(Socket {
        stream,
        reader: Reader::new(load.kept()),
    })
}
