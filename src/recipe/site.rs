//! Where a step is sent that does not go to the upstream: an identity provider with a token endpoint.

use std::fmt;
use std::net::IpAddr;

use http::Uri;

/// A scheme, a host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Whether it is spoken to over TLS; otherwise it is on this machine.
    pub is_encrypted: bool,
    /// Host name in lower case, or address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Site {
    /// Reads `https://login.example.com`, with or without a port.
    ///
    /// # Errors
    /// A sentence that says what is wrong. Secrets are sent there: plain `http` is for loopback alone.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const WHAT: &str = "this is no origin; write for example `https://login.example.com`";
        let uri: Uri = text.parse().map_err(|_| WHAT)?;
        let is_encrypted = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(WHAT),
        };
        let authority = uri.authority().ok_or(WHAT)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let after = authority.as_str().strip_prefix(authority.host()).ok_or(WHAT)?;
        let port = match (after, authority.port_u16()) {
            ("", None) if is_encrypted => 443,
            ("", None) => 80,
            (_, Some(port)) if port > 0 => port,
            _ => return Err(WHAT),
        };
        if host.is_empty() {
            return Err(WHAT);
        }
        if uri.path() != "/" || uri.query().is_some() || text.ends_with('/') {
            return Err("an origin ends with its host or its port; the rest belongs into `path`");
        }
        let site = Self { is_encrypted, host: host.to_ascii_lowercase(), port };
        if !is_encrypted && !site.is_loopback() {
            return Err("plain `http` would send secrets to another machine in the clear");
        }
        Ok(site)
    }

    fn is_loopback(&self) -> bool {
        let address = self.host.parse::<IpAddr>();
        address.map_or(self.host == "localhost", |address| address.to_canonical().is_loopback())
    }
}

impl fmt::Display for Site {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, usual) = if self.is_encrypted { ("https", 443) } else { ("http", 80) };
        match self.host.contains(':') {
            true => write!(out, "{scheme}://[{}]", self.host)?,
            false => write!(out, "{scheme}://{}", self.host)?,
        }
        match self.port == usual {
            true => Ok(()),
            false => write!(out, ":{}", self.port),
        }
    }
}

/// Which sites are meant: one, or all whose hosts are below a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SitePattern {
    is_below: bool,
    site: Site,
}

impl SitePattern {
    /// Reads an origin, in whose host `*.` may stand for one label or more at its beginning.
    ///
    /// # Errors
    /// A sentence that says what is wrong. A whole top-level domain is too much.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (is_below, origin) = match text.split_once("://*.") {
            Some((scheme, domain)) => (true, format!("{scheme}://{domain}")),
            None => (false, text.to_owned()),
        };
        let site = Site::parse(&origin)?;
        if site.host.contains('*') {
            return Err("`*.` can only stand at the beginning of a host");
        }
        let is_domain = site.host.contains('.') && site.host.parse::<IpAddr>().is_err();
        match is_below && !is_domain {
            true => Err("this would allow more than the hosts of one domain"),
            false => Ok(Self { is_below, site }),
        }
    }

    /// Whether `site` is meant.
    pub fn matches(&self, site: &Site) -> bool {
        let Site { is_encrypted, host, port } = &self.site;
        let is_host = match self.is_below {
            false => site.host == *host,
            true => {
                let label = site.host.strip_suffix(host).and_then(|label| label.strip_suffix('.'));
                label.is_some_and(|label| !label.is_empty())
            }
        };
        is_host && site.is_encrypted == *is_encrypted && site.port == *port
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails when a host is allowed that only looks as if it were below the domain.
    #[test]
    fn a_pattern_means_the_hosts_of_one_domain() {
        let meant = |pattern: &str, site: &str| {
            SitePattern::parse(pattern).unwrap().matches(&Site::parse(site).unwrap())
        };
        let below = "https://*.my.example.com";
        assert!(meant(below, "https://eu1.my.example.com"));
        assert!(meant(below, "https://a.b.MY.example.com:443"));
        for other in [
            "https://my.example.com",
            "https://evilmy.example.com",
            "https://eu1.my.example.com.evil.example",
            "https://eu1.my.example.com:8443",
            "https://example.com",
        ] {
            assert!(!meant(below, other), "{other}");
        }
        assert!(meant("https://api.example.com:8443", "https://api.example.com:8443"));
        assert!(!meant("https://api.example.com", "https://x.api.example.com"));
        for wrong in [
            "https://*.com",
            "https://*",
            "https://*.",
            "https://a.*.example.com",
            "https://*.*.example.com",
            "https://*.1.2.3.4",
            "*.example.com",
            "http://*.example.com",
            "https://*.example.com/path",
        ] {
            assert!(SitePattern::parse(wrong).is_err(), "{wrong}");
        }
    }

    /// Fails when a text is taken for an origin that leads elsewhere than it reads, or in the clear.
    #[test]
    fn an_origin_is_a_scheme_a_host_and_a_port() {
        for (text, expected) in [
            ("https://Login.Example.com", "https://login.example.com"),
            ("https://login.example.com:443", "https://login.example.com"),
            ("https://login.example.com:8443", "https://login.example.com:8443"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://[::1]:80", "http://[::1]"),
            ("http://localhost", "http://localhost"),
        ] {
            let site = Site::parse(text).unwrap_or_else(|message| panic!("{text}: {message}"));
            assert_eq!(site.to_string(), expected);
            assert_eq!(Site::parse(&site.to_string()), Ok(site));
        }
        for text in [
            "",
            "login.example.com",
            "ftp://login.example.com",
            "https://",
            "https://:443",
            "https://login.example.com/",
            "https://login.example.com/token",
            "https://login.example.com?x",
            "https://login.example.com:0",
            "https://login.example.com:x",
            "https://login.example.com@evil.example",
            "https://user:password@login.example.com",
            "http://login.example.com",
            "http://127.0.0.1.example.com",
            "http://localhost.example.com",
        ] {
            assert!(Site::parse(text).is_err(), "{text}");
        }
    }
}
