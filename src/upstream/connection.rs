//! One connection to an upstream: HTTP/1.1 of our own, HTTP/2 by hyper, and hyper's HTTP/1.1 where a
//! connection becomes another protocol's.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::Response;
use http_body::Body;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::net::UnixStream;
use tokio::time::sleep;

use super::addresses::Endpoint;
use super::dial::Attempt;
use super::error::{Broken, ConnectError, SendError};
use super::http1::{self, HEAD_BYTES_MAX, Http1};
use super::http2::{Http2, Share};
use super::stream::Stream;
use super::{Origin, RequestHead, Wait, Way, origin, proxy, tls};

/// What hyper may read of an answer's head; half of it is what its pieces need beside it.
const HYPER_BUFFER_BYTES_MAX: usize = 8 * HEAD_BYTES_MAX;

/// How long a Unix socket whose queue is full is left alone: at first, and at most. A server that is
/// busy takes many connections in that time.
const QUEUE_PAUSE_FIRST: Duration = Duration::from_millis(1);
const QUEUE_PAUSE_MAX: Duration = Duration::from_millis(50);

/// One connection to an upstream.
#[derive(Debug)]
pub(super) enum Connection<B> {
    /// One request at a time.
    Http1(Http1),
    /// Many requests at once; clones share the connection.
    Http2(Http2<B>),
}

/// What happens when an upstream that is asked first wants the body (RFC 9110 section 10.1.1).
#[derive(Clone)]
pub struct Expectation(Arc<dyn Fn() + Send + Sync>);

impl Expectation {
    /// `wanted` is called when the upstream says so, or cannot be asked.
    pub fn new(wanted: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(wanted))
    }

    /// The upstream wants the body.
    pub(super) fn is_met(&self) {
        (self.0)();
    }
}

/// A request that a connection did not answer; `unsent` when the upstream cannot have seen it.
#[derive(Debug)]
pub(super) struct Failure<B> {
    /// What went wrong.
    pub(super) error: Broken,
    /// The request's body, when nothing of the request has left.
    pub(super) unsent: Option<B>,
}

impl<B> Connection<B>
where
    B: Body<Data = bytes::Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Connects to `origin` within its `connect_timeout`, elsewhere than where the `idle` ones lead,
    /// where it can. Not cancel safe: a dropped attempt is lost.
    ///
    /// # Errors
    /// See [`ConnectError`]; no request has been sent.
    pub(super) async fn open(
        origin: &Arc<Origin>,
        idle: Vec<Arc<Endpoint>>,
    ) -> Result<Self, ConnectError> {
        let attempt = origin.dialler.attempt(origin.connect_timeout, idle)?;
        let connected = attempt.within(Self::connect(origin, &attempt)).await;
        attempt.end(connected)
    }

    async fn connect(origin: &Origin, attempt: &Attempt<'_>) -> Result<Self, ConnectError> {
        let config = origin.tls.as_ref().map(|tls| &tls.config);
        let stream = stream(origin, config, attempt).await?;
        let http2 = match origin.http2 {
            origin::Http2::Always => true,
            origin::Http2::Never => false,
            origin::Http2::Auto => stream.chose_http2(),
        };
        match http2 {
            true => Http2::new(stream).await.map(Self::Http2).map_err(ConnectError::Http),
            false => Ok(Self::Http1(Http1::new(stream, origin.response_timeout))),
        }
    }

    /// Another handle to a connection that takes many requests at once.
    pub(super) fn share(&self) -> Option<Self> {
        match self {
            Self::Http1(_) => None,
            Self::Http2(connection) => Some(Self::Http2(connection.clone())),
        }
    }

    /// Where it leads.
    pub(super) fn endpoint(&self) -> Option<&Arc<Endpoint>> {
        match self {
            Self::Http1(connection) => connection.endpoint(),
            Self::Http2(connection) => connection.endpoint(),
        }
    }

    /// Whether the connection takes a request now, and leads to where the upstream still is.
    pub(super) fn is_usable(&mut self) -> bool {
        if self.endpoint().is_some_and(|endpoint| endpoint.is_gone()) {
            return false;
        }
        match self {
            Self::Http1(connection) => connection.is_usable(),
            Self::Http2(connection) => connection.is_usable(),
        }
    }

    /// Whether a further request would have to wait for the end of another one.
    pub(super) fn is_full(&self) -> bool {
        match self {
            // One that is in use waits nowhere.
            Self::Http1(_) => false,
            Self::Http2(connection) => connection.is_full(),
        }
    }

    /// Sends a request and waits for the head of the answer. With an `expectation` the upstream is
    /// asked first whether it wants the body; to hold it back is for the body to do.
    ///
    /// # Errors
    /// The body comes back where the upstream cannot have seen it. Dropping the future closes an
    /// HTTP/1.1 connection and resets an HTTP/2 stream.
    pub(super) async fn send(
        self,
        origin: &Origin,
        head: &RequestHead<'_>,
        body: B,
        expectation: Option<&Expectation>,
    ) -> Result<Answered<B>, Failure<B>> {
        match self {
            Self::Http1(connection) => {
                connection.send(origin, head, body, expectation).await.map(Answered::Http1)
            }
            Self::Http2(connection) => {
                // Boxed: most requests need less room.
                let sent = Box::pin(connection.send(origin, head, body, expectation)).await;
                sent.map(|(answer, share)| Answered::Http2(answer, share))
            }
        }
    }
}

