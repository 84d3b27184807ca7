//! TLS towards upstreams and proxies: whom we trust, as whom we come, and what a failed handshake
//! means.

mod files;
mod verifier;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustls::client::ResolvesClientCert;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{InvalidDnsNameError, ServerName};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{ALL_VERSIONS, ClientConfig, SignatureScheme, SupportedProtocolVersion};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::error::ConnectError;
use super::stream::{Stream, welcome};
use super::{Http2, origin::Tls};
use crate::outbox;
pub use verifier::Pin;

/// A server on the same machine takes some time to judge a client's certificate, too.
const VERDICT_WAIT_MIN: Duration = Duration::from_millis(50);

/// A server that says nothing at all must not hold up every connection for longer.
const VERDICT_WAIT_MAX: Duration = Duration::from_millis(500);

/// Why TLS towards an upstream cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file of authorities cannot be read or holds no certificate.
    #[error("the authorities in `{path}` cannot be used: {reason}")]
    Authorities {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The file of our own certificate, or of its key, cannot be read or holds none.
    #[error("`{path}` cannot be used: {reason}")]
    Identity {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The name cannot be in a certificate.
    #[error("`{0}` cannot be the name in a certificate")]
    Name(String, #[source] InvalidDnsNameError),
    /// rustls refuses the settings.
    #[error("TLS cannot be set up")]
    Rustls(#[from] rustls::Error),
    /// rustls refuses the authorities.
    #[error("certificates cannot be verified")]
    Verifier(#[from] rustls::client::VerifierBuilderError),
}

/// How TLS towards one server is to be.
#[derive(Clone, Debug)]
pub struct Terms<'a> {
    /// The name that the certificate must be for; an IPv6 address may stand in brackets.
    pub server_name: &'a str,
    /// The name that the server is told.
    pub sni: Sni<'a>,
    /// Whose certificates are believed.
    pub trust: Trust<'a>,
    /// What is shown to a server that asks who we are.
    pub identity: Option<Identity<'a>>,
    /// Keys of which one must be among those that the server's certificate hangs on; any where
    /// there is none.
    pub pins: Vec<Pin>,
    /// The oldest version that is spoken.
    pub version_min: Version,
    /// Whether HTTP/2 is offered.
    pub http2: Http2,
}

/// The name that a server is told before it shows a certificate (RFC 6066 section 3). An IP address
/// never is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sni<'a> {
    /// The one that the certificate must be for.
    ServerName,
    /// Another one.
    Other(&'a str),
    /// None.
    Off,
}

/// Whose certificates are believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust<'a> {
    /// Those of the authorities that the machine trusts.
    Machine,
    /// Those, and those of the authorities in a file.
    MachineAnd(&'a Path),
    /// Those of the authorities in a file alone.
    Only(&'a Path),
}

/// A certificate of our own, with its chain, and its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity<'a> {
    /// A PEM file with the chain, our own first.
    pub certificate: &'a Path,
    /// A PEM file with the private key.
    pub key: &'a Path,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

impl<'a> Terms<'a> {
    /// What holds where nothing is said: a certificate for `server_name`, by `ca_file` or else by
    /// the machine's trust.
    pub fn usual(server_name: &'a str, ca_file: Option<&'a Path>) -> Self {
        Self {
            server_name,
            sni: Sni::ServerName,
            trust: ca_file.map_or(Trust::Machine, Trust::Only),
            identity: None,
            pins: Vec::new(),
            version_min: Version::Tls12,
            http2: Http2::Auto,
        }
    }
}

/// Makes aws-lc-rs the one crypto provider of the process. Safe to call more than once.
pub fn install_crypto_provider() {
    // An error only says that a provider is there already; nobody but us installs one.
    _ = aws_lc_rs::default_provider().install_default();
}

/// TLS on these terms. Blocks on the file system.
///
/// # Errors
/// See [`TlsError`].
pub fn client(terms: &Terms<'_>) -> Result<Tls, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let server_name = name(terms.server_name)?;
    let told = match terms.sni {
        Sni::Other(other) => name(other)?,
        Sni::ServerName | Sni::Off => server_name.clone(),
    };
    let asked = Arc::new(AtomicBool::new(false));
    let identity = terms.identity.map(|identity| files::certified(identity, &provider));
    let shown = Shown { certified: identity.transpose()?.map(Arc::new), asked: Arc::clone(&asked) };
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions(terms.version_min))?
        .dangerous()
        .with_custom_certificate_verifier(verifier::verifier(terms, server_name, &provider)?)
        .with_client_cert_resolver(Arc::new(shown));
    config.enable_sni = terms.sni != Sni::Off;
    let (h2, http1) = (b"h2".to_vec(), b"http/1.1".to_vec());
    let mut http1_config = config.clone();
    http1_config.alpn_protocols = vec![http1.clone()];
    config.alpn_protocols = match terms.http2 {
        Http2::Auto => vec![h2, http1],
        Http2::Never => vec![http1],
        Http2::Always => vec![h2],
    };
    Ok(Tls {
        config: Arc::new(config),
        http1_config: Arc::new(http1_config),
        server_name: told,
        asked,
    })
}

fn name(text: &str) -> Result<ServerName<'static>, TlsError> {
    let text = text.trim_start_matches('[').trim_end_matches(']');
    ServerName::try_from(text.to_owned()).map_err(|error| TlsError::Name(text.to_owned(), error))
}

fn versions(oldest: Version) -> &'static [&'static SupportedProtocolVersion] {
    static NEWEST: [&SupportedProtocolVersion; 1] = [&TLS13];
    match oldest {
        Version::Tls12 => ALL_VERSIONS,
        Version::Tls13 => &NEWEST,
    }
}

/// What a server is shown that asks who we are.
#[derive(Debug)]
struct Shown {
    certified: Option<Arc<CertifiedKey>>,
    /// A server has asked.
    asked: Arc<AtomicBool>,
}

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.asked.store(true, Ordering::Relaxed);
        self.certified.clone().filter(|shown| shown.key.choose_scheme(schemes).is_some())
    }

    fn has_certs(&self) -> bool {
        self.certified.is_some()
    }
}

