//! What came of a condition, part by part, in words for whoever writes recipes. What the recipe
//! asks for is said as it is written; of the answer only its kind is said, never a value.

use std::fmt;

use serde_json::Value;

use super::condition::{Answer, Condition, JsonTest, Part, StatusSet, Truth, set_cookies};
use super::written::CookieState;
use super::{CookieName, TakeFrom};

/// What came of one part of a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What the recipe asks for.
    pub wants: String,
    /// Whether the answer is so.
    pub holds: bool,
    /// What the answer is like instead or as well, without a value of it.
    pub found: String,
}

/// The longest name of a member, a cookie or a field that is taken for a word.
const PLAIN_NAME_BYTES_MAX: usize = 40;

/// Digits that a word may have; an id has more.
const PLAIN_NAME_DIGITS_MAX: usize = 3;

/// Whether the name of a member of somebody's answer may be shown: a word. Answers also use ids,
/// addresses and tokens as names.
pub fn is_plain_name(name: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    name.len() <= PLAIN_NAME_BYTES_MAX
        && name
            .bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_alphabetic() || b"_.".contains(&byte))
        && name.bytes().all(word)
        && name.bytes().filter(u8::is_ascii_digit).count() <= PLAIN_NAME_DIGITS_MAX
}

impl Condition {
    /// What came of each part for a whole `answer`.
    pub fn explain(&self, answer: &Answer<'_>) -> Vec<Finding> {
        self.parts.iter().flat_map(|part| part.explain(answer)).collect()
    }

    fn words(&self) -> String {
        let parts: Vec<String> = self.parts.iter().map(Part::words).collect();
        match parts.is_empty() {
            true => "anything".to_owned(),
            false => parts.join(" and "),
        }
    }

    fn opposite(&self) -> String {
        let parts: Vec<String> = self.parts.iter().map(Part::opposite).collect();
        match parts.is_empty() {
            true => "nothing".to_owned(),
            false => parts.join(" or "),
        }
    }
}

impl Part {
    fn explain(&self, answer: &Answer<'_>) -> Vec<Finding> {
        if let Self::All(conditions) = self {
            return conditions.iter().flat_map(|each| each.explain(answer)).collect();
        }
        let holds = self.judge(answer) == Truth::Yes;
        vec![Finding { wants: self.words(), holds, found: self.found(answer) }]
    }

    /// What the part asks for.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Status(sets) => format!("status {}", listed(sets.iter(), " or ")),
            Self::Header { name, matches: None } => format!("header `{name}` is there"),
            Self::Header { name, matches: Some(regex) } => {
                format!("header `{name}` matches `{regex}`")
            }
            Self::Json { at, test } => format!("json {at} {}", test.words()),
            Self::Body(regex) => format!("body matches `{regex}`"),
            Self::SetCookie { name, is } => format!("{name} is {}", state(*is)),
            Self::Methods(methods) => format!("method {}", listed(methods.iter(), " or ")),
            Self::Paths(paths) => format!("path {}", listed(paths.iter(), " or ")),
            Self::All(conditions) => joined(conditions, " and "),
            Self::Any(conditions) => joined(conditions, " or "),
            Self::Not(condition) => condition.opposite(),
        }
    }

    /// What an answer is like of which this part does not hold.
    fn opposite(&self) -> String {
        match self {
            Self::Status(sets) => format!("status other than {}", listed(sets.iter(), " or ")),
            Self::Header { name, matches: None } => format!("header `{name}` is missing"),
            Self::Header { name, matches: Some(regex) } => {
                format!("header `{name}` does not match `{regex}`")
            }
            Self::Json { at, test } => format!("json {at} {}", test.opposite()),
            Self::Body(regex) => format!("body does not match `{regex}`"),
            Self::SetCookie { name, is } => format!("{name} is not {}", state(*is)),
            Self::Methods(methods) => {
                format!("method other than {}", listed(methods.iter(), " or "))
            }
            Self::Paths(paths) => format!("path other than {}", listed(paths.iter(), " or ")),
            Self::All(conditions) => opposites(conditions, " or "),
            Self::Any(conditions) => opposites(conditions, " and "),
            Self::Not(condition) => condition.words(),
        }
    }

    /// What the answer is like where the part looks.
    fn found(&self, answer: &Answer<'_>) -> String {
        match self {
            Self::Status(_) => format!("status is {}", answer.status.as_u16()),
            Self::Header { name, matches } => match answer.headers.contains(name) {
                false => format!("header `{name}` is missing"),
                true if matches.is_none() => format!("header `{name}` is there"),
                true if self.judge(answer) == Truth::Yes => format!("header `{name}` matches"),
                true => format!("header `{name}` is another"),
            },
            Self::Json { at, .. } => match answer.body.and_then(|body| body.json()) {
                None => "the body is no JSON".to_owned(),
                Some(json) => format!("json {at} is {}", kind(at.find(json))),
            },
            Self::Body(_) if self.judge(answer) == Truth::Yes => "the body matches".to_owned(),
            Self::Body(_) => "the body does not match".to_owned(),
            Self::SetCookie { name, .. } => {
                let cookie = set_cookies(answer.headers).find(|(cookie, _)| name.fits(cookie));
                match cookie {
                    Some((_, is)) => format!("{name} is {}", state(is)),
                    None => format!("{name} is not set"),
                }
            }
            Self::Methods(_) => format!("method is {}", answer.method),
            Self::Paths(_) => "the path is another".to_owned(),
            Self::All(conditions) | Self::Any(conditions) => {
                let findings = conditions.iter().flat_map(|each| each.explain(answer));
                distinct(findings.map(|finding| finding.found))
            }
            Self::Not(condition) => {
                distinct(condition.explain(answer).into_iter().map(|finding| finding.found))
            }
        }
    }
}

