//! Certificates made at start: an authority of its own and a server certificate that it signed.

use std::fmt;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

/// A server certificate with its key and the authority that signed it. The authority's key is
/// thrown away once it has signed.
pub struct Certificate {
    authority_pem: String,
    certificate_pem: String,
    certificate: CertificateDer<'static>,
    key: KeyPair,
}

/// Why a certificate cannot be made or served.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A name that no certificate can hold, or a failure of the crypto library.
    #[error("certificate cannot be made")]
    Make(#[from] rcgen::Error),
    /// The TLS library does not take it.
    #[error("certificate cannot be served")]
    Serve(#[from] rustls::Error),
}

impl Certificate {
    /// A certificate for these DNS names and IP addresses.
    ///
    /// # Errors
    /// A name is neither, or no randomness was to be had.
    pub fn for_names(names: &[&str]) -> Result<Self, CertificateError> {
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        authority.distinguished_name.push(DnType::CommonName, "Doorward emulator authority");
        let authority_key = KeyPair::generate()?;
        let authority_pem = authority.self_signed(&authority_key)?.pem();
        let issuer = Issuer::new(authority, authority_key);

        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut leaf = CertificateParams::new(names)?;
        leaf.distinguished_name.push(DnType::CommonName, "Doorward emulator");
        leaf.use_authority_key_identifier_extension = true;
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate()?;
        let certificate = leaf.signed_by(&key, &issuer)?;
        let certificate_pem = certificate.pem();
        Ok(Self { authority_pem, certificate_pem, certificate: certificate.der().clone(), key })
    }

    /// What a client must trust, as PEM.
    pub fn authority_pem(&self) -> &str {
        &self.authority_pem
    }

    /// The server's certificate, as PEM.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The server's key (PKCS #8), as PEM.
    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// Takes TLS connections with this certificate; offers h2 and http/1.1.
    pub(super) fn acceptor(&self) -> Result<TlsAcceptor, CertificateError> {
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.clone()], key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Certificate").finish_non_exhaustive()
    }
}
