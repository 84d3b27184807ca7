//! Templates: text with `{{value | filter}}` in it.
//!
//! Parameters of the upstream are filled in when a recipe is loaded; account fields, taken values
//! and the clock when a template is rendered. Escaping belongs to the place that a value goes to
//! (JSON, form, query, header), so rendering itself never escapes.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use zeroize::Zeroizing;

use crate::diagnosis::suggestion;
use crate::secret::{SecretText, Totp};

/// The names a template may use besides account fields, parameters and taken values.
pub const BUILT_IN: [&str; 2] = ["now", "uuid"];

/// What the answer to a client's login may use besides: what the client shows from now on, and when
/// that ends, a time.
pub const OF_CLIENT_LOGIN: [&str; 2] = [CLIENT_TOKEN, CLIENT_TOKEN_EXPIRES];

/// The name of what a client shows after its login.
pub const CLIENT_TOKEN: &str = "client_token";

/// The name of the time when that ends.
pub const CLIENT_TOKEN_EXPIRES: &str = "client_token_expires";

/// What a value may hold in a URL or a form as it is: the unreserved characters of RFC 3986.
pub const URL_VALUE: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A parsed template.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Value { name: String, filters: Vec<Filter> },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Filter {
    Base64,
    Lower,
    Upper,
    Plus(Duration),
    EpochSeconds,
    EpochMilliseconds,
    Rfc3339,
    SecondsLeft,
    PercentDecode,
    Totp,
}

/// The values that a template is rendered with. Everything that an account or a login gave is a
/// secret.
#[derive(Clone, Debug, Default)]
pub struct Values {
    texts: BTreeMap<String, SecretText>,
    /// When a client's token ends.
    token_ends: Option<SystemTime>,
}

/// What a template renders to: a number where the whole template is one numeric expression.
#[derive(Debug, PartialEq, Eq)]
pub enum Rendered {
    /// Text, wiped when dropped.
    Text(Zeroizing<String>),
    /// A number, for JSON bodies.
    Number(i64),
}

enum Value<'a> {
    Text(Zeroizing<String>),
    Borrowed(&'a str),
    Time(SystemTime),
    Number(i64),
}

/// What a template may refer to while it is parsed.
#[derive(Debug, Default)]
pub struct Scope<'a> {
    /// Filled in at once.
    pub parameters: BTreeMap<&'a str, &'a str>,
    /// Known when the template is rendered.
    pub values: Vec<&'a str>,
}

impl Template {
    /// Parses `text`; each name must be in `scope` or [`BUILT_IN`].
    ///
    /// # Errors
    /// A sentence that says what is wrong and, where there is one, the name that was meant.
    pub fn parse(text: &str, scope: &Scope<'_>) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            push_text(&mut pieces, before);
            let (expression, after) =
                after.split_once("}}").ok_or_else(|| "`{{` without `}}`".to_owned())?;
            match parse_expression(expression, scope)? {
                Piece::Text(text) => push_text(&mut pieces, &text),
                value @ Piece::Value { .. } => pieces.push(value),
            }
            rest = after;
        }
        push_text(&mut pieces, rest);
        Ok(Self(pieces))
    }

    /// The names of values that this template reads when it is rendered.
    pub fn reads(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Value { name, .. } => Some(name.as_str()),
            Piece::Text(_) => None,
        })
    }

    /// The names of values that one-time codes are made from.
    pub fn codes(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Value { name, filters } if filters.contains(&Filter::Totp) => {
                Some(name.as_str())
            }
            Piece::Value { .. } | Piece::Text(_) => None,
        })
    }

    /// The text of a template that reads nothing.
    pub fn literal(&self) -> Option<&str> {
        match self.0.as_slice() {
            [] => Some(""),
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The template as it is written, for traces: no value that it reads is in it.
    pub fn shown(&self) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Value { name, .. } => format!("{{{{{name}}}}}"),
        };
        self.0.iter().map(piece).collect()
    }

    /// Renders with `values`, at `now`. A value that is not there renders as nothing.
    pub fn render(&self, values: &Values, now: SystemTime) -> Rendered {
        if let [Piece::Value { name, filters }] = self.0.as_slice()
            && let Value::Number(number) = evaluate(name, filters, values, now)
        {
            return Rendered::Number(number);
        }
        Rendered::Text(self.text(values, now))
    }

    /// Renders as text.
    pub fn text(&self, values: &Values, now: SystemTime) -> Zeroizing<String> {
        self.write(values, now, |value, text| text.push_str(value))
    }

    /// Renders for a URL: values are percent-encoded, what the recipe itself says is not.
    pub fn url_text(&self, values: &Values, now: SystemTime) -> Zeroizing<String> {
        self.write(values, now, |value, text| text.extend(utf8_percent_encode(value, URL_VALUE)))
    }

    fn write(
        &self,
        values: &Values,
        now: SystemTime,
        escape: impl Fn(&str, &mut String),
    ) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::new());
        for piece in &self.0 {
            match piece {
                Piece::Text(literal) => text.push_str(literal),
                Piece::Value { name, filters } => {
                    escape(&evaluate(name, filters, values, now).into_text(), &mut text);
                }
            }
        }
        text
    }
}

