//! TLS on both sides, as it is written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The certificate that a listener shows, and those that it asks clients for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::settings) struct ServerTls {
    /// A PEM file with the certificate and its chain, the listener's own first.
    #[schemars(required, extend("examples" = ["tls.crt"]))]
    pub(in crate::settings) certificate: Option<String>,
    /// A PEM file with the private key of the certificate.
    #[schemars(required, extend("examples" = ["tls.key"]))]
    pub(in crate::settings) key: Option<String>,
    /// A PEM file of the authorities that issue clients' certificates (mutual TLS). Give it an
    /// authority of your own: every certificate that it has issued for clients can connect. Which
    /// client a certificate is, `certificates` of the clients says. It is read at start.
    #[schemars(extend("examples" = ["clients-ca.pem"]))]
    pub(in crate::settings) client_ca_file: Option<String>,
    /// Whether a client must have a certificate, where `client_ca_file` is given; `optional` where
    /// nothing is said.
    pub(in crate::settings) client_certificates: Option<ClientCertificates>,
    /// PEM files of revocation lists (CRL). Where there are some, each authority needs one. They are
    /// read at start, and their own end is not looked at.
    #[serde(default)]
    #[schemars(extend("examples" = [["clients-ca.crl"]]))]
    pub(in crate::settings) client_crl_files: Vec<String>,
}

/// Whether a client must have a certificate. One that is shown and is not good ends the handshake in
/// either case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ClientCertificates {
    /// It may show one, and a key in its place.
    #[default]
    Optional,
    /// The handshake fails without. A certificate that is no client's lets nobody in, but a key may
    /// come with it.
    Required,
}

/// How the upstream's certificate is verified.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::settings) struct UpstreamTls {
    /// A PEM file of authorities to trust instead of the machine's.
    #[schemars(extend("examples" = ["company-ca.pem"]))]
    pub(in crate::settings) ca_file: Option<String>,
    /// The name that the certificate must be made out to, where it is not the URL's host.
    #[schemars(extend("examples" = ["api.internal"]))]
    pub(in crate::settings) server_name: Option<String>,
}
