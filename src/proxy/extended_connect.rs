//! WebSockets over HTTP/2 (RFC 8441): a CONNECT that names a protocol is to HTTP/2 what an upgrade
//! is to HTTP/1.1. It is read, judged and sent on as that upgrade; the handshake's key, which
//! HTTP/2 does not have, is made here, and what the upstream makes of it verified.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use data_encoding::BASE64;
use http::{HeaderName, HeaderValue, Method, header};
use hyper::ext::Protocol;

use super::error::Problem;
use super::message::Head;
use crate::fields::Fields;
use crate::forward::upgrade;
use crate::recipe::EndpointRule;
use crate::upstream::Origin;

/// The one protocol that is registered for it (IANA, "HTTP Upgrade Tokens").
const WEBSOCKET: &str = "websocket";

/// What a server puts behind a client's key before it hashes it (RFC 6455 section 1.3).
const ACCEPT_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The handshake that was made for a client of HTTP/2.
#[derive(Debug)]
pub(super) struct Handshake {
    key: HeaderValue,
}

/// Reads an extended CONNECT as the request that its upgrade would be made by.
pub(super) fn read_as_get(head: &mut Head) {
    if head.method == Method::CONNECT && head.extensions.get::<Protocol>().is_some() {
        head.method = Method::GET;
    }
}

/// Judges whether an extended CONNECT can be answered by a tunnel; with any other request there is
/// nothing to judge.
///
/// # Errors
/// When no such upgrade may be asked for here.
pub(super) fn judge(
    head: &Head,
    origin: &Origin,
    rule: Option<&EndpointRule>,
) -> Result<(), Problem> {
    let Some(protocol) = head.extensions.get::<Protocol>() else { return Ok(()) };
    // In a tunnel nothing could be masked.
    let is_masked = matches!(rule, Some(EndpointRule::Mask(_)));
    let is_websocket = protocol.as_str().eq_ignore_ascii_case(WEBSOCKET);
    match is_websocket && !is_masked && upgrade::allowed(WEBSOCKET, &origin.upgrades).is_some() {
        true => Ok(()),
        false => Err(Problem::ProtocolNotSupported),
    }
}

/// The handshake for an extended CONNECT; nothing for any other request.
pub(super) fn handshake(head: &Head) -> Option<Handshake> {
    head.extensions.get::<Protocol>()?;
    // It need be no secret: it shows that no cache answers in the upstream's place.
    let nonce = BASE64.encode(uuid::Uuid::new_v4().as_bytes());
    // Base64 is a header value.
    let key = HeaderValue::try_from(nonce).unwrap_or(HeaderValue::from_static(""));
    Some(Handshake { key })
}

impl Handshake {
    /// What is asked for.
    pub(super) fn protocol<'a>(&self, upgrades: &'a [HeaderValue]) -> Option<&'a HeaderValue> {
        upgrade::allowed(WEBSOCKET, upgrades)
    }

    /// What the upstream is asked by.
    pub(super) fn key(&self) -> &HeaderValue {
        &self.key
    }

    /// Whether the upstream speaks the protocol that it agrees to (RFC 6455 section 4.1).
    pub(super) fn is_accepted(&self, headers: &Fields) -> bool {
        let expected = accept(self.key.as_bytes());
        let mut accepts = headers.get_all(header::SEC_WEBSOCKET_ACCEPT);
        let only = accepts.next().filter(|_| accepts.next().is_none());
        only.is_some_and(|accept| accept == expected.as_bytes())
    }
}

/// The fields of the handshake that HTTP/2 does not have.
const HTTP1_ONLY: [HeaderName; 3] =
    [header::CONNECTION, header::UPGRADE, header::SEC_WEBSOCKET_ACCEPT];

/// Leaves nothing of an upgrade in the fields of an answer.
pub(super) fn tell(headers: &mut Fields) {
    for name in &HTTP1_ONLY {
        headers.remove(name);
    }
}

fn accept(key: &[u8]) -> String {
    let text = [key, ACCEPT_SUFFIX].concat();
    BASE64.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &text).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 6455 section 1.3.
    #[test]
    fn only_what_is_made_of_the_key_accepts_it() {
        let key = HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==");
        let handshake = Handshake { key };
        let accepted = |values: &[&'static str]| {
            let mut headers = Fields::new();
            for value in values {
                headers.append(header::SEC_WEBSOCKET_ACCEPT, HeaderValue::from_static(value));
            }
            handshake.is_accepted(&headers)
        };
        let right = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
        assert!(accepted(&[right]));
        assert!(!accepted(&[]) && !accepted(&["x"]) && !accepted(&[right, right]));
    }
}
