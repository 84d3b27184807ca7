//! What can go wrong on the way to an upstream, classified by what it means for the request.

use std::io;

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
    Broken(#[source] hyper::Error),
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
