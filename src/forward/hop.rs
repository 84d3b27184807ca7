//! Fields that belong to one connection only, and those that say where a message came from.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// Fields that every intermediary drops (RFC 9110 section 7.6.1, and what older peers still send).
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Fields that tell how a message is framed and where it goes; `Connection` cannot nominate them.
const NOT_NOMINABLE: [HeaderName; 3] =
    [header::HOST, header::CONTENT_LENGTH, header::TRANSFER_ENCODING];

/// Fields in which clients could pretend to be somebody else.
const FORGEABLE: [HeaderName; 9] = [
    header::FORWARDED,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-forwarded-uri"),
    HeaderName::from_static("x-real-ip"),
    HeaderName::from_static("x-original-url"),
    HeaderName::from_static("x-rewrite-url"),
];

/// The name under which a request carries its id.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Drops hop-by-hop fields and those that `Connection` nominates, in requests and answers alike.
pub fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        for name in nominated(headers) {
            headers.remove(name);
        }
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
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

/// Where a request came from.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// The peer's address; nothing on a Unix socket.
    pub peer: Option<std::net::IpAddr>,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The authority that the client asked for.
    pub host: &'a str,
}

/// Sets `Forwarded` (RFC 7239) and its older kin anew. What the
/// client sent under these names is dropped: nobody here is trusted to say it.
pub fn set_forwarded(headers: &mut HeaderMap, origin: Origin<'_>) {
    for name in FORGEABLE {
        headers.remove(name);
    }
    let host = origin.host;
    let forwarded = match origin.peer {
        Some(std::net::IpAddr::V4(peer)) => {
            format!("for={peer};host=\"{host}\";proto={}", origin.scheme)
        }
        Some(std::net::IpAddr::V6(peer)) => {
            format!("for=\"[{peer}]\";host=\"{host}\";proto={}", origin.scheme)
        }
        None => format!("for=unknown;host=\"{host}\";proto={}", origin.scheme),
    };
    set(headers, header::FORWARDED, &forwarded);
    if let Some(peer) = origin.peer {
        set(headers, X_FORWARDED_FOR, &peer.to_string());
    }
    set(headers, X_FORWARDED_HOST, host);
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(origin.scheme));
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
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
        ]);
        let origin = Origin {
            peer: Some("127.0.0.1".parse().unwrap()),
            scheme: "https",
            host: "cms.example:8443",
        };
        set_forwarded(&mut headers, origin);
        assert_eq!(headers["x-forwarded-for"], "127.0.0.1");
        assert_eq!(headers["x-forwarded-proto"], "https");
        assert_eq!(headers["forwarded"], "for=127.0.0.1;host=\"cms.example:8443\";proto=https");
        assert!(!headers.contains_key("x-real-ip") && !headers.contains_key("x-original-url"));
    }

    proptest! {
        #[test]
        fn no_hop_by_hop_field_survives(nominations in "[a-z,; -]{0,40}", value in "[ -~]{0,20}") {
            let mut headers = headers(&[("connection", &nominations), ("te", &value), ("upgrade", &value)]);
            remove_hop_by_hop(&mut headers);
            for name in HOP_BY_HOP {
                prop_assert!(!headers.contains_key(name));
            }
        }
    }
}
