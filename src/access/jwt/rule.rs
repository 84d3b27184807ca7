//! Which tokens are a client's: what their claims must be.

use serde_json::{Map, Value};

/// What the claims of a client's tokens must be, all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule(Vec<(String, Expected)>);

/// What a claim must be: this value, or a list with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// This text, byte for byte.
    Text(String),
    /// A text that begins so and goes on.
    Prefix(String),
    /// This truth value.
    Truth(bool),
    /// This whole number.
    Number(i64),
}

/// Why a text is nothing that a claim can be compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpectedError {
    /// `*` in another place.
    #[error("`*` can only stand at the end")]
    Inner,
    /// Nothing, or only `*`.
    #[error("this would match everything, or an empty claim")]
    Empty,
    /// The text before `*` ends in the middle of a name.
    #[error("the text before `*` must end with a separator, such as `/` or `:`")]
    Open,
}

impl Expected {
    /// Reads a text, at whose end `*` stands for anything more. What stands before it must end with
    /// a separator: `acme*` would let `acme-evil` in, too.
    ///
    /// # Errors
    /// See [`ExpectedError`].
    pub fn parse(text: &str) -> Result<Self, ExpectedError> {
        let (begin, is_prefix) = match text.strip_suffix('*') {
            Some(begin) => (begin, true),
            None => (text, false),
        };
        let is_open = |last: char| last.is_alphanumeric() || matches!(last, '-' | '_' | '.');
        match begin.chars().next_back() {
            _ if begin.contains('*') => Err(ExpectedError::Inner),
            None => Err(ExpectedError::Empty),
            Some(last) if is_prefix && is_open(last) => Err(ExpectedError::Open),
            Some(_) if is_prefix => Ok(Self::Prefix(begin.to_owned())),
            Some(_) => Ok(Self::Text(begin.to_owned())),
        }
    }

    fn is(&self, value: &Value) -> bool {
        match self {
            Self::Text(text) => *value == text.as_str(),
            Self::Prefix(begin) => value
                .as_str()
                .and_then(|text| text.strip_prefix(begin.as_str()))
                .is_some_and(|rest| !rest.is_empty()),
            Self::Truth(truth) => *value == *truth,
            Self::Number(number) => *value == *number,
        }
    }

    fn matches(&self, claim: &Value) -> bool {
        match claim {
            Value::Array(list) => list.iter().any(|one| self.is(one)),
            one => self.is(one),
        }
    }

    /// Whether whatever the other one matches, this one matches too.
    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Prefix(begin), Self::Prefix(text)) => text.starts_with(begin),
            (Self::Prefix(begin), Self::Text(text)) => {
                text.len() > begin.len() && text.starts_with(begin)
            }
            (one, other) => one == other,
        }
    }
}

impl Rule {
    /// By the names of claims; one that begins with `/` is a JSON pointer (RFC 6901) to a claim
    /// that lies deeper.
    pub fn new(claims: impl IntoIterator<Item = (String, Expected)>) -> Self {
        Self(claims.into_iter().collect())
    }

    pub(super) fn matches(&self, claims: &Map<String, Value>) -> bool {
        self.0.iter().all(|(name, expected)| {
            claim(claims, name).is_some_and(|claim| expected.matches(claim))
        })
    }

    /// Whether every token that the other one matches is matched by this one too.
    pub fn covers(&self, other: &Self) -> bool {
        self.0.iter().all(|(name, expected)| {
            other.0.iter().any(|(known, one)| known == name && expected.covers(one))
        })
    }
}

fn claim<'c>(claims: &'c Map<String, Value>, name: &str) -> Option<&'c Value> {
    let Some(path) = name.strip_prefix('/') else { return claims.get(name) };
    let (first, rest) = match path.find('/') {
        Some(end) => path.split_at(end),
        None => (path, ""),
    };
    // RFC 6901 section 4.
    claims.get(&first.replace("~1", "/").replace("~0", "~"))?.pointer(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(claims: &[(&str, &str)]) -> Rule {
        let expected = |text: &str| match text {
            "true" => Expected::Truth(true),
            "7" => Expected::Number(7),
            text => Expected::parse(text).unwrap(),
        };
        Rule::new(claims.iter().map(|(name, text)| ((*name).to_owned(), expected(text))))
    }

    fn matches(rule: &Rule, claims: &str) -> bool {
        rule.matches(serde_json::from_str::<Value>(claims).unwrap().as_object().unwrap())
    }

    #[test]
    fn all_claims_must_be_as_they_are_written() {
        let one = rule(&[("sub", "a"), ("n", "7"), ("b", "true")]);
        assert!(matches(&one, r#"{"sub":"a","n":7,"b":true}"#));
        assert!(matches(&one, r#"{"sub":["x","a"],"n":[7],"b":true}"#));
        for other in [
            r#"{"sub":"a","n":7}"#,
            r#"{"sub":"A","n":7,"b":true}"#,
            r#"{"sub":"a","n":"7","b":true}"#,
            r#"{"sub":"a","n":7.0,"b":true}"#,
            r#"{"sub":"a","n":7,"b":"true"}"#,
            r#"{"sub":"ab","n":7,"b":true}"#,
            r#"{"sub":{"a":"a"},"n":7,"b":true}"#,
            r#"{"sub":[["a"]],"n":7,"b":true}"#,
        ] {
            assert!(!matches(&one, other), "{other}");
        }
    }

    #[test]
    fn a_prefix_ends_with_a_separator_and_goes_on() {
        let one = rule(&[("sub", "repo:acme/*")]);
        assert!(matches(&one, r#"{"sub":"repo:acme/app"}"#));
        assert!(!matches(&one, r#"{"sub":"repo:acme/"}"#));
        assert!(!matches(&one, r#"{"sub":"repo:acme-evil/app"}"#));
        for (text, why) in [
            ("repo:acme*", ExpectedError::Open),
            ("repo:acme-*", ExpectedError::Open),
            ("*", ExpectedError::Empty),
            ("", ExpectedError::Empty),
            ("a*b", ExpectedError::Inner),
            ("a/**", ExpectedError::Inner),
        ] {
            assert_eq!(Expected::parse(text), Err(why), "{text}");
        }
    }

    #[test]
    fn a_pointer_leads_to_a_claim_that_lies_deeper() {
        let one = rule(&[("/a/b~1c", "x")]);
        assert!(matches(&one, r#"{"a":{"b/c":["x"]}}"#));
        assert!(!matches(&one, r#"{"a":{"b":{"c":"x"}}}"#));
        assert!(matches(&rule(&[("https://x/y", "z")]), r#"{"https://x/y":"z"}"#));
    }

    #[test]
    fn a_rule_covers_those_that_ask_for_the_same_and_more() {
        let wide = rule(&[("sub", "repo:acme/*")]);
        assert!(wide.covers(&rule(&[("sub", "repo:acme/app"), ("x", "y")])));
        assert!(wide.covers(&rule(&[("sub", "repo:acme/app/*")])));
        assert!(!wide.covers(&rule(&[("sub", "repo:acme/")])));
        assert!(!rule(&[("sub", "a"), ("x", "y")]).covers(&rule(&[("sub", "a")])));
        assert!(!rule(&[("sub", "a")]).covers(&rule(&[("sub", "b")])));
    }
}
