//! The connections of one core to one upstream, and the sending of a request over one of them.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::upgrade::OnUpgrade;
use tokio::time::timeout;

use super::connection::{self, Answered, Connection, Expectation};
use super::http1::{self, Head, Over};
use super::http2::Share;
use super::idle::Idle;
use super::pump::{self, Pumped};
use super::wait::Wait;
use super::{Broken, Origin, RequestHead, SendError};

use crate::fields::Fields;

/// How often a request that never left is tried on another connection.
const UNSENT_RETRIES_MAX: usize = 4;

/// The connections of one core to one upstream.
#[derive(Debug)]
pub struct Pool<B> {
    origin: Arc<Origin>,
    idle: Idle<B>,
    /// The upstream said nothing when it was last asked first, or refused the question.
    ignores_expect: AtomicBool,
}

/// An answer; its body gives the connection back when it ends.
#[derive(Debug)]
pub struct Answer<B> {
    /// The status code.
    pub status: StatusCode,
    /// The protocol that it came by.
    pub version: Version,
    /// The header fields.
    pub headers: Fields,
    /// The head as it came, of an answer by HTTP/1.1: what does not stand in it stands in no field.
    pub head_bytes: Option<Bytes>,
    /// The body.
    pub body: AnswerBody<B>,
    /// What the connection becomes when the answer switches protocols, to a request that was sent
    /// by [`Pool::upgrade`].
    pub upgrade: Option<OnUpgrade>,
}

/// The body of an answer. Dropped before its end, it closes its HTTP/1.1 connection.
#[derive(Debug)]
pub struct AnswerBody<B> {
    incoming: Incoming<B>,
    idle: Idle<B>,
}

/// Where the bytes come from.
#[derive(Debug)]
enum Incoming<B> {
    Http1(http1::Incoming<B>),
    Pumped(Pumped),
    /// Of HTTP/2, with its share in a connection, or before an upgrade.
    Hyper {
        body: hyper::body::Incoming,
        share: Option<Share>,
    },
}

impl<B> Pool<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// No connection yet.
    pub fn new(origin: Arc<Origin>) -> Self {
        let idle = Idle::new(origin.idle_timeout);
        Self { origin, idle, ignores_expect: AtomicBool::new(false) }
    }

    /// Where the connections lead.
    pub fn origin(&self) -> &Arc<Origin> {
        &self.origin
    }

    /// Sends a request and waits for the head of its answer. A request is sent again only where the
    /// upstream cannot have seen it. How long the head may take is for the caller to say, by `wait` or
    /// by itself: a long body counts for nothing, and neither does a connection that is made.
    ///
    /// # Errors
    /// See [`SendError`]. Not cancel safe: the request may have been executed.
    pub async fn send(
        &self,
        head: &RequestHead<'_>,
        body: B,
        wait: &Wait,
    ) -> Result<Answer<B>, SendError> {
        self.send_asking(head, body, wait, None).await
    }

    /// Whether the upstream said nothing, or refused the question, when it was last asked whether
    /// it wants a body.
    pub fn ignores_expect(&self) -> bool {
        self.ignores_expect.load(Ordering::Relaxed)
    }

    /// Notes whether the upstream says something when it is asked.
    pub fn note_expect(&self, ignored: bool) {
        self.ignores_expect.store(ignored, Ordering::Relaxed);
    }

    /// As [`Self::send`]; with an `expectation`, an HTTP/1.1 upstream is asked first whether it
    /// wants the body.
    ///
    /// # Errors
    /// See [`SendError`]. Not cancel safe: the request may have been executed.
    pub async fn send_asking(
        &self,
        head: &RequestHead<'_>,
        mut body: B,
        wait: &Wait,
        expectation: Option<&Expectation>,
    ) -> Result<Answer<B>, SendError> {
        self.origin.dialler.look_after();
        let mut retries = 0;
        loop {
            let (connection, reused) = match self.idle.take(self.origin.dialler.spread()) {
                Some(connection) => (connection, true),
                None => {
                    wait.connects();
                    // Boxed: few requests need the room.
                    Box::pin(self.open()).await?
                }
            };
            wait.begins(&self.origin.dialler);
            let is_new = !reused;
            if let Some(shared) = connection.share().filter(|_| is_new) {
                self.idle.give_back(shared);
            }
            let endpoint = connection.endpoint().filter(|_| is_new).cloned();
            let sending = connection.send(&self.origin, head, body, expectation);
            let sent = match wait.time() {
                None => sending.await,
                Some(time) => {
                    Box::pin(timeout(time, sending)).await.map_err(|_| SendError::Timeout)?
                }
            };
            match sent {
                Ok(answer) => {
                    if let Some(endpoint) = endpoint {
                        self.origin.dialler.answered(&endpoint);
                    }
                    return Ok(self.answer(answer));
                }
                Err(failure) => {
                    if let Some(endpoint) = endpoint {
                        self.origin.dialler.broke_off(&endpoint, &failure.error);
                    }
                    match failure.unsent {
                        Some(unsent) if retries < UNSENT_RETRIES_MAX => {
                            retries += 1;
                            body = unsent;
                        }
                        _ => return Err(SendError::Broken(failure.error)),
                    }
                }
            }
        }
    }

    /// A new connection; or else one that is there, which was only left for the requests to be spread
    /// or because it is full.
    async fn open(&self) -> Result<(Connection<B>, bool), SendError> {
        match Connection::open(&self.origin, self.idle.endpoints()).await {
            Ok(connection) => Ok((connection, false)),
            Err(error) => match self.idle.take_any() {
                Some(connection) => Ok((connection, true)),
                None => Err(SendError::Unreachable(error)),
            },
        }
    }

    /// Sends a request that asks for an upgrade, on an HTTP/1.1 connection of its own, which is not
    /// used again, and waits for the head of its answer.
    ///
    /// # Errors
    /// See [`SendError`]. Not cancel safe: the request may have been executed.
    pub async fn upgrade(
        &self,
        head: &RequestHead<'_>,
        body: B,
        wait: &Wait,
    ) -> Result<Answer<B>, SendError> {
        let mut answer = connection::upgrade(&self.origin, head, body, wait).await?;
        let switches = answer.status() == StatusCode::SWITCHING_PROTOCOLS;
        let upgrade = switches.then(|| hyper::upgrade::on(&mut answer));
        Ok(Answer { upgrade, ..self.answer_of_hyper(answer, None) })
    }

    /// The answer, whose body gives its connection back.
    fn answer(&self, answer: Answered<B>) -> Answer<B> {
        match answer {
            Answered::Http1(http1::Answer { head, body }) => {
                let Head { status, version, headers, bytes, .. } = head;
                let (head_bytes, body) = (Some(bytes), AnswerBody::new(body, self.idle.clone()));
                Answer { status, version, headers, head_bytes, body, upgrade: None }
            }
            Answered::Http2(answer, share) => self.answer_of_hyper(answer, Some(share)),
        }
    }

    fn answer_of_hyper(
        &self,
        answer: Response<hyper::body::Incoming>,
        share: Option<Share>,
    ) -> Answer<B> {
        let (parts, body) = answer.into_parts();
        let incoming = Incoming::Hyper { body, share };
        let body = AnswerBody { incoming, idle: self.idle.clone() };
        let http::response::Parts { status, version, headers, .. } = parts;
        let headers = headers.into();
        Answer { status, version, headers, head_bytes: None, body, upgrade: None }
    }
}

