//! Where an upstream is and how it is reached.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use http::HeaderValue;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::Dialler;

/// Where an upstream is and how it is reached.
#[derive(Debug)]
pub struct Origin {
    /// Host name or address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// What the URL says: the host, and the port where it is not the scheme's own.
    pub url_authority: HeaderValue,
    /// What `Host` and `:authority` say.
    pub authority: HeaderValue,
    /// What lies on the way.
    pub way: Way,
    /// The path below which the upstream's own paths begin: empty, or `/x` without a slash at the
    /// end.
    pub base_path: String,
    /// TLS, unless the upstream is plain HTTP.
    pub tls: Option<Tls>,
    /// Whether HTTP/2 may be used.
    pub http2: Http2,
    /// The protocols that a connection may be upgraded to, in lower case.
    pub upgrades: Vec<HeaderValue>,
    /// How long connecting may take, TLS included.
    pub connect_timeout: Duration,
    /// How long the head of an answer may take.
    pub response_timeout: Duration,
    /// How long a connection is kept without a request.
    pub idle_timeout: Duration,
    /// Makes the connections, and knows how its addresses fare.
    pub dialler: Dialler,
}

/// The way to an upstream.
#[derive(Debug)]
pub enum Way {
    /// There is nothing in between.
    Direct,
    /// A Unix socket on this machine, whatever host and port say.
    Unix(PathBuf),
    /// A proxy that makes tunnels.
    Proxy(Box<Proxy>),
}

/// A proxy that makes tunnels (CONNECT, RFC 9110 section 9.3.6).
#[derive(Debug)]
pub struct Proxy {
    /// Host name or address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// TLS to the proxy itself.
    pub tls: Option<Tls>,
    /// What `Proxy-Authorization` says. It is for the proxy alone.
    pub authorization: Option<HeaderValue>,
}

/// TLS towards an upstream or a proxy.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Roots, versions and ALPN.
    pub config: Arc<ClientConfig>,
    /// The same, with HTTP/1.1 alone: only that can be upgraded.
    pub http1_config: Arc<ClientConfig>,
    /// The name that the server is told, and mostly that its certificate must be for.
    pub server_name: ServerName<'static>,
    /// The server has asked for a certificate at least once.
    pub asked: Arc<AtomicBool>,
}

/// Whether HTTP/2 may be used towards an upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Http2 {
    /// If ALPN chooses it.
    #[default]
    Auto,
    /// Never.
    Never,
    /// Always, without TLS by prior knowledge (RFC 9113 section 3.3).
    Always,
}

impl Origin {
    /// `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// Whether an authority in a URL is this upstream's: the one that it is told, or the one that
    /// its own URL has.
    pub fn has_authority(&self, authority: &str) -> bool {
        let is = |ours: &HeaderValue| ours.as_bytes().eq_ignore_ascii_case(authority.as_bytes());
        is(&self.authority) || is(&self.url_authority)
    }
}
