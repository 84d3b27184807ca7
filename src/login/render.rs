//! Renders steps into requests. Each value is escaped for the place it goes to: JSON strings, form
//! and query values, header fields.

use std::fmt;
use std::time::SystemTime;

use bytes::Bytes;
use data_encoding::BASE64;
use http::{HeaderMap, HeaderValue, Method, header};
use percent_encoding::utf8_percent_encode;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::recipe::template::{Rendered, Template, URL_VALUE, Values};
use crate::recipe::{InjectInto, JsonTemplate, Recipe, Step, StepBody};

/// A request below an upstream's URL. `Debug` shows no value: query, fields and body hold secrets.
pub struct Request {
    /// The method.
    pub method: Method,
    /// Path and query below the upstream's URL.
    pub target: String,
    /// Header fields; rendered values are marked sensitive.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl fmt::Debug for Request {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.target.split('?').next().unwrap_or_default();
        let shown = &mut out.debug_struct("Request");
        shown.field("method", &self.method).field("path", &path).finish_non_exhaustive()
    }
}

/// Renders `step` with `values`.
///
/// # Errors
/// The name of the header field whose value cannot be sent: a control character in it.
pub fn request(step: &Step, values: &Values, now: SystemTime) -> Result<Request, String> {
    let mut headers = HeaderMap::new();
    for (name, template) in &step.headers {
        let text = template.text(values, now);
        if !text.is_empty() {
            headers.insert(name, header_value(&text).ok_or(name.as_str())?);
        }
    }
    if let Some((user, password)) = &step.basic {
        let pair = Zeroizing::new(format!(
            "{}:{}",
            user.text(values, now).as_str(),
            password.text(values, now).as_str()
        ));
        let field = Zeroizing::new(format!("Basic {}", BASE64.encode(pair.as_bytes())));
        headers.insert(header::AUTHORIZATION, header_value(&field).ok_or("authorization")?);
    }
    let (content_type, body) = body(&step.body, values, now);
    if let Some(content_type) = content_type {
        headers.entry(header::CONTENT_TYPE).or_insert(HeaderValue::from_static(content_type));
    }
    Ok(Request { method: step.method.clone(), target: target(step, values, now), headers, body })
}

/// Puts what the recipe injects into a request that a refresh sends, besides cookies. What the step
/// itself says stands: refresh tokens often go where the session's token goes otherwise.
///
/// # Errors
/// The name of the header field whose value cannot be sent: a control character in it.
pub(super) fn carry(
    recipe: &Recipe,
    values: &Values,
    request: &mut Request,
    now: SystemTime,
) -> Result<(), String> {
    for injection in &recipe.inject {
        if !injection.methods.include(&request.method) {
            continue;
        }
        match &injection.into {
            InjectInto::Header(name, template) if !request.headers.contains_key(name) => {
                let text = template.text(values, now);
                if !text.is_empty() {
                    request.headers.insert(name, header_value(&text).ok_or(name.as_str())?);
                }
            }
            InjectInto::Query(name, template) => {
                let pair = [(name.clone(), template.clone())];
                let is_there = request.target.split(['?', '&']).skip(1);
                let name = utf8_percent_encode(name, URL_VALUE).to_string();
                let mut is_there = is_there.filter_map(|pair| pair.split('=').next());
                if !is_there.any(|there| there == name) && !template.text(values, now).is_empty() {
                    request.target.push(if request.target.contains('?') { '&' } else { '?' });
                    request.target.push_str(&pairs(&pair, values, now));
                }
            }
            InjectInto::Header(..) | InjectInto::Cookies => {}
        }
    }
    Ok(())
}

/// Renders a body, with the `Content-Type` that goes with it.
pub fn body(body: &StepBody, values: &Values, now: SystemTime) -> (Option<&'static str>, Bytes) {
    match body {
        StepBody::Empty => (None, Bytes::new()),
        StepBody::Json(template) => {
            let text = serde_json::to_vec(&json(template, values, now)).unwrap_or_default();
            (Some("application/json"), Bytes::from(text))
        }
        StepBody::Form(fields) => {
            (Some("application/x-www-form-urlencoded"), Bytes::from(pairs(fields, values, now)))
        }
        StepBody::Text(template) => {
            (None, Bytes::copy_from_slice(template.text(values, now).as_bytes()))
        }
    }
}

/// A header value of `text`, marked sensitive; nothing when it holds a control character.
pub fn header_value(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// An optional field that is not set must be missing, not empty: `""` is no GUID.
fn left_out(value: &Value, template: &JsonTemplate) -> bool {
    matches!(template, JsonTemplate::Template(_)) && value.as_str() == Some("")
}

fn target(step: &Step, values: &Values, now: SystemTime) -> String {
    let mut target = step.path.url_text(values, now).to_string();
    if !step.query.is_empty() {
        target.push(if target.contains('?') { '&' } else { '?' });
        target.push_str(&pairs(&step.query, values, now));
    }
    target
}

fn pairs(fields: &[(String, Template)], values: &Values, now: SystemTime) -> String {
    let mut text = String::new();
    for (name, template) in fields {
        if !text.is_empty() {
            text.push('&');
        }
        text.extend(utf8_percent_encode(name, URL_VALUE));
        text.push('=');
        text.extend(utf8_percent_encode(&template.text(values, now), URL_VALUE));
    }
    text
}

fn json(template: &JsonTemplate, values: &Values, now: SystemTime) -> Value {
    match template {
        JsonTemplate::Template(template) => match template.render(values, now) {
            Rendered::Text(text) => Value::String(text.to_string()),
            Rendered::Number(number) => Value::from(number),
        },
        JsonTemplate::Fixed(value) => value.clone(),
        JsonTemplate::Array(items) => {
            Value::Array(items.iter().map(|item| json(item, values, now)).collect())
        }
        JsonTemplate::Object(members) => Value::Object(
            members
                .iter()
                .map(|(name, item)| (name, json(item, values, now), item))
                .filter(|(_, value, item)| !left_out(value, item))
                .map(|(name, value, _)| (name.clone(), value))
                .collect(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::login::StepAnswer;
    use crate::recipe::condition::Body;

    #[test]
    fn debug_of_a_step_and_of_its_answer_shows_no_value() {
        let secret = "a-secret";
        let headers = HeaderMap::from_iter([
            (header::SET_COOKIE, HeaderValue::from_static("sid=a-secret")),
            (header::AUTHORIZATION, HeaderValue::from_static("a-secret")),
        ]);
        let request = Request {
            method: Method::POST,
            target: format!("/login?key={secret}"),
            headers: headers.clone(),
            body: Bytes::from(secret),
        };
        let body = Body::new(secret.as_bytes().to_vec());
        let answer = StepAnswer { status: http::StatusCode::OK, headers, body };
        let shown = format!("{request:?} {answer:?}");
        assert!(shown.contains("POST") && shown.contains("200"), "{shown}");
        assert!(!shown.contains(secret), "{shown}");
    }
}
