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
    /// client a certificate is, `certificates` of the clients says. It is read at start and at a
    /// reload.
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

/// How TLS to a server is: whom Doorward trusts there, and as whom it comes.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::settings) struct UpstreamTls {
    /// A PEM file of authorities to trust instead of the machine's.
    #[schemars(extend("examples" = ["company-ca.pem"]))]
    pub(in crate::settings) ca_file: Option<String>,
    /// A PEM file of authorities to trust beside the machine's.
    #[schemars(extend("examples" = ["company-ca.pem"]))]
    pub(in crate::settings) extra_ca_file: Option<String>,
    /// The name that the certificate must be made out to, where it is not the URL's host. It is also
    /// the name that the server is told (SNI), unless `sni` says otherwise.
    #[schemars(extend("examples" = ["api.internal"]))]
    pub(in crate::settings) server_name: Option<String>,
    /// The name that the server is told in the handshake, where it is not the one that the
    /// certificate must be made out to; `false` tells none. An IP address is never told.
    #[schemars(extend("examples" = ["edge.example.com", false]))]
    pub(in crate::settings) sni: Option<Sni>,
    /// Public keys of which one must be the certificate's or that of an authority above it, each as
    /// `sha256/` and the base64 of its digest (RFC 7469 section 2.4). The certificate must be good
    /// all the same. An authority's key counts where the server sends the authority's certificate
    /// or a file here holds it.
    #[serde(default)]
    #[schemars(extend("examples" = [["sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="]]))]
    pub(in crate::settings) pins: Vec<String>,
    /// A PEM file with the certificate that Doorward shows to a server that asks for one (mutual
    /// TLS), and its chain, Doorward's own first. It is read at start and at a
    /// reload.
    #[schemars(extend("examples" = ["doorward.crt"]))]
    pub(in crate::settings) certificate: Option<String>,
    /// A PEM file with the private key of `certificate`. Nobody but its owner may be able to change
    /// it.
    #[schemars(extend("examples" = ["doorward.key"]))]
    pub(in crate::settings) key: Option<String>,
    /// The oldest version of TLS that is spoken.
    #[serde(default)]
    pub(in crate::settings) version_min: TlsVersion,
}

/// The name that a server is told.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub(in crate::settings) enum Sni {
    /// This one.
    Name(String),
    /// Whether the name that the certificate must be made out to is told.
    Told(bool),
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    Tls13,
}
