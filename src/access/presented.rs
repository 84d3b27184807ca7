//! Where in a request clients put what shows who they are, and how nothing of it travels on.

use std::borrow::Cow;
use std::sync::LazyLock;

use data_encoding::BASE64;
use http::{HeaderName, header};
use memchr::memmem::{self, Finder};
use memchr::{memchr, memchr2};
use percent_encoding::{percent_decode, percent_decode_str};
use zeroize::Zeroizing;

use super::key::{KEY_BYTES_MIN, KEY_PREFIX};
use super::{Asking, jwt, token};
use crate::fields::{self, Fields};
use crate::recipe::InjectInto;
use crate::secret::in_base64;

/// The field of our own in which a client may present its key.
pub const CLIENT_KEY: HeaderName = HeaderName::from_static("doorward-key");

/// The field in which a client names the account that it wants to use, where a route leaves that
/// to it. It never travels on.
pub const CLIENT_ACCOUNT: HeaderName = HeaderName::from_static("doorward-account");

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Fields in which clients present keys, besides `Authorization` and the vendor's own.
static KEY_FIELDS: [HeaderName; 2] = [CLIENT_KEY, X_API_KEY];

/// Fields in which keys are looked for in any case, apart from the vendor's own.
pub const KEY_PLACES: [HeaderName; 3] = [header::AUTHORIZATION, CLIENT_KEY, X_API_KEY];

/// No whole key is shorter in base64: most fields need not be looked through for one.
const KEY_IN_BASE64_BYTES_MIN: usize = KEY_BYTES_MIN * 4 / 3;

/// Shorter texts are looked at byte by byte.
const SHORT_BYTES: usize = 32;

/// So often a text is freed of percent escapes; who escapes a key more often shows it to nobody.
const ESCAPED_MAX: usize = 4;

/// Where a value stands that could show who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stands {
    /// In a field that the client itself has filled in.
    Field,
    /// In a cookie, which browsers send by themselves.
    Cookie,
    /// In the query.
    Query,
}

/// Hands over every value that could show who calls: bearer tokens, Basic passwords, fields for
/// keys, the vendor's own fields. In cookies and in the vendor's own query parameters only tokens
/// are looked for: a key belongs into neither. Ends with the first error.
pub(super) fn each<E>(
    asking: &Asking<'_>,
    mut look: impl FnMut(&str, Stands) -> Result<(), E>,
) -> Result<(), E> {
    let Asking { recipe, headers, query, key_headers, .. } = asking;
    for value in headers.get_all(header::AUTHORIZATION) {
        let Some(text) = fields::text(value) else { continue };
        let (scheme, rest) = text.split_once(' ').unwrap_or(("", text));
        if !scheme.eq_ignore_ascii_case("basic") {
            look(rest.trim(), Stands::Field)?;
        } else if let Some(password) = basic_password(rest) {
            look(&password, Stands::Field)?;
        }
    }
    let vendor = recipe.inject.iter().filter_map(|injection| match &injection.into {
        InjectInto::Header(name, _) => Some(name),
        _ => None,
    });
    let places = KEY_FIELDS.iter().chain(*key_headers).chain(vendor).chain(&recipe.strip_headers);
    // By their places, whatever the order of the fields: the first key that is shown is the one that
    // counts. A name may be in more than one place.
    for (index, place) in places.clone().enumerate() {
        if *place == header::AUTHORIZATION
            || !headers.contains(place)
            || places.clone().take(index).any(|before| before == place)
        {
            continue;
        }
        for text in headers.get_all(place).filter_map(fields::text) {
            look(text.trim(), Stands::Field)?;
        }
    }
    for field in headers.get_all(header::COOKIE).filter_map(fields::text) {
        for pair in field.split(';') {
            let (_, value) = pair.split_once('=').unwrap_or_default();
            token_in(value.trim().trim_matches('"'), Stands::Cookie, &mut look)?;
        }
    }
    let pairs = query.iter().flat_map(|query| query.split('&'));
    for (name, value) in pairs.filter_map(|pair| pair.split_once('=')) {
        if recipe.strips_query(name) {
            token_in(value, Stands::Query, &mut look)?;
        }
    }
    Ok(())
}