impl JsonTest {
    fn words(&self) -> String {
        match self {
            Self::OneOf(values) => format!("is {}", listed(values.iter(), " or ")),
            Self::Exists(true) => "is there".to_owned(),
            Self::Exists(false) => "is missing or null".to_owned(),
            Self::Matches(regex) => format!("matches `{regex}`"),
        }
    }

    fn opposite(&self) -> String {
        match self {
            Self::OneOf(values) => format!("is other than {}", listed(values.iter(), " or ")),
            Self::Exists(true) => Self::Exists(false).words(),
            Self::Exists(false) => Self::Exists(true).words(),
            Self::Matches(regex) => format!("does not match `{regex}`"),
        }
    }
}

fn joined(conditions: &[Condition], word: &str) -> String {
    in_brackets(conditions, Condition::words).join(word)
}

fn opposites(conditions: &[Condition], word: &str) -> String {
    in_brackets(conditions, Condition::opposite).join(word)
}

/// Each condition in words, in brackets where it has more than one part.
fn in_brackets(conditions: &[Condition], words: fn(&Condition) -> String) -> Vec<String> {
    let words = conditions.iter().map(|each| match each.parts.len() {
        0 | 1 => words(each),
        _ => format!("({})", words(each)),
    });
    words.collect()
}

fn listed(items: impl Iterator<Item = impl fmt::Display>, word: &str) -> String {
    items.map(|item| item.to_string()).collect::<Vec<_>>().join(word)
}

fn distinct(findings: impl Iterator<Item = String>) -> String {
    let mut known = Vec::<String>::new();
    for found in findings {
        if !known.contains(&found) {
            known.push(found);
        }
    }
    known.join(", ")
}

fn state(state: CookieState) -> &'static str {
    match state {
        CookieState::Set => "set",
        CookieState::Removed => "removed",
        CookieState::Emptied => "emptied",
    }
}

fn kind(value: Option<&Value>) -> &'static str {
    match value {
        None => "missing",
        Some(Value::Null) => "null",
        Some(Value::Bool(_)) => "a truth value",
        Some(Value::Number(_)) => "a number",
        Some(Value::String(text)) if text.is_empty() => "an empty string",
        Some(Value::String(_)) => "a string",
        Some(Value::Array(_)) => "an array",
        Some(Value::Object(_)) => "an object",
    }
}

impl fmt::Display for StatusSet {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(out, "{}", code.as_u16()),
            Self::Class(digit) => write!(out, "{digit}xx"),
        }
    }
}

impl fmt::Display for TakeFrom {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(pointer) => write!(out, "json {pointer}"),
            Self::Header(name) => write!(out, "header `{name}`"),
            Self::Cookie(name) => write!(out, "{name}"),
            Self::CookieAge(name) => write!(out, "life of cookie `{name}`"),
            Self::Text(regex) => write!(out, "text `{regex}`"),
            Self::Input(name) => write!(out, "input `{name}`"),
        }
    }
}

