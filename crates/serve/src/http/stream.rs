use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep, sleep_until},
};

use super::seats::Writes;

/// A connection that is given up when the other side takes no bytes for a while.
///
/// Reading has its bounds in the head's and the body's time. Without one for writing, a caller that asks
/// and never reads the answers would hold a connection for ever.
///
/// If a refused body was left unread, closing lingers: to close on bytes that arrive makes the system on
/// the other side throw away the refusal before its caller has read it (RFC 9112, section 9.6).
#[derive(Debug)]
pub(crate) struct Stream {
    tcp: TcpStream,
    /// Read before, and not yet handed on.
    arrived: Vec<u8>,
    limit: Duration,
    /// Set while a write waits, and while closing lingers.
    deadline: Option<Pin<Box<Sleep>>>,
    linger: Linger,
    writes: Writes,
    is_shut: bool,
}

/// Whether a connection is to linger when it closes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Linger(Arc<AtomicBool>);

/// How long closing lingers at most; less if the caller closes.
const LINGER: Duration = Duration::from_secs(2);

impl Linger {
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Stream {
    /// A connection of which some bytes have `arrived`.
    pub(crate) fn new(
        tcp: TcpStream,
        arrived: Vec<u8>,
        limit: Duration,
        linger: Linger,
        writes: Writes,
    ) -> Self {
        Self {
            tcp,
            arrived,
            limit,
            deadline: None,
            linger,
            writes,
            is_shut: false,
        }
    }

    fn watch<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            if self.deadline.take().is_some() {
                self.writes.taken();
            }
            return written;
        }
        let limit = self.limit;
        let deadline = self.deadline.get_or_insert_with(|| {
            self.writes.stuck();
            Box::pin(sleep_until(Instant::now() + limit))
        });
        ready!(deadline.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.arrived.is_empty() {
            let taken = self.arrived.len().min(buffer.remaining());
            let rest = self.arrived.split_off(taken);
            buffer.put_slice(&std::mem::replace(&mut self.arrived, rest));
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.tcp).poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.tcp).poll_write(context, bytes);
        self.watch(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.tcp).poll_write_vectored(context, slices);
        self.watch(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_shut {
            ready!(Pin::new(&mut self.tcp).poll_shutdown(context))?;
            self.is_shut = true;
            self.deadline = None;
        }
        if !self.linger.0.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(()));
        }
        let mut passed = [0; 8192];
        loop {
            let mut buffer = ReadBuf::new(&mut passed);
            let read = Pin::new(&mut self.tcp).poll_read(context, &mut buffer);
            match read {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => break,
            }
        }
        let deadline = self
            .deadline
            .get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + LINGER)));
        deadline.as_mut().poll(context).map(Ok)
    }
}