fn push_text(pieces: &mut Vec<Piece>, text: &str) {
    match pieces.last_mut() {
        _ if text.is_empty() => {}
        Some(Piece::Text(last)) => last.push_str(text),
        _ => pieces.push(Piece::Text(text.to_owned())),
    }
}

fn parse_expression(expression: &str, scope: &Scope<'_>) -> Result<Piece, String> {
    let mut parts = expression.split('|').map(str::trim);
    let name = parts.next().unwrap_or_default();
    let filters = parts.map(parse_filter).collect::<Result<Vec<_>, _>>()?;
    if filters.iter().skip(1).any(|filter| *filter == Filter::Totp) {
        return Err("`totp` reads the secret itself: no filter can stand before it".to_owned());
    }
    if let Some(value) = scope.parameters.get(name) {
        return match filters.is_empty() {
            true => Ok(Piece::Text((*value).to_owned())),
            false => Err(format!("the parameter `{name}` takes no filter")),
        };
    }
    if scope.values.contains(&name) || BUILT_IN.contains(&name) {
        return Ok(Piece::Value { name: name.to_owned(), filters });
    }
    let known: Vec<&str> =
        scope.parameters.keys().chain(&scope.values).chain(&BUILT_IN).copied().collect();
    Err(match suggestion(name, known.iter().copied()) {
        Some(meant) => format!("no value is called `{name}` here; did you mean `{meant}`?"),
        None => format!("no value is called `{name}` here; there are {}", known.join(", ")),
    })
}

fn parse_filter(filter: &str) -> Result<Filter, String> {
    const KNOWN: [&str; 10] = [
        "base64",
        "lower",
        "upper",
        "plus",
        "epoch_seconds",
        "epoch_milliseconds",
        "rfc3339",
        "seconds_left",
        "percent_decode",
        "totp",
    ];
    let (name, argument) = match filter.split_once(':') {
        Some((name, argument)) => (name.trim(), Some(argument.trim())),
        None => (filter, None),
    };
    match (name, argument) {
        ("base64", None) => Ok(Filter::Base64),
        ("lower", None) => Ok(Filter::Lower),
        ("upper", None) => Ok(Filter::Upper),
        ("epoch_seconds", None) => Ok(Filter::EpochSeconds),
        ("epoch_milliseconds", None) => Ok(Filter::EpochMilliseconds),
        ("rfc3339", None) => Ok(Filter::Rfc3339),
        ("seconds_left", None) => Ok(Filter::SecondsLeft),
        ("percent_decode", None) => Ok(Filter::PercentDecode),
        ("totp", None) => Ok(Filter::Totp),
        ("plus", Some(duration)) => super::load::duration(duration).map(Filter::Plus),
        ("plus", None) => Err("`plus` needs a duration: `plus:24h`".to_owned()),
        (name, Some(_)) if KNOWN.contains(&name) => Err(format!("`{name}` takes no argument")),
        (name, _) => Err(match suggestion(name, KNOWN) {
            Some(meant) => format!("no filter is called `{name}`; did you mean `{meant}`?"),
            None => format!("no filter is called `{name}`; there are {}", KNOWN.join(", ")),
        }),
    }
}

fn evaluate<'a>(name: &str, filters: &[Filter], values: &'a Values, now: SystemTime) -> Value<'a> {
    let start = match name {
        "now" => Value::Time(now),
        "uuid" => Value::Text(Zeroizing::new(uuid::Uuid::new_v4().to_string())),
        CLIENT_TOKEN_EXPIRES => Value::Time(values.token_ends.unwrap_or(now)),
        name => Value::Borrowed(values.text(name)),
    };
    filters.iter().fold(start, |value, filter| filter.apply(value, now))
}

impl Filter {
    fn apply<'a>(&self, value: Value<'a>, now: SystemTime) -> Value<'a> {
        match (self, value) {
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
            (Self::Base64, value) => {
                let text = value.into_text();
                Value::Text(Zeroizing::new(data_encoding::BASE64.encode(text.as_bytes())))
            }
            (Self::Lower, value) => Value::Text(Zeroizing::new(value.into_text().to_lowercase())),
            (Self::Upper, value) => Value::Text(Zeroizing::new(value.into_text().to_uppercase())),
            (Self::PercentDecode, value) => {
                let text = value.into_text();
                let decoded = percent_decode_str(&text).decode_utf8_lossy().into_owned();
                Value::Text(Zeroizing::new(decoded))
            }
            // Whoever sends codes has seen to it that the secret is one, and unused.
            (Self::Totp, value) => {
                let totp = Totp::parse(&value.into_text());
                Value::Text(totp.map(|totp| totp.code_at(now)).unwrap_or_default())
            }
            // A time renders as RFC 3339 by itself, and filters of time leave a text alone.
            (_, value) => value,
        }
    }
}

