//! A token as it was shown: its form, its header and its claims (RFC 7515 section 7.1, RFC 7519).
//! Nothing in it is proved by being read.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Map, Value};

use super::json;

/// The longest token. Those of CI jobs and clusters have 1 to 3 KiB.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// What is wrong with a token. `Display` is for the client: what it holds anyway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// It is too long.
    #[error("it is longer than {TOKEN_BYTES_MAX} bytes")]
    TooLong,
    /// It is no JSON Web Token, or has a member twice.
    #[error("it is malformed, or a member stands in it twice")]
    Malformed,
    /// It has a header parameter `crit`, none of which are understood (RFC 7515 section 4.1.11).
    #[error("it has critical header parameters (`crit`)")]
    Critical,
    /// Its algorithm is not one that is allowed.
    #[error("its algorithm (`alg`) is not allowed here")]
    Algorithm,
    /// It is a token for something else (RFC 8725 section 3.11).
    #[error("its type (`typ`) is not that of a token for this gateway")]
    Type,
    /// There is no such key.
    #[error("its issuer has no key for its `kid` and `alg`")]
    Key,
    /// The signature is not the key's.
    #[error("its signature is wrong")]
    Signature,
    /// It is for somebody else.
    #[error("its audience (`aud`) is not this gateway")]
    Audience,
    /// It is not good yet, or says that it was made in the future.
    #[error("its time has not come (`nbf`, `iat`)")]
    Early,
    /// It has no end.
    #[error("it has no expiry (`exp`)")]
    Endless,
    /// Only who proves to hold a key may use it, and that is not understood (RFC 7800).
    #[error("it is bound to a key (`cnf`), which is not verified here")]
    Bound,
}

/// A token whose form is good.
#[derive(Debug)]
pub(super) struct Token<'t> {
    /// What is signed.
    pub(super) signed: &'t str,
    pub(super) signature: Vec<u8>,
    header: Map<String, Value>,
    claims: Map<String, Value>,
}

/// When a token is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Time {
    /// Now, and until then.
    GoodUntil(SystemTime),
    /// Its time is over.
    Over,
}

/// Whether a text is three parts with a JSON object as the first one: the form of a signed token.
pub(in crate::access) fn has_the_form(text: &str) -> bool {
    // JSON begins with `{`, of which the first six bits are always these, or with a blank.
    if !text.starts_with(['e', 'I', 'C', 'D']) {
        return false;
    }
    let mut parts = text.split('.');
    let (Some(header), Some(claims), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !claims.is_empty()
        && text.bytes().all(is_plain)
        && decoded(header).is_some_and(|json| json.trim_ascii_start().starts_with(b"{"))
}

/// The issuer that a text of this form names, whatever else may be wrong with it.
pub(super) fn issuer(text: &str) -> Option<String> {
    let claims = decoded(text.split('.').nth(1)?)?;
    match serde_json::from_slice::<Value>(&claims).ok()?.get_mut("iss")?.take() {
        Value::String(issuer) => Some(issuer),
        _ => None,
    }
}

fn decoded(part: &str) -> Option<Vec<u8>> {
    BASE64URL_NOPAD.decode(part.as_bytes()).ok()
}

impl<'t> Token<'t> {
    pub(super) fn parse(text: &'t str) -> Result<Self, Flaw> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(Flaw::TooLong);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(Flaw::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(Flaw::Malformed)?;
        let object = |part| {
            let json = decoded(part).ok_or(Flaw::Malformed)?;
            json::object(&json).map_err(|_| Flaw::Malformed)
        };
        let (header, claims) = (object(header)?, object(claims)?);
        let signature = decoded(signature).ok_or(Flaw::Malformed)?;
        Ok(Self { signed, signature, header, claims })
    }

    pub(super) fn is_critical(&self) -> bool {
        self.header.contains_key("crit")
    }

    pub(super) fn algorithm(&self) -> Option<&str> {
        self.header.get("alg")?.as_str()
    }

    /// The name of its key; only compared, never looked up anywhere. Keys and addresses of keys in
    /// the header (`jwk`, `jku`, `x5c`, `x5u`) are not looked at.
    pub(super) fn key_id(&self) -> Result<Option<&str>, Flaw> {
        match self.header.get("kid") {
            None => Ok(None),
            Some(Value::String(id)) => Ok(Some(id)),
            Some(_) => Err(Flaw::Malformed),
        }
    }

    /// Whether it is of the type that is asked for, or of none that is for something else.
    pub(super) fn is_of_type(&self, required: Option<&str>) -> bool {
        // RFC 7515 section 4.1.9: `application/` may be left out, and capitals do not count.
        fn short(name: &str) -> &str {
            let prefix = "application/";
            match name.split_at_checked(prefix.len()) {
                Some((begin, rest)) if begin.eq_ignore_ascii_case(prefix) => rest,
                _ => name,
            }
        }
        let is = |found: &str, name: &str| short(found).eq_ignore_ascii_case(short(name));
        match (self.header.get("typ"), required) {
            (None, required) => required.is_none(),
            (Some(Value::String(found)), Some(required)) => is(found, required),
            (Some(Value::String(found)), None) => is(found, "JWT") || is(found, "at+jwt"),
            (Some(_), _) => false,
        }
    }

    pub(super) fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }

    /// Whether one of these is among those that it is for.
    pub(super) fn is_for(&self, audience: &[String]) -> bool {
        let is_ours = |value: &Value| audience.iter().any(|one| *value == one.as_str());
        match self.claims.get("aud") {
            Some(Value::Array(list)) => list.iter().any(is_ours),
            Some(one) => is_ours(one),
            None => false,
        }
    }

    /// When it is good (RFC 7519 sections 4.1.4 to 4.1.6), clocks being `skew` apart at most.
    pub(super) fn time(&self, wall: SystemTime, skew: Duration) -> Result<Time, Flaw> {
        let now = wall.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let skew = skew.as_secs_f64();
        for name in ["nbf", "iat"] {
            if let Some(value) = self.claims.get(name)
                && seconds(value)? > now + skew
            {
                return Err(Flaw::Early);
            }
        }
        let end = seconds(self.claims.get("exp").ok_or(Flaw::Endless)?)? + skew;
        if end <= now {
            return Ok(Time::Over);
        }
        let left = Duration::try_from_secs_f64(end - now).unwrap_or(Duration::MAX);
        // What has no end that a clock can show is judged anew soon in any case.
        Ok(Time::GoodUntil(wall.checked_add(left).unwrap_or(wall)))
    }
}

/// Seconds since 1970, perhaps with a fraction.
fn seconds(value: &Value) -> Result<f64, Flaw> {
    value.as_f64().filter(|seconds| seconds.is_finite()).ok_or(Flaw::Malformed)
}
