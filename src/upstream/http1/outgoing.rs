//! A request on its way out: its head, then its body as it comes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use tokio::time::{Instant, Sleep, sleep};

use crate::http1::waiting::Waiting;
use crate::upstream::connection::Failure;
use crate::upstream::error::Broken;
use crate::upstream::stream::Outlet;

/// How the end of a request's body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// After so many bytes.
    Length(u64),
    /// By the last chunk.
    Chunked,
}

/// What of a request has not been written yet.
#[derive(Debug)]
pub(super) struct Outgoing<B> {
    waiting: Waiting,
    body: B,
    /// What of the body is still to come, and how its end is told.
    framing: Framing,
    state: State,
    /// Something was given to the stream and may not have left it.
    is_unflushed: bool,
    /// How much had been handed to the system before it, once it is written. With a byte more the
    /// upstream may have seen it: that it is not whole yet is not for us to say, servers act on what
    /// is not, too.
    handed_over_before: Option<u64>,
    stall_max: Duration,
    /// Runs while nothing is taken; most requests never have to wait and need none.
    stall: Option<Pin<Box<Sleep>>>,
    /// How much had been handed to the system when it was last looked at.
    stalled_at: u64,
}

/// How far a body has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Untouched,
    Begun,
    Ended,
    /// The upstream takes nothing more; it may still answer.
    Stopped,
}

impl<B> Outgoing<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// How the end of this body is told.
    pub(super) fn framing(body: &B) -> Framing {
        match body.is_end_stream() {
            true => Framing::Length(0),
            false => body.size_hint().exact().map_or(Framing::Chunked, Framing::Length),
        }
    }

    pub(super) fn new(head: Vec<u8>, body: B, framing: Framing, stall_max: Duration) -> Self {
        Self {
            waiting: Waiting::new(head),
            body,
            framing,
            state: State::Untouched,
            is_unflushed: false,
            handed_over_before: None,
            stall_max,
            stall: None,
            stalled_at: 0,
        }
    }

    /// Whether all has been written.
    pub(super) fn is_over(&self) -> bool {
        self.has_ended() && self.waiting.is_empty() && !self.is_unflushed
    }

    /// Whether the upstream takes nothing more.
    pub(super) fn has_stopped(&self) -> bool {
        self.state == State::Stopped
    }

    /// What becomes of a request that is not answered. The body comes back if no byte of the request
    /// was handed to the system and nothing of the body was taken.
    pub(super) fn failed(self, stream: &impl Outlet, error: Broken) -> Failure<B> {
        let has_begun = self.has_begun(stream);
        let error = match error {
            Broken::Connection(error) if !has_begun => Broken::Unsent(error),
            Broken::Closed if !has_begun => Broken::Unsent(io::ErrorKind::ConnectionAborted.into()),
            error => error,
        };
        let is_untouched = !has_begun && self.state == State::Untouched;
        Failure { error, unsent: is_untouched.then_some(self.body) }
    }

    /// Whether a byte of it was handed to the system.
    fn has_begun(&self, stream: &impl Outlet) -> bool {
        self.handed_over_before.is_some_and(|before| stream.handed_over() != before)
    }

    /// The end is known by the length: a body need not be asked for it.
    fn has_ended(&self) -> bool {
        self.state == State::Ended || self.framing == Framing::Length(0)
    }

    /// Writes what can be written. Ready when there is nothing more to write, or nobody who takes
    /// it: what the upstream said before it closed is still to be read.
    ///
    /// # Errors
    /// When the body breaks off, or is not as long as was said; when the connection takes nothing at
    /// all, or nothing any more ([`Broken::Stalled`]).
    pub(super) fn poll<W: Outlet>(
        &mut self,
        stream: &mut W,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Broken>> {
        if self.has_stopped() || self.is_over() {
            return Poll::Ready(Ok(()));
        }
        self.handed_over_before.get_or_insert_with(|| stream.handed_over());
        match ready!(self.poll_write(stream, context)) {
            Err(Broken::Connection(_)) if self.has_begun(stream) => {
                self.state = State::Stopped;
                Poll::Ready(Ok(()))
            }
            ended => Poll::Ready(ended),
        }
    }

    fn poll_write<W: Outlet>(
        &mut self,
        stream: &mut W,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Broken>> {
        loop {
            let comes = self.poll_body(context)?;
            while !self.waiting.is_empty() {
                let written = self.waiting.poll_write(stream, context);
                let Poll::Ready(written) = written else { return self.poll_stall(stream, context) };
                written?;
                self.is_unflushed = true;
            }
            if self.has_ended() || comes.is_pending() {
                if self.is_unflushed {
                    let flushed = Pin::new(&mut *stream).poll_flush(context);
                    let Poll::Ready(flushed) = flushed else {
                        return self.poll_stall(stream, context);
                    };
                    flushed?;
                    self.is_unflushed = false;
                }
                return if self.has_ended() { Poll::Ready(Ok(())) } else { Poll::Pending };
            }
        }
    }

    /// Fails when nothing has been taken for too long. A client that is slow to send does not count:
    /// then there is nothing to write.
    fn poll_stall(
        &mut self,
        stream: &impl Outlet,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Broken>> {
        let stall_max = self.stall_max;
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(stall_max)));
        let handed_over = stream.handed_over();
        if std::mem::replace(&mut self.stalled_at, handed_over) != handed_over {
            stall.as_mut().reset(Instant::now() + stall_max);
        }
        stall.as_mut().poll(context).map(|()| Err(Broken::Stalled))
    }

    /// Takes pieces of the body until there is enough to write. Pending when the body has nothing
    /// now.
    fn poll_body(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        while !self.has_ended() && self.waiting.takes_more() {
            let polled = ready!(Pin::new(&mut self.body).poll_frame(context));
            self.state = State::Begun;
            match polled {
                Some(Ok(frame)) => {
                    if let Ok(piece) = frame.into_data() {
                        self.push(piece)?;
                    }
                }
                Some(Err(error)) => return Poll::Ready(Err(Broken::Body(error.into()))),
                None => self.end()?,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn push(&mut self, piece: Bytes) -> Result<(), Broken> {
        if piece.is_empty() {
            return Ok(());
        }
        match &mut self.framing {
            Framing::Length(left) => {
                let said = left.checked_sub(piece.len() as u64);
                *left = said.ok_or_else(|| Broken::Body("it is longer than was said".into()))?;
                self.waiting.push(piece);
            }
            Framing::Chunked => self.waiting.push_chunk(piece),
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), Broken> {
        self.state = State::Ended;
        match self.framing {
            Framing::Length(0) => {}
            Framing::Length(_) => return Err(Broken::Body("it is shorter than was said".into())),
            Framing::Chunked => self.waiting.end_chunks(None),
        }
        Ok(())
    }
}
