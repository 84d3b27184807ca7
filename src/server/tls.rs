//! TLS towards clients.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
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
    /// Certificate and key do not belong together, or rustls refuses them.
    #[error("certificate and key cannot be used together")]
    Rustls(#[from] rustls::Error),
}

/// TLS with a certificate chain and its key, from PEM files; HTTP/2 and HTTP/1.1 by ALPN.
///
/// # Errors
/// See [`TlsError`].
pub fn server(certificate: &Path, key: &Path) -> Result<TlsAcceptor, TlsError> {
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| {
            TlsError::Certificate(certificate.display().to_string(), error.to_string())
        })?;
    if chain.is_empty() {
        let nothing = "it holds no certificate".to_owned();
        return Err(TlsError::Certificate(certificate.display().to_string(), nothing));
    }
    let key = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| TlsError::Key(key.display().to_string(), error.to_string()))?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
