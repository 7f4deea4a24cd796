use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{BufMut, Bytes, BytesMut};
use hyper::body::{Frame, SizeHint};
use tokio::task::{JoinHandle, spawn_blocking};
use tonic::{Status, body::Body};

use super::arriving::PREFIX;
use crate::http::Coding;

/// Shorter messages are sent as they are: they would hardly get shorter.
const FROM: usize = 1 << 10;
/// What is packed where it is sent. More goes to another thread, so that other connections do not wait for it.
const INLINE: usize = 64 << 10;

/// An answer whose messages are packed as those of its request were.
pub(super) struct Packed {
    body: Body,
    coding: Coding,
    packing: Option<JoinHandle<Bytes>>,
}

impl Packed {
    pub(super) fn new(body: Body, coding: Coding) -> Self {
        Self {
            body,
            coding,
            packing: None,
        }
    }
}

impl hyper::body::Body for Packed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.packing.is_none() {
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => frame,
                end => return Poll::Ready(end),
            };
            let data = match frame.into_data() {
                Ok(data) => data,
                Err(frame) => return Poll::Ready(Some(Ok(frame))),
            };
            let coding = self.coding;
            if data.len() <= INLINE {
                return Poll::Ready(Some(Ok(Frame::data(pack(coding, data)))));
            }
            self.packing = Some(spawn_blocking(move || pack(coding, data)));
        }
        let Some(packing) = &mut self.packing else {
            return Poll::Ready(None);
        };
        let packed = ready!(Pin::new(packing).poll(context));
        self.packing = None;
        let failed = |_| Status::internal("the answer could not be packed");
        Poll::Ready(Some(packed.map(Frame::data).map_err(failed)))
    }

    fn is_end_stream(&self) -> bool {
        self.packing.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // Known when it is packed.
        SizeHint::default()
    }
}

/// Packs each of some whole messages if it gets shorter by it.
fn pack(coding: Coding, messages: Bytes) -> Bytes {
    let mut packed = BytesMut::new();
    let mut rest = &messages[..];
    while let Some((&[flag, a, b, c, d], after)) = rest.split_first_chunk::<PREFIX>() {
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        let Some((message, after)) = after.split_at_checked(length) else {
            break;
        };
        let shorter = if flag == 0 && length >= FROM {
            coding.pack(message)
        } else {
            None
        };
        let (flag, message) = match &shorter {
            Some(shorter) => (1, &shorter[..]),
            None => (flag, message),
        };
        packed.put_u8(flag);
        // Not longer than it was.
        packed.put_u32(message.len() as u32);
        packed.put_slice(message);
        rest = after;
    }
    if rest.len() == messages.len() {
        return messages;
    }
    packed.put_slice(rest);
    packed.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_messages_are_packed_and_what_is_no_message_is_left_as_it_is() {
        let message = |flag: u8, bytes: &[u8]| {
            let length = bytes.len() as u32;
            [&[flag][..], &length.to_be_bytes(), bytes].concat()
        };
        let check = |parts: &[Vec<u8>], expected: &[Vec<u8>]| {
            let packed = pack(Coding::Gzip, parts.concat().into());
            assert_eq!(packed, expected.concat());
        };
        let (short, long) = (message(0, b"7"), vec![7; FROM]);
        let packed = message(1, &Coding::Gzip.pack(&long).unwrap());
        let long = message(0, &long);
        check(
            &[short.clone(), long.clone()],
            &[short.clone(), packed.clone()],
        );
        check(
            &[long.clone(), long.clone()],
            &[packed.clone(), packed.clone()],
        );
        check(
            &[packed.clone(), short.clone()],
            &[packed.clone(), short.clone()],
        );
        check(
            &[long.clone(), long[..9].to_vec()],
            &[packed, long[..9].to_vec()],
        );
        check(&[Vec::new()], &[Vec::new()]);
        check(&[b"12345678".to_vec()], &[b"12345678".to_vec()]);
    }
}
