//! Where an upstream is and how it is reached.

use std::sync::Arc;
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
    /// What `Host` and `:authority` say.
    pub authority: HeaderValue,
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
    /// Makes the connections, and knows how its addresses fare.
    pub dialler: Dialler,
}

/// TLS towards an upstream.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Roots, versions and ALPN.
    pub config: Arc<ClientConfig>,
    /// The same, with HTTP/1.1 alone: only that can be upgraded.
    pub http1_config: Arc<ClientConfig>,
    /// The name that the certificate must be for.
    pub server_name: ServerName<'static>,
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
}
