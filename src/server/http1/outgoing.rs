//! An answer on its way out: its head, then its body as it comes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Body;

use super::answer::{Asked, Framing};
use super::wire::{Transport, Wire};
use crate::http1::turns::Turns;
use crate::http1::waiting::Waiting;
use crate::proxy::body::CutOff;

/// What of an answer has not been written yet.
pub(super) struct Outgoing<B> {
    waiting: Waiting,
    /// Nothing when it has ended: whoever waits for that need not wait for the client.
    body: Option<B>,
    framing: Framing,
    /// Why the body broke off; told when what came before it has left.
    error: Option<Cut>,
    /// Since then all else has run once.
    has_waited: bool,
    /// Something was given to the stream and may not have left it.
    is_unflushed: bool,
    takes_trailers: bool,
    /// What follows the last chunk.
    trailers: Option<HeaderMap>,
    turns: Turns,
}

/// Why an answer does not come to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum Cut {
    #[error("the connection failed")]
    Connection(#[from] io::Error),
    #[error("the answer broke off")]
    Body(#[source] CutOff),
    #[error("the answer is not as long as its head says")]
    Length,
}

impl<B: Body<Data = Bytes, Error = CutOff> + Unpin> Outgoing<B> {
    pub(super) fn new(head: Vec<u8>, body: B, framing: Framing, asked: &Asked) -> Self {
        let body = (framing != Framing::Length(0)).then_some(body);
        let takes_trailers = asked.takes_trailers;
        Self { body, framing, takes_trailers, ..Self::head_only(head) }
    }

    /// The body, until it has ended.
    pub(super) fn body(&mut self) -> Option<&mut B> {
        self.body.as_mut()
    }

    /// An answer without a body.
    pub(super) fn head_only(head: Vec<u8>) -> Self {
        Self {
            waiting: Waiting::new(head),
            body: None,
            framing: Framing::Length(0),
            error: None,
            has_waited: false,
            is_unflushed: false,
            takes_trailers: false,
            trailers: None,
            turns: Turns::default(),
        }
    }

    /// Whether a cut passes for the end.
    pub(super) fn ends_by_close(&self) -> bool {
        self.framing == Framing::Close
    }

    /// Writes what can be written, for a turn of it. Ready when all is on its way. The lock is never held
    /// while the body is asked: it may want the rest of its request.
    ///
    /// # Errors
    /// See [`Cut`]: the connection is of no use any more.
    pub(super) fn poll<S: Transport>(
        &mut self,
        wire: &Wire<S>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Cut>> {
        ready!(self.turns.poll_begin(context));
        let sent = self.poll_turn(wire, context);
        self.turns.end(sent.is_pending(), context);
        sent
    }

    fn poll_turn<S: Transport>(
        &mut self,
        wire: &Wire<S>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Cut>> {
        loop {
            let comes = self.poll_body(context);
            let mut wire = wire.lock();
            let stream = wire.stream()?;
            while !self.waiting.is_empty() {
                self.turns.wrote(ready!(self.waiting.poll_write(stream, context))?);
                self.is_unflushed = true;
            }
            if self.body.is_some() && comes.is_ready() {
                if !self.turns.is_over() {
                    continue;
                }
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            if self.is_unflushed {
                ready!(Pin::new(stream).poll_flush(context))?;
                self.is_unflushed = false;
            }
            if self.error.is_some() && !self.has_waited {
                // What was flushed may leave only at the end of this turn, as far as the system takes
                // it: a second flush waits for the rest, which is lost with the connection.
                (self.has_waited, self.is_unflushed) = (true, true);
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            return match (self.error.take(), &self.body) {
                (Some(error), _) => Poll::Ready(Err(error)),
                (None, None) => Poll::Ready(Ok(())),
                (None, Some(_)) => Poll::Pending,
            };
        }
    }

    /// Takes pieces of the body until there is enough to write. Pending when the body has nothing
    /// now.
    fn poll_body(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while self.waiting.takes_more()
            && let Some(body) = &mut self.body
        {
            let frame = ready!(Pin::new(&mut *body).poll_frame(context));
            let is_end = frame.is_none() || body.is_end_stream();
            let pushed = match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(piece) => self.push(piece),
                    Err(trailers) => {
                        self.trailers = trailers.into_trailers().ok();
                        Ok(())
                    }
                },
                Some(Err(error)) => Err(Cut::Body(error)),
                None => Ok(()),
            };
            let ended = match pushed {
                // Of a body whose length was said, its end is not asked for.
                Ok(()) if is_end || self.framing == Framing::Length(0) => self.end(),
                Ok(()) => continue,
                error => error,
            };
            self.error = ended.err();
            self.body = None;
        }
        Poll::Ready(())
    }

    fn push(&mut self, piece: Bytes) -> Result<(), Cut> {
        if piece.is_empty() {
            return Ok(());
        }
        match &mut self.framing {
            Framing::Length(left) => {
                *left = left.checked_sub(piece.len() as u64).ok_or(Cut::Length)?;
                self.waiting.push(piece);
            }
            Framing::Chunked => self.waiting.push_chunk(piece),
            Framing::Close => self.waiting.push(piece),
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), Cut> {
        match self.framing {
            Framing::Length(0) | Framing::Close => {}
            Framing::Length(_) => return Err(Cut::Length),
            Framing::Chunked => {
                let trailers = self.trailers.take().filter(|_| self.takes_trailers);
                self.waiting.end_chunks(trailers.as_ref());
            }
        }
        Ok(())
    }
}
