//! TLS towards clients.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::time_provider::TimeProvider;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

/// Why a listener's TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificate's file cannot be read or holds none.
    #[error("the certificate in `{0}` cannot be used: {1}")]
    Certificate(String, String),
    /// The key's file cannot be read or holds none.
    #[error("the private key in `{0}` cannot be used: {1}")]
    Key(String, String),
    /// A file of revocation lists cannot be read or holds none.
    #[error("the revocation list in `{0}` cannot be used: {1}")]
    RevocationList(String, String),
    /// The authorities of clients' certificates and their revocation lists cannot be used together.
    #[error("clients' certificates cannot be verified")]
    Verifier(#[from] VerifierBuilderError),
    /// Certificate and key do not belong together, or rustls refuses them.
    #[error("certificate and key cannot be used together")]
    Rustls(#[from] rustls::Error),
}

/// What a listener shows, and asks clients to show.
#[derive(Clone, Debug)]
pub struct Tls {
    /// A PEM file with the certificate and its chain.
    pub certificate: PathBuf,
    /// A PEM file with its private key.
    pub key: PathBuf,
    /// How clients' certificates are verified; nothing where none is asked for.
    pub clients: Option<ClientCertificates>,
    /// The time by which certificates are good or not.
    pub time: Arc<dyn TimeProvider>,
}

/// How clients' certificates are verified.
#[derive(Clone, Debug)]
pub struct ClientCertificates {
    /// A PEM file of the authorities that may have issued them.
    pub authorities: PathBuf,
    /// PEM files of revocation lists. Where there are some, each issuer needs one.
    pub revocation_lists: Vec<PathBuf>,
    /// What becomes of clients that have none.
    pub presence: Presence,
}

/// Whether a client must show a certificate. One that is shown must be good in either case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It may.
    Optional,
    /// The handshake fails without.
    Required,
}

/// TLS with a certificate chain and its key; HTTP/2 and HTTP/1.1 by ALPN. Sessions can be resumed at
/// the same listener only, and keep the certificate that the client has shown.
///
/// # Errors
/// See [`TlsError`].
pub fn server(tls: Tls) -> Result<TlsAcceptor, TlsError> {
    let chain = certificates(&tls.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&tls.key)
        .map_err(|error| TlsError::Key(tls.key.display().to_string(), error.to_string()))?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = match &tls.clients {
        None => WebPkiClientVerifier::no_client_auth(),
        Some(clients) => verifier(clients, &provider)?,
    };
    let mut config = ServerConfig::builder_with_details(provider, tls.time)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn verifier(
    clients: &ClientCertificates,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut authorities = RootCertStore::empty();
    for authority in certificates(&clients.authorities)? {
        authorities.add(authority).map_err(|error| {
            TlsError::Certificate(clients.authorities.display().to_string(), error.to_string())
        })?;
    }
    let mut lists = Vec::new();
    for file in &clients.revocation_lists {
        lists.extend(revocation_lists(file)?);
    }
    let builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), Arc::clone(provider));
    let builder = builder.with_crls(lists);
    Ok(match clients.presence {
        Presence::Optional => builder.allow_unauthenticated().build()?,
        Presence::Required => builder.build()?,
    })
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unusable = |why: String| TlsError::Certificate(file.display().to_string(), why);
    let found =
        CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = found.map_err(|error| unusable(error.to_string()))?;
    match found.is_empty() {
        true => Err(unusable("it holds no certificate".to_owned())),
        false => Ok(found),
    }
}

fn revocation_lists(file: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let unusable = |why: String| TlsError::RevocationList(file.display().to_string(), why);
    let found = CertificateRevocationListDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = found.map_err(|error| unusable(error.to_string()))?;
    match found.is_empty() {
        true => Err(unusable("it holds none".to_owned())),
        false => Ok(found),
    }
}
