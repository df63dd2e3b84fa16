//! A client's socket, with deadlines and a strict eye on framing, as hyper gets to see it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::framing::{Framing, REFUSAL};

/// What is said to a client that began a head and did not end it.
const SLOW_HEAD: &[u8] = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// How long a client may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// From connecting, or from a head's first byte, to the head's end.
    pub(crate) head: Duration,
    /// Between an answer and the next request.
    pub(crate) idle: Duration,
    /// For taking in what we have to say.
    pub(crate) write: Duration,
}

/// The socket.
///
/// hyper's own `header_read_timeout` knows one span for a head and for the quiet between requests; senders that keep
/// connections open deserve a longer quiet than attackers deserve for a head.
pub(crate) struct Guard {
    socket: TcpStream,
    framing: Framing,
    patience: Patience,
    /// What hyper reads instead of the client's bytes, once a head was refused.
    refusal: Option<&'static [u8]>,
    /// Nothing was read yet: the first head's deadline runs from connecting.
    fresh: bool,
    /// When the current head, or the quiet before the next one, must have ended.
    head_by: Option<Instant>,
    write_by: Option<Instant>,
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Guard {
    pub(crate) fn new(socket: TcpStream, patience: Patience) -> Self {
        let head_by = Some(Instant::now() + patience.head);
        Self { socket, framing: Framing::new(), patience, refusal: None, fresh: true, head_by, write_by: None, alarm: None }
    }

    /// Whether the alarm for this moment has gone off; if not, the task is woken by then.
    fn is_past(&mut self, deadline: Instant, context: &mut Context<'_>) -> bool {
        // An alarm that is set for an earlier moment stays: resetting it for every request would cost more than a look.
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if alarm.deadline() > deadline {
            alarm.as_mut().reset(deadline);
        }
        while alarm.as_mut().poll(context).is_ready() {
            if Instant::now() >= deadline {
                return true;
            }
            alarm.as_mut().reset(deadline);
        }
        false
    }

    /// The socket has nothing to read now: until when may that last?
    fn wait_for_bytes(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let in_head = self.framing.is_in_head();
        if !in_head && !self.framing.is_idle() {
            // A body's deadlines are with whoever reads it: only there is its length known.
            return Poll::Pending;
        }
        let span = if in_head { self.patience.head } else { self.patience.idle };
        let deadline = *self.head_by.get_or_insert_with(|| Instant::now() + span);
        if !self.is_past(deadline, context) {
            return Poll::Pending;
        }
        if in_head {
            metrics::counter!("onceward_ingest_requests_total", "source" => "unknown", "result" => "too_slow").increment(1);
            // Only a courtesy: if it does not go out at once, the connection closes without it.
            let _ = self.socket.try_write(SLOW_HEAD);
        }
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Takes in what was read into `buffer` from `start` on.
    fn look_at(&mut self, buffer: &mut ReadBuf<'_>, start: usize) {
        let was_in_head = self.framing.is_in_head();
        let verdict = self.framing.follow(&buffer.filled()[start..]);
        if let Err(kept) = verdict {
            buffer.set_filled(start + kept);
            self.refusal = Some(REFUSAL);
            self.refuse(buffer);
        }
        // A head keeps the deadline of its first byte; everything else starts a new span when it comes to waiting.
        if !self.framing.is_in_head() {
            self.head_by = None;
        } else if !was_in_head && !self.fresh {
            self.head_by = Some(Instant::now() + self.patience.head);
        }
        self.fresh = false;
    }

    fn refuse(&mut self, buffer: &mut ReadBuf<'_>) {
        if let Some(rest) = self.refusal {
            let now = rest.len().min(buffer.remaining());
            buffer.put_slice(&rest[..now]);
            self.refusal = Some(&rest[now..]);
        }
    }

    fn wait_for_room<T>(&mut self, written: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.write_by = None;
            return written;
        }
        let deadline = *self.write_by.get_or_insert_with(|| Instant::now() + self.patience.write);
        if self.is_past(deadline, context) { Poll::Ready(Err(io::ErrorKind::TimedOut.into())) } else { Poll::Pending }
    }
}

impl AsyncRead for Guard {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.refusal.is_some() {
            this.refuse(buffer);
            return Poll::Ready(Ok(()));
        }
        let start = buffer.filled().len();
        let read = Pin::new(&mut this.socket).poll_read(context, buffer);
        if read.is_pending() {
            return this.wait_for_bytes(context);
        }
        ready!(read)?;
        if buffer.filled().len() > start {
            this.look_at(buffer, start);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Guard {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(context, bytes);
        self.wait_for_room(written, context)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(context, bytes);
        self.wait_for_room(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}
