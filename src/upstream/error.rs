//! What can go wrong on the way to an upstream, classified by what it means for the request.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use http::StatusCode;
use rustix::io::Errno;
use rustls::AlertDescription;

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
    /// The connection failed before any byte of the request had left.
    #[error("the connection failed before anything was sent")]
    Unsent(#[source] io::Error),
    /// The answer's head is none.
    #[error("the answer cannot be read")]
    Head(#[from] BadHead),
    /// The answer's chunks are none.
    #[error(transparent)]
    Chunk(#[from] BadChunk),
    /// The upstream takes nothing of the request any more.
    #[error("the upstream took nothing of the request for too long")]
    Stalled,
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
    /// It is this machine that has nothing left to make a connection with.
    #[error("this machine has no descriptor, no port or no memory left for a connection")]
    Exhausted(#[source] io::Error),
    /// Connecting took longer than allowed.
    #[error("connecting took too long")]
    Timeout,
    /// The certificate that was shown is not to be believed.
    #[error("the certificate is not accepted")]
    Certificate(#[source] io::Error),
    /// The other side broke the TLS handshake off and said why.
    #[error("the TLS handshake was refused")]
    Alert {
        /// What it said.
        alert: AlertDescription,
        /// The same, in words.
        source: io::Error,
    },
    /// The TLS handshake failed: no version or cipher in common, or what came is no TLS.
    #[error("the TLS handshake failed")]
    Tls(#[source] io::Error),
    /// The connection broke in the TLS handshake.
    #[error("the connection broke in the TLS handshake")]
    Handshake(#[source] io::Error),
    /// There is no way through the proxy.
    #[error("there is no way through the proxy")]
    Proxy(#[source] Box<ProxyError>),
    /// The HTTP handshake failed.
    #[error("the HTTP handshake failed")]
    Http(#[source] hyper::Error),
}

/// Why a proxy makes no tunnel.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// There is no connection to the proxy itself.
    #[error("the proxy cannot be reached")]
    Unreachable(#[from] ConnectError),
    /// It answered with another status than success.
    #[error("the proxy answered with {0}")]
    Refused(StatusCode),
    /// Its answer's head is none.
    #[error("the proxy's answer cannot be read")]
    Head(#[from] BadHead),
    /// It sent something before anything was sent through the tunnel. Who takes that for the
    /// upstream's would believe the proxy what only the upstream may say.
    #[error("the proxy sent something ahead of the tunnel")]
    Ahead,
    /// The connection to the proxy broke off.
    #[error("the connection to the proxy broke off")]
    Closed(#[from] io::Error),
}

/// The type of an error (RFC 9209 section 2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorType {
    name: &'static str,
    alert: Option<AlertDescription>,
}

impl ErrorType {
    /// The name alone.
    pub const fn named(name: &'static str) -> Self {
        Self { name, alert: None }
    }
}

/// As in `Proxy-Status`, with its own parameters.
impl fmt::Display for ErrorType {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name)?;
        let Some(alert) = self.alert else { return Ok(()) };
        write!(out, "; alert-id={}", u8::from(alert))?;
        let Some(name) = alert.as_str() else { return Ok(()) };
        // rustls writes `UnknownCA` what the registry of alerts writes `unknown_ca`.
        out.write_str("; alert-message=")?;
        let mut is_within_capitals = true;
        for letter in name.chars() {
            if letter.is_ascii_uppercase() && !is_within_capitals {
                out.write_str("_")?;
            }
            is_within_capitals = letter.is_ascii_uppercase();
            write!(out, "{}", letter.to_ascii_lowercase())?;
        }
        Ok(())
    }
}

/// Whether it tells that this machine has no descriptor or no memory left. For that it has no port see
/// [`lacks_port`].
pub(super) fn is_exhausted(error: &io::Error) -> bool {
    let number = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(number, Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM))
}

/// Whether a connection to `address` failed because all of this machine's ports are in use there. An
/// address of a family that it does not have is told in the same way; then no datagram could be sent
/// there either, of which ports there are enough. None is sent.
fn lacks_port(error: &io::Error, address: SocketAddr) -> bool {
    let number = error.raw_os_error().map(Errno::from_raw_os_error);
    if number != Some(Errno::ADDRNOTAVAIL) {
        return false;
    }
    let any: SocketAddr = match address.is_ipv4() {
        true => (Ipv4Addr::UNSPECIFIED, 0).into(),
        false => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    UdpSocket::bind(any).and_then(|socket| socket.connect(address)).is_ok()
}

impl Broken {
    /// Whether nothing of the request was sent, or the upstream itself says that it has not processed
    /// it: it has refused the stream, or goes away without it (RFC 9113 section 8.7).
    fn is_unprocessed(&self) -> bool {
        let error = match self {
            Self::Unsent(_) => return true,
            Self::Hyper(error) => error,
            _ => return false,
        };
        let cause = error.source().and_then(|cause| cause.downcast_ref::<h2::Error>());
        cause.is_some_and(|cause| {
            let is_refused = cause.is_reset() && cause.reason() == Some(h2::Reason::REFUSED_STREAM);
            // h2 tells it to those streams only that the other side names.
            cause.is_remote() && (is_refused || cause.is_go_away())
        })
    }
}

impl ConnectError {
    /// Why a socket was not connected to an address.
    pub(super) fn at(address: SocketAddr, error: io::Error) -> Self {
        match lacks_port(&error, address) {
            true => Self::Exhausted(error),
            false => Self::of(error),
        }
    }

    /// Why a socket was not connected.
    pub(super) fn of(error: io::Error) -> Self {
        match is_exhausted(&error) {
            true => Self::Exhausted(error),
            false => Self::Refused(error),
        }
    }

    /// Whether it tells that the upstream cannot be reached; else it tells of ourselves.
    pub(super) fn is_of_the_upstream(&self) -> bool {
        match self.first() {
            Self::Prohibited(_) | Self::CircuitOpen { .. } | Self::Exhausted(_) => false,
            Self::Refused(error) => is_of_the_other_side(error),
            _ => true,
        }
    }

    /// The same, of the connection to the proxy where there is none to it.
    fn first(&self) -> &Self {
        match self {
            Self::Proxy(error) => match &**error {
                ProxyError::Unreachable(error) => error.first(),
                _ => self,
            },
            _ => self,
        }
    }

    /// The error type of RFC 9209 section 2.3.
    pub fn proxy_status(&self) -> ErrorType {
        ErrorType::named(match self {
            Self::Dns(_) => "dns_error",
            Self::DnsTimeout => "dns_timeout",
            Self::Prohibited(_) => "destination_ip_prohibited",
            Self::CircuitOpen { .. } => "destination_unavailable",
            Self::Refused(error) => refused(error),
            Self::Exhausted(_) => "proxy_internal_error",
            Self::Timeout => "connection_timeout",
            Self::Certificate(_) => "tls_certificate_error",
            Self::Alert { alert, .. } => {
                return ErrorType { name: "tls_alert_received", alert: Some(*alert) };
            }
            Self::Tls(_) => "tls_protocol_error",
            Self::Handshake(_) => "connection_terminated",
            Self::Http(_) => "http_protocol_error",
            Self::Proxy(error) => return error.proxy_status(),
        })
    }
}

impl ProxyError {
    fn proxy_status(&self) -> ErrorType {
        ErrorType::named(match self {
            // To us, the proxy is the next hop.
            Self::Unreachable(error) => return error.proxy_status(),
            Self::Refused(StatusCode::GATEWAY_TIMEOUT) => "connection_timeout",
            Self::Refused(status) if status.is_server_error() => "destination_unavailable",
            Self::Refused(_) => "proxy_configuration_error",
            Self::Head(_) | Self::Ahead => "http_protocol_error",
            Self::Closed(_) => "connection_terminated",
        })
    }
}

impl From<ProxyError> for ConnectError {
    fn from(error: ProxyError) -> Self {
        Self::Proxy(Box::new(error))
    }
}

/// What it means that nothing was sent, without the cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreached {
    /// No connection could be made; with the error type of RFC 9209 section 2.3.
    Failed(ErrorType),
    /// The same, within the time that it may take.
    TimedOut(ErrorType),
    /// The name leads to an address to which no connection is made.
    Prohibited,
    /// This machine has nothing left to make a connection with.
    Exhausted,
    /// The upstream could not be reached before: nothing was tried.
    CircuitOpen {
        /// When it is worth asking again.
        retry_after: Duration,
    },
}

impl SendError {
    /// What it means that nothing was sent, if nothing was, or that what was sent was not processed.
    pub fn unreached(&self) -> Option<Unreached> {
        let error = match self {
            Self::Unreachable(error) => error,
            _ if self.was_not_processed() => return Some(Unreached::Failed(self.proxy_status())),
            _ => return None,
        };
        Some(match error.first() {
            ConnectError::Prohibited(_) => Unreached::Prohibited,
            ConnectError::Exhausted(_) => Unreached::Exhausted,
            ConnectError::CircuitOpen { retry_after } => {
                Unreached::CircuitOpen { retry_after: *retry_after }
            }
            ConnectError::DnsTimeout | ConnectError::Timeout => {
                Unreached::TimedOut(self.proxy_status())
            }
            _ => Unreached::Failed(self.proxy_status()),
        })
    }

    /// Whether the upstream cannot have seen the request, or says that it has not processed it.
    pub fn nothing_was_sent(&self) -> bool {
        matches!(self, Self::Unreachable(_)) || self.was_not_processed()
    }

    /// Whether there was a connection, and the request was all the same not sent, or not processed as
    /// the upstream says: it may be sent again.
    pub fn was_not_processed(&self) -> bool {
        matches!(self, Self::Broken(broken) if broken.is_unprocessed())
    }

    /// The error type of RFC 9209 section 2.3.
    pub fn proxy_status(&self) -> ErrorType {
        ErrorType::named(match self {
            Self::Unreachable(error) => return error.proxy_status(),
            Self::Timeout => "http_response_timeout",
            Self::Broken(Broken::Stalled) => "connection_write_timeout",
            Self::Broken(Broken::Unsent(_)) => "connection_terminated",
            Self::Broken(_) if self.was_not_processed() => "destination_unavailable",
            Self::Broken(_) => "http_response_incomplete",
        })
    }
}

/// The error type of RFC 9209 section 2.3 for a connection that was not made.
fn refused(error: &io::Error) -> &'static str {
    match error.kind() {
        // Nobody listens at an address; or there is no Unix socket.
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => "connection_refused",
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => {
            "connection_terminated"
        }
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            "destination_ip_unroutable"
        }
        io::ErrorKind::TimedOut => "connection_timeout",
        // No leave, or no address of our own.
        _ => "proxy_internal_error",
    }
}

/// An error with its causes. None of those of an exchange holds a value of a request.
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        // A transparent error says what its cause says.
        if !text.ends_with(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails when a want of ports is told as the upstream's fault, or an address that cannot be reached
    /// from here as a want of ports.
    #[test]
    fn a_want_of_ports_is_a_want_of_ours() {
        let number = Errno::ADDRNOTAVAIL.raw_os_error();
        let told = |address: &str, number| {
            ConnectError::at(address.parse().unwrap(), io::Error::from_raw_os_error(number))
        };
        let exhausted = told("127.0.0.1:443", number);
        assert!(matches!(exhausted, ConnectError::Exhausted(_)), "{exhausted:?}");
        assert!(!exhausted.is_of_the_upstream());
        assert_eq!(SendError::Unreachable(exhausted).unreached(), Some(Unreached::Exhausted));
        // No machine has a way to an address of no interface.
        let foreign = told("[fe80::1]:443", number);
        assert!(matches!(foreign, ConnectError::Refused(_)), "{foreign:?}");
        let refused = told("127.0.0.1:443", Errno::CONNREFUSED.raw_os_error());
        assert!(matches!(refused, ConnectError::Refused(_)), "{refused:?}");
    }

    #[test]
    fn an_alert_is_told_as_the_registry_names_it() {
        let told = |alert| ErrorType { name: "tls_alert_received", alert: Some(alert) }.to_string();
        for (alert, id, name) in [
            (AlertDescription::CertificateRequired, 116, "certificate_required"),
            (AlertDescription::UnknownCA, 48, "unknown_ca"),
            (AlertDescription::HandshakeFailure, 40, "handshake_failure"),
        ] {
            let expected = format!("tls_alert_received; alert-id={id}; alert-message={name}");
            assert_eq!(told(alert), expected);
        }
        let unknown = told(AlertDescription::from(99));
        assert_eq!(unknown, "tls_alert_received; alert-id=99");
    }
}
