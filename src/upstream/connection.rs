//! One connection to an upstream: HTTP/1.1 of our own, HTTP/2 by hyper, and hyper's HTTP/1.1 where a
//! connection becomes another protocol's.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Response, header};
use http_body::Body;
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use tokio::net::UnixStream;

use super::addresses::Endpoint;
use super::dial::Attempt;
use super::error::{Broken, ConnectError, SendError};
use super::http1::{self, HEAD_BYTES_MAX, Http1};
use super::stream::Stream;
use super::{Http2, Origin, RequestHead, Way, proxy, tls};

/// What hyper may read of an answer's head; half of it is what its pieces need beside it.
const HYPER_BUFFER_BYTES_MAX: usize = 8 * HEAD_BYTES_MAX;

/// An HTTP/2 connection on which nothing comes for so long while requests wait is asked for a sign
/// of life.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// How long the sign may take; then the connection is closed. Without it the connection takes one
/// request after the other, and answers none, until the system gives it up after a quarter of an
/// hour.
const SIGN_WAIT_MAX: Duration = Duration::from_secs(10);

/// How much of one answer may wait for its client.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;

/// The same of all answers on an HTTP/2 connection: clients that do not read hold no others up
/// before there are so many of them. h2 ends a connection with more small frames waiting than one
/// for each 512 bytes of this window.
const CONNECTION_WINDOW_BYTES: u32 = 32 << 20;

/// One connection to an upstream.
#[derive(Debug)]
pub(super) enum Connection<B> {
    /// One request at a time.
    Http1(Http1),
    /// Many requests at once; clones share the connection.
    Http2(http2::SendRequest<B>, Option<Arc<Endpoint>>),
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
            Http2::Always => true,
            Http2::Never => false,
            Http2::Auto => stream.chose_http2(),
        };
        match http2 {
            true => Self::http2(stream).await.map_err(ConnectError::Http),
            false => Ok(Self::Http1(Http1::new(stream, origin.response_timeout))),
        }
    }

    async fn http2(stream: Stream) -> Result<Self, hyper::Error> {
        let endpoint = stream.endpoint().cloned();
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_header_list_size(HEAD_BYTES_MAX as u32)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .keep_alive_interval(SILENCE_MAX)
            .keep_alive_timeout(SIGN_WAIT_MAX)
            .handshake(TokioIo::new(stream))
            .await?;
        // The task ends when the last sender is dropped; its error reaches each request by itself.
        tokio::spawn(async move { _ = connection.await });
        Ok(Self::Http2(sender, endpoint))
    }

    /// Another handle to a connection that takes many requests at once.
    pub(super) fn share(&self) -> Option<Self> {
        match self {
            Self::Http1(_) => None,
            Self::Http2(sender, endpoint) => Some(Self::Http2(sender.clone(), endpoint.clone())),
        }
    }

    /// Where it leads.
    pub(super) fn endpoint(&self) -> Option<&Arc<Endpoint>> {
        match self {
            Self::Http1(connection) => connection.endpoint(),
            Self::Http2(_, endpoint) => endpoint.as_ref(),
        }
    }

    /// Whether the connection takes a request now, and leads to where the upstream still is.
    pub(super) fn is_usable(&mut self) -> bool {
        if self.endpoint().is_some_and(|endpoint| endpoint.is_gone()) {
            return false;
        }
        match self {
            Self::Http1(connection) => connection.is_usable(),
            Self::Http2(sender, _) => sender.is_ready(),
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
            Self::Http2(mut sender, _) => {
                let mut request = head.http2(origin, body);
                // hyper shows no informational answers of HTTP/2: who asked would not hear the answer.
                request.headers_mut().remove(header::EXPECT);
                if let Some(expectation) = expectation {
                    expectation.is_met();
                }
                // gRPC asks for it; what comes behind the body is for the walk to judge.
                request.headers_mut().insert(header::TE, HeaderValue::from_static("trailers"));
                let answer = sender.try_send_request(request).await;
                answer.map(Answered::Hyper).map_err(|mut error| Failure {
                    unsent: error.take_message().map(http::Request::into_body),
                    error: error.into_error().into(),
                })
            }
        }
    }
}

/// An answer, as its protocol gives it.
#[derive(Debug)]
pub(super) enum Answered<B> {
    Http1(http1::Answer<B>),
    Hyper(Response<Incoming>),
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
) -> Result<Response<Incoming>, SendError>
where
    B: Body<Data = bytes::Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
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
        Way::Unix(path) => {
            Stream::unix(UnixStream::connect(path).await.map_err(ConnectError::Refused)?)
        }
        Way::Proxy(proxy) => proxy::tunnel(proxy, origin, attempt).await?,
    };
    match (&origin.tls, config) {
        (Some(tls), Some(config)) => tls::encrypt(stream, tls, config).await,
        _ => Ok(stream),
    }
}

/// A connection to the address that is dialled.
pub(super) async fn tcp(attempt: &Attempt<'_>) -> Result<Stream, ConnectError> {
    let (stream, lease) = attempt.dial().await?;
    Ok(Stream::tcp(stream).counted(lease))
}