/// Puts TLS on a stream.
///
/// # Errors
/// When the handshake fails; nothing but the handshake has been sent.
pub(super) async fn encrypt(
    stream: Stream,
    tls: &Tls,
    config: &Arc<ClientConfig>,
) -> Result<Stream, ConnectError> {
    let begun = Instant::now();
    let connecting =
        TlsConnector::from(Arc::clone(config)).connect(tls.server_name.clone(), stream);
    let mut stream = outbox::ahead_of(connecting).await.map_err(failed)?;
    if tls.asked.load(Ordering::Relaxed) && is_tls13(&stream) {
        verdict(&mut stream, begun.elapsed()).await.map_err(failed)?;
    }
    Ok(Stream::encrypted(stream))
}

fn is_tls13(stream: &TlsStream<Stream>) -> bool {
    stream.get_ref().1.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_3)
}

/// Waits until a server has judged the certificate that it has asked for. In TLS 1.3 it does so
/// after the client has finished (RFC 8446 section 4.4.2.4), and whatever is sent before that is
/// sent to nobody: a login would cost an attempt. A server that is content mostly says so by a
/// ticket; one that says nothing is believed to be content after the time of two handshakes.
async fn verdict(stream: &mut TlsStream<Stream>, handshake: Duration) -> io::Result<()> {
    let wait = (handshake * 2).clamp(VERDICT_WAIT_MIN, VERDICT_WAIT_MAX);
    timeout(wait, welcome(stream)).await.unwrap_or(Ok(()))
}

/// What a failed handshake means.
fn failed(error: io::Error) -> ConnectError {
    // The one way to rustls's own error through the streams of tokio.
    match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(
            rustls::Error::InvalidCertificate(_)
            | rustls::Error::NoCertificatesPresented
            | rustls::Error::UnsupportedNameType,
        ) => ConnectError::Certificate(error),
        Some(rustls::Error::AlertReceived(alert)) => {
            let alert = *alert;
            ConnectError::Alert { alert, source: error }
        }
        Some(_) => ConnectError::Tls(error),
        None => ConnectError::Handshake(error),
    }
}
