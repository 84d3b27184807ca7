//! What a connection shows of who is at its other end: the names in a client's certificate, and
//! whose process it is at a Unix socket. It is read once, when the connection is made; whose it is,
//! each request asks.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::str::FromStr;
use std::sync::Arc;
use std::time::SystemTime;

use super::certificate::{Certificate, CertificateError};
use super::{Caller, Denied};

/// A name in a certificate (`subjectAltName`, RFC 5280 section 4.2.1.6). The common name is none
/// (RFC 9525 section 2).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SubjectAltName {
    /// A URI, compared byte by byte.
    Uri(String),
    /// A DNS name, in lower case.
    Dns(String),
    /// An e-mail address, its domain in lower case (RFC 5280 section 7.5).
    Email(String),
}

/// Why a text is no name of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubjectAltNameError {
    /// It does not say what kind of name it is.
    #[error("a certificate's name begins with `spiffe://`, `uri:`, `dns:` or `email:`")]
    Kind,
    /// What stands after `dns:`.
    #[error("this is no DNS name")]
    Dns,
    /// A name with a star.
    #[error("a name stands for one client: there are no wildcards")]
    Wildcard,
    /// What stands after `email:`.
    #[error("this is no e-mail address")]
    Email,
    /// What stands after `uri:`.
    #[error("this is no URI")]
    Uri,
}

impl SubjectAltName {
    /// A DNS name as it stands in a certificate.
    pub(super) fn dns(text: &str) -> Self {
        Self::Dns(text.to_ascii_lowercase())
    }

    /// An e-mail address as it stands in a certificate.
    pub(super) fn email(text: &str) -> Self {
        match text.rsplit_once('@') {
            Some((local, domain)) => {
                Self::Email(format!("{local}@{}", domain.to_ascii_lowercase()))
            }
            None => Self::Email(text.to_owned()),
        }
    }
}

impl FromStr for SubjectAltName {
    type Err = SubjectAltNameError;

    fn from_str(text: &str) -> Result<Self, SubjectAltNameError> {
        let name = match text.split_once(':') {
            // It is a URI as it stands, and the usual one.
            Some(("spiffe", rest)) if rest.starts_with("//") => ("uri", text),
            Some(named) => named,
            None => return Err(SubjectAltNameError::Kind),
        };
        match name {
            ("dns" | "email", name) if name.contains('*') => Err(SubjectAltNameError::Wildcard),
            ("dns", name) if is_dns_name(name) => Ok(Self::dns(name)),
            ("dns", _) => Err(SubjectAltNameError::Dns),
            ("email", address) if is_email(address) => Ok(Self::email(address)),
            ("email", _) => Err(SubjectAltNameError::Email),
            ("uri", uri) if is_uri(uri) => Ok(Self::Uri(uri.to_owned())),
            ("uri", _) => Err(SubjectAltNameError::Uri),
            _ => Err(SubjectAltNameError::Kind),
        }
    }
}

impl fmt::Display for SubjectAltName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uri(uri) if uri.starts_with("spiffe://") => out.write_str(uri),
            Self::Uri(uri) => write!(out, "uri:{uri}"),
            Self::Dns(name) => write!(out, "dns:{name}"),
            Self::Email(address) => write!(out, "email:{address}"),
        }
    }
}

fn is_dns_name(text: &str) -> bool {
    let is_label = |label: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=63).contains(&label.len()) && label.bytes().all(plain)
    };
    text.len() <= 253 && text.split('.').all(is_label)
}

fn is_email(text: &str) -> bool {
    let is_plain = |local: &str| !local.is_empty() && local.bytes().all(|b| b.is_ascii_graphic());
    text.rsplit_once('@').is_some_and(|(local, domain)| is_plain(local) && is_dns_name(domain))
}

fn is_uri(text: &str) -> bool {
    let of_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    let is_scheme = |scheme: &str| {
        scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.bytes().all(of_scheme)
    };
    let is_plain = |rest: &str| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_graphic());
    text.split_once(':').is_some_and(|(scheme, rest)| is_scheme(scheme) && is_plain(rest))
}

/// Whose process is at the other end of a Unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnixOwner {
    /// This user's.
    User(u32),
    /// A process of this group, which is its own and not one of those that its user is in besides.
    Group(u32),
}

/// What the kernel says of the process at the other end of a Unix socket, as of its `connect(2)`.
#[derive(Clone, Copy, Debug)]
pub struct UnixPeer {
    /// Its effective user.
    pub uid: u32,
    /// Its effective group.
    pub gid: u32,
}

/// What a connection comes with.
#[derive(Clone, Copy, Debug, Default)]
pub struct Credentials<'a> {
    /// The client's certificate, verified.
    pub certificate: Option<&'a [u8]>,
    /// The process, at a Unix socket.
    pub unix: Option<UnixPeer>,
}

/// What a connection shows. It is read once; whose it is may change while the connection lives.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    certificate: Option<Certificate>,
    unix: Option<UnixPeer>,
}

impl Shown {
    /// What a connection comes with, read.
    ///
    /// # Errors
    /// When the certificate cannot be read.
    pub fn read(credentials: &Credentials<'_>) -> Result<Self, CertificateError> {
        let certificate = credentials.certificate.map(Certificate::read).transpose()?;
        Ok(Self { certificate, unix: credentials.unix })
    }
}

/// Who has made a connection, as far as the connection itself shows it.
#[derive(Clone, Debug, Default)]
pub struct Connected {
    whose: Whose,
    /// The end of the certificate that it came with.
    until: Option<SystemTime>,
}

