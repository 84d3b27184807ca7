//! What an operator has named to be shown of requests: read once, from the head, and never with a
//! client's credential in it.

use http::Version;

use super::message::Head;
use crate::access::{self, Issued};
use crate::telemetry::{Pair, Shown, Shows};

/// How many values are shown of one request.
const VALUES_MAX: usize = 64;

/// How much is shown of one value.
const VALUE_BYTES_MAX: usize = 512;

/// What stands in the place of a credential.
const HIDDEN: &str = "[client credential]";

/// What is shown of a request.
pub(super) fn shown(shows: &Shows, head: &Head, issued: &Issued<'_>) -> Shown {
    let mut shown = Shown::default();
    if !shows.query.is_empty() {
        let pairs = head.uri.query().unwrap_or_default().split('&');
        let pairs = pairs.map(|pair| (pair, pair.split_once('=').unwrap_or((pair, ""))));
        let named = pairs.filter(|(_, (name, _))| shows.query.iter().any(|known| known == name));
        let named = named.take(VALUES_MAX);
        shown.query = named.map(|(pair, (name, value))| one(name, value, pair, issued)).collect();
    }
    for name in &shows.headers {
        let values = head.headers.get_all(name);
        for value in values.take(VALUES_MAX.saturating_sub(shown.headers.len())) {
            let value = String::from_utf8_lossy(value);
            shown.headers.push(one(name.as_str(), &value, &value, issued));
        }
    }
    shown
}

/// One value of `whole`, unless that holds a credential.
fn one(name: &str, value: &str, whole: &str, issued: &Issued<'_>) -> Pair {
    let is_credential =
        access::holds_credential(whole.as_bytes()) || issued.is_repeated_in(whole.as_bytes());
    let value = if is_credential { HIDDEN } else { value };
    let value = value.get(..value.floor_char_boundary(VALUE_BYTES_MAX)).unwrap_or(value);
    Pair { name: name.into(), value: value.into() }
}

/// A version as a request line writes it.
pub(super) fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_3 => "HTTP/3.0",
        _ => "HTTP/1.1",
    }
}
