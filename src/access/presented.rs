//! Where in a request clients put what shows who they are, and how nothing of it travels on.

use data_encoding::BASE64;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use zeroize::Zeroizing;

use super::key::KEY_PREFIX;
use crate::recipe::{InjectInto, Recipe};

/// The field of our own in which a client may present its key.
pub const CLIENT_KEY: HeaderName = HeaderName::from_static("doorward-key");

/// The field in which a client names the account that it wants to use, where a route leaves that
/// to it. It never travels on.
pub const CLIENT_ACCOUNT: HeaderName = HeaderName::from_static("doorward-account");

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Fields in which clients present keys, besides `Authorization` and the vendor's own.
const KEY_FIELDS: [HeaderName; 2] = [CLIENT_KEY, X_API_KEY];

/// Hands over every value that could show who calls: bearer tokens, Basic passwords, fields for
/// keys, the vendor's own fields. Ends with the first error.
pub(super) fn each<E>(
    recipe: &Recipe,
    headers: &HeaderMap,
    mut look: impl FnMut(&str) -> Result<(), E>,
) -> Result<(), E> {
    for value in headers.get_all(header::AUTHORIZATION) {
        let Ok(text) = value.to_str() else { continue };
        let (scheme, rest) = text.split_once(' ').unwrap_or(("", text));
        if !scheme.eq_ignore_ascii_case("basic") {
            look(rest.trim())?;
        } else if let Some(password) = basic_password(rest) {
            look(&password)?;
        }
    }
    let vendor = recipe.inject.iter().filter_map(|injection| match &injection.into {
        InjectInto::Header(name, _) => Some(name),
        _ => None,
    });
    for name in KEY_FIELDS.iter().chain(vendor).chain(&recipe.strip_headers) {
        if *name == header::AUTHORIZATION {
            continue;
        }
        for text in headers.get_all(name).iter().filter_map(|value| value.to_str().ok()) {
            look(text.trim())?;
        }
    }
    Ok(())
}

fn basic_password(encoded: &str) -> Option<Zeroizing<String>> {
    let pair = Zeroizing::new(BASE64.decode(encoded.trim().as_bytes()).ok()?);
    let (_, password) = std::str::from_utf8(&pair).ok()?.split_once(':')?;
    Some(Zeroizing::new(password.to_owned()))
}

/// Drops every field that holds a key of ours: a client that shows it in an odd place must not
/// show it to the upstream.
pub fn strip(headers: &mut HeaderMap) {
    let holds_key = |value: &HeaderValue| {
        let text = value.as_bytes();
        let mut words = text.split(|byte| !byte.is_ascii_alphanumeric() && !b"-_".contains(byte));
        words.any(|word| word.starts_with(KEY_PREFIX.as_bytes()))
    };
    let ours = |name: &HeaderName| *name == CLIENT_KEY || *name == CLIENT_ACCOUNT;
    let fields = headers.iter().filter(|(name, value)| ours(name) || holds_key(value));
    let names: Vec<HeaderName> = fields.map(|(name, _)| name.clone()).collect();
    for name in names {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::tests;

    #[test]
    fn a_key_is_never_sent_on_under_any_name() {
        let key = tests::key("alice").expose().to_owned();
        let mut headers = tests::headers(&[
            ("x-requested-by", key.clone()),
            ("x-api-key", format!(" {key}")),
            ("x-anything", key),
            ("doorward-key", "no key".to_owned()),
            ("accept", "*/*".to_owned()),
        ]);
        // What HTTP/2 lets through is not trimmed by anybody.
        headers.append("x-vault", HeaderValue::from_static("\tdoorward_x"));
        strip(&mut headers);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["accept"]);
    }
}
