//! The pace that a client must keep: a head must be complete in time, and a connection without a
//! request may not stay for ever. hyper's own timer would be set anew for each request and covers
//! only one of the two; this one is set when it has run out, and then looks at what has happened
//! since.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::proxy::tunnel::Tunnel;

/// The requests of one connection, told by whoever answers them.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    begun: AtomicU64,
    ended: AtomicU64,
    /// What the connection becomes after the request under way.
    tunnel: Mutex<Option<Box<Tunnel>>>,
}

/// One request under way.
pub(super) struct Underway(Arc<Traffic>);

impl Traffic {
    /// A head is complete: a request begins, and ends when the result is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Underway {
        self.begun.fetch_add(1, Ordering::Relaxed);
        Underway(Arc::clone(self))
    }

    /// Whether no request is under way.
    pub(super) fn is_quiet(&self) -> bool {
        self.begun.load(Ordering::Relaxed) == self.ended.load(Ordering::Relaxed)
    }

    /// The tunnel that a request has led to, once.
    pub(super) fn take_tunnel(&self) -> Option<Box<Tunnel>> {
        self.tunnel.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Underway {
    /// This request leads to a tunnel, which is under way for as long as the connection lives.
    pub(super) fn lead_to(&self, tunnel: Box<Tunnel>) {
        self.0.begun.fetch_add(1, Ordering::Relaxed);
        *self.0.tunnel.lock().unwrap_or_else(PoisonError::into_inner) = Some(tunnel);
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// How long a client may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// From the first byte of a head to its last.
    pub(super) head: Duration,
    /// From one request to the first byte of the next.
    pub(super) idle: Duration,
}

/// A stream whose reads fail with [`io::ErrorKind::TimedOut`] when its client is too slow.
pub(super) struct Paced<S> {
    stream: S,
    traffic: Arc<Traffic>,
    pace: Pace,
    /// HTTP/2 sends frames of its own between requests: only silence counts.
    http2: bool,
    /// Requests that had begun when the present wait began.
    begun: u64,
    /// Since when there is no request.
    quiet_since: Instant,
    /// Since when there is a part of a head.
    head_since: Option<Instant>,
    timer: Pin<Box<Sleep>>,
}

impl<S> Paced<S> {
    pub(super) fn new(stream: S, traffic: Arc<Traffic>, pace: Pace, http2: bool) -> Self {
        let now = Instant::now();
        Self {
            stream,
            traffic,
            pace,
            http2,
            begun: 0,
            quiet_since: now,
            head_since: None,
            timer: Box::pin(sleep_until(now + pace.head.min(pace.idle))),
        }
    }

    /// Takes note of requests that have begun or are under way. Returns whether one is.
    fn is_underway(&mut self) -> bool {
        let begun = self.traffic.begun.load(Ordering::Relaxed);
        let underway = begun != self.traffic.ended.load(Ordering::Relaxed);
        if underway || begun != self.begun {
            self.begun = begun;
            self.head_since = None;
            self.quiet_since = Instant::now();
        }
        underway
    }

    fn note_bytes(&mut self, bytes: &[u8]) {
        if self.is_underway() {
            return;
        }
        if self.begun == 0 && self.head_since.is_none() && bytes.starts_with(b"PRI ") {
            self.http2 = true;
        }
        match self.http2 {
            true => self.quiet_since = Instant::now(),
            false => _ = self.head_since.get_or_insert_with(Instant::now),
        }
    }

    fn poll_deadline(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.timer.as_mut().poll(context).is_ready() {
            let underway = self.is_underway();
            let deadline = match self.head_since {
                Some(since) => since + self.pace.head,
                None => self.quiet_since + self.pace.idle,
            };
            let now = Instant::now();
            if !underway && now >= deadline {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            // A head may begin at any time: look again no later than one could be overdue.
            self.timer.as_mut().reset(deadline.min(now + self.pace.head).max(now + TICK));
        }
        Poll::Pending
    }
}

/// The timer is never set to less: it need not be exact.
const TICK: Duration = Duration::from_millis(10);

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        match Pin::new(&mut this.stream).poll_read(context, buffer) {
            Poll::Ready(Ok(())) => {
                this.note_bytes(buffer.filled().get(before..).unwrap_or_default());
                Poll::Ready(Ok(()))
            }
            Poll::Pending => this.poll_deadline(context),
            failed => failed,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::advance;

    use super::*;

    const PACE: Pace = Pace { head: Duration::from_secs(10), idle: Duration::from_secs(60) };

    fn paced() -> (DuplexStream, Paced<DuplexStream>, Arc<Traffic>) {
        let (client, server) = duplex(1024);
        let traffic = Arc::new(Traffic::default());
        (client, Paced::new(server, Arc::clone(&traffic), PACE, false), traffic)
    }

    async fn times_out(paced: &mut Paced<DuplexStream>) -> Duration {
        let before = Instant::now();
        let error = paced.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        before.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_sends_nothing_is_given_the_idle_time() {
        let (_client, mut paced, _) = paced();
        let waited = times_out(&mut paced).await;
        assert!(waited >= PACE.idle && waited < PACE.idle + PACE.head, "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_sends_its_head_byte_by_byte_is_given_the_head_time() {
        let (mut client, mut paced, _) = paced();
        client.write_all(b"GET").await.unwrap();
        for expected in b"GET" {
            assert_eq!(paced.read_u8().await.unwrap(), *expected);
        }
        advance(Duration::from_secs(6)).await;
        client.write_all(b" ").await.unwrap();
        assert_eq!(paced.read_u8().await.unwrap(), b' ');
        let waited = times_out(&mut paced).await;
        assert!(waited < Duration::from_secs(5) + PACE.head, "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_under_way_may_take_as_long_as_it_takes_and_then_idling_begins() {
        let (mut client, mut paced, traffic) = paced();
        client.write_all(b"G").await.unwrap();
        paced.read_u8().await.unwrap();
        let underway = traffic.begin();
        let still = tokio::time::timeout(Duration::from_secs(3600), paced.read_u8()).await;
        assert!(still.is_err(), "an answer under way was cut off");
        drop(underway);
        let waited = times_out(&mut paced).await;
        assert!(waited >= PACE.idle - PACE.head, "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn frames_of_http2_between_requests_are_no_head() {
        let (mut client, mut paced, _) = paced();
        client.write_all(b"PRI * HTTP/2.0").await.unwrap();
        let mut preface = [0; 14];
        paced.read_exact(&mut preface).await.unwrap();
        let waited = times_out(&mut paced).await;
        assert!(waited >= PACE.idle, "{waited:?}");
    }
}
