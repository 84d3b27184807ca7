//! Conditions over answers, decided as early as possible: many are settled by the head alone, and
//! only those that are not make Doorward look at a bounded piece of the body.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use http::{HeaderName, Method, StatusCode, header};
use regex::Regex;
use serde_json::Value;

use super::pattern::{PathPattern, Pointer};
use super::written::CookieState;
use super::{CookieName, page};

use crate::fields::{self, Fields};

/// What an answer must be like. All parts must hold.
#[derive(Debug, Default)]
pub struct Condition {
    pub(super) parts: Vec<Part>,
}

#[derive(Debug)]
pub(super) enum Part {
    Status(Vec<StatusSet>),
    Header { name: HeaderName, matches: Option<Regex> },
    Json { at: Pointer, test: JsonTest },
    Body(Regex),
    SetCookie { name: CookieName, is: CookieState },
    Methods(Vec<Method>),
    Paths(Vec<PathPattern>),
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Not(Condition),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StatusSet {
    Code(StatusCode),
    /// The first digit.
    Class(u16),
}

#[derive(Debug)]
pub(super) enum JsonTest {
    OneOf(Vec<Value>),
    Exists(bool),
    Matches(Regex),
}

/// An answer as conditions see it.
#[derive(Debug)]
pub struct Answer<'a> {
    /// The method of the request that was answered.
    pub method: &'a Method,
    /// The canonical path of the request that was answered, below the upstream's URL.
    pub path: &'a str,
    /// The status code.
    pub status: StatusCode,
    /// The header fields.
    pub headers: &'a Fields,
    /// The body, once somebody has looked.
    pub body: Option<&'a Body>,
}

/// The decoded body of an answer, or as much of it as the bound allows. `Debug` shows its length
/// only: answers hold tokens.
pub struct Body {
    bytes: Vec<u8>,
    json: OnceCell<Option<Value>>,
    /// What is known of the answer's texts where the texts themselves are not there.
    told: Option<Told>,
}

/// What a recording tells of an answer's texts, which it does not hold: which of the recipe's tests
/// of texts held for them, by the test's own words, and what its expressions found in the body.
#[derive(Debug, Default)]
pub struct Told {
    tests: BTreeMap<String, bool>,
    captures: BTreeMap<String, String>,
    /// Tests that were asked for and are not told.
    unknown: RefCell<BTreeSet<String>>,
}

/// Whether a condition holds, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// It holds.
    Yes,
    /// It does not.
    No,
    /// Only the body can tell.
    NeedsBody,
}

impl Condition {
    /// Whether this holds for `answer`.
    pub fn judge(&self, answer: &Answer<'_>) -> Truth {
        all(self.parts.iter().map(|part| part.judge(answer)))
    }

    /// Whether nothing is asked, so that it always holds.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Whether any part looks at the body.
    pub fn reads_body(&self) -> bool {
        self.parts.iter().any(|part| match part {
            Part::Json { .. } | Part::Body(_) => true,
            Part::All(conditions) | Part::Any(conditions) => {
                conditions.iter().any(Condition::reads_body)
            }
            Part::Not(condition) => condition.reads_body(),
            _ => false,
        })
    }

    /// The status codes that the top level asks for, where it does.
    pub(super) fn statuses(&self) -> Option<&[StatusSet]> {
        self.parts.iter().find_map(|part| match part {
            Part::Status(sets) => Some(sets.as_slice()),
            _ => None,
        })
    }
}

impl Part {
    pub(super) fn judge(&self, answer: &Answer<'_>) -> Truth {
        if self.reads_text()
            && let Some(told) = answer.body.and_then(|body| body.told.as_ref())
        {
            return told.holds(&self.words()).into();
        }
        match self {
            Self::Status(sets) => sets.iter().any(|set| set.contains(answer.status)).into(),
            Self::Header { name, matches } => {
                let mut values = answer.headers.get_all(name);
                match matches {
                    None => values.next().is_some().into(),
                    Some(regex) => values
                        .any(|value| fields::text(value).is_some_and(|text| regex.is_match(text)))
                        .into(),
                }
            }
            Self::Json { at, test } => match answer.body {
                None => Truth::NeedsBody,
                Some(body) => test.holds(body.json().and_then(|json| at.find(json))).into(),
            },
            Self::Body(regex) => match answer.body {
                None => Truth::NeedsBody,
                Some(body) => regex.is_match(&String::from_utf8_lossy(&body.bytes)).into(),
            },
            Self::SetCookie { name, is } => set_cookies(answer.headers)
                .any(|(cookie, state)| name.fits(&cookie) && state == *is)
                .into(),
            Self::Methods(methods) => methods.contains(answer.method).into(),
            Self::Paths(patterns) => {
                patterns.iter().any(|pattern| pattern.matches(answer.path)).into()
            }
            Self::All(conditions) => all(conditions.iter().map(|each| each.judge(answer))),
            Self::Any(conditions) => any(conditions.iter().map(|each| each.judge(answer))),
            Self::Not(condition) => match condition.judge(answer) {
                Truth::Yes => Truth::No,
                Truth::No => Truth::Yes,
                Truth::NeedsBody => Truth::NeedsBody,
            },
        }
    }
}

