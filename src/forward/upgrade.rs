//! Upgrades (RFC 9110 section 7.8): which one a request asks for, and whether an answer agrees to it.

use http::header::{self, HeaderName, HeaderValue};

use crate::fields::{self, Fields};

/// The first protocol that a request asks for and that is in `allowed`, as it is written there.
pub fn requested<'a>(headers: &Fields, allowed: &'a [HeaderValue]) -> Option<&'a HeaderValue> {
    if !members(headers, &header::CONNECTION).any(|name| name.eq_ignore_ascii_case("upgrade")) {
        return None;
    }
    members(headers, &header::UPGRADE).find_map(|wanted| self::allowed(wanted, allowed))
}

/// The protocol `wanted`, if it is in `allowed`, as it is written there.
pub fn allowed<'a>(wanted: &str, allowed: &'a [HeaderValue]) -> Option<&'a HeaderValue> {
    allowed.iter().find(|protocol| is_named(protocol, wanted))
}

/// Whether an answer switches to `protocol` and to nothing else.
pub fn agrees(headers: &Fields, protocol: &HeaderValue) -> bool {
    let mut chosen = members(headers, &header::UPGRADE);
    matches!((chosen.next(), chosen.next()), (Some(one), None) if is_named(protocol, one))
}

/// Says anew, to the next hop, that this connection is to speak `protocol` (or does from now on).
pub fn set(headers: &mut Fields, protocol: &HeaderValue) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, protocol);
}

/// Names of protocols are compared without case (RFC 9110 section 16.7, RFC 6455 section 4.1).
fn is_named(protocol: &HeaderValue, name: &str) -> bool {
    protocol.as_bytes().eq_ignore_ascii_case(name.as_bytes())
}

/// The members of a field that is a list.
fn members<'a>(headers: &'a Fields, name: &'a HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name);
    let texts = values.filter_map(fields::text);
    texts.flat_map(|text| text.split(',')).map(str::trim).filter(|member| !member.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWED: [HeaderValue; 2] =
        [HeaderValue::from_static("websocket"), HeaderValue::from_static("spdy/3.1")];

    fn headers(fields: &[(&'static str, &'static str)]) -> Fields {
        let mut headers = Fields::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn an_upgrade_is_asked_for_by_both_fields_and_only_to_what_is_allowed() {
        let asked = |connection, upgrade| {
            let headers = headers(&[("connection", connection), ("upgrade", upgrade)]);
            requested(&headers, &ALLOWED).cloned()
        };
        assert_eq!(asked("keep-alive, Upgrade", "WebSocket").unwrap(), "websocket");
        assert_eq!(asked("upgrade", "h2c, SPDY/3.1, websocket").unwrap(), "spdy/3.1");
        for (connection, upgrade) in
            [("close", "websocket"), ("upgrade", "h2c"), ("upgrade", "websocket/13"), ("", "")]
        {
            assert_eq!(asked(connection, upgrade), None, "{connection} {upgrade}");
        }
        assert_eq!(requested(&headers(&[("upgrade", "websocket")]), &ALLOWED), None);
    }

    #[test]
    fn an_answer_agrees_to_one_protocol() {
        let agreed = |upgrade| agrees(&headers(&[("upgrade", upgrade)]), &ALLOWED[0]);
        assert!(agreed("WebSocket"));
        assert!(!agreed("websocket, h2c") && !agreed("h2c") && !agreed(""));
        let twice = headers(&[("upgrade", "websocket"), ("upgrade", "h2c")]);
        assert!(!agrees(&twice, &ALLOWED[0]) && !agrees(&Fields::new(), &ALLOWED[0]));
    }
}
