//! Addresses as written and as meant: where to listen, where an upstream is.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use http::Uri;
use ipnet::IpNet;

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// An IP address and a port; port 0 takes a free one.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
    /// A socket that is handed over, by its name; where it listens shows at start.
    Inherited(String),
}

/// How the address of a socket begins that is handed over.
const INHERITED: &str = "fd:";

impl Address {
    /// Reads `127.0.0.1:8080`, `unix:/run/doorward.sock` or `fd:main`; the error says what to do.
    pub(super) fn parse(text: &str) -> Result<Self, (String, Option<String>)> {
        if let Some(name) = text.strip_prefix(INHERITED) {
            // sd_listen_fds(3), FileDescriptorName= in systemd.socket(5).
            let is_name = |byte: u8| byte.is_ascii() && !byte.is_ascii_control() && byte != b':';
            return match !name.is_empty() && name.len() <= 255 && name.bytes().all(is_name) {
                true => Ok(Self::Inherited(name.to_owned())),
                false => {
                    let help =
                        "write the FileDescriptorName= of the socket unit, as in \"fd:main\"";
                    Err(("this is no name of a socket".to_owned(), Some(help.to_owned())))
                }
            };
        }
        if let Some(path) = text.strip_prefix("unix:") {
            return match path {
                "" => Err(("the path of the socket is missing".to_owned(), None)),
                path => Ok(Self::Unix(PathBuf::from(path))),
            };
        }
        text.parse().map(Self::Tcp).map_err(|_| {
            let message = "this is neither an IP address with a port nor `unix:` and a path nor \
                           `fd:` and a name";
            (message.to_owned(), meant_address(text))
        })
    }

    /// Whether only this machine reaches it. Of a socket that is handed over nobody knows yet: it
    /// is judged at start.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => is_loopback(address.ip()),
            Self::Unix(_) | Self::Inherited(_) => true,
        }
    }

    /// Whether both cannot be listened on at a time.
    pub(super) fn clashes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Unix(one), Self::Unix(other)) => one == other,
            (Self::Inherited(one), Self::Inherited(other)) => one == other,
            (Self::Tcp(one), Self::Tcp(other)) => {
                let (first, second) = (one.ip(), other.ip());
                let everywhere = first.is_unspecified() || second.is_unspecified();
                let same_family = first.is_ipv4() == second.is_ipv4();
                one.port() == other.port()
                    && one.port() != 0
                    && (first == second || everywhere && same_family)
            }
            _ => false,
        }
    }
}

/// Reads `10.0.0.0/8` or `10.0.0.7`; the error says what to do.
pub(super) fn network(text: &str) -> Result<IpNet, &'static str> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address.to_canonical()));
    }
    let help = "write an address such as 10.0.0.7, or a network such as 10.0.0.0/8";
    let network: IpNet = text.parse().map_err(|_| help)?;
    // Somebody who writes 10.1.2.3/8 means either of two things.
    match network.trunc() == network {
        true => Ok(network),
        false => Err("bits behind the network's length are set: write 10.0.0.0/8, or 10.1.2.3"),
    }
}

/// The address that a common shorthand stands for.
fn meant_address(text: &str) -> Option<String> {
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    let port: u16 = port.parse().ok()?;
    let host = match host {
        "" | "*" => "0.0.0.0",
        "localhost" => "127.0.0.1",
        _ => return Some("a listener has no name but an IP address".to_owned()),
    };
    Some(format!("write \"{host}:{port}\""))
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(out, "{address}"),
            Self::Unix(path) => write!(out, "unix:{}", path.display()),
            Self::Inherited(name) => write!(out, "{INHERITED}{name}"),
        }
    }
}

/// Where an upstream is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// How to speak to it.
    pub scheme: Scheme,
    /// Its name or IP address, in lower case; an IPv6 address without brackets.
    pub host: String,
    /// Its port, the scheme's own where none is written.
    pub port: u16,
}

/// How to speak to an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// Over TLS.
    Https,
}

/// Why a text is no address of an upstream.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum UrlError {
    #[error("this is not a URL")]
    NotAUrl,
    #[error("the scheme of an upstream is `https` or `http`")]
    Scheme,
    #[error("this URL has no host")]
    NoHost,
    #[error("this URL has a port that cannot be used")]
    Port,
    #[error("a URL must not hold a user name or a password")]
    UserInfo,
    #[error("the URL of an upstream has no query")]
    Query,
    #[error("the URL of an upstream has no fragment")]
    Fragment,
    #[error("the path of an upstream has no empty, `.` or `..` segments")]
    Path,
}

