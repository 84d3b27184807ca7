//! The pace that a client must keep on its connection: a head must be complete in time, what is
//! written must be taken, and a connection without a request may not stay for ever. hyper's own
//! timer would be set anew for each request and covers only one of the three; this one is set when
//! it has run out, and then looks at what has happened since.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::http1::Transport;
use crate::proxy::overload::Overload;
use crate::proxy::patience::{Patience, Slowness};

/// What happens on one connection: its requests, told by whoever answers them, and its bytes.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    begun: AtomicU64,
    ended: AtomicU64,
    /// Bytes that the system has taken for the client.
    written: AtomicU64,
    /// The client was cut off because it took nothing.
    is_cut: AtomicBool,
    /// An HTTP/2 client has made no request for long, and is to be told to leave.
    is_to_leave: AtomicBool,
    /// It is a tunnel, which has a bound of its own.
    is_tunnel: AtomicBool,
    /// What the process can still take on.
    overload: Arc<Overload>,
}

/// One request under way.
pub(super) struct Underway(Arc<Traffic>);

impl Traffic {
    /// Of a process that can take on so much.
    pub(super) fn new(overload: &Arc<Overload>) -> Self {
        Self { overload: Arc::clone(overload), ..Self::default() }
    }

    /// A head is complete: a request begins, and ends when the result is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Underway {
        self.begun.fetch_add(1, Ordering::Relaxed);
        Underway(Arc::clone(self))
    }

    /// So many bytes were taken by the system for the client.
    pub(super) fn wrote(&self, bytes: usize) {
        self.written.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Whether the client was cut off because it took nothing.
    pub(super) fn is_cut(&self) -> bool {
        self.is_cut.load(Ordering::Relaxed)
    }

    /// Whether the client is to be told to leave.
    pub(super) fn is_to_leave(&self) -> bool {
        self.is_to_leave.load(Ordering::Relaxed)
    }
}

impl Underway {
    /// The connection is a tunnel from now on.
    pub(super) fn leads_to_tunnel(&self) {
        self.0.is_tunnel.store(true, Ordering::Relaxed);
    }
}

impl Underway {
    /// Whether the client was cut off because it took nothing.
    pub(super) fn is_cut(&self) -> bool {
        self.0.is_cut()
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
    /// How slowly it may take what is written.
    pub(super) write: Slowness,
}

/// A stream whose reads and writes fail with [`io::ErrorKind::TimedOut`] when its client is too slow.
pub(super) struct Paced<S> {
    stream: S,
    traffic: Arc<Traffic>,
    pace: Pace,
    /// HTTP/2 sends frames of its own between requests: they are no head, and no request.
    http2: bool,
    /// Requests that had begun when the present wait began.
    begun: u64,
    /// Since when there is no request.
    quiet_since: Instant,
    /// Since when there is a part of a head.
    head_since: Option<Instant>,
    /// How long it may still take nothing.
    patience: Patience,
    /// Since when it takes nothing, and what had been written by then.
    stuck: Option<(Instant, u64)>,
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
            patience: Patience::new(pace.write),
            stuck: None,
            timer: Box::pin(sleep_until(now + pace.head.min(pace.idle))),
        }
    }

    /// Takes note of requests that have begun or are under way. Returns whether one is.
    fn is_underway(&mut self, now: Instant) -> bool {
        let begun = self.traffic.begun.load(Ordering::Relaxed);
        let underway = begun != self.traffic.ended.load(Ordering::Relaxed);
        if underway || begun != self.begun {
            self.begun = begun;
            self.head_since = None;
            self.quiet_since = now;
        }
        underway
    }

    fn note_bytes(&mut self, bytes: &[u8]) {
        let now = Instant::now();
        if self.is_underway(now) {
            return;
        }
        if self.begun == 0 && self.head_since.is_none() && bytes.starts_with(b"PRI ") {
            self.http2 = true;
        }
        if !self.http2 {
            self.head_since.get_or_insert(now);
        }
    }

    /// Takes note that something was written, or that all was.
    fn note_taken(&mut self) {
        if self.stuck.is_some() {
            self.reckon();
            self.stuck = None;
        }
    }

    /// The client takes nothing: fails when it has not for too long.
    fn poll_stuck(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let written = self.traffic.written.load(Ordering::Relaxed);
        self.stuck.get_or_insert_with(|| (Instant::now(), written));
        self.poll_deadline(context)
    }

    /// What the wait has cost up to now, and what was taken in it.
    fn reckon(&mut self) {
        let Some((since, before)) = &mut self.stuck else { return };
        let (now, written) = (Instant::now(), self.traffic.written.load(Ordering::Relaxed));
        self.patience.waited(now.saturating_duration_since(*since));
        self.patience.moved(written.saturating_sub(*before));
        (*since, *before) = (now, written);
    }

    /// Whether the client has been cut off for taking nothing.
    fn is_cut(&mut self) -> bool {
        self.reckon();
        let is_tunnel = self.traffic.is_tunnel.load(Ordering::Relaxed);
        if self.stuck.is_none() || is_tunnel || !self.patience.is_over() {
            return false;
        }
        self.traffic.is_cut.store(true, Ordering::Relaxed);
        true
    }

    fn poll_deadline(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        while self.timer.as_mut().poll(context).is_ready() {
            let now = Instant::now();
            let underway = self.is_underway(now);
            let is_leaving = self.traffic.is_to_leave();
            let deadline = match self.head_since {
                Some(since) => since + self.pace.head,
                None if is_leaving => self.quiet_since + self.pace.idle + self.pace.head,
                None => self.quiet_since + self.pace.idle,
            };
            // Whoever waits for nothing makes room for others.
            let is_idle = self.head_since.is_none() && self.traffic.overload.is_shedding();
            let is_late = !underway && (now >= deadline || is_idle && !is_leaving);
            if self.is_cut() || (is_late && (!self.http2 || is_leaving)) {
                return Poll::Ready(io::ErrorKind::TimedOut.into());
            }
            if is_late {
                // Whoever serves the connection is polled after this.
                self.traffic.is_to_leave.store(true, Ordering::Relaxed);
            }
            // A head may begin at any time, and so may a wait for the client to take something:
            // look again no later than one could be overdue.
            let soon = self.pace.head.min(self.pace.write.pause_max);
            self.timer.as_mut().reset(deadline.min(now + soon).max(now + TICK));
        }
        Poll::Pending
    }

    /// What a write, a flush or an end has come to.
    fn poll_taken<T>(
        &mut self,
        taken: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        match taken {
            Poll::Pending => self.poll_stuck(context).map(Err),
            taken => {
                self.note_taken();
                taken
            }
        }
    }
}