/// An answer, as its protocol gives it.
#[derive(Debug)]
pub(super) enum Answered<B> {
    Http1(http1::Answer<B>),
    Http2(Response<Incoming>, Share),
}

/// Sends a request that asks for an upgrade on a connection of its own. It speaks HTTP/1.1,
/// whatever the origin speaks else.
///
/// # Errors
/// As [`Connection::open`], and when there is no answer.
pub(super) async fn upgrade<B>(
    origin: &Origin,
    head: &RequestHead<'_>,
    body: B,
    wait: &Wait,
) -> Result<Response<Incoming>, SendError>
where
    B: Body<Data = bytes::Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    wait.connects();
    let attempt = origin.dialler.attempt(origin.connect_timeout, Vec::new());
    let attempt = attempt.map_err(SendError::Unreachable)?;
    let connect = async {
        let config = origin.tls.as_ref().map(|tls| &tls.http1_config);
        let io = TokioIo::new(stream(origin, config, &attempt).await?);
        let mut builder = hyper::client::conn::http1::Builder::new();
        builder.max_headers(http1::FIELDS_MAX).max_buf_size(HYPER_BUFFER_BYTES_MAX);
        builder.handshake(io).await.map_err(ConnectError::Http)
    };
    let connected = attempt.within(connect).await;
    let endpoint = attempt.reached().cloned();
    let (mut sender, connection) = attempt.end(connected).map_err(SendError::Unreachable)?;
    wait.begins(&origin.dialler);
    tokio::spawn(async move { _ = connection.with_upgrades().await });
    let answer = sender.send_request(head.http1(origin, body)).await.map_err(Broken::from);
    match (&answer, endpoint) {
        (Ok(_), Some(endpoint)) => origin.dialler.answered(&endpoint),
        (Err(error), Some(endpoint)) => origin.dialler.broke_off(&endpoint, error),
        (_, None) => {}
    }
    answer.map_err(SendError::Broken)
}

async fn stream(
    origin: &Origin,
    config: Option<&Arc<ClientConfig>>,
    attempt: &Attempt<'_>,
) -> Result<Stream, ConnectError> {
    let stream = match &origin.way {
        Way::Direct => tcp(attempt).await?,
        Way::Unix(path) => unix(path).await?,
        Way::Proxy(proxy) => proxy::tunnel(proxy, origin, attempt).await?,
    };
    match (&origin.tls, config) {
        (Some(tls), Some(config)) => tls::encrypt(stream, tls, config).await,
        _ => Ok(stream),
    }
}

/// A connection to a Unix socket. Where its queue is full, somebody who does not block is turned away
/// at once; TCP lets them wait. So we try again, for as long as connecting may take.
async fn unix(path: &Path) -> Result<Stream, ConnectError> {
    let mut pause = QUEUE_PAUSE_FIRST;
    loop {
        match UnixStream::connect(path).await {
            Ok(stream) => return Ok(Stream::unix(stream)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(pause).await,
            Err(error) => return Err(ConnectError::of(error)),
        }
        pause = (pause * 2).min(QUEUE_PAUSE_MAX);
    }
}

/// A connection to the address that is dialled.
pub(super) async fn tcp(attempt: &Attempt<'_>) -> Result<Stream, ConnectError> {
    let (stream, lease) = attempt.dial().await?;
    Ok(Stream::tcp(stream).counted(lease))
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;

    use socket2::{Domain, SockAddr, Socket, Type};

    use super::*;

    /// A socket at which nobody accepts, and those that fill its queue.
    fn full(path: &Path) -> (Socket, Vec<Socket>) {
        let address = SockAddr::unix(path).unwrap();
        let socket = || Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        let (listener, mut waiting) = (socket(), Vec::new());
        listener.bind(&address).unwrap();
        listener.listen(1).unwrap();
        loop {
            let another = socket();
            another.set_nonblocking(true).unwrap();
            match another.connect(&address) {
                Ok(()) => waiting.push(another),
                Err(_) => return (listener, waiting),
            }
        }
    }

    /// Fails when a server that is busy for a moment is told as one that is not there.
    #[tokio::test]
    async fn a_unix_socket_whose_queue_is_full_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.sock");
        let (listener, waiting) = full(&path);
        let mut connecting = Box::pin(unix(&path));
        let begun = poll_fn(|context| Poll::Ready(connecting.as_mut().poll(context).is_pending()));
        assert!(begun.await, "it was not turned away");
        for _ in waiting {
            listener.accept().unwrap();
        }
        connecting.await.unwrap();
    }
}
