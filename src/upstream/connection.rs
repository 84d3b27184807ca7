//! One connection to an upstream, HTTP/1.1 or HTTP/2: the seam behind which hyper's client half
//! stands.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Request, Response, StatusCode, Uri, Version, header};
use http_body::Body;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::TlsConnector;

use super::error::ConnectError;
use super::stream::Stream;
use super::{Http2, Origin};

/// Answers with more fields than this are refused: no upstream needs them.
const ANSWER_FIELDS_MAX: usize = 256;

/// Answers with a larger head than this are refused.
const ANSWER_HEAD_BYTES_MAX: usize = 64 * 1024;

/// An HTTP/2 connection on which nothing comes for so long while requests wait is asked for a sign
/// of life.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// How long the sign may take; then the connection is closed. Without it the connection takes one
/// request after the other, and answers none, until the system gives it up after a quarter of an
/// hour.
const SIGN_WAIT_MAX: Duration = Duration::from_secs(10);

/// One connection to an upstream.
#[derive(Debug)]
pub enum Connection<B> {
    /// One request at a time.
    Http1(http1::SendRequest<B>),
    /// Many requests at once; clones share the connection.
    Http2(http2::SendRequest<B>),
}

/// What happens when an upstream that is asked first wants the body (RFC 9110 section 10.1.1).
#[derive(Clone)]
pub struct Expectation(Arc<dyn Fn() + Send + Sync>);

impl Expectation {
    /// `wanted` is called when the upstream says so, or cannot be asked.
    pub fn new(wanted: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(wanted))
    }

    fn ask<B>(&self, request: &mut Request<B>) {
        request.headers_mut().insert(header::EXPECT, HeaderValue::from_static("100-continue"));
        let wanted = Arc::clone(&self.0);
        hyper::ext::on_informational(request, move |answer| {
            if answer.status() == StatusCode::CONTINUE {
                wanted();
            }
        });
    }

    /// hyper shows no informational answers of HTTP/2: who asked would not hear the answer.
    fn do_not_ask<B>(&self, request: &mut Request<B>) {
        request.headers_mut().remove(header::EXPECT);
        (self.0)();
    }
}

/// A request that a connection did not answer; `unsent` when the upstream cannot have seen it.
#[derive(Debug)]
pub struct Failure<B> {
    /// What went wrong.
    pub error: hyper::Error,
    /// The request, when it never left.
    pub unsent: Option<Request<B>>,
}

