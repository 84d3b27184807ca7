//! The pace that a client must keep on its connection: a head must be complete in time, what is
//! written must be taken, and a connection without a request may not stay for ever. hyper's own
//! timer would be set anew for each request and covers only one of the three; this one is set when
//! it has run out, and then looks at what has happened since.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::http1::Transport;
use crate::proxy::overload::Overload;
use crate::proxy::patience::{Patience, Slowness};

/// What happens on one connection: its requests, told by whoever answers them, and its bytes.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    begun: AtomicU64,
    ended: AtomicU64,
    /// The number of the request, counted from 1, of whose head a part has come last.
    head: AtomicU64,
    /// Bytes that the system has taken for the client.
    written: AtomicU64,
    /// It speaks HTTP/2, which sends frames of its own between requests: they are no head.
    is_http2: AtomicBool,
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

    /// A part of a head has come, and not all of it.
    pub(super) fn head_begins(&self) {
        self.head.store(self.next(), Ordering::Relaxed);
    }

    /// A head is complete: a request begins, and ends when the result is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Underway {
        self.begun.fetch_add(1, Ordering::Relaxed);
        Underway(Arc::clone(self))
    }

    /// Whether a request has ever begun.
    pub(super) fn has_had_requests(&self) -> bool {
        self.begun.load(Ordering::Relaxed) > 0
    }

    /// It is a connection of HTTP/2.
    pub(super) fn speaks_http2(&self) {
        self.is_http2.store(true, Ordering::Relaxed);
    }

    /// So many bytes were taken by the system for the client.
    pub(super) fn wrote(&self, bytes: u64) {
        self.written.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Whether the client was cut off because it took nothing.
    pub(super) fn is_cut(&self) -> bool {
        self.is_cut.load(Ordering::Relaxed)
    }

    /// Whether the client is to be told to leave.
    pub(super) fn is_to_leave(&self) -> bool {
        self.is_to_leave.load(Ordering::Relaxed)
    }

    fn is_http2(&self) -> bool {
        self.is_http2.load(Ordering::Relaxed)
    }

    /// The number of the request that comes next.
    fn next(&self) -> u64 {
        self.begun.load(Ordering::Relaxed) + 1
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
/// Whoever reads and whoever writes may be two tasks: each has a timer of its own, and is woken by
/// that.
pub(super) struct Paced<S> {
    stream: S,
    traffic: Arc<Traffic>,
    head_max: Duration,
    idle_max: Duration,
    /// Requests that had ended at the last look.
    ended: u64,
    /// Since when there is no request.
    quiet_since: Instant,
    /// Since when there is a part of the head of the request with this number.
    head: (u64, Instant),
    /// Set to the next look at what is read.
    reading: Pin<Box<Sleep>>,
    /// Whom it wakes.
    reader: Option<Waker>,
    /// How long the client may still take nothing.
    patience: Patience,
    /// Since when it takes nothing, and what had been written by then.
    stuck: Option<(Instant, u64)>,
    /// Set to the end of patience; most clients take all at once and need none.
    writing: Option<Pin<Box<Sleep>>>,
}

impl<S> Paced<S> {
    pub(super) fn new(stream: S, traffic: Arc<Traffic>, pace: Pace) -> Self {
        let Pace { head: head_max, idle: idle_max, write } = pace;
        let now = Instant::now();
        Self {
            stream,
            traffic,
            head_max,
            idle_max,
            ended: 0,
            quiet_since: now,
            head: (0, now),
            reading: Box::pin(sleep_until(now + head_max.min(idle_max))),
            reader: None,
            patience: Patience::new(write),
            stuck: None,
            writing: None,
        }
    }

    /// Takes note of requests that are under way or have ended. Returns whether one is under way.
    fn is_underway(&mut self) -> bool {
        let ended = self.traffic.ended.load(Ordering::Relaxed);
        // The end of an answer may have been given to hyper, and not yet to the client.
        let underway = ended != self.traffic.begun.load(Ordering::Relaxed) || self.stuck.is_some();
        if underway || ended != self.ended {
            self.ended = ended;
            self.quiet_since = Instant::now();
        }
        underway
    }

    /// Since when there is a part of the next request's head, as far as somebody has waited for the
    /// rest.
    fn head_since(&mut self) -> Option<Instant> {
        let next = self.traffic.next();
        if self.traffic.is_http2() || self.traffic.head.load(Ordering::Relaxed) != next {
            return None;
        }
        if self.head.0 != next {
            self.head = (next, Instant::now());
        }
        Some(self.head.1)
    }

    /// The client sends nothing: fails when a request is overdue.
    fn poll_late(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let head_since = self.head_since();
        let is_known = self.reader.as_ref().is_some_and(|known| known.will_wake(context.waker()));
        if is_known && !self.reading.is_elapsed() {
            return Poll::Pending;
        }
        self.reader = Some(context.waker().clone());
        while self.reading.as_mut().poll(context).is_ready() {
            let underway = self.is_underway();
            let (is_http2, is_leaving) = (self.traffic.is_http2(), self.traffic.is_to_leave());
            let deadline = match head_since {
                Some(since) => since + self.head_max,
                None if is_leaving => self.quiet_since + self.idle_max + self.head_max,
                None => self.quiet_since + self.idle_max,
            };
            let now = Instant::now();
            // Whoever waits for nothing makes room for others.
            let is_idle = head_since.is_none() && self.traffic.overload.is_shedding();
            let is_late = !underway && (now >= deadline || is_idle && !is_leaving);
            if is_late && (!is_http2 || is_leaving) {
                return Poll::Ready(io::ErrorKind::TimedOut.into());
            }
            if is_late {
                // Whoever serves the connection is polled after this.
                self.traffic.is_to_leave.store(true, Ordering::Relaxed);
            }
            if self.stuck.is_none() {
                self.writing = None;
            }
            // A head may begin at any time: look again no later than it could be overdue.
            self.reading.as_mut().reset(deadline.min(now + self.head_max).max(now + TICK));
        }
        Poll::Pending
    }

    /// The client takes nothing: fails when it has not for too long.
    fn poll_stuck(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let written = self.traffic.written.load(Ordering::Relaxed);
        self.stuck.get_or_insert_with(|| (Instant::now(), written));
        if self.traffic.is_tunnel.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        // What is taken puts the end of patience off and never brings it nearer: a timer that was
        // set before is early, and set anew.
        let left = self.patience.left();
        let mut timer = self.writing.take().unwrap_or_else(|| Box::pin(sleep(left)));
        let polled = loop {
            if timer.as_mut().poll(context).is_pending() {
                break Poll::Pending;
            }
            self.reckon();
            if self.patience.is_over() {
                self.traffic.is_cut.store(true, Ordering::Relaxed);
                break Poll::Ready(io::ErrorKind::TimedOut.into());
            }
            timer.as_mut().reset(Instant::now() + self.patience.left().max(TICK));
        };
        self.writing = Some(timer);
        polled
    }

    /// Takes note that something was written, or that all was.
    fn note_taken(&mut self) {
        if self.stuck.is_some() {
            self.reckon();
            self.stuck = None;
        }
    }

    /// What the wait has cost up to now, and what was taken in it.
    fn reckon(&mut self) {
        let Some((since, before)) = &mut self.stuck else { return };
        let (now, written) = (Instant::now(), self.traffic.written.load(Ordering::Relaxed));
        self.patience.waited(now.saturating_duration_since(*since));
        self.patience.moved(written.saturating_sub(*before));
        (*since, *before) = (now, written);
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

/// A timer is never set to less: it need not be exact.
const TICK: Duration = Duration::from_millis(10);

impl<S: Transport> Transport for Paced<S> {
    fn reset_at_end(&self) {
        self.stream.reset_at_end();
    }

    fn cut(&self) {
        self.stream.cut();
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match Pin::new(&mut this.stream).poll_read(context, buffer) {
            Poll::Pending => this.poll_late(context).map(Err),
            read => read,
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
mod tests;
