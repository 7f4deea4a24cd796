use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    time::{Duration, Instant},
};

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use tokio::time::{timeout, timeout_at};

use super::Refusal;
use crate::Limits;

/// Bytes that all bodies together may take.
#[derive(Debug)]
pub(crate) struct Budget {
    free: AtomicUsize,
}

/// A body that has arrived, and its part of the budget.
#[derive(Debug)]
pub(crate) struct Body {
    pub(crate) bytes: Bytes,
    share: Share,
}

/// What one body takes of the budget; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Budget {
    pub(crate) fn new(bytes: usize) -> Self {
        Self {
            free: AtomicUsize::new(bytes),
        }
    }
}

impl Body {
    pub(crate) fn new(bytes: Bytes, share: Share) -> Self {
        Self { bytes, share }
    }

    /// The body, and what it takes of the budget as long as that is held.
    pub(crate) fn into_parts(self) -> (Bytes, Share) {
        (self.bytes, self.share)
    }
}

impl Share {
    pub(crate) fn new(budget: &Arc<Budget>) -> Self {
        Self {
            budget: budget.clone(),
            bytes: 0,
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes over what another has.
    pub(crate) fn join(&mut self, mut other: Self) {
        self.bytes += std::mem::take(&mut other.bytes);
    }

    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), Refusal> {
        let take = |free: usize| free.checked_sub(bytes);
        let taken = self
            .budget
            .free
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        taken.map_err(|_| Refusal::Busy("too many large requests"))?;
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.free.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

/// Reads a whole body, with bounds on its size and on the time that it takes. Where it has tensors, from byte `tensors` on,
/// and comes in pieces, they come to lie where numbers can be read.
pub(crate) async fn read(
    body: Incoming,
    tensors: usize,
    deadline: Instant,
    limits: &Limits,
    budget: &Arc<Budget>,
) -> Result<Body, Refusal> {
    let stalled = Instant::now() + limits.body_time;
    let (until, late) = if deadline <= stalled {
        (deadline, Refusal::Overdue)
    } else {
        (stalled, Refusal::Stalled)
    };
    let mut collected = pin!(collect(body, tensors, limits.body_bytes, budget));
    if let Some(collected) = soon(collected.as_mut()).await {
        return collected;
    }
    timeout_at(until.into(), collected)
        .await
        .unwrap_or(Err(late))
}

/// What is there at the first or the second look, without a timer: a body that has arrived is handed over when it was asked
/// for once.
async fn soon<T>(mut work: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    let mut is_first = true;
    poll_fn(|context| match work.as_mut().poll(context) {
        Poll::Ready(found) => Poll::Ready(Some(found)),
        Poll::Pending if std::mem::take(&mut is_first) => {
            context.waker().wake_by_ref();
            Poll::Pending
        }
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// Passes over a body that nobody will read, if it is small and there. Whether it came to its end:
/// otherwise the connection is of no further use.
pub(crate) async fn discard(mut body: Incoming) -> bool {
    const MOST: usize = 64 << 10;
    const LONGEST: Duration = Duration::from_millis(200);
    let rest = async {
        let mut passed = 0;
        while let Some(Ok(frame)) = body.frame().await {
            passed += frame.data_ref().map_or(0, Bytes::len);
            if passed > MOST {
                return false;
            }
        }
        body.is_end_stream()
    };
    timeout(LONGEST, rest).await.unwrap_or(false)
}

/// Numbers may be read at multiples of so many bytes.
const NUMBER: usize = align_of::<f32>();

async fn collect(
    mut body: Incoming,
    tensors: usize,
    limit: usize,
    budget: &Arc<Budget>,
) -> Result<Body, Refusal> {
    let mut share = Share::new(budget);
    let too_large = Refusal::TooLarge {
        what: "bytes in the body",
        limit,
    };
    // Known beforehand unless the body is chunked.
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large);
    }
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    // Bytes before the body.
    let mut unused = 0;
    while let Some(frame) = body.frame().await {
        let cut_short = |_| Refusal::Malformed("the body ended too soon".to_owned());
        let Ok(data) = frame.map_err(cut_short)?.into_data() else {
            continue;
        };
        share.grow(data.len())?;
        if share.bytes > limit {
            return Err(too_large);
        }
        // Most bodies arrive in one piece, which then is not copied.
        if first.is_empty() && all.is_empty() {
            first = data;
        } else {
            if all.is_empty() {
                // All that is to come is known unless the body is chunked. What is reserved takes no memory until it arrives.
                let rest = usize::try_from(body.size_hint().lower()).unwrap_or(0);
                all.reserve(NUMBER + first.len() + data.len() + rest.min(limit));
                let misplaced = all.as_ptr().addr().wrapping_add(tensors) % NUMBER;
                unused = (NUMBER - misplaced) % NUMBER;
                all.put_bytes(0, unused);
            }
            all.extend_from_slice(&std::mem::take(&mut first));
            all.extend_from_slice(&data);
        }
    }
    let bytes = if all.is_empty() {
        first
    } else {
        all.freeze().slice(unused..)
    };
    Ok(Body::new(bytes, share))
}
