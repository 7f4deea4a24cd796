use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep};
use tonic::Status;

use super::{status::status, table::Call};
use crate::http::{Body, Budget, Coding, Refusal, Share, State, unpack};

/// Bytes before a message: whether it is compressed, and its length in 4 bytes.
///
/// <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>
pub(super) const PREFIX: usize = 5;

/// Bytes of a message from a caller who needs no key.
const OPEN_BYTES: usize = 4 << 10;

/// The messages of a call as they arrive, with bounds on their sizes and on the time that they take.
///
/// A call of one message has `body_time` for it. A stream has as long for each one from its first byte on, and may be silent
/// for `stream_time` while nothing of it is being answered: then it ends, and with it what it holds. A message that is packed
/// is unpacked here, within the bounds of one that is not.
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
    /// None if no message is packed.
    packed: Option<PackedMessages>,
}

/// Messages that may be packed.
struct PackedMessages {
    state: Arc<State>,
    coding: Coding,
    /// What is there of a message and those after it.
    arrived: BytesMut,
    unpacking: Option<Unpacking>,
    /// What is left to be given of an unpacked one.
    unpacked: Option<Bytes>,
    is_end: bool,
}

type Unpacking = Pin<Box<dyn Future<Output = Result<Body, Refusal>> + Send>>;

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
        state: &Arc<State>,
        share: &Arc<Mutex<Share>>,
        call: &Call,
        coding: Option<Coding>,
    ) -> Self {
        let limits = &state.limits;
        let patience = Patience {
            silent: limits.stream_time,
            message: limits.body_time,
            waits: None,
        };
        Self {
            body,
            share: share.clone(),
            bodies: state.bodies.clone(),
            limit: match call.needs {
                Some(_) => limits.body_bytes,
                None => limits.body_bytes.min(OPEN_BYTES),
            },
            message: Message::default(),
            stream: call.is_stream.then_some(patience),
            time: Box::pin(sleep(limits.body_time)),
            packed: coding.map(|coding| PackedMessages {
                state: state.clone(),
                coding,
                arrived: BytesMut::new(),
                unpacking: None,
                unpacked: None,
                is_end: false,
            }),
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

impl Arriving {
    /// The next frame as it arrives.
    fn poll_arrived(
        &mut self,
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

    /// The next frame with messages that are not packed.
    fn poll_unpacked(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        loop {
            let limit = self.limit;
            let Some(packed) = &mut self.packed else {
                return self.poll_arrived(context);
            };
            if let Some(unpacked) = packed.unpacked.take() {
                return Poll::Ready(Some(Ok(Frame::data(unpacked))));
            }
            if let Some(unpacking) = &mut packed.unpacking {
                let done = ready!(unpacking.as_mut().poll(context));
                packed.unpacking = None;
                let (bytes, share) = match done {
                    Ok(body) => body.into_parts(),
                    Err(refusal) => return Poll::Ready(Some(Err(status(&refusal)))),
                };
                // Of a stream who answers the message counts it.
                if self.stream.is_none() {
                    let mut all = self.share.lock().unwrap_or_else(PoisonError::into_inner);
                    all.join(share);
                }
                let prefix = prefix(bytes.len());
                packed.unpacked = Some(bytes).filter(|bytes| !bytes.is_empty());
                return Poll::Ready(Some(Ok(Frame::data(prefix))));
            }
            match packed.next() {
                Some((false, message)) => return Poll::Ready(Some(Ok(Frame::data(message)))),
                Some((true, message)) => {
                    let (state, coding) = (packed.state.clone(), packed.coding);
                    packed.unpacking = Some(Box::pin(async move {
                        unpack(&state, coding, message, limit, "the message").await
                    }));
                    continue;
                }
                None => {}
            }
            if packed.is_end {
                // A message that is not whole is no message to who reads it either.
                let rest = packed.arrived.split().freeze();
                let rest = Some(rest).filter(|rest| !rest.is_empty());
                return Poll::Ready(rest.map(|rest| Ok(Frame::data(rest))));
            }
            let frame = ready!(self.poll_arrived(context));
            let Some(packed) = &mut self.packed else {
                return Poll::Ready(None);
            };
            match frame.map(|frame| frame.map(Frame::into_data)) {
                None => packed.is_end = true,
                Some(Err(status)) => return Poll::Ready(Some(Err(status))),
                Some(Ok(Ok(data))) => packed.arrived.extend_from_slice(&data),
                // Trailers, which a request does not need.
                Some(Ok(Err(_))) => {}
            }
        }
    }
}

impl PackedMessages {
    /// The next message if it is whole: packed without its prefix, others with it.
    fn next(&mut self) -> Option<(bool, Bytes)> {
        let (&[flag, length @ ..], _) = self.arrived.split_first_chunk::<PREFIX>()?;
        let length = u32::from_be_bytes(length) as usize;
        if self.arrived.len() - PREFIX < length {
            return None;
        }
        let mut message = self.arrived.split_to(PREFIX + length).freeze();
        let is_packed = flag == 1;
        if is_packed {
            message.advance(PREFIX);
        }
        Some((is_packed, message))
    }
}

/// The prefix of a message that is not packed.
fn prefix(length: usize) -> Bytes {
    let length = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    Bytes::from([&[0], &length[..]].concat())
}

impl hyper::body::Body for Arriving {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.poll_unpacked(context)
    }

    fn is_end_stream(&self) -> bool {
        self.packed.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.packed.is_some() {
            return SizeHint::default();
        }
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
