use std::{
    convert::Infallible,
    future::Future,
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use hyper::{
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulConnection,
};
use prometheus_client::metrics::gauge::Gauge;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    time::{sleep, timeout},
};

use super::{
    calls::{Answer, Calls, Patient},
    door,
    seats::{Seat, Seats},
    service,
    state::State,
    stream::{Linger, Stream},
};
use crate::grpc;

/// Where callers come in.
#[derive(Debug)]
pub(crate) struct Listening {
    pub(crate) http: std::net::TcpListener,
    pub(crate) grpc: Option<TcpListener>,
}

/// What becomes of a connection over HTTP/1.1 after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// It is closed, and the answer says so.
    Close,
    /// It waits for the next request.
    Wait,
}

/// Calls at the same time on one connection; more wait.
const STREAMS: u32 = 256;
/// When a connection on which nothing is heard is asked whether the other side is still there.
const PING: Duration = Duration::from_secs(20);

/// What connections are to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Serve,
    /// Finish the request in flight, then close.
    Drain,
    Close,
}

/// What happens to a connection besides its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    /// The request in flight is the last one.
    Drain,
    /// Nothing is asked any more.
    Idle,
    Close,
}

/// Counts one connection, however it ends.
pub(super) struct Counted(Gauge);

impl Counted {
    pub(super) fn new(open: &Gauge) -> Self {
        open.inc();
        Self(open.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Answers connections until `shutdown` completes, then drains.
///
/// # Errors
/// The system refuses the thread at the [door](super::door).
pub(crate) async fn serve(
    listening: Listening,
    state: Arc<State>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let (phase, watched) = watch::channel(Phase::Serve);
    door::open(listening.http, state.clone(), watched.clone())?;
    {
        let mut shutdown = pin!(shutdown);
        let mut grpc = pin!(async {
            match &listening.grpc {
                Some(listener) => accept_grpc(listener, &state, watched).await,
                None => {
                    drop(watched);
                    std::future::pending().await
                }
            }
        });
        tokio::select! {
            () = &mut shutdown => {}
            () = &mut grpc => {}
        }
    }
    state.drain();
    drop(listening.grpc);
    phase.send_replace(Phase::Drain);
    // Every connection and the door have a receiver, so the channel closes with the last one.
    if timeout(state.limits.drain_time, phase.closed())
        .await
        .is_err()
    {
        phase.send_replace(Phase::Close);
        phase.closed().await;
    }
    Ok(())
}

async fn accept_grpc(listener: &TcpListener, state: &Arc<State>, phase: watch::Receiver<Phase>) {
    // Others than those over HTTP/1.1: one that waits for a connection must not keep the other from taking its last one.
    let seats = Seats::new(state.limits.connections);
    let service = grpc::Service::new(state);
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(_) => {
                // The caller left before it was accepted, or there are no file descriptors left: not
                // worth ending for.
                sleep(Duration::from_millis(10)).await;
                continue;
            }
        };
        let Some(seat) = seats.take().await else {
            return;
        };
        let (state, phase, service) = (state.clone(), phase.clone(), service.clone());
        tokio::spawn(async move {
            let counted = Counted::new(&state.metrics.connections);
            // Answers are written whole; to wait for more would only delay them.
            let _ = stream.set_nodelay(true);
            grpc(stream, peer, &state, phase, service, &seat).await;
            drop(counted);
            drop(seat);
        });
    }
}

/// Answers requests on a connection of which some bytes have `arrived`.
pub(super) async fn http(
    stream: TcpStream,
    arrived: Vec<u8>,
    peer: SocketAddr,
    state: &Arc<State>,
    phase: watch::Receiver<Phase>,
    seat: &Seat,
    after: After,
) {
    let limits = &state.limits;
    let linger = Linger::default();
    let io = TokioIo::new(Stream::new(
        stream,
        arrived,
        limits.write_time,
        linger.clone(),
        seat.writes(),
    ));
    let linger = &linger;
    let answer = service_fn(|request| async move {
        let _busy = seat.busy();
        Ok::<_, Infallible>(service::answer(state, peer, linger, request).await)
    });
    let mut builder = http1::Builder::new();
    builder
        // It would take a timer for each request, which `Seat::waited` does without.
        .header_read_timeout(None)
        .keep_alive(after == After::Wait)
        // Who closes its side behind the question waits for the answer. Elsewhere it is how a caller is seen to leave.
        .half_close(after == After::Close);
    builder.max_buf_size(limits.head_bytes.max(8192));
    let connection = builder.serve_connection(io, answer);
    let over = async {
        // Either way, of a request nothing is there but perhaps a part of its head.
        tokio::select! {
            () = seat.asked_to_leave() => {}
            () = seat.waited(limits.head_time) => {}
        }
        Event::Close
    };
    run(connection, phase, over).await;
}

async fn grpc(
    stream: TcpStream,
    peer: SocketAddr,
    state: &Arc<State>,
    phase: watch::Receiver<Phase>,
    service: grpc::Service,
    seat: &Seat,
) {
    let limits = &state.limits;
    let io = TokioIo::new(Stream::new(
        stream,
        Vec::new(),
        limits.write_time,
        Linger::default(),
        seat.writes(),
    ));
    let calls = Calls::default();
    let ongoing = &calls;
    let own = state.clone();
    let answer = service_fn(move |request| {
        let call = ongoing.begin(grpc::only_listens(&request));
        let (service, state) = (service.clone(), own.clone());
        async move {
            let answer = grpc::answer(&service, &state, peer, request).await;
            // The answer's body is part of the call.
            Ok::<_, Infallible>(answer.map(|body| Answer::new(body, call)))
        }
    });
    let mut builder = http2::Builder::new(Patient(limits.write_time));
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
        .keep_alive_interval(Some(PING))
        .keep_alive_timeout(PING);
    let connection = builder.serve_connection(io, answer);
    let over = async {
        tokio::select! {
            () = calls.idle(limits.head_time) => {}
            () = calls.asked_to_leave(seat) => {}
        }
        Event::Idle
    };
    run(connection, phase, over).await;
}

/// Answers on a connection until it ends, or is `over`, or the server is told to stop.
async fn run(
    connection: impl GracefulConnection,
    phase: watch::Receiver<Phase>,
    over: impl Future<Output = Event> + Send,
) {
    let at = |least: Phase, event: Event| {
        let mut phase = phase.clone();
        async move {
            // An error means that nobody is there any more who could tell.
            match phase.wait_for(|now| *now >= least).await {
                Ok(_) => event,
                Err(_) => Event::Close,
            }
        }
    };
    // Looked at only when one of them has something to say; the connection itself, with every request.
    let events: [Pin<Box<dyn Future<Output = Event> + Send>>; 3] = [
        Box::pin(over),
        Box::pin(at(Phase::Drain, Event::Drain)),
        Box::pin(at(Phase::Close, Event::Close)),
    ];
    let mut events = FuturesUnordered::from_iter(events);
    let mut connection = pin!(connection);
    loop {
        tokio::select! {
            // A request that has arrived is answered, also if the server is told to stop at the same moment.
            biased;
            // Ends with an error if the caller sent no HTTP, left, or took too long; hyper has told it
            // what it can.
            _ = connection.as_mut() => return,
            event = events.next() => match event {
                Some(Event::Drain) => connection.as_mut().graceful_shutdown(),
                // Callers connect again when they want something.
                Some(Event::Idle) => {
                    connection.as_mut().graceful_shutdown();
                    let _ = timeout(Duration::from_secs(1), connection).await;
                    return;
                }
                Some(Event::Close) | None => return,
            },
        }
    }
}
