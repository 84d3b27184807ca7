//! The way to an upstream: what lies on it, whom Doorward trusts at its end, and as whom it comes.

use std::path::PathBuf;

use data_encoding::BASE64;
use http::uri::Authority;
use rustls::pki_types::ServerName;

use super::Field;
use super::addresses::{Origin, Scheme};
use super::meaning::{Meaning, under};
use super::written::{self, TlsVersion};
use crate::secret::Source;

/// What lies on the way to an upstream.
#[derive(Clone, Debug)]
pub enum Way {
    /// Nothing.
    Direct,
    /// A Unix socket at this path.
    Unix(PathBuf),
    /// A proxy.
    Proxy(Box<Proxy>),
}

/// A proxy that makes tunnels.
#[derive(Clone, Debug)]
pub struct Proxy {
    /// Where it is.
    pub origin: Origin,
    /// How TLS to it is.
    pub tls: UpstreamTls,
    /// The name to log in with, and where the password is kept; nothing where no login is asked for.
    pub login: Option<(String, Source)>,
}

/// How TLS to a server is.
#[derive(Clone, Debug, Default)]
pub struct UpstreamTls {
    /// Whose certificates are believed.
    pub authorities: Authorities,
    /// The name that the certificate must be made out to; the host where nothing is said.
    pub server_name: Option<String>,
    /// The name that the server is told.
    pub sni: Sni,
    /// The digests of public keys of which one must be in the chain; any where there is none.
    pub pins: Vec<[u8; 32]>,
    /// What is shown to a server that asks for a certificate.
    pub identity: Option<Identity>,
    /// The oldest version of TLS.
    pub version_min: TlsVersion,
}

/// Whose certificates are believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Authorities {
    /// Those that the machine trusts.
    #[default]
    Machine,
    /// Those, and those in a PEM file.
    MachineAnd(PathBuf),
    /// Those in a PEM file alone.
    Only(PathBuf),
}

/// The name that a server is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Sni {
    /// The one that its certificate must be made out to.
    #[default]
    ServerName,
    /// Another one.
    Other(String),
    /// None.
    Off,
}

/// A certificate with its key.
#[derive(Clone, Debug)]
pub struct Identity {
    /// A PEM file with the chain.
    pub certificate: PathBuf,
    /// A PEM file with the private key.
    pub key: PathBuf,
}

/// Whether a server is spoken to over TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encrypted {
    Yes,
    /// No; and what it is.
    No(&'static str),
}

impl Way {
    /// Whether nothing that is sent to `origin` leaves this machine.
    pub(super) fn stays_here(&self, origin: &Origin) -> bool {
        match self {
            Self::Direct => origin.is_loopback(),
            Self::Unix(_) => true,
            // What the proxy makes of a name, and whom it asks in turn, nobody here knows.
            Self::Proxy(_) => false,
        }
    }
}

impl Authorities {
    /// The file, if there is one.
    pub fn file(&self) -> Option<&PathBuf> {
        match self {
            Self::Machine => None,
            Self::MachineAnd(path) | Self::Only(path) => Some(path),
        }
    }
}

