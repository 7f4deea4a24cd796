//! Where callers over HTTP/1.1 come in: they stand at the door until the head of their first request is there.
//!
//! The door has a thread of its own. So a caller that sends nothing, or a byte now and then, costs its place there and
//! nothing else; and who asks for health is answered there, without waiting for what the threads inside have to do.

use std::{
    io,
    net::{self, SocketAddr},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use hyper::Method;
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::{self, Handle},
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    connection::{self, After, Counted, Phase},
    find::{Found, find},
    routes::Needs,
    seats::{Seat, Seats},
    state::State,
};

/// Callers that stand at the door, for each one that may be inside.
const PLACES: usize = 4;
/// Of a longer head the rest is read inside.
const HEAD_BYTES: usize = 8192;
/// For a head that is on its way when the server is told to stop.
const MOMENT: Duration = Duration::from_millis(250);
/// As many header lines as hyper takes.
const HEADERS: usize = 100;

/// What a caller is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Errand {
    /// A request that needs no key and no work.
    Health,
    /// Anything else, also what is no request.
    Inside,
}

/// Lets callers in until the server is told to stop. The thread ends when the last one at the door has left.
///
/// # Errors
/// The system refuses the thread, or to watch the listener.
pub(super) fn open(
    listener: net::TcpListener,
    state: Arc<State>,
    phase: watch::Receiver<Phase>,
) -> io::Result<()> {
    let inside = Handle::current();
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let listener = {
        let _entered = runtime.enter();
        TcpListener::from_std(listener)?
    };
    thread::Builder::new()
        .name("strata-door".to_owned())
        .spawn(move || runtime.block_on(accept(listener, state, phase, inside)))?;
    Ok(())
}

async fn accept(
    listener: TcpListener,
    state: Arc<State>,
    mut phase: watch::Receiver<Phase>,
    inside: Handle,
) {
    let most = state.limits.connections;
    let places = Seats::new(most.saturating_mul(PLACES));
    let seats = Arc::new(Seats::new(most));
    let mut callers = JoinSet::new();
    let mut end = None;
    loop {
        let accepted = match end {
            None => tokio::select! {
                biased;
                _ = phase.changed() => {
                    end = Some(Instant::now() + MOMENT);
                    continue;
                }
                accepted = listener.accept() => accepted,
            },
            // Who has connected before the server was told to stop still comes in.
            Some(end) if Instant::now() < end => {
                match timeout(Duration::ZERO, listener.accept()).await {
                    Ok(accepted) => accepted,
                    Err(_) => break,
                }
            }
            Some(_) => break,
        };
        // Only for their memory.
        while callers.try_join_next().is_some() {}
        match accepted {
            Ok((stream, peer)) => {
                let Some(place) = places.take().await else {
                    break;
                };
                let (state, phase) = (state.clone(), phase.clone());
                let (seats, inside) = (seats.clone(), inside.clone());
                callers.spawn(async move {
                    admit(stream, peer, &state, phase, place, &seats, &inside).await;
                });
            }
            // The caller left before it was accepted.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(_) => {
                // Most likely there are no file descriptors left.
                places.evict();
                seats.evict();
                sleep(Duration::from_millis(10)).await;
            }
        }
    }
    drop(listener);
    while callers.join_next().await.is_some() {}
}

/// Sends one caller where it belongs, once it is known what it wants.
async fn admit(
    stream: TcpStream,
    peer: SocketAddr,
    state: &Arc<State>,
    phase: watch::Receiver<Phase>,
    place: Seat,
    seats: &Seats,
    inside: &Handle,
) {
    let counted = Counted::new(&state.metrics.connections);
    // Answers are written whole; to wait for more would only delay them.
    let _ = stream.set_nodelay(true);
    let mut arrived = Vec::new();
    let errand = tokio::select! {
        biased;
        errand = timeout(state.limits.head_time, errand(&stream, &mut arrived)) => errand,
        () = place.asked_to_leave() => return,
        () = stopped(phase.clone()) => return,
    };
    match errand {
        Ok(Some(Errand::Health)) => {
            connection::http(stream, arrived, peer, state, phase, &place, After::Close).await;
        }
        Ok(Some(Errand::Inside)) => {
            let waits = place.busy();
            let Some(seat) = seats.take().await else {
                return;
            };
            drop(waits);
            let Ok(stream) = stream.into_std() else {
                return;
            };
            let state = state.clone();
            inside.spawn(async move {
                let _counted = counted;
                // Fails if the system does not watch it: then there is no way to answer.
                if let Ok(stream) = TcpStream::from_std(stream) {
                    connection::http(stream, arrived, peer, &state, phase, &seat, After::Wait)
                        .await;
                }
            });
        }
        // It left, or took too long.
        Ok(None) | Err(_) => {}
    }
}

