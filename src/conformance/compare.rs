//! Whether a message is the one that a conformance file tells of, part by part.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use percent_encoding::{percent_decode_str, utf8_percent_encode};
use regex::Regex;
use serde_json::Value;

use super::written::{Reply, Request};
use crate::fields::Fields;
use crate::login;
use crate::login::StepAnswer;
use crate::recipe::Addressee;
use crate::recipe::condition::Body;
use crate::recipe::template::URL_VALUE;

/// Stands for a value that nobody knows beforehand.
const ANY: &str = "{{any}}";

/// What stands for something that nobody knows beforehand, and what that is like.
const STANDS_FOR: [(&str, &str); 3] = [
    (ANY, "(.+)"),
    ("{{uuid}}", "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"),
    ("{{random}}", "[0-9a-f]{32}"),
];

/// In what `sent` differs from `expected`.
pub(super) fn request(expected: &Request, sent: &login::Request) -> Vec<String> {
    let mut differences = Vec::new();
    let target = match &sent.to {
        Addressee::Site(site) => format!("{site}{}", sent.target),
        Addressee::Upstream | Addressee::Helper(_) => sent.target.clone(),
    };
    let to = format!("{} {target}", sent.method);
    if !is_text(&expected.to, &to) {
        let shown = target.split('?').next().unwrap_or_default();
        let told = expected.to.split('?').next().unwrap_or_default();
        differences.push(format!("sends {} {shown}, and not `{told}` with its query", sent.method));
    }
    let mut headers = expected.headers.clone();
    let names = |name: &str| headers.keys().any(|given| given.eq_ignore_ascii_case(name));
    let kind = match (&expected.json, &expected.form) {
        _ if names("content-type") => None,
        (Some(_), _) => Some("application/json"),
        (None, Some(_)) if boundary(&sent.headers).is_some() => Some(ANY),
        (None, Some(_)) => Some("application/x-www-form-urlencoded"),
        (None, None) => None,
    };
    if let Some(kind) = kind {
        headers.insert(header::CONTENT_TYPE.to_string(), kind.to_owned());
    }
    differences.extend(fields(&headers, &sent.headers));
    differences.extend(body(expected, sent));
    differences
}

/// In what the header fields `sent` differ from exactly these.
pub(super) fn fields(expected: &BTreeMap<String, String>, sent: &HeaderMap) -> Vec<String> {
    let mut differences = Vec::new();
    let mut expected: BTreeMap<String, &str> =
        expected.iter().map(|(name, value)| (name.to_lowercase(), value.as_str())).collect();
    for (name, value) in sent {
        let text = String::from_utf8_lossy(value.as_bytes());
        match expected.remove(name.as_str()) {
            None => differences.push(format!("has the header field `{name}` besides")),
            Some(wanted) if is_text(wanted, &text) => {}
            Some(_) => differences.push(format!("has another value in the header field `{name}`")),
        }
    }
    let missing = expected.into_keys().map(|name| format!("lacks the header field `{name}`"));
    differences.extend(missing);
    differences
}

fn body(expected: &Request, sent: &login::Request) -> Option<String> {
    match (&expected.json, &expected.form, &expected.text) {
        (Some(json), ..) => {
            let body = serde_json::from_slice::<Value>(&sent.body).unwrap_or_default();
            (!is_json(json, &body)).then(|| "has another JSON body".to_owned())
        }
        (None, Some(form), _) => {
            let body = String::from_utf8_lossy(&sent.body);
            let fields = match boundary(&sent.headers) {
                Some(boundary) => parts(&body, &boundary),
                None => pairs(&body),
            };
            let same = form.len() == fields.len()
                && form.iter().all(|(name, wanted)| {
                    fields.get(name).is_some_and(|value| is_text(wanted, value))
                });
            (!same).then(|| "has another form".to_owned())
        }
        (None, None, text) => {
            let wanted = text.as_deref().unwrap_or_default();
            let body = String::from_utf8_lossy(&sent.body);
            (!is_text(wanted, &body)).then(|| "has another body".to_owned())
        }
    }
}

pub(super) fn pairs(body: &str) -> BTreeMap<String, String> {
    let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let pairs = body.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (decode(name), decode(value))).collect()
}

