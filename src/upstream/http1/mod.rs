//! An HTTP/1.1 connection to an upstream: one request at a time, written and read in the caller's
//! own task (RFC 9112).

mod head;
mod incoming;
mod outgoing;
#[cfg(any(test, fuzzing))]
pub(super) mod properties;

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body::Body;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::coop::unconstrained;

use super::addresses::Endpoint;
use super::connection::{Expectation, Failure};
use super::error::Broken;
use super::stream::Stream;
use super::{Origin, RequestHead};
pub use crate::http1::chunked::BadChunk;
use crate::http1::reading;
pub use head::BadHead;
use head::Expect;
pub(super) use head::{FIELDS_MAX, HEAD_BYTES_MAX, Head};
pub(super) use incoming::{Incoming, Over};
use outgoing::Outgoing;

/// Room for what is read at once: most answers come whole.
pub(super) const READ_BYTES: usize = 8 * 1024;

/// Answers before the answer; more are no upstream's.
const INFORMATIONAL_MAX: usize = 100;

/// A connection that waits for a request.
#[derive(Debug)]
pub(super) struct Http1(Box<Wire>);

/// The stream and what was read of it.
#[derive(Debug)]
struct Wire {
    stream: Stream,
    read: BytesMut,
    /// How long the upstream may take nothing of a request.
    stall_max: Duration,
}

/// An answer whose body follows.
#[derive(Debug)]
pub(super) struct Answer<B> {
    pub(super) head: Head,
    pub(super) body: Incoming<B>,
}

impl Http1 {
    /// `stall_max` is how long the upstream may take nothing of what is written to it.
    pub(super) fn new(stream: Stream, stall_max: Duration) -> Self {
        Self(Box::new(Wire { stream, read: BytesMut::new(), stall_max }))
    }

    /// Whether the upstream has neither closed the connection nor said something that nobody asked
    /// for, and has taken what was written before. Costs no system call where nothing has come.
    pub(super) fn is_usable(&mut self) -> bool {
        let Wire { stream, read, .. } = &mut *self.0;
        let mut nobody = Context::from_waker(Waker::noop());
        if !matches!(Pin::new(&mut *stream).poll_flush(&mut nobody), Poll::Ready(Ok(()))) {
            return false;
        }
        // A task that has used up its turn would be told that nothing has come.
        let come = pin!(unconstrained(poll_fn(|context| {
            Pin::new(&mut *stream).poll_read(context, &mut ReadBuf::new(&mut [0]))
        })));
        read.is_empty() && come.poll(&mut nobody).is_pending()
    }

    /// Where the connection leads.
    pub(super) fn endpoint(&self) -> Option<&Arc<Endpoint>> {
        self.0.stream.endpoint()
    }

    /// Sends a request and waits for the head of the answer; the body goes out meanwhile, and on
    /// while the answer's body is read.
    ///
    /// # Errors
    /// The body comes back where no byte of the request was written. Dropping the future closes the
    /// connection.
    pub(super) async fn send<B>(
        self,
        origin: &Origin,
        head: &RequestHead<'_>,
        body: B,
        expectation: Option<&Expectation>,
    ) -> Result<Answer<B>, Failure<B>>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let framing = Outgoing::framing(&body);
        let expect = match expectation {
            Some(_) => Expect::Continue,
            None => Expect::Nothing,
        };
        let bytes = head::of_request(head, &origin.authority, framing, expect);
        let mut wire = self.0;
        let mut outgoing = Outgoing::new(bytes, body, framing, wire.stall_max);
        match wire.answer(&mut outgoing, expectation).await {
            Ok(answer) => match answer.end(head.method) {
                Ok(end) => {
                    let keeps_alive = answer.keeps_alive();
                    Ok(Answer {
                        head: answer,
                        body: Incoming::new(wire, outgoing, end, keeps_alive),
                    })
                }
                Err(error) => Err(Failure { error: error.into(), unsent: None }),
            },
            Err(error) => Err(outgoing.failed(&wire.stream, error)),
        }
    }
}

/// The heads of an answer that has no body.
#[derive(Debug, Default)]
pub(super) struct Heads {
    looked_at: usize,
    /// How many have come that only inform.
    informational: usize,
}

impl Heads {
    /// The status of the answer, past those that only inform; nothing as long as its head has not
    /// come whole.
    ///
    /// # Errors
    /// See [`BadHead`].
    pub(super) fn take(&mut self, read: &mut BytesMut) -> Result<Option<StatusCode>, BadHead> {
        while let Some(head) = head::of_answer(read, &mut self.looked_at)? {
            match head.status {
                StatusCode::SWITCHING_PROTOCOLS => return Err(BadHead::Unasked),
                status if !status.is_informational() => return Ok(Some(status)),
                _ if self.informational == INFORMATIONAL_MAX => return Err(BadHead::Informational),
                _ => self.informational += 1,
            }
        }
        Ok(None)
    }
}

impl Wire {
    /// The head of the answer, past those that only inform.
    async fn answer<B>(
        &mut self,
        outgoing: &mut Outgoing<B>,
        expectation: Option<&Expectation>,
    ) -> Result<Head, Broken>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        for _ in 0..=INFORMATIONAL_MAX {
            let mut looked_at = 0;
            let head = poll_fn(|context| {
                _ = outgoing.poll(&mut self.stream, context)?;
                self.poll_head(context, &mut looked_at)
            });
            let head = head.await?;
            match (head.status, expectation) {
                (StatusCode::SWITCHING_PROTOCOLS, _) => return Err(BadHead::Unasked.into()),
                (StatusCode::CONTINUE, Some(expectation)) => expectation.is_met(),
                (status, _) if status.is_informational() => {}
                _ => return Ok(head),
            }
        }
        Err(BadHead::Informational.into())
    }

    fn poll_head(
        &mut self,
        context: &mut Context<'_>,
        looked_at: &mut usize,
    ) -> Poll<Result<Head, Broken>> {
        loop {
            if let Some(head) = head::of_answer(&mut self.read, looked_at)? {
                return Poll::Ready(Ok(head));
            }
            if ready!(self.poll_read(context, READ_BYTES))? == 0 {
                return Poll::Ready(Err(Broken::Closed));
            }
        }
    }

    /// Reads some more, with room for so many bytes; 0 at the end.
    fn poll_read(&mut self, context: &mut Context<'_>, room: usize) -> Poll<io::Result<usize>> {
        reading::poll_read(Pin::new(&mut self.stream), context, &mut self.read, room)
    }
}

#[cfg(test)]
mod tests;