/// A moment after the server is told to stop: what was sent before it is answered.
async fn stopped(mut phase: watch::Receiver<Phase>) {
    // An error means that nobody is there to be told.
    let _ = phase.wait_for(|phase| *phase != Phase::Serve).await;
    sleep(MOMENT).await;
}

/// Reads until it is known what a caller is there for. None if it leaves before.
async fn errand(stream: &TcpStream, arrived: &mut Vec<u8>) -> Option<Errand> {
    loop {
        stream.readable().await.ok()?;
        match read(stream, arrived) {
            Ok(0) => return None,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(_) => return None,
        }
        if let Some(errand) = recognize(arrived) {
            return Some(errand);
        }
    }
}

/// Reads what is there. By a buffer that is not kept: thousands of callers wait with a few bytes each.
fn read(stream: &TcpStream, arrived: &mut Vec<u8>) -> io::Result<usize> {
    let mut buffer = [0; HEAD_BYTES];
    let read = stream.try_read(&mut buffer)?;
    arrived.extend_from_slice(&buffer[..read]);
    Ok(read)
}

/// What these bytes ask for. None if the head goes on.
fn recognize(arrived: &[u8]) -> Option<Errand> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(arrived) {
        Ok(httparse::Status::Partial) if arrived.len() < HEAD_BYTES => None,
        // With nothing after it: a connection that ends after the answer is not for those who have asked more already.
        Ok(httparse::Status::Complete(length))
            if length == arrived.len() && is_health(&request) =>
        {
            Some(Errand::Health)
        }
        // What is wrong with a head is said inside.
        _ => Some(Errand::Inside),
    }
}

fn is_health(request: &httparse::Request<'_, '_>) -> bool {
    let (Some(method), Some(target)) = (request.method, request.path) else {
        return false;
    };
    let Ok(method) = Method::from_bytes(method.as_bytes()) else {
        return false;
    };
    let path = target.split('?').next().unwrap_or(target);
    matches!(find(&method, path), Found::Route { route, .. } if route.needs == Needs::Nothing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(arrived: &str, expected: Option<Errand>) {
        assert_eq!(recognize(arrived.as_bytes()), expected, "{arrived:?}");
    }

    #[test]
    fn a_caller_waits_until_its_head_is_there() {
        for part in [
            "",
            "G",
            "GET /v2/health/ready HTTP/1.1\r\nHost: a\r\n",
            "POST /v2",
        ] {
            check(part, None);
        }
        check(
            &format!("GET / HTTP/1.1\r\nA: {}", "a".repeat(HEAD_BYTES)),
            Some(Errand::Inside),
        );
    }

    #[test]
    fn only_health_is_answered_at_the_door() {
        for line in ["GET /v2/health/ready", "HEAD /v2/health/live", "GET /?now"] {
            check(
                &format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n"),
                Some(Errand::Health),
            );
        }
        for line in [
            "POST /v2/health/ready",
            "GET /v2",
            "POST /v2/models/m/infer",
            "GET http://a/",
        ] {
            check(
                &format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n{{}}"),
                Some(Errand::Inside),
            );
        }
    }

    #[test]
    fn who_asks_more_at_once_is_answered_inside() {
        let health = "GET /v2/health/ready HTTP/1.1\r\nHost: a\r\n\r\n";
        check(&format!("{health}{health}"), Some(Errand::Inside));
    }

    #[test]
    fn what_is_no_request_is_refused_inside() {
        for bytes in ["\u{16}\u{3}\u{1}", "GET / HTTP/9.9\r\n\r\n", "\0"] {
            check(bytes, Some(Errand::Inside));
        }
    }
}