impl fmt::Display for CookieName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Is(name) => write!(out, "cookie `{name}`"),
            Self::Matches(regex) => write!(out, "cookie that matches `{regex}`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{Method, StatusCode};

    use crate::fields::Fields;

    use super::*;
    use crate::recipe::condition::Body;
    use crate::recipe::{Recipe, built_in};

    /// Fails when a finding says a value of the answer, or holds where the condition does not.
    #[test]
    fn each_part_is_told_without_a_value() {
        let recipe = Recipe::load(&built_in("contentstack").unwrap(), &Default::default()).unwrap();
        let body = Body::new(br#"{"error_code":104,"error_message":"canary"}"#.to_vec());
        let answer = Answer {
            method: &Method::POST,
            path: "/",
            status: StatusCode::UNPROCESSABLE_ENTITY,
            headers: &Fields::new(),
            body: Some(&body),
        };
        let findings = recipe.login[0].expect.explain(&answer);
        let said: Vec<_> = findings.iter().map(|each| (each.holds, each.found.as_str())).collect();
        let expected = [(false, "status is 422"), (false, "json /user/authtoken is missing")];
        assert_eq!(said, expected);
        assert_eq!(findings[0].wants, "status 2xx");
        assert_eq!(findings[1].wants, "json /user/authtoken is there");
        let rules = recipe.refusals.iter().flat_map(|rule| rule.when.explain(&answer));
        assert!(rules.count() > 5);
        for rule in &recipe.refusals {
            let told = rule.when.explain(&answer);
            assert!(!format!("{told:?}").contains("canary"));
            let holds = told.iter().all(|finding| finding.holds);
            assert_eq!(holds, rule.when.judge(&answer) == Truth::Yes, "{told:?}");
        }
    }

    /// Fails when somebody has to turn a negation around to know what is wanted.
    #[test]
    fn what_must_not_be_is_told_as_what_is_wanted() {
        let not = |parts| Part::Not(Condition { parts });
        let header = |matches: Option<&str>| Part::Header {
            name: http::header::LOCATION,
            matches: matches.map(|text| regex::Regex::new(text).unwrap()),
        };
        let of = |part| Condition { parts: vec![part] };
        let status = || Part::Status(vec![StatusSet::Class(4)]);
        let headers = Fields::from_iter([(http::header::LOCATION, "/login".parse().unwrap())]);
        let answer = Answer {
            method: &Method::GET,
            path: "/",
            status: StatusCode::BAD_REQUEST,
            headers: &headers,
            body: None,
        };
        let cases = [
            (not(vec![header(None)]), "header `location` is missing", "header `location` is there"),
            (
                not(vec![header(Some("login"))]),
                "header `location` does not match `login`",
                "header `location` matches",
            ),
            (
                header(Some("home")),
                "header `location` matches `home`",
                "header `location` is another",
            ),
            (
                not(vec![status(), header(None)]),
                "status other than 4xx or header `location` is missing",
                "status is 400, header `location` is there",
            ),
            (
                not(vec![Part::Any(vec![of(status()), of(header(None))])]),
                "status other than 4xx and header `location` is missing",
                "status is 400, header `location` is there",
            ),
        ];
        for (part, wants, found) in cases {
            let finding = of(part).explain(&answer).remove(0);
            assert_eq!((finding.wants.as_str(), finding.found.as_str()), (wants, found));
            assert!(!finding.holds, "{wants}");
        }
    }

    #[test]
    fn a_rule_knows_where_it_is_written() {
        let text = crate::recipe::BUILT_IN.iter().find(|(name, _)| *name == "contentstack");
        let recipe = Recipe::load(&built_in("contentstack").unwrap(), &Default::default()).unwrap();
        let place = &recipe.refusals[2].place;
        assert_eq!(
            (place.rule.as_str(), recipe.file.as_str()),
            ("login.refusals[2]", "contentstack.toml")
        );
        let line = text.unwrap().1.lines().nth(place.line.unwrap() - 1).unwrap();
        assert!(line.contains("locked|temporarily"), "{line}");
    }
}
