//! What stands between the braces of a template: names and quoted texts, joined by `+`, through
//! filters behind bars.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::{digest, hmac, rand};
use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};
use percent_encoding::percent_decode_str;
use zeroize::Zeroizing;

use super::template::{BUILT_IN, CLIENT_TOKEN_EXPIRES, Scope, Values};
use crate::diagnosis::suggestion;
use crate::secret::Totp;

/// A parsed expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Expression {
    terms: Vec<Term>,
    filters: Vec<Filter>,
}

/// What an expression comes to when a recipe is loaded.
pub(super) enum Parsed {
    /// It is a parameter.
    Known(String),
    /// It is known when it is rendered.
    Value(Expression),
}

/// What an expression comes to when it is rendered.
pub(super) enum Value<'a> {
    Text(Zeroizing<String>),
    Borrowed(&'a str),
    Time(SystemTime),
    Number(i64),
    /// A digest; in hexadecimal digits, where nothing else is said.
    Bytes(Zeroizing<Vec<u8>>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Term {
    Name(String),
    Text(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Filter {
    Base64,
    Base64Url,
    Lower,
    Upper,
    Plus(Duration),
    EpochSeconds,
    EpochMilliseconds,
    Rfc3339,
    SecondsLeft,
    PercentDecode,
    Totp,
    Sha(Digest),
    /// With the name of the value that is the key.
    Hmac(Digest, String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Digest {
    Sha256,
    Sha512,
}

/// The bytes of a random value: as many as those of a UUID.
const RANDOM_BYTES: usize = 16;

/// What stands before `}}`, and what follows it. In quotes nothing ends.
pub(super) fn split(text: &str) -> Result<(&str, &str), String> {
    let mut quote = None;
    for (at, letter) in text.char_indices() {
        match (quote, letter) {
            (None, '"' | '\'') => quote = Some(letter),
            (Some(open), letter) if open == letter => quote = None,
            (None, '}') => {
                let (expression, rest) = text.split_at(at);
                if let Some(rest) = rest.strip_prefix("}}") {
                    return Ok((expression, rest));
                }
            }
            _ => {}
        }
    }
    Err(match quote {
        Some(_) => "a quote that is not closed in `{{`".to_owned(),
        None => "`{{` without `}}`".to_owned(),
    })
}

/// Parses an expression; each name must be in `scope` or [`BUILT_IN`].
///
/// # Errors
/// A sentence that says what is wrong and, where there is one, the name that was meant.
pub(super) fn parse(text: &str, scope: &Scope<'_>) -> Result<Parsed, String> {
    let mut parts = outside_of_quotes(text, '|').into_iter();
    let joined = parts.next().unwrap_or_default();
    let terms = outside_of_quotes(joined, '+').into_iter().map(str::trim);
    let terms = terms.map(|text| term(text, scope)).collect::<Result<Vec<_>, _>>()?;
    let filters = parts.map(|text| filter(text.trim(), scope)).collect::<Result<Vec<_>, _>>()?;
    if filters.iter().skip(1).any(|filter| *filter == Filter::Totp) {
        return Err("`totp` reads the secret itself: no filter can stand before it".to_owned());
    }
    if filters.first() == Some(&Filter::Totp) && !matches!(terms.as_slice(), [Term::Name(_)]) {
        return Err("`totp` reads the secret itself: nothing can be joined to it".to_owned());
    }
    match (terms.as_slice(), filters.is_empty()) {
        ([Term::Text(text)], true) => Ok(Parsed::Known(text.clone())),
        ([Term::Text(_)], false) if scope.parameters.contains_key(joined.trim()) => {
            Err(format!("the parameter `{}` takes no filter", joined.trim()))
        }
        _ => Ok(Parsed::Value(Expression { terms, filters })),
    }
}

/// The parts of `text` between `separator`, where it stands outside of quotes.
fn outside_of_quotes(text: &str, separator: char) -> Vec<&str> {
    let mut quote = None;
    text.split(move |letter| {
        match quote {
            None if letter == separator => return true,
            None if letter == '"' || letter == '\'' => quote = Some(letter),
            Some(open) if open == letter => quote = None,
            None | Some(_) => {}
        }
        false
    })
    .collect()
}

fn term(text: &str, scope: &Scope<'_>) -> Result<Term, String> {
    for quote in ['"', '\''] {
        if let Some(quoted) = text.strip_prefix(quote) {
            let quoted = quoted.strip_suffix(quote).filter(|inner| !inner.contains(quote));
            let quoted = quoted.ok_or_else(|| format!("`{text}` is no quoted text"))?;
            return Ok(Term::Text(quoted.to_owned()));
        }
    }
    match scope.parameters.get(text) {
        Some(value) => Ok(Term::Text((*value).to_owned())),
        None => name(text, scope).map(Term::Name),
    }
}

fn name(text: &str, scope: &Scope<'_>) -> Result<String, String> {
    if scope.values.contains(&text) || BUILT_IN.contains(&text) {
        return Ok(text.to_owned());
    }
    if text.is_empty() {
        return Err("`{{` needs a name or a quoted text, and so does each `+`".to_owned());
    }
    let known: Vec<&str> =
        scope.parameters.keys().chain(&scope.values).chain(&BUILT_IN).copied().collect();
    Err(match suggestion(text, known.iter().copied()) {
        Some(meant) => format!("no value is called `{text}` here; did you mean `{meant}`?"),
        None => format!("no value is called `{text}` here; there are {}", known.join(", ")),
    })
}

fn filter(filter: &str, scope: &Scope<'_>) -> Result<Filter, String> {
    const KNOWN: [&str; 15] = [
        "base64",
        "base64url",
        "lower",
        "upper",
        "plus",
        "epoch_seconds",
        "epoch_milliseconds",
        "rfc3339",
        "seconds_left",
        "percent_decode",
        "totp",
        "sha256",
        "sha512",
        "hmac_sha256",
        "hmac_sha512",
    ];
    let (name, argument) = match filter.split_once(':') {
        Some((name, argument)) => (name.trim(), Some(argument.trim())),
        None => (filter, None),
    };
    let key = |key: &str| self::name(key, scope);
    match (name, argument) {
        ("base64", None) => Ok(Filter::Base64),
        ("base64url", None) => Ok(Filter::Base64Url),
        ("lower", None) => Ok(Filter::Lower),
        ("upper", None) => Ok(Filter::Upper),
        ("epoch_seconds", None) => Ok(Filter::EpochSeconds),
        ("epoch_milliseconds", None) => Ok(Filter::EpochMilliseconds),
        ("rfc3339", None) => Ok(Filter::Rfc3339),
        ("seconds_left", None) => Ok(Filter::SecondsLeft),
        ("percent_decode", None) => Ok(Filter::PercentDecode),
        ("totp", None) => Ok(Filter::Totp),
        ("sha256", None) => Ok(Filter::Sha(Digest::Sha256)),
        ("sha512", None) => Ok(Filter::Sha(Digest::Sha512)),
        ("hmac_sha256", Some(name)) => Ok(Filter::Hmac(Digest::Sha256, key(name)?)),
        ("hmac_sha512", Some(name)) => Ok(Filter::Hmac(Digest::Sha512, key(name)?)),
        ("hmac_sha256" | "hmac_sha512", None) => {
            Err(format!("`{name}` needs the name of its key: `{name}:secret`"))
        }
        ("plus", Some(duration)) => super::load::duration(duration).map(Filter::Plus),
        ("plus", None) => Err("`plus` needs a duration: `plus:24h`".to_owned()),
        (name, Some(_)) if KNOWN.contains(&name) => Err(format!("`{name}` takes no argument")),
        (name, _) => Err(match suggestion(name, KNOWN) {
            Some(meant) => format!("no filter is called `{name}`; did you mean `{meant}`?"),
            None => format!("no filter is called `{name}`; there are {}", KNOWN.join(", ")),
        }),
    }
}

impl Expression {
    /// The names of the values that it reads.
    pub(super) fn reads(&self) -> impl Iterator<Item = &str> {
        let terms = self.terms.iter().filter_map(|term| match term {
            Term::Name(name) => Some(name.as_str()),
            Term::Text(_) => None,
        });
        let keys = self.filters.iter().filter_map(|filter| match filter {
            Filter::Hmac(_, key) => Some(key.as_str()),
            _ => None,
        });
        terms.chain(keys)
    }

    /// The name of the value that it makes a one-time code from.
    pub(super) fn code(&self) -> Option<&str> {
        match self.terms.as_slice() {
            [Term::Name(name)] if self.filters.contains(&Filter::Totp) => Some(name),
            _ => None,
        }
    }

    /// As it is written, without its filters and its own texts.
    pub(super) fn shown(&self) -> String {
        self.reads().map(|name| format!("{{{{{name}}}}}")).collect()
    }

    /// With `values`, at `now`. A value that is not there is nothing, and so is what is made of
    /// nothing but texts and such values.
    pub(super) fn evaluate<'a>(&self, values: &'a Values, now: SystemTime) -> Value<'a> {
        let start = match self.terms.as_slice() {
            [Term::Name(name)] => named(name, values, now),
            terms => {
                let mut joined = Zeroizing::new(String::new());
                for term in terms {
                    match term {
                        Term::Name(name) => {
                            joined.push_str(&named(name, values, now).into_text());
                        }
                        Term::Text(text) => joined.push_str(text),
                    }
                }
                Value::Text(joined)
            }
        };
        let mut filters = self.filters.iter();
        filters.try_fold(start, |value, filter| filter.apply(value, values, now)).unwrap_or(NOTHING)
    }
}

const NOTHING: Value<'static> = Value::Borrowed("");

fn named<'a>(name: &str, values: &'a Values, now: SystemTime) -> Value<'a> {
    match name {
        "now" => Value::Time(now),
        "random" => random(),
        "uuid" => Value::Text(Zeroizing::new(uuid::Uuid::new_v4().to_string())),
        CLIENT_TOKEN_EXPIRES => Value::Time(values.token_ends().unwrap_or(now)),
        name => Value::Borrowed(values.text(name)),
    }
}

fn random() -> Value<'static> {
    let mut bytes = Zeroizing::new(vec![0; RANDOM_BYTES]);
    match rand::fill(&mut bytes) {
        Ok(()) => Value::Bytes(bytes),
        // No value is better than one that can be guessed: the step is then refused by its upstream.
        Err(_) => NOTHING,
    }
}

impl Filter {
    /// Nothing where nothing can come of it.
    fn apply<'a>(&self, value: Value<'a>, values: &Values, now: SystemTime) -> Option<Value<'a>> {
        Some(match (self, value) {
            (Self::Plus(duration), Value::Time(time)) => {
                Value::Time(time.checked_add(*duration).unwrap_or(time))
            }
            (Self::EpochSeconds, Value::Time(time)) => Value::Number(epoch(time).as_secs() as i64),
            (Self::EpochMilliseconds, Value::Time(time)) => {
                Value::Number(i64::try_from(epoch(time).as_millis()).unwrap_or(i64::MAX))
            }
            (Self::SecondsLeft, Value::Time(time)) => {
                let left = time.duration_since(now).unwrap_or_default();
                Value::Number(i64::try_from(left.as_secs()).unwrap_or(i64::MAX))
            }
            (Self::Base64, value) => text(BASE64.encode(&value.into_bytes())),
            (Self::Base64Url, value) => text(BASE64URL_NOPAD.encode(&value.into_bytes())),
            (Self::Sha(digest), value) => {
                let digest = digest::digest(digest.algorithm(), &value.into_bytes());
                Value::Bytes(Zeroizing::new(digest.as_ref().to_vec()))
            }
            (Self::Hmac(digest, key), value) => {
                let key = hmac::Key::new(digest.hmac(), values.text(key).as_bytes());
                let tag = hmac::sign(&key, &value.into_bytes());
                Value::Bytes(Zeroizing::new(tag.as_ref().to_vec()))
            }
            (Self::Lower, value) => text(value.into_text().to_lowercase()),
            (Self::Upper, value) => text(value.into_text().to_uppercase()),
            (Self::PercentDecode, value) => {
                let encoded = value.into_text();
                text(percent_decode_str(&encoded).decode_utf8_lossy().into_owned())
            }
            // Whoever sends codes has seen to it that the secret is one, and unused.
            (Self::Totp, value) => Value::Text(Totp::parse(&value.into_text()).ok()?.code_at(now)),
            // A time renders as RFC 3339 by itself, and filters of time leave a text alone.
            (_, value) => value,
        })
    }
}

fn text(text: String) -> Value<'static> {
    Value::Text(Zeroizing::new(text))
}

impl Digest {
    fn algorithm(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha512 => &digest::SHA512,
        }
    }

    fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha512 => hmac::HMAC_SHA512,
        }
    }
}

impl Value<'_> {
    pub(super) fn into_text(self) -> Zeroizing<String> {
        match self {
            Self::Text(text) => text,
            Self::Borrowed(text) => Zeroizing::new(text.to_owned()),
            Self::Number(number) => Zeroizing::new(number.to_string()),
            Self::Bytes(bytes) => Zeroizing::new(HEXLOWER.encode(&bytes)),
            Self::Time(time) => Zeroizing::new(
                jiff::Timestamp::try_from(time).map(|time| time.to_string()).unwrap_or_default(),
            ),
        }
    }

    fn into_bytes(self) -> Zeroizing<Vec<u8>> {
        match self {
            Self::Bytes(bytes) => bytes,
            value => Zeroizing::new(value.into_text().as_bytes().to_vec()),
        }
    }
}

fn epoch(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}
