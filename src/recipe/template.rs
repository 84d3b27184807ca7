//! Templates: text with `{{value | filter}}` in it.
//!
//! Parameters of the upstream are filled in when a recipe is loaded; account fields, taken values
//! and the clock when a template is rendered. Escaping belongs to the place that a value goes to
//! (JSON, XML, form, query, header), so rendering itself never escapes. What stands between the
//! braces is an `Expression`.

use std::collections::BTreeMap;
use std::time::SystemTime;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use zeroize::Zeroizing;

use super::expression::{self, Expression, Parsed, Value};
use crate::secret::SecretText;

/// The names a template may use besides account fields, parameters and taken values.
pub const BUILT_IN: [&str; 3] = ["now", "random", "uuid"];

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
    Value(Expression),
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
            let (expression, after) = expression::split(after)?;
            match expression::parse(expression, scope)? {
                Parsed::Known(text) => push_text(&mut pieces, &text),
                Parsed::Value(expression) => pieces.push(Piece::Value(expression)),
            }
            rest = after;
        }
        push_text(&mut pieces, rest);
        Ok(Self(pieces))
    }

    /// A template of this text, in which nothing is read.
    pub(super) fn text_alone(text: &str) -> Self {
        Self(vec![Piece::Text(text.to_owned())])
    }

    /// The names of values that this template reads when it is rendered.
    pub fn reads(&self) -> impl Iterator<Item = &str> {
        self.expressions().flat_map(Expression::reads)
    }

    /// The names of values that one-time codes are made from.
    pub fn codes(&self) -> impl Iterator<Item = &str> {
        self.expressions().filter_map(Expression::code)
    }

    fn expressions(&self) -> impl Iterator<Item = &Expression> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Value(expression) => Some(expression),
            Piece::Text(_) => None,
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
            Piece::Value(expression) => expression.shown(),
        };
        self.0.iter().map(piece).collect()
    }

    /// Renders with `values`, at `now`. A value that is not there renders as nothing.
    pub fn render(&self, values: &Values, now: SystemTime) -> Rendered {
        if let [Piece::Value(expression)] = self.0.as_slice()
            && let Value::Number(number) = expression.evaluate(values, now)
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

    /// Renders for XML: values are escaped (XML 1.0 section 2.4), what the recipe itself says is not.
    pub fn xml_text(&self, values: &Values, now: SystemTime) -> Zeroizing<String> {
        self.write(values, now, |value, text| {
            for letter in value.chars() {
                match letter {
                    '&' => text.push_str("&amp;"),
                    '<' => text.push_str("&lt;"),
                    '>' => text.push_str("&gt;"),
                    '"' => text.push_str("&quot;"),
                    '\'' => text.push_str("&apos;"),
                    letter => text.push(letter),
                }
            }
        })
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
                Piece::Value(expression) => {
                    escape(&expression.evaluate(values, now).into_text(), &mut text);
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

    /// When a client's token ends, if this is the answer to its login.
    pub(super) fn token_ends(&self) -> Option<SystemTime> {
        self.token_ends
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
    use std::time::{Duration, UNIX_EPOCH};

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

    /// The digests are those of RFC 4231 and of FIPS 180-4, case for case.
    #[test]
    fn values_are_joined_and_digested() {
        assert_eq!(rendered(r#"{{ token + ":" + 'a"}}b' | base64 }}"#), "dDBrOmEifX1i");
        assert_eq!(rendered("{{prefix + token | upper}}"), "/V3T0K");
        assert_eq!(rendered(r#"Basic {{":" + token|base64}}."#), "Basic OnQwaw==.");
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(rendered(r#"{{"abc"|sha256}}"#), abc);
        assert_eq!(rendered(r#"{{"abc"|sha256|upper}}"#), abc.to_uppercase());
        assert_eq!(rendered(r#"{{"abc"|sha256|base64url}}"#).len(), 43);
        assert!(rendered(r#"{{"abc"|sha512}}"#).starts_with("ddaf35a193617abacc417349ae204131"));
        let mut values = values();
        values.set("token", SecretText::from("Jefe".to_owned()));
        let text = r#"{{"what do ya want for nothing?"|hmac_sha256:token}}"#;
        let template = Template::parse(text, &scope()).unwrap();
        assert_eq!(template.reads().collect::<Vec<_>>(), ["token"]);
        assert_eq!(
            template.text(&values, UNIX_EPOCH).as_str(),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn random_values_differ_and_are_text_of_any_place() {
        let (one, two) = (rendered("{{random}}"), rendered("{{random}}"));
        assert_ne!(one, two);
        assert!(one.len() == 32 && one.bytes().all(|byte| byte.is_ascii_hexdigit()), "{one}");
    }

    #[test]
    fn values_in_xml_are_escaped_and_the_recipes_own_text_is_not() {
        let mut values = Values::default();
        values.set("token", SecretText::from("<a&\"b'>".to_owned()));
        let template = Template::parse("<p>{{token}}</p>", &scope()).unwrap();
        let text = template.xml_text(&values, UNIX_EPOCH);
        assert_eq!(text.as_str(), "<p>&lt;a&amp;&quot;b&apos;&gt;</p>");
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
        let fault = Template::parse("{{seed + token|totp}}", &scope()).unwrap_err();
        assert!(fault.contains("nothing can be joined to it"), "{fault}");
        let fault = Template::parse("{{token|hmac_sha256:sed}}", &scope()).unwrap_err();
        assert!(fault.contains("did you mean `seed`"), "{fault}");
        for (text, expected) in [
            ("{{\"a}}", "a quote that is not closed"),
            ("{{token + }}", "needs a name or a quoted text"),
            ("{{}}", "needs a name or a quoted text"),
            ("{{token|hmac_sha256}}", "needs the name of its key"),
        ] {
            let fault = Template::parse(text, &scope()).unwrap_err();
            assert!(fault.contains(expected), "{text}: {fault}");
        }
    }
}
