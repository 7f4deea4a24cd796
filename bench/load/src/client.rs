//! The connections, until the time or the number of requests is over.
//!
//! In a closed loop a connection's next turn is when the last answer is there. In an open loop turns come by the clock, to
//! whichever connection is free, the one that was used last: if none is, the turn waits, and that counts as a part of its
//! latency.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use crate::arrivals::{Arrivals, pace};
use crate::grpc::{Call, Channel};
use crate::response::Reader;
use crate::tally::Tally;

/// How long an answer is waited for after the last request may be sent; then it counts as an error.
const GRACE: Duration = Duration::from_secs(5);
/// Pause after a failed attempt to connect, so that a server that is gone does not turn into a busy loop.
const RETRY_PAUSE: Duration = Duration::from_millis(20);
/// A connection that was idle for so long is not used again: servers close theirs, some after five seconds.
const LONGEST_IDLE: Duration = Duration::from_secs(2);
/// Turns that have come and wait for a connection; those after them are not lost, they are looked up later.
const WAITING_TURNS: usize = 1024;

/// What is to be sent.
pub(crate) struct Load {
    pub(crate) address: SocketAddr,
    pub(crate) request: Request,
    pub(crate) connections: u16,
    /// When requests are due, in an open loop; nothing in a closed one.
    pub(crate) arrivals: Option<Arrivals>,
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
    /// In an open loop, the times at which requests are due, once they have come.
    turns: Option<Mutex<mpsc::Receiver<std::time::Instant>>>,
    /// Open connections without a request, and since when; the last one first.
    idle: RefCell<Vec<(Instant, Socket)>>,
    tally: RefCell<Tally>,
}

/// A request that may be sent.
struct Turn {
    /// When it should have been sent; nothing where that is when it is.
    due: Option<Instant>,
}

impl Shared {
    fn is_over(&self) -> bool {
        Instant::now() >= self.start + self.load.duration || self.sent.get() >= self.load.limit
    }

    /// Waits for the next turn; `None` when there is none any more.
    async fn turn(&self) -> Option<Turn> {
        let due = match &self.turns {
            Some(turns) => Some(turns.lock().await.recv().await?.into()),
            None if self.is_over() => return None,
            None => None,
        };
        self.sent.set(self.sent.get() + 1);
        Some(Turn { due })
    }

    fn take_idle(&self) -> Option<Socket> {
        let (since, socket) = self.idle.borrow_mut().pop()?;
        (since.elapsed() < LONGEST_IDLE).then_some(socket)
    }
}

/// Sends the load and returns once every connection is done.
pub(crate) async fn run(load: Load) -> Tally {
    let start = Instant::now();
    let limit = usize::try_from(load.limit).unwrap_or(usize::MAX);
    let arrivals = load.arrivals.clone().map(|arrivals| arrivals.take(limit));
    let turns = arrivals.clone().map(|arrivals| {
        let (sender, receiver) = mpsc::channel(WAITING_TURNS);
        thread::spawn(move || pace(arrivals, start.into_std(), &sender));
        Mutex::new(receiver)
    });
    let shared = Rc::new(Shared {
        start,
        sent: Cell::new(0),
        turns,
        idle: RefCell::default(),
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
    let mut tally = shared.tally.replace(Tally::new());
    if let Some(arrivals) = arrivals {
        tally.set_unsent(arrivals.count() as u64 - shared.sent.get());
    }
    tally
}

/// At most one connection at a time: a turn, its request and its answer, the next turn.
async fn connection(shared: Rc<Shared>) {
    let last_send = shared.start + shared.load.duration;
    // One deadline for the whole loop: a timer for each request would cost more than reading its answer.
    let finished = timeout_at(last_send + GRACE, async {
        while let Some(turn) = shared.turn().await {
            let mut socket = shared.take_idle();
            match exchange(&mut socket, &shared.load, turn.due).await {
                Ok((latency, answer)) => {
                    let elapsed = shared.start.elapsed();
                    let mut tally = shared.tally.borrow_mut();
                    tally.add_answer(latency, elapsed, answer);
                }
                Err(error) => shared.tally.borrow_mut().add_error(error),
            }
            let idle = socket.map(|socket| (Instant::now(), socket));
            shared.idle.borrow_mut().extend(idle);
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

/// One request and its answer: the latency from the first byte sent, or from when the request was due, to the last byte
/// read, and which answer it was. Leaves `None` behind when the socket cannot be used again.
async fn exchange(
    socket: &mut Option<Socket>,
    load: &Load,
    due: Option<Instant>,
) -> Result<(Duration, Option<usize>), String> {
    let mut open = match socket.take() {
        Some(open) => open,
        None => match connect(load).await {
            Ok(open) => open,
            Err(error) => {
                sleep(RETRY_PAUSE).await;
                return Err(error);
            }
        },
    };
    let sent = due.unwrap_or_else(Instant::now);
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
