use std::{
    convert::Infallible, future::Future, net::SocketAddr, pin::pin, sync::Arc, time::Duration,
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::metrics::gauge::Gauge;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::{sleep, timeout},
};

use super::{
    service,
    state::State,
    stream::{Linger, Stream},
};

/// What connections are to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Serve,
    /// Finish the request in flight, then close.
    Drain,
    Close,
}

/// Counts one connection, however it ends.
struct Counted<'a>(&'a Gauge);

impl<'a> Counted<'a> {
    fn new(open: &'a Gauge) -> Self {
        open.inc();
        Self(open)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Answers connections until `shutdown` completes, then drains.
pub(crate) async fn serve(
    listener: TcpListener,
    state: Arc<State>,
    shutdown: impl Future<Output = ()>,
) {
    let (phase, watched) = watch::channel(Phase::Serve);
    {
        let mut shutdown = pin!(shutdown);
        let mut accept = pin!(accept(&listener, &state, watched));
        tokio::select! {
            () = &mut shutdown => {}
            () = &mut accept => {}
        }
    }
    state.drain();
    drop(listener);
    phase.send_replace(Phase::Drain);
    // Every connection has a receiver, so the channel closes with the last one.
    if timeout(state.limits.drain_time, phase.closed())
        .await
        .is_err()
    {
        phase.send_replace(Phase::Close);
        phase.closed().await;
    }
}

async fn accept(listener: &TcpListener, state: &Arc<State>, phase: watch::Receiver<Phase>) {
    let slots = Arc::new(Semaphore::new(
        state.limits.connections.min(Semaphore::MAX_PERMITS),
    ));
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else {
            return;
        };
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(_) => {
                // The caller left before it was accepted, or there are no file descriptors left: not
                // worth ending for.
                sleep(Duration::from_millis(10)).await;
                continue;
            }
        };
        let (state, phase) = (state.clone(), phase.clone());
        tokio::spawn(async move {
            let counted = Counted::new(&state.metrics.connections);
            connection(stream, peer, &state, phase).await;
            drop(counted);
            drop(slot);
        });
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    state: &Arc<State>,
    mut phase: watch::Receiver<Phase>,
) {
    // Answers are written whole; to wait for more would only delay them.
    let _ = stream.set_nodelay(true);
    let limits = &state.limits;
    let linger = Linger::default();
    let io = TokioIo::new(Stream::new(stream, limits.write_time, linger.clone()));
    let linger = &linger;
    let answer = service_fn(|request| async move {
        Ok::<_, Infallible>(service::answer(state, peer, linger, request).await)
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_time);
    builder.max_buf_size(limits.head_bytes.max(8192));
    let mut connection = pin!(builder.serve_connection(io, answer));
    loop {
        tokio::select! {
            // Ends with an error if the caller sent no HTTP, left, or took too long; hyper has told it
            // what it can.
            _ = connection.as_mut() => return,
            changed = phase.changed() => {
                let now = *phase.borrow();
                if changed.is_err() || now == Phase::Close {
                    return;
                }
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}