impl<B> AnswerBody<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn new(mut incoming: http1::Incoming<B>, idle: Idle<B>) -> Self {
        if incoming.is_outgoing() && !incoming.is_end() {
            let incoming = Incoming::Pumped(Pumped::start(incoming, idle.clone()));
            return Self { incoming, idle };
        }
        finish(&mut incoming, &idle);
        Self { incoming: Incoming::Http1(incoming), idle }
    }
}

/// Gives the connection back, if the answer has ended.
fn finish<B>(incoming: &mut http1::Incoming<B>, idle: &Idle<B>)
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    match incoming.over() {
        None => {}
        Some(Over::Usable(connection)) => idle.give_back(Connection::Http1(connection)),
        // Most often a client that is slow to send a body that the upstream does not wait for. The
        // task ends with that body, or with its connection.
        Some(over) => {
            let idle = idle.clone();
            tokio::spawn(async move { pump::finish(Some(over), &idle).await });
        }
    }
}

impl<B> Body for AnswerBody<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let Self { incoming, idle } = &mut *self;
        match incoming {
            Incoming::Http1(incoming) => {
                let piece = ready!(incoming.poll_piece(context));
                finish(incoming, idle);
                let frame = piece.map(|piece| piece.map(Frame::data));
                Poll::Ready(frame.or_else(|| incoming.take_trailers().map(Frame::trailers).map(Ok)))
            }
            Incoming::Pumped(pumped) => pumped.poll_frame(context),
            Incoming::Hyper { body, share } => {
                let frame = ready!(Pin::new(&mut *body).poll_frame(context));
                // hyper takes a stream that is reset without an error for one that has ended.
                let is_cut = frame.is_none() && share.is_some() && !body.is_end_stream();
                let frame = frame.map(|frame| frame.map_err(Broken::Hyper));
                Poll::Ready(frame.or_else(|| is_cut.then_some(Err(Broken::Closed))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.incoming {
            Incoming::Http1(incoming) => incoming.is_end(),
            Incoming::Pumped(pumped) => pumped.is_end(),
            Incoming::Hyper { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.incoming {
            Incoming::Http1(incoming) => incoming.size_hint(),
            Incoming::Pumped(pumped) => pumped.size_hint(),
            Incoming::Hyper { body, .. } => body.size_hint(),
        }
    }
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;
