//! What can go wrong on the way to an upstream, classified by what it means for the request.

use std::io;

use super::http1::{BadChunk, BadHead};

/// A request that got no answer.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// No connection: nothing was sent.
    #[error("the upstream cannot be reached")]
    Unreachable(#[source] ConnectError),
    /// No answer within the deadline; the request may have been executed.
    #[error("the upstream did not answer in time")]
    Timeout,
    /// The connection broke or the answer is no HTTP; the request may have been executed.
    #[error("the upstream's answer broke off")]
    Broken(#[source] Broken),
}

/// How an exchange broke off.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The upstream closed the connection before the end of the answer.
    #[error("the connection was closed before the answer's end")]
    Closed,
    /// The connection failed.
    #[error("the connection failed")]
    Connection(#[from] io::Error),
    /// The answer's head is none.
    #[error("the answer cannot be read")]
    Head(#[from] BadHead),
    /// The answer's chunks are none.
    #[error(transparent)]
    Chunk(#[from] BadChunk),
    /// The request's own body broke off.
    #[error("the request's body broke off")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// HTTP/2, or an upgrade.
    #[error(transparent)]
    Hyper(#[from] hyper::Error),
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The name has no address.
    #[error("the name cannot be resolved")]
    Dns(#[source] io::Error),
    /// Refused, unreachable, reset.
    #[error("the connection was refused")]
    Refused(#[source] io::Error),
    /// Connecting took longer than allowed.
    #[error("connecting took too long")]
    Timeout,
    /// The TLS handshake failed, most often over the certificate.
    #[error("the TLS handshake failed")]
    Tls(#[source] io::Error),
    /// The HTTP handshake failed.
    #[error("the HTTP handshake failed")]
    Http(#[source] hyper::Error),
}

impl SendError {
    /// Whether the upstream cannot have seen the request.
    pub fn nothing_was_sent(&self) -> bool {
        matches!(self, Self::Unreachable(_))
    }

    /// The error type of RFC 9209 section 2.3.
    pub fn proxy_status(&self) -> &'static str {
        match self {
            Self::Unreachable(ConnectError::Dns(_)) => "dns_error",
            Self::Unreachable(ConnectError::Refused(_)) => "connection_refused",
            Self::Unreachable(ConnectError::Timeout) => "connection_timeout",
            Self::Unreachable(ConnectError::Tls(_)) => "tls_certificate_error",
            Self::Unreachable(ConnectError::Http(_)) => "http_protocol_error",
            Self::Timeout => "http_response_timeout",
            Self::Broken(_) => "http_response_incomplete",
        }
    }
}