/// A form as browsers send it.
pub(super) fn form(fields: &BTreeMap<String, String>) -> String {
    let encode = |text: &str| utf8_percent_encode(text, URL_VALUE).to_string();
    let pairs = fields.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value)));
    pairs.collect::<Vec<_>>().join("&")
}

fn boundary(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(text.strip_prefix("multipart/form-data; boundary=")?.to_owned())
}

fn parts(body: &str, boundary: &str) -> BTreeMap<String, String> {
    let line = format!("--{boundary}");
    let parts = body.split(&line).filter_map(|part| {
        let (head, value) = part.split_once("\r\n\r\n")?;
        let name = head.split_once("name=\"")?.1.split('"').next()?;
        Some((name.to_owned(), value.strip_suffix("\r\n")?.to_owned()))
    });
    parts.collect()
}

/// Whether `text` is the one that is wanted, with anything in the place of `{{any}}`.
pub(super) fn is_text(wanted: &str, text: &str) -> bool {
    if !wanted.contains("{{") {
        return wanted == text;
    }
    let mut expression = regex::escape(wanted);
    for (name, stands_for) in STANDS_FOR {
        expression = expression.replace(&regex::escape(name), stands_for);
    }
    let expression = Regex::new(&format!("(?s)^{expression}$"));
    expression.is_ok_and(|expression| expression.is_match(text))
}

pub(super) fn is_json(wanted: &Value, value: &Value) -> bool {
    match (wanted, value) {
        (Value::String(wanted), Value::String(text)) => is_text(wanted, text),
        (Value::String(wanted), Value::Number(_)) => wanted == ANY,
        (Value::Array(wanted), Value::Array(items)) => {
            wanted.len() == items.len()
                && wanted.iter().zip(items).all(|(wanted, item)| is_json(wanted, item))
        }
        (Value::Object(wanted), Value::Object(members)) => {
            wanted.len() == members.len()
                && wanted.iter().all(|(name, wanted)| {
                    members.get(name).is_some_and(|member| is_json(wanted, member))
                })
        }
        (wanted, value) => wanted == value,
    }
}

impl Reply {
    /// The answer as rules see it.
    pub(super) fn played(&self) -> StepAnswer {
        let mut headers = Fields::new();
        let field = |name: &str, value: &str| {
            Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?))
        };
        if self.json.is_some() {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        for (name, value) in &self.headers {
            if let Some((name, value)) = field(name, value) {
                headers.insert(name, value);
            }
        }
        for cookie in &self.set_cookies {
            if let Ok(value) = HeaderValue::try_from(cookie) {
                headers.append(header::SET_COOKIE, value);
            }
        }
        StepAnswer {
            status: StatusCode::from_u16(self.status).unwrap_or_default(),
            headers,
            body: Body::new(self.body()),
        }
    }

    /// The bytes of its body.
    pub fn body(&self) -> Vec<u8> {
        match (&self.json, &self.text) {
            (Some(json), _) => serde_json::to_vec(json).unwrap_or_default(),
            (None, text) => text.clone().unwrap_or_default().into_bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_stands_for_something_and_nothing_else_does() {
        for (wanted, text, same) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("{{any}}", "x", true),
            ("{{any}}", "", false),
            ("a={{any}}; b={{any}}", "a=1; b=2", true),
            ("a={{any}}; b={{any}}", "a=1; b=", false),
            ("a={{any}}; b={{any}}", "a=; b=2", false),
            ("a{{any}}c", "abc", true),
            ("a{{any}}c", "ac", false),
            ("{{uuid}}", "67e55044-10b1-426f-9247-bb680e5fe0c8", true),
            ("{{uuid}}", "67e55044-10b1-426f-9247-bb680e5fe0c8x", false),
            ("({{random}})", "(0123456789abcdef0123456789abcdef)", true),
            ("({{random}})", "(0123456789abcdef)", false),
            ("a.{{any}}", "ab1", false),
        ] {
            assert_eq!(is_text(wanted, text), same, "{wanted} {text}");
        }
        let wanted = serde_json::json!({"a": ["{{any}}", 1], "b": null});
        assert!(is_json(&wanted, &serde_json::json!({"a": [7, 1], "b": null})));
        assert!(!is_json(&wanted, &serde_json::json!({"a": [7, 1]})));
        assert!(!is_json(&wanted, &serde_json::json!({"a": [7, 1], "b": null, "c": 1})));
    }
}
