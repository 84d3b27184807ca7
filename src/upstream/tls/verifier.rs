//! Whose certificate a server may show. rustls and the machine verify it; here it is said for which
//! name, and by which keys at the least.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{Sni, Terms, TlsError, Trust, files};

/// The SHA-256 of a public key with its algorithm (`SubjectPublicKeyInfo`, RFC 7469 section 2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin(pub [u8; 32]);

impl Pin {
    fn fits(&self, certificate: &CertificateDer<'_>) -> bool {
        X509Certificate::from_der(certificate).is_ok_and(|(_, parsed)| {
            digest(&SHA256, parsed.tbs_certificate.subject_pki.raw).as_ref() == self.0
        })
    }
}

/// The server's certificate is good, and hangs on no key that was pinned.
#[derive(Debug, thiserror::Error)]
#[error("neither the certificate nor an authority above it has a key that is pinned")]
struct NotPinned;

/// What verifies certificates on these terms, for this name.
pub(super) fn verifier(
    terms: &Terms<'_>,
    name: ServerName<'static>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    let machine = |more: &[CertificateDer<'static>]| {
        rustls_platform_verifier::Verifier::new_with_extra_roots(
            more.iter().cloned(),
            Arc::clone(provider),
        )
    };
    let (inner, known): (Arc<dyn ServerCertVerifier>, _) = match terms.trust {
        Trust::Machine => (Arc::new(machine(&[])?), Vec::new()),
        Trust::MachineAnd(path) => {
            let more = files::authorities(path)?;
            // Judged one by one, so that the fault names the file.
            files::roots(path, &more)?;
            (Arc::new(machine(&more)?), more)
        }
        Trust::Only(path) => {
            let authorities = files::authorities(path)?;
            let roots = Arc::new(files::roots(path, &authorities)?);
            let provider = Arc::clone(provider);
            (WebPkiServerVerifier::builder_with_provider(roots, provider).build()?, authorities)
        }
    };
    if terms.pins.is_empty() && !matches!(terms.sni, Sni::Other(_)) {
        return Ok(inner);
    }
    let provider = Arc::clone(provider);
    let name = matches!(terms.sni, Sni::Other(_)).then_some(name);
    Ok(Arc::new(Verifier { inner, name, pins: terms.pins.clone(), known, provider }))
}

#[derive(Debug)]
struct Verifier {
    inner: Arc<dyn ServerCertVerifier>,
    /// The name that the certificate must be for, where it is not the one that the server is told.
    name: Option<ServerName<'static>>,
    pins: Vec<Pin>,
    /// Authorities that servers need not send.
    known: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    fn is_pinned(&self, certificate: &CertificateDer<'_>) -> bool {
        self.pins.iter().any(|pin| pin.fits(certificate))
    }

    /// Whether a path leads from the certificate to an authority with a pinned key. One that is
    /// only sent along proves nothing: anybody can send it.
    fn hangs_on_a_pin(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> bool {
        let mut pinned = RootCertStore::empty();
        for authority in intermediates.iter().chain(&self.known).filter(|one| self.is_pinned(one)) {
            // What cannot be an authority is none.
            _ = pinned.add(authority.clone().into_owned());
        }
        let provider = Arc::clone(&self.provider);
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(pinned), provider).build();
        verifier.is_ok_and(|verifier| {
            verifier.verify_server_cert(certificate, intermediates, name, &[], now).is_ok()
        })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        told: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let name = self.name.as_ref().unwrap_or(told);
        let verified =
            self.inner.verify_server_cert(certificate, intermediates, name, ocsp, now)?;
        let is_pinned = self.pins.is_empty()
            || self.is_pinned(certificate)
            || self.hangs_on_a_pin(certificate, intermediates, name, now);
        match is_pinned {
            true => Ok(verified),
            false => Err(CertificateError::Other(OtherError(Arc::new(NotPinned))).into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
