//! Fields that belong to one connection only, and those that say where a message came from.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::OnceLock;

use http::header::{self, HeaderName, HeaderValue};

use crate::fields::Fields;

/// Fields that tell how a message is framed and where it goes; `Connection` cannot nominate them.
const NOT_NOMINABLE: [HeaderName; 3] =
    [header::HOST, header::CONTENT_LENGTH, header::TRANSFER_ENCODING];

/// The name under which a request carries its id.
pub static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

static FORWARDED: HeaderName = header::FORWARDED;
static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Drops hop-by-hop fields and those that `Connection` nominates from an answer.
pub fn remove_hop_by_hop(headers: &mut Fields) {
    let nominated = nominated(headers);
    headers.retain(|name, _| (is_plain(name) || !is_hop_by_hop(name)) && !nominated.contains(name));
}

/// Whether a field of a client's request stays here: hop-by-hop, one of those that its `Connection`
/// has [`nominated`], or one in which it could pretend to be somebody else.
pub fn stays(name: &HeaderName, nominated: &[HeaderName]) -> bool {
    !is_plain(name) && (is_hop_by_hop(name) || is_forgeable(name)) || nominated.contains(name)
}

/// Whether this is one of the names that most messages have and that no rule on what travels on is
/// about: it is asked first, of each field.
pub fn is_plain(name: &HeaderName) -> bool {
    matches!(
        *name,
        header::ACCEPT
            | header::ACCEPT_LANGUAGE
            | header::CACHE_CONTROL
            | header::CONTENT_TYPE
            | header::DATE
            | header::ETAG
            | header::LAST_MODIFIED
            | header::ORIGIN
            | header::REFERER
            | header::SERVER
            | header::USER_AGENT
            | header::VARY
    )
}

/// Fields that every intermediary drops (RFC 9110 section 7.6.1, and what older peers still send).
fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        *name,
        header::CONNECTION
            | header::PROXY_AUTHENTICATE
            | header::PROXY_AUTHORIZATION
            | header::TE
            | header::TRANSFER_ENCODING
            | header::UPGRADE
    ) || matches!(name.as_str(), "keep-alive" | "proxy-connection" | "http2-settings")
}

/// Fields in which clients could pretend to be somebody else, or to ask for something else than was
/// judged.
fn is_forgeable(name: &HeaderName) -> bool {
    const KIN: [&str; 2] = ["x-forwarded", "x-original-"];
    let name = name.as_str();
    KIN.iter().any(|kin| name.starts_with(kin))
        || matches!(
            name,
            "forwarded"
                | "x-real-ip"
                | "x-client-ip"
                | "x-cluster-client-ip"
                | "x-originating-ip"
                | "x-remote-ip"
                | "x-remote-addr"
                | "true-client-ip"
                | "cf-connecting-ip"
                | "fastly-client-ip"
                | "x-rewrite-url"
                | "x-host"
                | "x-http-host-override"
                | "x-http-method"
                | "x-http-method-override"
                | "x-method-override"
                | "x-url-scheme"
                | "front-end-https"
        )
}

/// The fields that belong to this connection only because `Connection` says so.
pub fn nominated(headers: &Fields) -> Vec<HeaderName> {
    let is_option = |name: &[u8]| {
        [b"close".as_slice(), b"keep-alive"].iter().any(|one| name.eq_ignore_ascii_case(one))
    };
    headers
        .get_all(header::CONNECTION)
        .flat_map(|value| value.split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|name| !is_option(name))
        .filter_map(|name| HeaderName::from_bytes(name).ok())
        .filter(|name| !NOT_NOMINABLE.contains(name))
        .collect()
}

/// Where the requests of one connection come from, as the fields say it that tell upstreams.
/// Written once, not for each request.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The peer's address for `X-Forwarded-For`; nothing on a Unix socket.
    peer: Option<HeaderValue>,
    /// How `Forwarded` begins, up to the host.
    forwarded_start: String,
    /// How `Forwarded` ends, after the host.
    forwarded_end: String,
    scheme: HeaderValue,
    /// What is said of the host that the first request has named: others mostly name the same.
    first: OnceLock<Named>,
}

/// A host, as the fields say it that tell upstreams.
#[derive(Clone, Debug)]
struct Named {
    host: HeaderValue,
    forwarded: HeaderValue,
}

/// The fields that tell an upstream where a request comes from and what host it names.
#[derive(Debug)]
pub struct Told<'a> {
    origin: &'a Origin,
    named: Cow<'a, Named>,
}

impl Told<'_> {
    /// `Forwarded` (RFC 7239) and its older kin.
    pub fn fields(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        let Self { origin, named } = self;
        let peer = origin.peer.as_ref().map(|peer| (&X_FORWARDED_FOR, peer));
        [(&FORWARDED, &named.forwarded)]
            .into_iter()
            .chain(peer)
            .chain([(&X_FORWARDED_HOST, &named.host), (&X_FORWARDED_PROTO, &origin.scheme)])
    }
}

impl Origin {
    /// The peer's address, nothing on a Unix socket, and `http` or `https`.
    pub fn new(peer: Option<IpAddr>, scheme: &'static str) -> Self {
        // An address has no character that a node identifier or a header value must not hold (RFC
        // 7239 section 6).
        let node = match peer {
            Some(IpAddr::V4(peer)) => peer.to_string(),
            Some(IpAddr::V6(peer)) => format!("\"[{peer}]\""),
            None => "unknown".to_owned(),
        };
        Self {
            peer: peer.and_then(|peer| HeaderValue::try_from(peer.to_string()).ok()),
            forwarded_start: format!("for={node};host=\""),
            forwarded_end: format!("\";proto={scheme}"),
            scheme: HeaderValue::from_static(scheme),
            first: OnceLock::new(),
        }
    }