impl Origin {
    /// Reads a URL: the origin and the path that all requests begin with.
    pub(super) fn parse(text: &str) -> Result<(Self, String), UrlError> {
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::NotAUrl)?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "https" => Scheme::Https,
            "http" => Scheme::Http,
            _ => return Err(UrlError::Scheme),
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if authority.contains('@') {
            return Err(UrlError::UserInfo);
        }
        if rest.contains('#') {
            return Err(UrlError::Fragment);
        }
        if authority.is_empty() || authority.starts_with(':') {
            return Err(UrlError::NoHost);
        }
        let uri: Uri = text.parse().map_err(|_| UrlError::NotAUrl)?;
        if uri.query().is_some() {
            return Err(UrlError::Query);
        }
        let host = uri.host().ok_or(UrlError::NoHost)?.to_ascii_lowercase();
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = match uri.port_u16() {
            Some(0) => return Err(UrlError::Port),
            Some(port) => port,
            // "host:" and "host:99999" have a colon but no port.
            None if !authority.ends_with(']') && authority.contains(':') => {
                return Err(UrlError::Port);
            }
            None => scheme.default_port(),
        };
        let path = uri.path().trim_end_matches('/').to_owned();
        let mut segments = path.split('/');
        segments.next();
        if segments.any(|segment| matches!(segment, "" | "." | "..")) {
            return Err(UrlError::Path);
        }
        Ok((Self { scheme, host, port }, path))
    }

    /// Whether the host is this machine.
    pub fn is_loopback(&self) -> bool {
        match self.host.parse::<IpAddr>() {
            Ok(address) => is_loopback(address),
            // RFC 6761, section 6.3: `localhost` and names under it never leave the machine.
            Err(_) => self.host == "localhost" || self.host.ends_with(".localhost"),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}://", self.scheme.as_str())?;
        match self.host.contains(':') {
            true => write!(out, "[{}]", self.host)?,
            false => write!(out, "{}", self.host)?,
        }
        match self.port == self.scheme.default_port() {
            true => Ok(()),
            false => write!(out, ":{}", self.port),
        }
    }
}

impl Scheme {
    /// As it stands in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port that a URL of this scheme need not write.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

pub(super) fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        let parsed = |text| Origin::parse(text).map(|(origin, path)| (origin.to_string(), path));
        let ok = |origin: &str, path: &str| Ok((origin.to_owned(), path.to_owned()));
        assert_eq!(parsed("https://API.Example.com/"), ok("https://api.example.com", ""));
        assert_eq!(parsed("https://a.b:8443/v3/x/"), ok("https://a.b:8443", "/v3/x"));
        assert_eq!(parsed("http://[::1]:80"), ok("http://[::1]", ""));
        assert_eq!(parsed("http://[::1]"), ok("http://[::1]", ""));
        assert_eq!(parsed("api.example.com"), Err(UrlError::NotAUrl));
        assert_eq!(parsed("ftp://a"), Err(UrlError::Scheme));
        assert_eq!(parsed("https://"), Err(UrlError::NoHost));
        assert_eq!(parsed("https://:80/x"), Err(UrlError::NoHost));
        assert_eq!(parsed("https://me:hunter2@a"), Err(UrlError::UserInfo));
        assert_eq!(parsed("https://a/?x=1"), Err(UrlError::Query));
        assert_eq!(parsed("https://a/#x"), Err(UrlError::Fragment));
        assert_eq!(parsed("https://a:99999/"), Err(UrlError::Port));
        assert_eq!(parsed("https://a:0/"), Err(UrlError::Port));
        assert_eq!(parsed("https://a/x/../y"), Err(UrlError::Path));
        assert_eq!(parsed("https://a//x"), Err(UrlError::Path));
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for (url, loopback) in [
            ("http://localhost:1", true),
            ("http://a.localhost", true),
            ("http://127.8.0.1", true),
            ("http://[::ffff:127.0.0.1]", true),
            ("http://localhost.example.com", false),
            ("http://10.0.0.1", false),
        ] {
            assert_eq!(Origin::parse(url).unwrap().0.is_loopback(), loopback, "{url}");
        }
    }

    #[test]
    fn a_socket_that_is_handed_over_has_a_name() {
        let address = Address::parse("fd:doorward.socket").unwrap();
        assert_eq!(address, Address::Inherited("doorward.socket".to_owned()));
        assert_eq!(address.to_string(), "fd:doorward.socket");
        for text in ["fd:", "fd:a:b", "fd:a\nb", &format!("fd:{}", "a".repeat(256))] {
            let (message, help) = Address::parse(text).unwrap_err();
            assert!(message.contains("no name") && help.unwrap().contains("fd:main"), "{text}");
        }
    }

    #[test]
    fn addresses_clash_where_they_overlap() {
        let clash = |one: &str, other: &str| {
            Address::parse(one).unwrap().clashes(&Address::parse(other).unwrap())
        };
        assert!(clash("127.0.0.1:1", "127.0.0.1:1"));
        assert!(clash("0.0.0.0:1", "127.0.0.1:1"));
        assert!(clash("unix:/a", "unix:/a"));
        assert!(clash("fd:a", "fd:a"));
        assert!(!clash("fd:a", "fd:b"));
        assert!(!clash("127.0.0.1:0", "127.0.0.1:0"));
        assert!(!clash("127.0.0.1:1", "127.0.0.1:2"));
        assert!(!clash("0.0.0.0:1", "[::1]:1"));
        assert!(!clash("unix:/a", "unix:/b"));
    }
}