/// The timer is never set to less: it need not be exact.
const TICK: Duration = Duration::from_millis(10);

impl<S: Transport> Transport for Paced<S> {
    fn reset_at_end(&self) {
        self.stream.reset_at_end();
    }
}

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
            Poll::Pending => this.poll_deadline(context).map(Err),
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
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.poll_taken(written, context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        this.poll_taken(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.stream).poll_flush(context);
        this.poll_taken(flushed, context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let ended = Pin::new(&mut this.stream).poll_shutdown(context);
        this.poll_taken(ended, context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::advance;

    use super::*;

    const PACE: Pace = Pace {
        head: Duration::from_secs(10),
        idle: Duration::from_secs(60),
        write: Slowness { pause_max: Duration::from_secs(30), bytes_per_second_min: 240 },
    };

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
    async fn frames_of_http2_are_no_head_and_no_request() {
        let (mut client, mut paced, traffic) = paced();
        client.write_all(b"PRI * HTTP/2.0").await.unwrap();
        let mut preface = [0; 14];
        paced.read_exact(&mut preface).await.unwrap();
        for _ in 0..5 {
            advance(Duration::from_secs(9)).await;
            client.write_all(b"p").await.unwrap();
            paced.read_u8().await.unwrap();
        }
        assert!(!traffic.is_to_leave());
        // 45 seconds of the 60 are over; then it is told to leave, and cut if it does not.
        let waited = times_out(&mut paced).await;
        assert!(traffic.is_to_leave());
        let (least, most) = (Duration::from_secs(25), Duration::from_secs(40));
        assert!(waited >= least && waited <= most, "{waited:?}");
    }

    /// Writes until the client is cut off, which has room for 1024 bytes.
    async fn cut(paced: &mut Paced<DuplexStream>) -> Duration {
        let before = Instant::now();
        let error = paced.write_all(&[0; 64 * 1024]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        before.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_given_the_write_time() {
        let (_client, mut paced, traffic) = paced();
        let _underway = traffic.begin();
        let waited = cut(&mut paced).await;
        assert!(waited >= PACE.write.pause_max, "{waited:?}");
        assert!(waited <= PACE.write.pause_max + PACE.head, "{waited:?}");
        assert!(traffic.is_cut());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_a_few_bytes_now_and_then_is_cut_in_the_end() {
        let (mut client, mut paced, traffic) = paced();
        let _underway = traffic.begin();
        let seen = Arc::clone(&traffic);
        let sipping = tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_secs(10)).await;
                client.read_exact(&mut [0; 1200]).await.unwrap();
                seen.wrote(1200);
            }
        });
        let waited = cut(&mut paced).await;
        sipping.abort();
        // 1200 bytes buy five seconds and take ten.
        let (least, most) = (Duration::from_secs(50), Duration::from_secs(70));
        assert!(waited >= least && waited <= most, "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_enough_is_never_cut() {
        let (mut client, mut paced, traffic) = paced();
        let _underway = traffic.begin();
        let seen = Arc::clone(&traffic);
        let sipping = tokio::spawn(async move {
            for _ in 0..64 {
                tokio::time::sleep(Duration::from_secs(4)).await;
                client.read_exact(&mut [0; 1024]).await.unwrap();
                seen.wrote(1024);
            }
        });
        paced.write_all(&[0; 64 * 1024]).await.unwrap();
        sipping.await.unwrap();
        assert!(!traffic.is_cut());
    }

    #[tokio::test(start_paused = true)]
    async fn a_tunnel_has_a_bound_of_its_own() {
        let (_client, mut paced, traffic) = paced();
        traffic.is_tunnel.store(true, Ordering::Relaxed);
        let _underway = traffic.begin();
        let writing = paced.write_all(&[0; 64 * 1024]);
        assert!(tokio::time::timeout(Duration::from_secs(3600), writing).await.is_err());
        assert!(!traffic.is_cut());
    }
}