    /// What upstreams are told of a request to the authority `host`. What the client has sent under
    /// these names is dropped: nobody here is trusted to say it.
    pub fn told(&self, host: &str) -> Told<'_> {
        let first = self.first.get_or_init(|| self.named(host));
        let named = match first.host.as_bytes() == host.as_bytes() {
            true => Cow::Borrowed(first),
            false => Cow::Owned(self.named(host)),
        };
        Told { origin: self, named }
    }

    /// Whether this is the host that upstreams were told of the first request: it was found to be
    /// one.
    pub fn knows(&self, host: &str) -> bool {
        self.first.get().is_some_and(|first| first.host.as_bytes() == host.as_bytes())
    }

    fn named(&self, host: &str) -> Named {
        let forwarded = [&self.forwarded_start, host, &self.forwarded_end].concat();
        // An authority has no character that a header value must not hold.
        let value =
            |text: &str| HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""));
        Named { host: value(host), forwarded: value(&forwarded) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn headers(fields: &[(&str, &str)]) -> Fields {
        let mut headers = Fields::new();
        for (name, value) in fields {
            let value: HeaderValue = value.parse().unwrap();
            headers.append(HeaderName::try_from(*name).unwrap(), value);
        }
        headers
    }

    #[test]
    fn nominated_fields_go_but_framing_stays() {
        let mut headers = headers(&[
            ("connection", "close, X-Secret"),
            ("connection", "content-length, host"),
            ("x-secret", "1"),
            ("content-length", "5"),
            ("host", "a"),
            ("upgrade", "h2c"),
            ("te", "trailers"),
            ("accept", "*/*"),
        ]);
        remove_hop_by_hop(&mut headers);
        let mut left: Vec<&str> = headers.names().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "content-length", "host"]);
    }

    fn told(origin: &Origin, host: &str) -> Vec<(String, String)> {
        let told = origin.told(host);
        let shown = |(name, value): (&HeaderName, &HeaderValue)| {
            (name.to_string(), value.to_str().unwrap().to_owned())
        };
        told.fields().map(shown).collect()
    }

    #[test]
    fn upstreams_are_told_the_peer_and_the_host_of_each_request() {
        let origin = Origin::new(Some("127.0.0.1".parse().unwrap()), "https");
        for host in ["cms.example:8443", "other.example", "cms.example:8443"] {
            let forwarded = format!("for=127.0.0.1;host=\"{host}\";proto=https");
            let expected = [
                ("forwarded", forwarded.as_str()),
                ("x-forwarded-for", "127.0.0.1"),
                ("x-forwarded-host", host),
                ("x-forwarded-proto", "https"),
            ];
            assert_eq!(told(&origin, host), expected.map(|(n, v)| (n.to_owned(), v.to_owned())));
        }
    }

    #[test]
    fn what_is_plain_is_nothing_that_a_rule_is_about() {
        let names = [
            header::ACCEPT,
            header::ACCEPT_LANGUAGE,
            header::CACHE_CONTROL,
            header::CONTENT_TYPE,
            header::DATE,
            header::ETAG,
            header::LAST_MODIFIED,
            header::ORIGIN,
            header::REFERER,
            header::SERVER,
            header::USER_AGENT,
            header::VARY,
        ];
        for name in names {
            assert!(is_plain(&name) && !is_hop_by_hop(&name) && !is_forgeable(&name), "{name}");
            assert!(!name.as_str().contains('_'), "{name}");
            assert!(stays(&name, std::slice::from_ref(&name)), "{name}");
        }
        for name in [header::AUTHORIZATION, header::COOKIE, header::HOST, header::CONNECTION] {
            assert!(!is_plain(&name), "{name}");
        }
    }

    #[test]
    fn what_a_client_says_of_its_origin_stays_here() {
        for name in ["x-forwarded-for", "forwarded", "x-real-ip", "x-original-url"] {
            assert!(stays(&HeaderName::from_static(name), &[]), "{name}");
        }
        assert!(stays(&HeaderName::from_static("x-http-method-override"), &[]));
        assert!(!stays(&header::ACCEPT, &[]));
        assert!(stays(&header::ACCEPT, &[header::ACCEPT]));
    }

    #[test]
    fn an_address_with_colons_is_quoted_and_a_unix_socket_has_none() {
        let said = |peer: Option<&str>| {
            let origin = Origin::new(peer.map(|peer| peer.parse().unwrap()), "http");
            let told = told(&origin, "a");
            (told[0].1.clone(), told.iter().any(|(name, _)| name == "x-forwarded-for"))
        };
        let expected = "for=\"[::1]\";host=\"a\";proto=http".to_owned();
        assert_eq!(said(Some("::1")), (expected, true));
        let expected = "for=unknown;host=\"a\";proto=http".to_owned();
        assert_eq!(said(None), (expected, false));
    }

    proptest! {
        #[test]
        fn no_hop_by_hop_field_survives(nominations in "[a-z,; -]{0,40}", value in "[ -~]{0,20}") {
            let mut headers = headers(&[("connection", &nominations), ("te", &value), ("upgrade", &value)]);
            remove_hop_by_hop(&mut headers);
            for name in [header::CONNECTION, header::TE, header::UPGRADE] {
                prop_assert!(!headers.contains(name));
            }
            for name in nominations.split(',').filter_map(|name| HeaderName::try_from(name.trim()).ok()) {
                prop_assert!(!headers.contains(name));
            }
        }
    }
}