impl<B> Connection<B>
where
    B: Body<Data = bytes::Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Connects to `origin` within its `connect_timeout`. Not cancel safe: a dropped attempt is
    /// lost.
    ///
    /// # Errors
    /// See [`ConnectError`]; no request has been sent.
    pub async fn open(origin: &Arc<Origin>) -> Result<Self, ConnectError> {
        match tokio::time::timeout(origin.connect_timeout, Self::connect(origin)).await {
            Ok(connection) => connection,
            Err(_) => Err(ConnectError::Timeout),
        }
    }

    /// Makes an HTTP/1.1 connection that can become another protocol's, whatever the origin
    /// speaks else.
    ///
    /// # Errors
    /// As [`Connection::open`].
    pub async fn open_for_upgrade(origin: &Origin) -> Result<Self, ConnectError> {
        let connect = async {
            let config = origin.tls.as_ref().map(|tls| &tls.http1_config);
            let io = TokioIo::new(Self::stream(origin, config).await?.for_tunnel());
            let (sender, connection) =
                http1_builder().handshake(io).await.map_err(ConnectError::Http)?;
            tokio::spawn(async move { _ = connection.with_upgrades().await });
            Ok(Self::Http1(sender))
        };
        match tokio::time::timeout(origin.connect_timeout, connect).await {
            Ok(connection) => connection,
            Err(_) => Err(ConnectError::Timeout),
        }
    }

    async fn connect(origin: &Origin) -> Result<Self, ConnectError> {
        let config = origin.tls.as_ref().map(|tls| &tls.config);
        let stream = Self::stream(origin, config).await?;
        let http2 = match origin.http2 {
            Http2::Always => true,
            Http2::Never => false,
            Http2::Auto => stream.chose_http2(),
        };
        Self::handshake(stream, http2).await.map_err(ConnectError::Http)
    }

    async fn stream(
        origin: &Origin,
        config: Option<&Arc<ClientConfig>>,
    ) -> Result<Stream, ConnectError> {
        let addresses: Vec<_> = lookup_host((origin.host.as_str(), origin.port))
            .await
            .map_err(ConnectError::Dns)?
            .collect();
        let stream =
            TcpStream::connect(addresses.as_slice()).await.map_err(ConnectError::Refused)?;
        // Requests are small and answered one by one: waiting for more to send only adds latency.
        stream.set_nodelay(true).map_err(ConnectError::Refused)?;
        let (Some(tls), Some(config)) = (&origin.tls, config) else {
            return Ok(Stream::plain(stream));
        };
        let stream = TlsConnector::from(Arc::clone(config))
            .connect(tls.server_name.clone(), stream)
            .await
            .map_err(ConnectError::Tls)?;
        Ok(Stream::encrypted(stream))
    }

    async fn handshake(stream: Stream, http2: bool) -> Result<Self, hyper::Error> {
        let io = TokioIo::new(stream);
        if http2 {
            let (sender, connection) = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .max_header_list_size(ANSWER_HEAD_BYTES_MAX as u32)
                .adaptive_window(true)
                .keep_alive_interval(SILENCE_MAX)
                .keep_alive_timeout(SIGN_WAIT_MAX)
                .handshake(io)
                .await?;
            // The task ends when the last sender is dropped; its error reaches each request by
            // itself.
            tokio::spawn(async move { _ = connection.await });
            Ok(Self::Http2(sender))
        } else {
            let (sender, connection) = http1_builder().handshake(io).await?;
            tokio::spawn(async move { _ = connection.await });
            Ok(Self::Http1(sender))
        }
    }

    /// Whether the connection is closed.
    pub fn is_closed(&self) -> bool {
        match self {
            Self::Http1(sender) => sender.is_closed(),
            Self::Http2(sender) => sender.is_closed(),
        }
    }

    /// This connection, if nobody else can use it.
    pub fn exclusive(self) -> Option<Self> {
        match self {
            Self::Http1(_) => Some(self),
            Self::Http2(_) => None,
        }
    }

    /// Another handle to a connection that takes many requests at once.
    pub fn share(&self) -> Option<Self> {
        match self {
            Self::Http1(_) => None,
            Self::Http2(sender) => Some(Self::Http2(sender.clone())),
        }
    }

    /// Whether the connection takes a request now.
    pub fn is_ready(&self) -> bool {
        match self {
            Self::Http1(sender) => sender.is_ready(),
            Self::Http2(sender) => sender.is_ready(),
        }
    }

    /// Sends a request whose URI is in origin form and waits for the head of the answer. With an
    /// `expectation` the upstream is asked first whether it wants the body; to hold it back is for
    /// the body to do.
    ///
    /// # Errors
    /// The request comes back where the upstream cannot have seen it. Dropping the future closes an
    /// HTTP/1.1 connection and resets an HTTP/2 stream.
    pub async fn send(
        &mut self,
        origin: &Origin,
        mut request: Request<B>,
        expectation: Option<&Expectation>,
    ) -> Result<Response<Incoming>, Failure<B>> {
        match self {
            Self::Http1(sender) => {
                if let Some(expectation) = expectation {
                    expectation.ask(&mut request);
                }
                *request.version_mut() = Version::HTTP_11;
                request.headers_mut().insert(header::HOST, origin.authority.clone());
                say_framing(&mut request);
                let answer = sender.try_send_request(request).await;
                answer.map_err(|mut error| Failure {
                    unsent: error.take_message(),
                    error: error.into_error(),
                })
            }
            Self::Http2(sender) => {
                if let Some(expectation) = expectation {
                    expectation.do_not_ask(&mut request);
                }
                *request.version_mut() = Version::HTTP_2;
                request.headers_mut().remove(header::HOST);
                absolute_form(&mut request, origin);
                let answer = sender.try_send_request(request).await;
                answer.map_err(|mut error| Failure {
                    unsent: error.take_message(),
                    error: error.into_error(),
                })
            }
        }
    }
}

fn http1_builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.max_headers(ANSWER_FIELDS_MAX).max_buf_size(ANSWER_HEAD_BYTES_MAX * 8);
    builder
}

/// A body of unknown length is chunked with every method; hyper would leave that of a GET out.
fn say_framing<B: Body>(request: &mut Request<B>) {
    let body = request.body();
    let is_unknown = !body.is_end_stream() && body.size_hint().exact().is_none();
    if is_unknown && !request.headers().contains_key(header::CONTENT_LENGTH) {
        let chunked = HeaderValue::from_static("chunked");
        request.headers_mut().insert(header::TRANSFER_ENCODING, chunked);
    }
}

/// HTTP/2 carries scheme and authority beside the path (RFC 9113 section 8.3.1).
fn absolute_form<B>(request: &mut Request<B>, origin: &Origin) {
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(match origin.tls {
        Some(_) => http::uri::Scheme::HTTPS,
        None => http::uri::Scheme::HTTP,
    });
    parts.authority = authority(&origin.authority);
    // Both parts come from a URL that was checked when the settings were read.
    *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
}

fn authority(value: &HeaderValue) -> Option<http::uri::Authority> {
    value.to_str().ok()?.parse().ok()
}