/// Hands over a value that is a token, percent-encoded or not.
fn token_in<E>(
    value: &str,
    stands: Stands,
    look: &mut impl FnMut(&str, Stands) -> Result<(), E>,
) -> Result<(), E> {
    if token::is_like_one(value) {
        return look(value, stands);
    }
    match percent_decode_str(value).decode_utf8() {
        Ok(Cow::Owned(value)) if token::is_like_one(&value) => look(&value, stands),
        _ => Ok(()),
    }
}

/// The bearer tokens (RFC 6750 section 2.1), the one place for tokens of issuers. A key of ours is
/// none.
pub(super) fn bearers(headers: &Fields) -> impl Iterator<Item = &str> {
    const SCHEME: &[u8] = b"bearer ";
    headers.get_all(header::AUTHORIZATION).filter_map(|value| {
        let (scheme, token) = value.split_at_checked(SCHEME.len())?;
        if !scheme.eq_ignore_ascii_case(SCHEME) || token.starts_with(KEY_PREFIX.as_bytes()) {
            return None;
        }
        std::str::from_utf8(token).ok().filter(|text| text.is_ascii()).map(str::trim)
    })
}

fn basic_password(encoded: &str) -> Option<Zeroizing<String>> {
    let pair = Zeroizing::new(BASE64.decode(encoded.trim().as_bytes()).ok()?);
    let (_, password) = std::str::from_utf8(&pair).ok()?.split_once(':')?;
    Some(Zeroizing::new(password.to_owned()))
}

/// Whether a text holds something that looks like a key or a token of ours: as it is, in base64, or
/// percent-encoded, once or again and again.
pub fn holds_credential(text: &[u8]) -> bool {
    static IN_BASE64: LazyLock<Vec<Finder<'static>>> = LazyLock::new(|| {
        in_base64(KEY_PREFIX).iter().map(|form| Finder::new(form).into_owned()).collect()
    });
    if text.len() < KEY_PREFIX.len() {
        return false;
    }
    // The prefix ends with `_`, as it is or as `%5F`: most texts have neither. A search of the library
    // takes longer to begin than short ones take; those are looked at to the end in any case, which
    // takes many bytes at once.
    let has_either = match text.len() {
        ..SHORT_BYTES => text.iter().fold(false, |has, byte| has | matches!(byte, b'_' | b'%')),
        _ => memchr2(b'_', b'%', text).is_some(),
    };
    (has_either && spells_key(text))
        || (text.len() >= KEY_IN_BASE64_BYTES_MIN
            && IN_BASE64.iter().any(|form| form.find(text).is_some()))
}

fn spells_key(text: &[u8]) -> bool {
    spells_prefix(text)
        || (memmem::find(text, b"%25").is_some()
            && without_escapes(text).any(|text| spells_prefix(&text)))
}

/// A text without its percent escapes, then without those that were escaped themselves.
fn without_escapes(text: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let unescape = |text: &[u8]| match percent_decode(text).into() {
        Cow::Borrowed(_) => None,
        Cow::Owned(text) => Some(text),
    };
    let once = memchr(b'%', text).and_then(|_| unescape(text));
    std::iter::successors(once, move |text| unescape(text)).take(ESCAPED_MAX)
}

/// Whether a key begins here, percent-encoded or not.
fn spells_prefix(text: &[u8]) -> bool {
    let prefix = KEY_PREFIX.as_bytes();
    let mut matched = 0;
    for byte in percent_decode(text) {
        matched = match prefix.get(matched) {
            Some(expected) if *expected == byte => matched + 1,
            // The second `d` of the prefix may be the first of another.
            _ if matched + 1 == prefix.len() && byte == b'o' => 2,
            _ => usize::from(prefix.first() == Some(&byte)),
        };
        if matched == prefix.len() {
            return true;
        }
    }
    false
}

/// The bearer tokens of a request that could be an issuer's.
#[derive(Debug)]
pub struct Issued<'a>(Vec<&'a str>);

