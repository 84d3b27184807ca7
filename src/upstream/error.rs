//! What can go wrong on the way to an upstream, classified by what it means for the request.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use super::dial::is_of_the_other_side;
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
    /// Nobody has said in time which addresses the name has.
    #[error("resolving the name took too long")]
    DnsTimeout,
    /// The name leads to an address that none should lead to.
    #[error("the name leads to {0}, to which no connection is made")]
    Prohibited(IpAddr),
    /// The upstream could not be reached again and again: nothing was tried.
    #[error("the upstream could not be reached before, and is not tried for a while")]
    CircuitOpen {
        /// When it is worth asking again.
        retry_after: Duration,
    },
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

/// What it means that nothing was sent, without the cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreached {
    /// No connection could be made; with the error type of RFC 9209 section 2.3.
    Failed(&'static str),
    /// The same, within the time that it may take.
    TimedOut(&'static str),
    /// The name leads to an address to which no connection is made.
    Prohibited,
    /// The upstream could not be reached before: nothing was tried.
    CircuitOpen {
        /// When it is worth asking again.
        retry_after: Duration,
    },
}

impl SendError {
    /// What it means that nothing was sent, if nothing was.
    pub fn unreached(&self) -> Option<Unreached> {
        let Self::Unreachable(error) = self else { return None };
        Some(match error {
            ConnectError::Prohibited(_) => Unreached::Prohibited,
            ConnectError::CircuitOpen { retry_after } => {
                Unreached::CircuitOpen { retry_after: *retry_after }
            }
            ConnectError::DnsTimeout | ConnectError::Timeout => {
                Unreached::TimedOut(self.proxy_status())
            }
            _ => Unreached::Failed(self.proxy_status()),
        })
    }

    /// Whether the upstream cannot have seen the request.
    pub fn nothing_was_sent(&self) -> bool {
        matches!(self, Self::Unreachable(_))
    }

    /// The error type of RFC 9209 section 2.3.
    pub fn proxy_status(&self) -> &'static str {
        match self {
            Self::Unreachable(ConnectError::Dns(_)) => "dns_error",
            Self::Unreachable(ConnectError::DnsTimeout) => "dns_timeout",
            Self::Unreachable(ConnectError::Prohibited(_)) => "destination_ip_prohibited",
            Self::Unreachable(ConnectError::CircuitOpen { .. }) => "destination_unavailable",
            Self::Unreachable(ConnectError::Refused(error)) => refused(error),
            Self::Unreachable(ConnectError::Timeout) => "connection_timeout",
            Self::Unreachable(ConnectError::Tls(_)) => "tls_certificate_error",
            Self::Unreachable(ConnectError::Http(_)) => "http_protocol_error",
            Self::Timeout => "http_response_timeout",
            Self::Broken(_) => "http_response_incomplete",
        }
    }
}

impl ConnectError {
    /// Whether it tells that the upstream cannot be reached; else it tells of ourselves.
    pub(super) fn is_of_the_upstream(&self) -> bool {
        match self {
            Self::Prohibited(_) | Self::CircuitOpen { .. } => false,
            Self::Refused(error) => is_of_the_other_side(error),
            _ => true,
        }
    }
}

/// The error type of RFC 9209 section 2.3 for a connection that was not made.
fn refused(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection_refused",
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => {
            "connection_terminated"
        }
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            "destination_ip_unroutable"
        }
        io::ErrorKind::TimedOut => "connection_timeout",
        // No descriptor, no port, no memory of our own.
        _ => "proxy_internal_error",
    }
}
