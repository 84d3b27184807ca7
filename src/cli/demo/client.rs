//! A client as clients are: HTTP over a connection of its own, no credential. It remembers every
//! byte that it was given.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::clock::Clock;
use crate::emulator::Call;

/// How long an answer may take: longer than Doorward lets a request wait.
pub(super) const ANSWER_TIME_MAX: Duration = Duration::from_secs(15);

/// The longest body of an answer that is taken.
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// A client of one upstream behind Doorward.
#[derive(Debug)]
pub(super) struct Client {
    address: SocketAddr,
    prefix: String,
    clock: Clock,
    received: Mutex<Vec<u8>>,
}

/// What a client was given for a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// What the call is for.
    Good(StatusCode),
    /// The right status, and not the right body.
    Empty(StatusCode),
    /// Another status.
    Bad(StatusCode),
    /// Nothing.
    None(String),
}

#[derive(Debug, thiserror::Error)]
enum NoAnswer {
    #[error("no connection")]
    Connect(#[source] io::Error),
    #[error("no request")]
    Request(#[from] http::Error),
    #[error("the connection failed")]
    Http(#[from] hyper::Error),
    #[error("the body broke off or is too long")]
    Body,
}

impl Client {
    /// A client that calls below `prefix` at `address`.
    pub(super) fn new(address: SocketAddr, prefix: String, clock: Clock) -> Self {
        Self { address, prefix, clock, received: Mutex::default() }
    }

    /// Sends a call and reads its whole answer, within [`ANSWER_TIME_MAX`]. Not cancel safe: the
    /// call may have been executed.
    pub(super) async fn send(&self, call: &Call) -> Answer {
        let exchanged = tokio::select! {
            exchanged = self.exchange(call) => exchanged,
            () = self.clock.sleep(ANSWER_TIME_MAX) => {
                return Answer::None(format!("within {} s", ANSWER_TIME_MAX.as_secs()));
            }
        };
        match exchanged {
            Err(error) => Answer::None(error.to_string()),
            Ok((status, _)) if status != call.status => Answer::Bad(status),
            Ok((status, body)) if !contains(&body, call.answer.as_bytes()) => Answer::Empty(status),
            Ok((status, _)) => Answer::Good(status),
        }
    }

    /// Every byte of every answer so far, heads included.
    pub(super) fn received(&self) -> Vec<u8> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn exchange(&self, call: &Call) -> Result<(StatusCode, Bytes), NoAnswer> {
        let request = self.request(call)?;
        let stream = TcpStream::connect(self.address).await.map_err(NoAnswer::Connect)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let exchange = async {
            let (head, body) = sender.send_request(request).await?.into_parts();
            let body = Limited::new(body, BODY_BYTES_MAX).collect().await;
            let body = body.map_err(|_| NoAnswer::Body)?.to_bytes();
            self.keep(&head.headers, &body);
            Ok((head.status, body))
        };
        let mut exchange = std::pin::pin!(exchange);
        tokio::select! {
            exchanged = exchange.as_mut() => exchanged,
            // The connection may end before the last of what it brought is read.
            _ = connection => exchange.await,
        }
    }

    fn request(&self, call: &Call) -> Result<Request<Full<Bytes>>, http::Error> {
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(format!("{}{}", self.prefix, call.target))
            .header(header::HOST, self.address.to_string())
            .header(header::CONNECTION, "close");
        if !call.body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        for (name, value) in call.headers {
            request = request.header(*name, *value);
        }
        request.body(Full::from(call.body))
    }

    fn keep(&self, headers: &http::HeaderMap, body: &[u8]) {
        let mut received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, value) in headers {
            received.extend_from_slice(name.as_str().as_bytes());
            received.extend_from_slice(b": ");
            received.extend_from_slice(value.as_bytes());
            received.push(b'\n');
        }
        received.extend_from_slice(body);
        received.push(b'\n');
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Good(status) | Self::Bad(status) => write!(formatter, "{}", status.as_u16()),
            Self::Empty(status) => {
                write!(formatter, "{} without the right content", status.as_u16())
            }
            Self::None(why) => write!(formatter, "no answer: {why}"),
        }
    }
}

/// Whether `part` is somewhere in `bytes`.
pub(super) fn contains(bytes: &[u8], part: &[u8]) -> bool {
    part.is_empty() || bytes.windows(part.len()).any(|window| window == part)
}