impl Part {
    /// Whether an expression is searched for in a text of the answer.
    pub(super) fn reads_text(&self) -> bool {
        matches!(
            self,
            Self::Body(_)
                | Self::Header { matches: Some(_), .. }
                | Self::Json { test: JsonTest::Matches(_), .. }
        )
    }
}

impl Told {
    /// Whether each test held, and what stands for the first group of each expression that found
    /// something in the body.
    pub fn new(tests: BTreeMap<String, bool>, captures: BTreeMap<String, String>) -> Self {
        Self { tests, captures, unknown: RefCell::default() }
    }

    fn holds(&self, test: &str) -> bool {
        match self.tests.get(test) {
            Some(holds) => *holds,
            None => {
                self.unknown.borrow_mut().insert(test.to_owned());
                false
            }
        }
    }
}

fn all(truths: impl Iterator<Item = Truth>) -> Truth {
    let mut result = Truth::Yes;
    for truth in truths {
        match truth {
            Truth::No => return Truth::No,
            Truth::NeedsBody => result = Truth::NeedsBody,
            Truth::Yes => {}
        }
    }
    result
}

fn any(truths: impl Iterator<Item = Truth>) -> Truth {
    let mut result = Truth::No;
    for truth in truths {
        match truth {
            Truth::Yes => return Truth::Yes,
            Truth::NeedsBody => result = Truth::NeedsBody,
            Truth::No => {}
        }
    }
    result
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }
}

impl StatusSet {
    pub(super) fn contains(self, status: StatusCode) -> bool {
        match self {
            Self::Code(code) => code == status,
            Self::Class(digit) => status.as_u16() / 100 == digit,
        }
    }

    /// Whether some status is in both.
    pub(super) fn meets(self, other: Self) -> bool {
        match (self, other) {
            (Self::Class(one), Self::Class(two)) => one == two,
            (Self::Code(code), set) | (set, Self::Code(code)) => set.contains(code),
        }
    }
}

impl JsonTest {
    fn holds(&self, value: Option<&Value>) -> bool {
        match self {
            Self::OneOf(values) => value.is_some_and(|value| values.contains(value)),
            Self::Exists(wanted) => value.is_some_and(|value| !value.is_null()) == *wanted,
            Self::Matches(regex) => {
                value.and_then(Value::as_str).is_some_and(|text| regex.is_match(text))
            }
        }
    }
}

/// The cookies that an answer sets, with what it does to each (RFC 6265 section 4.1).
pub(crate) fn set_cookies(headers: &Fields) -> impl Iterator<Item = (String, CookieState)> {
    headers.get_all(header::SET_COOKIE).filter_map(|field| {
        let text = std::str::from_utf8(field).ok()?;
        let cookie = cookie::Cookie::parse(text.trim_start()).ok()?;
        let expired = cookie.max_age().is_some_and(|age| age.is_zero() || age.is_negative())
            || cookie
                .expires_datetime()
                .is_some_and(|time| time.unix_timestamp() <= REMOVED_BEFORE_EPOCH_SECONDS);
        let state = match (expired, cookie.value().is_empty()) {
            (true, _) => CookieState::Removed,
            (false, true) => CookieState::Emptied,
            (false, false) => CookieState::Set,
        };
        Some((cookie.name().to_owned(), state))
    })
}

/// Servers remove a cookie with a date long past, most often 1970; a day of slack needs no clock.
const REMOVED_BEFORE_EPOCH_SECONDS: i64 = 86_400;

impl fmt::Debug for Body {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "[body, {} bytes]", self.bytes.len())
    }
}

