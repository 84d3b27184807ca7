//! Certificates and keys in files.

use std::path::Path;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::{Identity, TlsError};

/// Our own certificate with its key.
pub(super) fn certified(
    identity: Identity<'_>,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    let unusable = |path: &Path, reason: String| TlsError::Identity {
        path: path.display().to_string(),
        reason,
    };
    let Identity { certificate, key } = identity;
    let chain = certificates(certificate).map_err(|reason| unusable(certificate, reason))?;
    let parsed = PrivateKeyDer::from_pem_file(key);
    let parsed = parsed.map_err(|error| unusable(key, error.to_string()))?;
    CertifiedKey::from_der(chain, parsed, provider)
        .map_err(|error| unusable(key, error.to_string()))
}

/// The authorities in a file.
pub(super) fn authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    certificates(path)
        .map_err(|reason| TlsError::Authorities { path: path.display().to_string(), reason })
}

/// The same, to be trusted.
pub(super) fn roots(
    path: &Path,
    authorities: &[CertificateDer<'static>],
) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority.clone()).map_err(|error| TlsError::Authorities {
            path: path.display().to_string(),
            reason: error.to_string(),
        })?;
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found =
        CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = found.map_err(|error| error.to_string())?;
    match found.is_empty() {
        true => Err("it holds no certificate".to_owned()),
        false => Ok(found),
    }
}
