//! The connections of one core to one upstream: idle ones are reused last in, first out, so that those
//! that are not needed grow old together.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::connection::Connection;
use super::{Origin, SendError};

/// Idle connections kept a core; more are closed.
const IDLE_CONNECTIONS_MAX: usize = 256;

/// Idle connections older than this are not used: load balancers close at 60 s, often silently.
const IDLE_AGE_MAX: Duration = Duration::from_secs(55);

/// How often a request that never left is tried on another connection.
const UNSENT_RETRIES_MAX: usize = 4;

/// The connections of one core to one upstream.
#[derive(Debug)]
pub struct Pool<B> {
    origin: Arc<Origin>,
    idle: Arc<Mutex<Vec<Idle<B>>>>,
}

#[derive(Debug)]
struct Idle<B> {
    connection: Connection<B>,
    since: Instant,
}

/// An answer; its body gives the connection back when it ends.
#[derive(Debug)]
pub struct Answer<B> {
    /// The status code.
    pub status: StatusCode,
    /// The protocol that it came by.
    pub version: Version,
    /// The header fields.
    pub headers: HeaderMap,
    /// The body.
    pub body: AnswerBody<B>,
}

/// The body of an answer. Dropped before its end, it closes its HTTP/1.1 connection.
#[derive(Debug)]
pub struct AnswerBody<B> {
    incoming: Incoming,
    connection: Option<Connection<B>>,
    idle: Arc<Mutex<Vec<Idle<B>>>>,
}

impl<B> Pool<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// No connection yet.
    pub fn new(origin: Arc<Origin>) -> Self {
        Self { origin, idle: Arc::default() }
    }

    /// Where the connections lead.
    pub fn origin(&self) -> &Arc<Origin> {
        &self.origin
    }

    /// Sends a request whose URI is in origin form and waits for the head of its answer. A request is sent
    /// again only where the upstream cannot have seen it.
    ///
    /// # Errors
    /// See [`SendError`]. Not cancel safe: the request may have been executed.
    pub async fn send(&self, request: Request<B>) -> Result<Answer<B>, SendError> {
        match tokio::time::timeout(self.origin.response_timeout, self.attempt(request)).await {
            Ok(answer) => answer,
            Err(_) => Err(SendError::Timeout),
        }
    }

    async fn attempt(&self, mut request: Request<B>) -> Result<Answer<B>, SendError> {
        let mut retries = 0;
        loop {
            let (mut connection, reused) = match self.idle_connection().await {
                Some(connection) => (connection, true),
                None => {
                    let opened = Connection::open(&self.origin).await;
                    (opened.map_err(SendError::Unreachable)?, false)
                }
            };
            if let Some(shared) = connection.share().filter(|_| !reused) {
                give_back(&self.idle, shared);
            }
            match connection.send(&self.origin, request).await {
                Ok(answer) => return Ok(self.answer(answer, connection)),
                Err(failure) => match failure.unsent {
                    Some(unsent) if retries < UNSENT_RETRIES_MAX => {
                        retries += 1;
                        request = unsent;
                    }
                    _ => return Err(SendError::Broken(failure.error)),
                },
            }
        }
    }

    async fn idle_connection(&self) -> Option<Connection<B>> {
        loop {
            let mut found = self.take_idle()?;
            if found.ready().await {
                return Some(found);
            }
        }
    }

    fn take_idle(&self) -> Option<Connection<B>> {
        let mut idle = lock(&self.idle);
        while let Some(Idle { connection, since }) = idle.pop() {
            if connection.is_closed() || since.elapsed() > IDLE_AGE_MAX {
                continue;
            }
            if let Some(shared) = connection.share() {
                idle.push(Idle { connection, since: Instant::now() });
                return Some(shared);
            }
            return Some(connection);
        }
        None
    }

    fn answer(&self, answer: http::Response<Incoming>, connection: Connection<B>) -> Answer<B> {
        let (parts, incoming) = answer.into_parts();
        let connection = match connection {
            shared @ Connection::Http2(_) => {
                drop(shared);
                None
            }
            exclusive @ Connection::Http1(_) => Some(exclusive),
        };
        let mut body = AnswerBody { incoming, connection, idle: Arc::clone(&self.idle) };
        if body.incoming.is_end_stream() {
            body.finish();
        }
        Answer { status: parts.status, version: parts.version, headers: parts.headers, body }
    }
}

fn give_back<B>(idle: &Mutex<Vec<Idle<B>>>, connection: Connection<B>) {
    let mut idle = lock(idle);
    if idle.len() < IDLE_CONNECTIONS_MAX {
        idle.push(Idle { connection, since: Instant::now() });
    }
}

/// Only pushes and pops happen under the lock; a poisoned list is as good as another.
fn lock<B>(idle: &Mutex<Vec<Idle<B>>>) -> MutexGuard<'_, Vec<Idle<B>>> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<B> AnswerBody<B> {
    fn finish(&mut self) {
        if let Some(connection) = self.connection.take() {
            give_back(&self.idle, connection);
        }
    }
}

impl<B> Body for AnswerBody<B>
where
    Self: Unpin,
{
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.incoming).poll_frame(context));
        match &frame {
            // A broken answer leaves the connection in doubt: it is not used again.
            Some(Err(_)) => self.connection = None,
            Some(Ok(_)) if !self.incoming.is_end_stream() => {}
            _ => self.finish(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