#[derive(Clone, Debug, Default)]
enum Whose {
    /// Its requests have to show it.
    #[default]
    Nobodys,
    One(Arc<Caller>),
    /// What it shows is of several clients.
    Several,
}

impl Connected {
    /// The client that the connection shows.
    ///
    /// # Errors
    /// [`Denied::CertificateExpired`] when the certificate's time is over, whosever it is, and
    /// [`Denied::Conflicting`] where the connection shows several clients.
    pub(super) fn caller(
        &self,
        wall: impl FnOnce() -> SystemTime,
    ) -> Result<Option<&Arc<Caller>>, Denied> {
        if self.until.is_some_and(|until| until < wall()) {
            return Err(Denied::CertificateExpired);
        }
        match &self.whose {
            Whose::Nobodys => Ok(None),
            Whose::One(caller) => Ok(Some(caller)),
            Whose::Several => Err(Denied::Conflicting),
        }
    }
}

/// The clients by what connections show.
#[derive(Debug, Default)]
pub(super) struct Identities {
    certificates: HashMap<SubjectAltName, Whose>,
    unix: HashMap<UnixOwner, Whose>,
}

impl Identities {
    pub(super) fn add(
        &mut self,
        caller: &Arc<Caller>,
        certificates: Vec<SubjectAltName>,
        unix: Vec<UnixOwner>,
    ) {
        add(&mut self.certificates, caller, certificates);
        add(&mut self.unix, caller, unix);
    }

    /// Who has made a connection that shows this.
    pub(super) fn recognise(&self, shown: &Shown) -> Connected {
        let mut found = Connected::default();
        if let Some(certificate) = &shown.certificate {
            found.until = Some(certificate.until);
            found.meet(certificate.names.iter().filter_map(|name| self.certificates.get(name)));
        }
        if let Some(UnixPeer { uid, gid }) = shown.unix {
            let owners = [UnixOwner::User(uid), UnixOwner::Group(gid)];
            found.meet(owners.iter().filter_map(|owner| self.unix.get(owner)));
        }
        found
    }
}

/// Settings give each name to one client; should one be another's too, it is nobody's proof.
fn add<K: Eq + Hash>(to: &mut HashMap<K, Whose>, caller: &Arc<Caller>, names: Vec<K>) {
    for name in names {
        let whose = to.entry(name).or_default();
        *whose = whose.and(&Whose::One(Arc::clone(caller)));
    }
}

impl Connected {
    fn meet<'w>(&mut self, shown: impl Iterator<Item = &'w Whose>) {
        self.whose = shown.fold(self.whose.clone(), |whose, other| whose.and(other));
    }
}

impl Whose {
    fn and(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Nobodys, whose) | (whose, Self::Nobodys) => whose.clone(),
            (Self::One(one), Self::One(other)) if Arc::ptr_eq(one, other) => self.clone(),
            _ => Self::Several,
        }
    }
}

/// By what callers can show who they are at a listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ways {
    /// By a key in the request.
    pub keys: bool,
    /// By a token of an issuer.
    pub tokens: bool,
    /// By a certificate.
    pub certificates: bool,
    /// By their user or group, at a Unix socket.
    pub unix: bool,
}

/// What a caller is told who has shown nothing.
impl fmt::Display for Ways {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ways = [
            (self.tokens, "send a token of a trusted issuer: Authorization: Bearer ..."),
            (self.certificates, "connect with a client certificate"),
            (self.unix, "connect as a user whom a client's configuration names"),
        ];
        let mut ways: Vec<&str> =
            ways.iter().filter(|(is, _)| *is).map(|(_, words)| *words).collect();
        if self.keys || ways.is_empty() {
            ways.insert(0, "send a client key: Authorization: Bearer doorward_...");
        }
        out.write_str(&ways.join("; or "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_what_kind_it_is_and_means_one_client() {
        let read = |text: &str| text.parse::<SubjectAltName>();
        let shown = |text: &str| read(text).unwrap().to_string();
        assert_eq!(shown("spiffe://acme/ci"), "spiffe://acme/ci");
        assert_eq!(shown("uri:spiffe://acme/ci"), "spiffe://acme/ci");
        assert_eq!(shown("uri:https://acme/CI"), "uri:https://acme/CI");
        assert_eq!(shown("dns:CI.Example"), "dns:ci.example");
        assert_eq!(shown("email:Ci@Example.ORG"), "email:Ci@example.org");
        for (text, error) in [
            ("ci.example", SubjectAltNameError::Kind),
            ("cn:ci", SubjectAltNameError::Kind),
            ("https://acme/ci", SubjectAltNameError::Kind),
            ("dns:*.example", SubjectAltNameError::Wildcard),
            ("dns:", SubjectAltNameError::Dns),
            ("dns:a..b", SubjectAltNameError::Dns),
            ("dns:a b", SubjectAltNameError::Dns),
            ("email:ci", SubjectAltNameError::Email),
            ("email:@example", SubjectAltNameError::Email),
            ("uri:acme", SubjectAltNameError::Uri),
            ("uri:a:", SubjectAltNameError::Uri),
        ] {
            assert_eq!(read(text), Err(error), "{text}");
        }
    }

    #[test]
    fn who_shows_nothing_is_told_all_that_would_do() {
        let all = Ways { keys: true, tokens: true, certificates: true, unix: true };
        let told = all.to_string();
        assert!(told.starts_with("send a client key: Authorization: Bearer doorward_...; or "));
        assert!(
            told.contains("issuer") && told.contains("certificate") && told.contains("user"),
            "{told}"
        );
        let one = Ways { certificates: true, ..Ways::default() };
        assert_eq!(one.to_string(), "connect with a client certificate");
    }
}