impl<'a> Issued<'a> {
    /// Those among these fields.
    pub fn among(headers: &'a Fields) -> Self {
        let is_one = |text: &&str| text.len() <= jwt::TOKEN_BYTES_MAX && jwt::has_the_form(text);
        Self(bearers(headers).filter(is_one).collect())
    }

    /// Whether a text repeats one: as it is, in base64, or percent-encoded, once or again and again.
    pub fn is_repeated_in(&self, text: &[u8]) -> bool {
        self.0.iter().any(|token| {
            let is_in = |text: &[u8]| memmem::find(text, token.as_bytes()).is_some();
            let is_coded = || {
                in_base64(token).iter().any(|form| memmem::find(text, form.as_bytes()).is_some())
            };
            text.len() >= token.len()
                && (is_in(text) || without_escapes(text).any(|text| is_in(&text)) || is_coded())
        })
    }
}

/// Tells which fields of one request show who calls: they stay here.
#[derive(Debug)]
pub struct Withheld<'a> {
    /// The operator's own fields for keys.
    key_headers: &'a [HeaderName],
    issued: &'a Issued<'a>,
}

impl<'a> Withheld<'a> {
    /// Of a request with these tokens of issuers.
    pub fn of(issued: &'a Issued<'a>, key_headers: &'a [HeaderName]) -> Self {
        Self { key_headers, issued }
    }

    /// Whether fields of this name are for Doorward alone.
    pub fn is_ours(&self, name: &HeaderName) -> bool {
        *name == CLIENT_KEY || *name == CLIENT_ACCOUNT || self.key_headers.contains(name)
    }

    /// Whether a value, or a name, holds a key or a token of ours, or repeats a token of an issuer: a
    /// client that shows it in an odd place must not show it to the upstream.
    pub fn is_in(&self, text: &[u8]) -> bool {
        holds_credential(text) || self.issued.is_repeated_in(text)
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::BASE64URL_NOPAD;
    use http::HeaderValue;

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
            ("referer", "http://door/x?a=ddoorward%5FT_x".to_owned()),
            ("x-odd", "doorwardoorward_x".to_owned()),
            ("accept", "*/*".to_owned()),
        ]);
        // What HTTP/2 lets through is not trimmed by anybody.
        headers
            .append(HeaderName::from_static("x-vault"), HeaderValue::from_static("\tdoorward_x"));
        let issued = Issued::among(&headers);
        let withheld = Withheld::of(&issued, &[]);
        let left = headers
            .iter()
            .filter(|(name, value)| !withheld.is_ours(name) && !withheld.is_in(value));
        assert_eq!(left.map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["accept"]);
    }

    /// Fails when a key or a token travels on in other clothes.
    #[test]
    fn what_shows_a_client_is_known_in_every_coding() {
        let key = tests::key("a").expose().to_owned();
        assert_eq!(key.len(), KEY_BYTES_MIN);
        let token = format!("{0}.{0}.{0}-_{0}", "eyJhbGciOiJFUzI1NiJ9");
        let headers = tests::headers(&[("authorization", format!("Bearer {token}"))]);
        let issued = Issued::among(&headers);
        let escaped =
            |text: &str| text.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>();
        let withheld = Withheld::of(&issued, &[]);
        for secret in [&key, &token] {
            let twice = escaped(&escaped(secret));
            let mut shown = vec![secret.clone(), escaped(secret), twice.clone(), escaped(&twice)];
            for before in ["", "x", "x:", "x:y"] {
                let text = format!("{before}{secret}");
                shown.push(BASE64.encode(text.as_bytes()));
                shown.push(BASE64URL_NOPAD.encode(format!("{text}:and more").as_bytes()));
            }
            for text in shown {
                assert!(withheld.is_in(format!("some {text} thing").as_bytes()), "{text}");
                assert!(withheld.is_in(text.as_bytes()), "{text}");
            }
        }
        for harmless in ["a%zz_%", "%25255fdoorward", &BASE64.encode(&[b'd'; 99]), "%"] {
            assert!(!withheld.is_in(harmless.as_bytes()), "{harmless}");
        }
    }
}