impl Body {
    /// A decoded body.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, json: OnceCell::new(), told: None }
    }

    /// The body of a recorded answer, whose texts are only told of.
    pub fn recorded(bytes: Vec<u8>, told: Told) -> Self {
        Self { bytes, json: OnceCell::new(), told: Some(told) }
    }

    /// Tests of texts that this recorded answer was asked for and does not tell of.
    pub fn unknown(&self) -> BTreeSet<String> {
        self.told.as_ref().map(|told| told.unknown.borrow().clone()).unwrap_or_default()
    }

    /// What the first group of `regex` finds in the text of the body.
    pub fn capture(&self, regex: &Regex) -> Option<String> {
        if let Some(told) = &self.told {
            return told.captures.get(regex.as_str()).cloned();
        }
        let text = std::str::from_utf8(&self.bytes).ok()?;
        Some(regex.captures(text)?.get(1)?.as_str().to_owned())
    }

    /// What the page in the body has in the `input` or `meta` called `name`.
    pub fn input(&self, name: &str) -> Option<String> {
        if let Some(told) = &self.told {
            return told.captures.get(&input_key(name)).cloned();
        }
        page::input(std::str::from_utf8(&self.bytes).ok()?, name)
    }

    /// Whether its texts are only told of, so that no part of one can be taken.
    pub fn is_recorded(&self) -> bool {
        self.told.is_some()
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The JSON in it, if it is JSON. The parser bounds the depth at 128.
    pub fn json(&self) -> Option<&Value> {
        self.json.get_or_init(|| serde_json::from_slice(&self.bytes).ok()).as_ref()
    }
}

/// By what a recording tells of an `input`.
pub(crate) fn input_key(name: &str) -> String {
    format!("input `{name}`")
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn judge(condition: &Condition, status: u16, body: Option<&str>) -> Truth {
        let body = body.map(|text| Body::new(text.as_bytes().to_vec()));
        condition.judge(&Answer {
            method: &Method::GET,
            path: "/",
            status: StatusCode::from_u16(status).unwrap(),
            headers: &Fields::new(),
            body: body.as_ref(),
        })
    }

    fn json(at: &str, test: JsonTest) -> Part {
        Part::Json { at: Pointer::parse(at).unwrap(), test }
    }

    #[test]
    fn the_head_settles_what_it_can_and_only_then_the_body_is_asked_for() {
        let dead = Condition {
            parts: vec![
                Part::Status(vec![StatusSet::Code(StatusCode::FORBIDDEN)]),
                json("/in", JsonTest::OneOf(vec![Value::Bool(false)])),
            ],
        };
        assert_eq!(judge(&dead, 200, None), Truth::No);
        assert_eq!(judge(&dead, 403, None), Truth::NeedsBody);
        assert_eq!(judge(&dead, 403, Some(r#"{"in":false}"#)), Truth::Yes);
        assert_eq!(judge(&dead, 403, Some(r#"{"in":true}"#)), Truth::No);
        assert_eq!(judge(&dead, 403, Some("<html>")), Truth::No);
    }

    #[test]
    fn a_negation_of_the_unknown_is_unknown() {
        let not = Condition {
            parts: vec![Part::Not(Condition { parts: vec![json("/x", JsonTest::Exists(true))] })],
        };
        assert_eq!(judge(&not, 200, None), Truth::NeedsBody);
        assert_eq!(judge(&not, 200, Some("{}")), Truth::Yes);
        assert_eq!(judge(&not, 200, Some(r#"{"x":null}"#)), Truth::Yes);
        assert_eq!(judge(&not, 200, Some(r#"{"x":0}"#)), Truth::No);
    }

    #[test]
    fn a_cookie_is_set_removed_or_emptied() {
        let mut headers = Fields::new();
        for field in [
            "a=1; Path=/",
            "b=; Max-Age=0",
            "c=x; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
            "d=; Path=/; Expires=Fri, 31 Dec 9999 23:59:59 GMT",
            "  e=2",
        ] {
            headers.append(header::SET_COOKIE, field.parse::<HeaderValue>().unwrap());
        }
        let seen: Vec<_> = set_cookies(&headers).collect();
        let expected = [
            ("a", CookieState::Set),
            ("b", CookieState::Removed),
            ("c", CookieState::Removed),
            ("d", CookieState::Emptied),
            ("e", CookieState::Set),
        ];
        assert_eq!(seen, expected.map(|(name, state)| (name.to_owned(), state)));
    }
}
