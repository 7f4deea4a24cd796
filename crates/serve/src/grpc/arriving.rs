use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep};
use tonic::Status;

use super::status::status;
use crate::http::{Budget, Refusal, Share, State};

/// Bytes before a message: whether it is compressed, and its length in 4 bytes.
///
/// <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>
const PREFIX: usize = 5;

/// The messages of a call as they arrive, with bounds on their sizes and on the time that they take.
///
/// A call of one message has `body_time` for it. A stream has as long for each one from its first byte on, and may be silent
/// for `head_time` while nothing of it is being answered: then it ends, and with it what it holds.
pub(super) struct Arriving {
    body: Incoming,
    /// Of a call of one message, until it is answered; of a stream, for the part of a message that is there.
    share: Arc<Mutex<Share>>,
    bodies: Arc<Budget>,
    limit: usize,
    message: Message,
    /// None for a call of one message.
    stream: Option<Patience>,
    time: Pin<Box<Sleep>>,
}

/// How long a stream may take.
struct Patience {
    silent: Duration,
    message: Duration,
    /// What it is waited for since `time` was set; none while it is answered.
    waits: Option<Waits>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Waits {
    Message,
    Rest,
}

/// How much of a message is there.
#[derive(Default)]
struct Message {
    prefix: [u8; PREFIX],
    /// Bytes of the prefix that are there.
    begun: usize,
    /// Bytes that are missing after the prefix.
    missing: usize,
}

impl Message {
    fn is_between(&self) -> bool {
        self.begun == 0
    }

    /// Goes on by what of `data` belongs to this message. Whether it is whole then.
    fn take(&mut self, data: &mut &[u8], limit: usize) -> Result<bool, Refusal> {
        if self.begun < PREFIX {
            let length = data.len().min(PREFIX - self.begun);
            let (prefix, rest) = data.split_at(length);
            self.prefix[self.begun..][..length].copy_from_slice(prefix);
            self.begun += length;
            *data = rest;
            if self.begun < PREFIX {
                return Ok(false);
            }
            let [_, length @ ..] = self.prefix;
            self.missing = u32::from_be_bytes(length) as usize;
            if self.missing > limit {
                return Err(Refusal::TooLarge {
                    what: "bytes in the message",
                    limit,
                });
            }
        }
        let length = data.len().min(self.missing);
        self.missing -= length;
        *data = &data[length..];
        if self.missing > 0 {
            return Ok(false);
        }
        self.begun = 0;
        Ok(true)
    }
}

impl Arriving {
    pub(super) fn new(
        body: Incoming,
        state: &State,
        share: &Arc<Mutex<Share>>,
        is_stream: bool,
    ) -> Self {
        let limits = &state.limits;
        let patience = Patience {
            silent: limits.head_time,
            message: limits.body_time,
            waits: None,
        };
        Self {
            body,
            share: share.clone(),
            bodies: state.bodies.clone(),
            limit: limits.body_bytes,
            message: Message::default(),
            stream: is_stream.then_some(patience),
            time: Box::pin(sleep(limits.body_time)),
        }
    }

    fn take(&mut self, mut data: &[u8]) -> Result<(), Refusal> {
        let mut share = self.share.lock().unwrap_or_else(PoisonError::into_inner);
        if self.stream.is_none() {
            share.grow(data.len())?;
            if share.bytes() > self.limit.saturating_add(PREFIX) {
                return Err(Refusal::TooLarge {
                    what: "bytes in the message",
                    limit: self.limit,
                });
            }
        }
        while !data.is_empty() {
            let before = data.len();
            let is_whole = self.message.take(&mut data, self.limit)?;
            if let Some(patience) = &mut self.stream {
                share.grow(before - data.len())?;
                if is_whole {
                    // Who answers it counts it.
                    *share = Share::new(&self.bodies);
                    patience.waits = None;
                }
            }
        }
        Ok(())
    }

    /// Nothing is there: comes to an end when it was so for too long.
    fn poll_late(&mut self, context: &mut Context<'_>) -> Poll<Status> {
        if let Some(patience) = &mut self.stream {
            let (waits, time) = if self.message.is_between() {
                (Waits::Message, patience.silent)
            } else {
                (Waits::Rest, patience.message)
            };
            if patience.waits != Some(waits) {
                patience.waits = Some(waits);
                // Too far away to be told is never.
                if let Some(end) = Instant::now().checked_add(time) {
                    self.time.as_mut().reset(end);
                }
            }
        }
        ready!(self.time.as_mut().poll(context));
        let is_silent = self.stream.is_some() && self.message.is_between();
        Poll::Ready(if is_silent {
            Status::deadline_exceeded("nothing was asked on the stream for too long: open another")
        } else {
            status(&Refusal::Stalled)
        })
    }
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        // Asked for only while nothing of the call is being answered.
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) else {
            let late = ready!(self.poll_late(context));
            return Poll::Ready(Some(Err(late)));
        };
        let frame = match frame {
            None => return Poll::Ready(None),
            Some(Ok(frame)) => frame,
            Some(Err(_)) => {
                return Poll::Ready(Some(Err(Status::cancelled("the call was cut short"))));
            }
        };
        if let Some(data) = frame.data_ref()
            && let Err(refusal) = self.take(data)
        {
            return Poll::Ready(Some(Err(status(&refusal))));
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many messages are whole in pieces of these bytes, and whether another has begun.
    fn check(bytes: &[u8], expected: (usize, bool)) {
        for size in 1..=bytes.len() {
            let (mut message, mut whole) = (Message::default(), 0);
            for mut piece in bytes.chunks(size) {
                while !piece.is_empty() {
                    whole += usize::from(message.take(&mut piece, 3).unwrap());
                }
            }
            assert_eq!(
                (whole, !message.is_between()),
                expected,
                "{bytes:?} by {size}"
            );
        }
    }

    #[test]
    fn messages_are_told_apart_however_they_arrive() {
        check(&[0, 0, 0, 0, 0], (1, false));
        check(&[0, 0, 0, 0, 1, 7], (1, false));
        check(&[0, 0, 0, 0, 3, 7], (0, true));
        check(&[0, 0, 0, 0, 3, 7, 7, 7, 1, 0, 0, 0, 0, 0, 0], (2, true));
        let mut message = Message::default();
        let refused = message.take(&mut &[0, 0, 0, 0, 4][..], 3);
        assert!(matches!(refused, Err(Refusal::TooLarge { limit: 3, .. })));
    }
}
