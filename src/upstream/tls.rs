//! TLS towards upstreams: the authorities that the machine trusts, or one's own.

use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName};
use rustls_platform_verifier::BuilderVerifierExt;

use super::Http2;
use super::origin::Tls;

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
    /// The name cannot be in a certificate.
    #[error("`{0}` cannot be the name in a certificate")]
    Name(String, #[source] InvalidDnsNameError),
    /// rustls refuses the settings.
    #[error("TLS cannot be set up")]
    Rustls(#[from] rustls::Error),
}

/// Makes aws-lc-rs the one crypto provider of the process. Safe to call more than once.
pub fn install_crypto_provider() {
    // An error only says that a provider is there already; nobody but us installs one.
    _ = aws_lc_rs::default_provider().install_default();
}

/// TLS towards `server_name`, trusting the machine's authorities or those in `ca_file`.
///
/// # Errors
/// See [`TlsError`].
pub fn client(server_name: &str, ca_file: Option<&Path>, http2: Http2) -> Result<Tls, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = match ca_file {
        None => builder.with_platform_verifier()?.with_no_client_auth(),
        Some(path) => builder.with_root_certificates(authorities(path)?).with_no_client_auth(),
    };
    let (h2, http1) = (b"h2".to_vec(), b"http/1.1".to_vec());
    let mut http1_config = config.clone();
    http1_config.alpn_protocols = vec![http1.clone()];
    config.alpn_protocols = match http2 {
        Http2::Auto => vec![h2, http1],
        Http2::Never => vec![http1],
        Http2::Always => vec![h2],
    };
    let name = server_name.trim_start_matches('[').trim_end_matches(']');
    let server_name = ServerName::try_from(name.to_owned())
        .map_err(|error| TlsError::Name(name.to_owned(), error))?;
    Ok(Tls { config: Arc::new(config), http1_config: Arc::new(http1_config), server_name })
}

fn authorities(path: &Path) -> Result<rustls::RootCertStore, TlsError> {
    let unusable =
        |reason: String| TlsError::Authorities { path: path.display().to_string(), reason };
    let mut roots = rustls::RootCertStore::empty();
    for certificate in
        CertificateDer::pem_file_iter(path).map_err(|error| unusable(error.to_string()))?
    {
        let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
        roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(unusable("it holds no certificate".to_owned()));
    }
    Ok(roots)
}
