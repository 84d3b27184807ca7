//! Fields behind a body (RFC 9110 section 6.5): which ones may be passed on.

use http::HeaderName;

use super::hop;
use crate::fields::Fields;

/// Leaves the fields that a receiver may merge or look at late. Whatever frames or routes a message,
/// controls caches, says who calls, or tells how its content is to be read, decides something before
/// the content is there (RFC 9110 section 6.5.1).
pub fn keep_harmless(trailers: &mut Fields) {
    hop::remove_hop_by_hop(trailers);
    trailers.retain(|name, _| is_harmless(name));
}

fn is_harmless(name: &HeaderName) -> bool {
    const PREFIXES: [&str; 7] =
        ["content-", "if-", "proxy-", "access-control-", "x-forwarded-", "sec-", "doorward-"];
    let name = name.as_str();
    let decides = matches!(
        name,
        "age"
            | "allow"
            | "alt-svc"
            | "authorization"
            | "cache-control"
            | "cookie"
            | "date"
            | "expect"
            | "expires"
            | "forwarded"
            | "host"
            | "location"
            | "max-forwards"
            | "pragma"
            | "range"
            | "refresh"
            | "retry-after"
            | "set-cookie"
            | "strict-transport-security"
            | "trailer"
            | "vary"
            | "via"
            | "www-authenticate"
            | "x-request-id"
    );
    // Digests of what was sent are made while it is sent (RFC 9530 section 6.5).
    let is_digest = name == "content-digest";
    is_digest || !decides && !PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn what_decides_something_never_comes_behind_a_body() {
        let mut trailers = Fields::new();
        for name in [
            "grpc-status",
            "grpc-message",
            "x-checksum",
            "server-timing",
            "content-digest",
            "content-length",
            "content-encoding",
            "transfer-encoding",
            "connection",
            "host",
            "set-cookie",
            "authorization",
            "location",
            "cache-control",
            "proxy-status",
            "doorward-replay",
        ] {
            trailers.insert(HeaderName::from_static(name), HeaderValue::from_static("1"));
        }
        keep_harmless(&mut trailers);
        let left: Vec<_> = trailers.names().map(HeaderName::as_str).collect();
        assert_eq!(
            left,
            ["grpc-status", "grpc-message", "x-checksum", "server-timing", "content-digest"]
        );
    }
}
