//! Fields that belong to one connection only, and those that say where a message came from.

use std::net::IpAddr;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// Fields that tell how a message is framed and where it goes; `Connection` cannot nominate them.
const NOT_NOMINABLE: [HeaderName; 3] =
    [header::HOST, header::CONTENT_LENGTH, header::TRANSFER_ENCODING];

/// The name under which a request carries its id.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Removes the fields whose names `is_removed` picks. Most messages hold none of the names in
/// question, and looking at those that they hold is cheaper than asking for each.
pub fn remove_where(headers: &mut HeaderMap, is_removed: impl Fn(&HeaderName) -> bool) {
    let removed: Vec<HeaderName> =
        headers.keys().filter(|name| is_removed(name)).cloned().collect();
    for name in removed {
        headers.remove(name);
    }
}

/// Drops hop-by-hop fields and those that `Connection` nominates, in requests and answers alike.
pub fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let nominated = nominated(headers);
    remove_where(headers, |name| is_hop_by_hop(name) || nominated.contains(name));
}

/// Fields that every intermediary drops (RFC 9110 section 7.6.1, and what older peers still send).
fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "te"
            | "transfer-encoding"
            | "upgrade"
            | "http2-settings"
    )
}

/// Fields in which clients could pretend to be somebody else, or to ask for something else than was
/// judged.
fn is_forgeable(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "forwarded"
            | "x-forwarded-for"
            | "x-forwarded-host"
            | "x-forwarded-proto"
            | "x-forwarded-port"
            | "x-forwarded-uri"
            | "x-real-ip"
            | "x-original-url"
            | "x-rewrite-url"
            | "x-http-method"
            | "x-http-method-override"
            | "x-method-override"
    )
}

fn nominated(headers: &HeaderMap) -> Vec<HeaderName> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::try_from(name.trim()).ok())
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
        }
    }

    fn forwarded(&self, host: &str) -> String {
        [&self.forwarded_start, host, &self.forwarded_end].concat()
    }
}

/// Sets `Forwarded` (RFC 7239) and its older kin anew for a request from `origin` to the authority
/// `host`. What the client sent under these names is dropped: nobody here is trusted to say it.
pub fn set_forwarded(headers: &mut HeaderMap, origin: &Origin, host: &str) {
    remove_where(headers, is_forgeable);
    set(headers, header::FORWARDED, origin.forwarded(host));
    if let Some(peer) = &origin.peer {
        headers.insert(X_FORWARDED_FOR, peer.clone());
    }
    set(headers, X_FORWARDED_HOST, host.to_owned());
    headers.insert(X_FORWARDED_PROTO, origin.scheme.clone());
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: String) {
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn headers(fields: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
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
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "content-length", "host"]);
    }

    #[test]
    fn what_a_client_says_of_its_origin_is_replaced() {
        let mut headers = headers(&[
            ("x-forwarded-for", "6.6.6.6"),
            ("forwarded", "for=6.6.6.6"),
            ("x-real-ip", "6.6.6.6"),
            ("x-original-url", "/admin"),
            ("x-http-method-override", "DELETE"),
        ]);
        let origin = Origin::new(Some("127.0.0.1".parse().unwrap()), "https");
        set_forwarded(&mut headers, &origin, "cms.example:8443");
        assert_eq!(headers["x-forwarded-for"], "127.0.0.1");
        assert_eq!(headers["x-forwarded-proto"], "https");
        assert_eq!(headers["forwarded"], "for=127.0.0.1;host=\"cms.example:8443\";proto=https");
        for dropped in ["x-real-ip", "x-original-url", "x-http-method-override"] {
            assert!(!headers.contains_key(dropped), "{dropped}");
        }
    }

    #[test]
    fn an_address_with_colons_is_quoted_and_a_unix_socket_has_none() {
        let forwarded = |peer: Option<&str>| {
            let origin = Origin::new(peer.map(|peer| peer.parse().unwrap()), "http");
            let mut headers = HeaderMap::new();
            set_forwarded(&mut headers, &origin, "a");
            (headers["forwarded"].clone(), headers.contains_key("x-forwarded-for"))
        };
        let expected = HeaderValue::from_static("for=\"[::1]\";host=\"a\";proto=http");
        assert_eq!(forwarded(Some("::1")), (expected, true));
        let expected = HeaderValue::from_static("for=unknown;host=\"a\";proto=http");
        assert_eq!(forwarded(None), (expected, false));
    }

    proptest! {
        #[test]
        fn no_hop_by_hop_field_survives(nominations in "[a-z,; -]{0,40}", value in "[ -~]{0,20}") {
            let mut headers = headers(&[("connection", &nominations), ("te", &value), ("upgrade", &value)]);
            remove_hop_by_hop(&mut headers);
            for name in ["connection", "te", "upgrade"] {
                prop_assert!(!headers.contains_key(name));
            }
            for name in nominations.split(',').filter_map(|name| HeaderName::try_from(name.trim()).ok()) {
                prop_assert!(!headers.contains_key(name));
            }
        }
    }
}