impl Meaning<'_> {
    /// What lies on the way to the upstream of this name; nothing where that cannot be told.
    pub(super) fn way(
        &mut self,
        name: &str,
        at: &str,
        unix_socket: Option<String>,
        proxy: Option<written::UpstreamProxy>,
    ) -> Option<Way> {
        match (unix_socket, proxy) {
            (None, None) => Some(Way::Direct),
            (Some(path), None) => Some(Way::Unix(self.path(&under(at, "unix_socket"), &path))),
            (None, Some(proxy)) => {
                let proxy = self.proxy(name, &under(at, "proxy"), proxy)?;
                Some(Way::Proxy(Box::new(proxy)))
            }
            (Some(_), Some(_)) => {
                let message = "only one of `unix_socket` and `proxy` can be given";
                let fault = self.layers.key_fault(&under(at, "proxy"), message);
                self.faults.push(fault);
                None
            }
        }
    }

    fn proxy(&mut self, name: &str, at: &str, written: written::UpstreamProxy) -> Option<Proxy> {
        let place = written.url.as_deref().and_then(|url| self.origin(at, url));
        if place.as_ref().is_some_and(|(_, path)| !path.is_empty()) {
            self.fault(&under(at, "url"), "the URL of a proxy has no path");
        }
        let is_https = |(origin, _): &(Origin, String)| origin.scheme == Scheme::Https;
        let encrypted = match place.as_ref().is_none_or(is_https) {
            true => Encrypted::Yes,
            false => Encrypted::No("a proxy"),
        };
        let tls = self.tls_to(&under(at, "tls"), written.tls, encrypted);
        let login = self.proxy_login(at, written.username, written.password);
        let (origin, _) = place?;
        if login.is_some() && encrypted != Encrypted::Yes && !origin.is_loopback() {
            self.warnings.push(format!(
                "upstream `{name}`: the password of its proxy goes to {origin} in the clear"
            ));
        }
        Some(Proxy { origin, tls, login })
    }

    fn proxy_login(
        &mut self,
        at: &str,
        username: Option<String>,
        password: Option<written::Field>,
    ) -> Option<(String, Source)> {
        let (username_at, password_at) = (under(at, "username"), under(at, "password"));
        let password = password.map(|password| {
            self.literal(&password_at, "password", &password);
            self.field(&password_at, password)
        });
        // RFC 7617 section 2: the first colon ends the name.
        if username.as_deref().is_some_and(|name| name.contains(':') || has_control(name)) {
            let message = "no name with a colon or a control character can be sent to a proxy";
            self.fault(&username_at, message);
        }
        match (username, password) {
            (Some(username), Some(Field::Secret(source))) => Some((username, source)),
            (Some(_), None) if !self.layers.broken(at) => {
                self.fault(&username_at, "a login at the proxy needs a `password`, too");
                None
            }
            (None, Some(_)) if !self.layers.broken(at) => {
                self.fault(&password_at, "a login at the proxy needs a `username`, too");
                None
            }
            _ => None,
        }
    }

    /// How TLS is to the server that `at` is about.
    pub(super) fn tls_to(
        &mut self,
        at: &str,
        written: written::UpstreamTls,
        encrypted: Encrypted,
    ) -> UpstreamTls {
        if let (Encrypted::No(what), true) = (encrypted, says_something(&written)) {
            self.fault(at, format!("{what} over plain `http` has no certificate to verify"));
        }
        let name = written.server_name;
        if name.as_deref().is_some_and(|name| ServerName::try_from(name).is_err()) {
            let message = "this is neither a host name nor an IP address";
            self.fault(&under(at, "server_name"), message);
        }
        let authorities = match (written.ca_file, written.extra_ca_file) {
            (None, None) => Authorities::Machine,
            (Some(path), None) => Authorities::Only(self.path(&under(at, "ca_file"), &path)),
            (None, Some(path)) => {
                Authorities::MachineAnd(self.path(&under(at, "extra_ca_file"), &path))
            }
            (Some(_), Some(_)) => {
                let message = "only one of `ca_file` and `extra_ca_file` can be given";
                let fault = self.layers.key_fault(&under(at, "extra_ca_file"), message);
                self.faults.push(fault.help("`ca_file` trusts nobody else"));
                Authorities::Machine
            }
        };
        let sni = self.sni(&under(at, "sni"), written.sni);
        let pins = self.pins(&under(at, "pins"), &written.pins);
        let identity = match (written.certificate, written.key) {
            (Some(certificate), Some(key)) => Some(Identity {
                certificate: self.path(&under(at, "certificate"), &certificate),
                key: self.path(&under(at, "key"), &key),
            }),
            (None, None) => None,
            (certificate, _) => {
                if !self.layers.broken(at) {
                    let (there, missing) = match certificate {
                        Some(_) => ("certificate", "key"),
                        None => ("key", "certificate"),
                    };
                    let message = format!("`{there}` needs `{missing}`, too");
                    self.fault(&under(at, there), message);
                }
                None
            }
        };
        let version_min = written.version_min;
        UpstreamTls { authorities, server_name: name, sni, pins, identity, version_min }
    }

    fn sni(&mut self, at: &str, written: Option<written::Sni>) -> Sni {
        match written {
            None | Some(written::Sni::Told(true)) => Sni::ServerName,
            Some(written::Sni::Told(false)) => Sni::Off,
            Some(written::Sni::Name(name)) => {
                if !matches!(ServerName::try_from(name.as_str()), Ok(ServerName::DnsName(_))) {
                    let fault = self.layers.fault(at, "only a host name can be told as SNI");
                    self.faults.push(fault.help("`sni = false` tells none"));
                }
                Sni::Other(name)
            }
        }
    }

    fn pins(&mut self, at: &str, written: &[String]) -> Vec<[u8; 32]> {
        let mut pins = Vec::new();
        for (index, text) in written.iter().enumerate() {
            let digest = text.strip_prefix("sha256/");
            let digest = digest.and_then(|digest| BASE64.decode(digest.as_bytes()).ok());
            match digest.and_then(|digest| digest.try_into().ok()) {
                Some(pin) => pins.push(pin),
                None => {
                    let message = "a pin is `sha256/` and the base64 of 32 bytes";
                    let fault = self.layers.fault(&under(at, &index.to_string()), message);
                    self.faults.push(fault.help(PIN_HELP));
                }
            }
        }
        pins
    }

    /// A host, and a port where it is not the scheme's own.
    pub(super) fn authority(&mut self, at: &str, text: String) -> Option<String> {
        let parsed = text.parse::<Authority>();
        let is_one = parsed.is_ok_and(|authority| {
            let port = authority.as_str().strip_prefix(authority.host()).unwrap_or("@");
            let port_is_one = authority.port_u16().is_some_and(|port| port > 0);
            let has_user = authority.as_str().contains('@');
            !has_user && !authority.host().is_empty() && (port.is_empty() || port_is_one)
        });
        if is_one {
            return Some(text);
        }
        let fault = self.layers.fault(at, "this is no host with or without a port");
        self.faults.push(fault.help("for example \"cms.internal\" or \"cms.internal:8443\""));
        None
    }
}

const PIN_HELP: &str = "openssl x509 -in server.crt -noout -pubkey | openssl pkey -pubin -outform der \
    | openssl dgst -sha256 -binary | base64";

fn says_something(written: &written::UpstreamTls) -> bool {
    let written::UpstreamTls {
        ca_file,
        extra_ca_file,
        server_name,
        sni,
        pins,
        certificate,
        key,
        version_min,
    } = written;
    [ca_file, extra_ca_file, server_name, certificate, key].iter().any(|text| text.is_some())
        || sni.is_some()
        || !pins.is_empty()
        || *version_min != TlsVersion::default()
}

fn has_control(text: &str) -> bool {
    text.chars().any(char::is_control)
}
