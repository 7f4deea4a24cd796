//! The calls on a connection of gRPC: which of them are on their way, and whose callers take nothing of an answer.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use hyper::{
    body::{Body, Frame, SizeHint},
    rt::Executor,
};
use tokio::{
    sync::{Notify, watch},
    time::{Sleep, sleep},
};

use super::seats::Seat;

/// Bytes of an answer that are given away at once: those of a frame. What was given away is in memory until the caller takes
/// it, and how much it takes is seen by what is asked for next.
const PIECE: usize = 16 << 10;

/// The calls on one connection.
#[derive(Debug, Default)]
pub(super) struct Calls {
    begun: AtomicU64,
    wanted: Notify,
    /// With a receiver for each call that is on its way.
    busy: watch::Sender<()>,
    /// With a receiver for each call that only listens.
    listening: watch::Sender<()>,
}

/// A call that is on its way until this is gone.
#[derive(Debug)]
pub(super) struct Call(#[expect(dead_code, reason = "counted")] watch::Receiver<()>);

impl Calls {
    /// A call comes. One that only listens may last as long as its connection, and keeps nobody else from a place.
    pub(super) fn begin(&self, only_listens: bool) -> Call {
        self.begun.fetch_add(1, Ordering::Relaxed);
        if only_listens {
            return Call(self.listening.subscribe());
        }
        let call = Call(self.busy.subscribe());
        self.wanted.notify_one();
        call
    }

    /// Until there was no call for `time`, and at most twice that.
    pub(super) async fn idle(&self, time: Duration) {
        loop {
            // A look now and then costs less than a timer for each call.
            let before = self.begun.load(Ordering::Relaxed);
            sleep(time).await;
            let is_still = self.begun.load(Ordering::Relaxed) == before;
            if is_still && !self.is_busy() && self.listening.receiver_count() == 0 {
                return;
            }
        }
    }

    /// Until the connection has to make room for another, which it has not as long as a call is on its way.
    pub(super) async fn asked_to_leave(&self, seat: &Seat) {
        let keep = async {
            loop {
                self.wanted.notified().await;
                let _busy = seat.busy();
                self.busy.closed().await;
            }
        };
        let mut keep = pin!(keep);
        loop {
            tokio::select! {
                () = &mut keep => {}
                () = seat.asked_to_leave() => {
                    // A call may have begun since.
                    if !self.is_busy() {
                        return;
                    }
                }
            }
        }
    }

    fn is_busy(&self) -> bool {
        self.busy.receiver_count() > 0
    }
}

/// What was given of an answer.
#[derive(Debug, Default)]
pub(super) struct Given(AtomicU64);

tokio::task_local! {
    /// That of the call which a task answers.
    static GIVEN: Arc<Given>;
}

impl Given {
    /// Nothing waits for the caller.
    const OURS: u64 = 0;

    fn piece(&self, number: u64) {
        self.0.store(number, Ordering::Relaxed);
    }

    fn last(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Answers the calls of a connection, each in a task of its own. One whose caller takes nothing of its answer for the time
/// allowed is dropped, by which its stream is reset: HTTP/2 lets a caller keep an answer back for ever.
#[derive(Clone, Debug)]
pub(super) struct Patient(pub(super) Duration);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Patient {
    fn execute(&self, call: F) {
        let given = Arc::new(Given::default());
        let watched = until_stuck(call, self.0, given.clone());
        tokio::spawn(GIVEN.scope(given, watched));
    }
}

async fn until_stuck(call: impl Future<Output = ()>, limit: Duration, given: Arc<Given>) {
    let mut call = pin!(call);
    let mut seen = Given::OURS;
    let mut time: Option<Pin<Box<Sleep>>> = None;
    poll_fn(|context| {
        if call.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        let last = given.last();
        if last != seen {
            seen = last;
            time = None;
        }
        if seen == Given::OURS {
            return Poll::Pending;
        }
        let time = time.get_or_insert_with(|| Box::pin(sleep(limit)));
        time.as_mut().poll(context)
    })
    .await;
}

/// The body of an answer, during which its call is on its way.
pub(super) struct Answer<B> {
    body: B,
    /// What the body gave and the caller was not given yet.
    rest: Bytes,
    pieces: u64,
    given: Option<Arc<Given>>,
    _call: Call,
}

impl<B> Answer<B> {
    /// Made in the task of the call.
    pub(super) fn new(body: B, call: Call) -> Self {
        Self {
            body,
            rest: Bytes::new(),
            pieces: 0,
            given: GIVEN.try_with(Arc::clone).ok(),
            _call: call,
        }
    }

    fn note(&self, number: u64) {
        if let Some(given) = &self.given {
            given.piece(number);
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Answer<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if self.rest.is_empty() {
            // What was given before is taken, or the next would not be asked for.
            self.note(Given::OURS);
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => frame,
                end => return Poll::Ready(end),
            };
            match frame.into_data() {
                Ok(data) => self.rest = data,
                Err(frame) => return Poll::Ready(Some(Ok(frame))),
            }
        }
        self.pieces += 1;
        self.note(self.pieces);
        let length = self.rest.len().min(PIECE);
        let piece = self.rest.split_to(length);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.len() as u64;
        let of_body = self.body.size_hint();
        let mut all = SizeHint::new();
        all.set_lower(of_body.lower() + rest);
        if let Some(upper) = of_body.upper() {
            all.set_upper(upper + rest);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Full};

    use super::*;

    #[tokio::test]
    async fn an_answer_is_given_in_pieces_and_is_whole() {
        let calls = Calls::default();
        let bytes: Vec<u8> = (0..3 * PIECE + 5).map(|i| i as u8).collect();
        let mut answer = Answer::new(Full::from(bytes.clone()), calls.begin(false));
        let mut all = Vec::new();
        while let Some(frame) = answer.frame().await {
            let piece = frame.unwrap().into_data().unwrap();
            assert!(piece.len() <= PIECE);
            all.extend_from_slice(&piece);
            assert_eq!(answer.is_end_stream(), all.len() == bytes.len());
        }
        assert!(all == bytes && calls.is_busy());
        drop(answer);
        assert!(!calls.is_busy());
    }

    #[tokio::test]
    async fn who_takes_nothing_is_given_up_and_who_computes_is_not() {
        /// Whether a call that gives pieces, each after a while, comes to its end.
        async fn check(limit: Duration, pieces: &[u64], expected: bool) {
            let given = Arc::new(Given::default());
            let mut is_done = false;
            let call = async {
                for &number in pieces {
                    given.piece(number);
                    sleep(Duration::from_millis(5)).await;
                }
                is_done = true;
            };
            until_stuck(call, limit, given.clone()).await;
            assert_eq!(is_done, expected, "{pieces:?} in {limit:?}");
        }
        let (long, none) = (Duration::from_secs(3600), Duration::ZERO);
        check(long, &[1, 2, 3], true).await;
        check(none, &[Given::OURS, Given::OURS], true).await;
        check(none, &[Given::OURS, 1, 2], false).await;
    }
}