impl Value<'_> {
    fn into_text(self) -> Zeroizing<String> {
        match self {
            Self::Text(text) => text,
            Self::Borrowed(text) => Zeroizing::new(text.to_owned()),
            Self::Number(number) => Zeroizing::new(number.to_string()),
            Self::Time(time) => Zeroizing::new(
                jiff::Timestamp::try_from(time).map(|time| time.to_string()).unwrap_or_default(),
            ),
        }
    }
}

fn epoch(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

impl Values {
    /// What the answer to a client's login holds: what the client shows from now on, until `ends`.
    pub fn of_client_login(token: impl Into<SecretText>, ends: SystemTime) -> Self {
        let texts = BTreeMap::from([(CLIENT_TOKEN.to_owned(), token.into())]);
        Self { texts, token_ends: Some(ends) }
    }

    /// The value called `name`, or nothing.
    pub fn text(&self, name: &str) -> &str {
        self.texts.get(name).map(SecretText::expose).unwrap_or_default()
    }

    /// Sets a value.
    pub fn set(&mut self, name: impl Into<String>, value: SecretText) {
        self.texts.insert(name.into(), value);
    }

    /// All values by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &SecretText)> {
        self.texts.iter().map(|(name, value)| (name.as_str(), value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope() -> Scope<'static> {
        Scope {
            parameters: BTreeMap::from([("prefix", "/v3")]),
            values: vec!["token", "password", "pair", "seed"],
        }
    }

    fn values() -> Values {
        let mut values = Values::default();
        values.set("token", SecretText::from("t0k".to_owned()));
        values.set("pair", SecretText::from("a%20b%3D".to_owned()));
        values.set("seed", SecretText::from("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ".to_owned()));
        values.set("password", SecretText::from("{{token}}".to_owned()));
        values
    }

    fn rendered(template: &str) -> String {
        let now = UNIX_EPOCH + Duration::from_millis(1_500);
        match Template::parse(template, &scope()).unwrap().render(&values(), now) {
            Rendered::Text(text) => text.to_string(),
            Rendered::Number(number) => format!("number {number}"),
        }
    }

    #[test]
    fn the_end_of_a_clients_token_renders_in_the_forms_that_vendors_use() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let ends = now + Duration::from_secs(3600);
        let values = Values::of_client_login("t".to_owned(), ends);
        let scope = Scope { values: OF_CLIENT_LOGIN.to_vec(), ..Scope::default() };
        let rendered = |text: &str| Template::parse(text, &scope).unwrap().render(&values, now);
        let text = |text: &str| Rendered::Text(Zeroizing::new(text.to_owned()));
        assert_eq!(rendered("{{client_token}}"), text("t"));
        assert_eq!(rendered("{{client_token_expires}}"), text("2001-09-09T02:46:40Z"));
        let milliseconds = rendered("{{client_token_expires|epoch_milliseconds}}");
        assert_eq!(milliseconds, Rendered::Number(1_000_003_600_000));
        let left = rendered("{{client_token_expires | seconds_left}}");
        assert_eq!(left, Rendered::Number(3600));
        assert_eq!(rendered("x; Max-Age={{now|plus:1m|seconds_left}}"), text("x; Max-Age=60"));
    }

    #[test]
    fn a_template_renders_parameters_values_and_times() {
        assert_eq!(rendered("{{prefix}}/x/{{ token }}"), "/v3/x/t0k");
        assert_eq!(rendered("{{token|base64}}"), "dDBr");
        assert_eq!(rendered("{{now|plus:1h|epoch_milliseconds}}"), "number 3601500");
        assert_eq!(rendered("at {{now|epoch_seconds}}"), "at 1");
        assert_eq!(rendered("{{now|rfc3339}}"), "1970-01-01T00:00:01.5Z");
        assert_eq!(rendered("{{pair|percent_decode}}"), "a b=");
        assert_eq!(rendered("{{seed|totp}}/{{seed|totp|base64}}"), "755224/NzU1MjI0");
        assert_eq!(rendered("<{{token|totp}}>"), "<>");
    }

    #[test]
    fn a_value_that_looks_like_a_template_is_not_rendered_again() {
        assert_eq!(rendered("<{{password}}>"), "<{{token}}>");
    }

    #[test]
    fn a_misspelt_name_is_refused_with_the_name_that_was_meant() {
        let fault = Template::parse("{{tokn}}", &scope()).unwrap_err();
        assert!(fault.contains("did you mean `token`"), "{fault}");
        let fault = Template::parse("{{token|bse64}}", &scope()).unwrap_err();
        assert!(fault.contains("did you mean `base64`"), "{fault}");
        assert!(Template::parse("{{token", &scope()).is_err());
        let fault = Template::parse("{{seed|upper|totp}}", &scope()).unwrap_err();
        assert!(fault.contains("no filter can stand before it"), "{fault}");
    }
}
