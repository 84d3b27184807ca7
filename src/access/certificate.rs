//! What of a client's certificate counts here. That it is good is TLS's to say.

use std::time::{Duration, SystemTime};

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use super::identity::SubjectAltName;

/// A certificate that TLS took and that is no certificate here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the client's certificate cannot be read")]
pub struct CertificateError;

/// What of a certificate counts.
#[derive(Clone, Debug)]
pub(super) struct Certificate {
    /// The names that say whose it is; of other kinds there are none.
    pub(super) names: Vec<SubjectAltName>,
    /// The last moment at which it is good (RFC 5280 section 4.1.2.5).
    pub(super) until: SystemTime,
}

impl Certificate {
    pub(super) fn read(der: &[u8]) -> Result<Self, CertificateError> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|_| CertificateError)?;
        let names = certificate.subject_alternative_name().map_err(|_| CertificateError)?;
        let names = names.iter().flat_map(|extension| &extension.value.general_names);
        let names = names.filter_map(|name| match name {
            GeneralName::URI(uri) => Some(SubjectAltName::Uri((*uri).to_owned())),
            GeneralName::DNSName(name) => Some(SubjectAltName::dns(name)),
            GeneralName::RFC822Name(address) => Some(SubjectAltName::email(address)),
            _ => None,
        });
        // Before 1970 it is over in any case.
        let until = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0);
        let until = SystemTime::UNIX_EPOCH + Duration::from_secs(until);
        Ok(Self { names: names.collect(), until })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_certificate_is_refused() {
        for der in [&b""[..], b"\x30\x03\x02\x01\x01", b"no certificate"] {
            assert_eq!(Certificate::read(der).err(), Some(CertificateError));
        }
    }
}
