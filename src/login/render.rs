//! Renders steps into requests. Each value is escaped for the place it goes to: JSON strings, form
//! and query values, header fields.

use std::borrow::Cow;
use std::fmt;
use std::time::SystemTime;

use bytes::Bytes;
use data_encoding::BASE64;
use http::{HeaderMap, HeaderValue, Method, header};
use percent_encoding::utf8_percent_encode;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::recipe::template::{Rendered, Template, URL_VALUE, Values};
use crate::recipe::{
    Addressee, InjectInto, Injection, JsonTemplate, Recipe, Signed, Step, StepBody,
};
use crate::secret::{SecretText, SigningFault};

/// A request below an upstream's URL. `Debug` shows no value: path, query, fields and body hold
/// secrets.
pub struct Request {
    /// Who is asked.
    pub to: Addressee,
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
        out.debug_struct("Request").field("method", &self.method).finish_non_exhaustive()
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
    if let Some(content_type) = content_type.and_then(|text| HeaderValue::try_from(&*text).ok()) {
        headers.entry(header::CONTENT_TYPE).or_insert(content_type);
    }
    let (to, method, target) = (step.to.clone(), step.method.clone(), target(step, values, now));
    Ok(Request { to, method, target, headers, body })
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
            InjectInto::Header(..)
            | InjectInto::Cookies
            | InjectInto::Cookie(..)
            // A step's body is its own.
            | InjectInto::Json(..)
            | InjectInto::Form(..)
            | InjectInto::Xml(..) => {}
        }
    }
    Ok(())
}

/// The cookies that the recipe injects into a request with this method besides those of the jar, by
/// name. One that no cookie can hold is left out.
pub fn cookies<'r>(
    recipe: &'r Recipe,
    values: &Values,
    method: &Method,
    now: SystemTime,
) -> Vec<(&'r str, SecretText)> {
    let cookie = |injection: &'r Injection| match &injection.into {
        InjectInto::Cookie(name, template) if injection.methods.include(method) => {
            let text = template.text(values, now);
            is_cookie_value(&text).then(|| (name.as_str(), SecretText::from(text.to_string())))
        }
        _ => None,
    };
    recipe.inject.iter().filter_map(cookie).collect()
}

/// Whether a cookie can have this value: something that does not end it (RFC 6265 section 4.2.1).
pub fn is_cookie_value(text: &str) -> bool {
    let ends = |letter: char| letter == ';' || letter.is_control() || !letter.is_ascii();
    !text.is_empty() && !text.contains(ends)
}

/// Renders a body, with the `Content-Type` that goes with it.
pub fn body(
    body: &StepBody,
    values: &Values,
    now: SystemTime,
) -> (Option<Cow<'static, str>>, Bytes) {
    match body {
        StepBody::Empty => (None, Bytes::new()),
        StepBody::Json(template) => {
            let text = serde_json::to_vec(&json(template, values, now)).unwrap_or_default();
            (Some("application/json".into()), Bytes::from(text))
        }
        StepBody::Form(fields) => {
            let content_type = "application/x-www-form-urlencoded".into();
            (Some(content_type), Bytes::from(pairs(fields, values, now)))
        }
        StepBody::Multipart(fields) => {
            let boundary = format!("doorward-{}", uuid::Uuid::new_v4().simple());
            let text = multipart(&boundary, fields, values, now);
            let content_type = format!("multipart/form-data; boundary={boundary}");
            (Some(Cow::Owned(content_type)), Bytes::from(text))
        }
        StepBody::Xml(template) => {
            let text = template.xml_text(values, now);
            (Some("application/xml".into()), Bytes::copy_from_slice(text.as_bytes()))
        }
        StepBody::Text(template) => {
            (None, Bytes::copy_from_slice(template.text(values, now).as_bytes()))
        }
    }
}

/// A token, signed with the account's key.
///
/// # Errors
/// When that key is none for the token's algorithm.
pub(super) fn token(
    signed: &Signed,
    values: &Values,
    now: SystemTime,
) -> Result<SecretText, SigningFault> {
    let mut header = json(&signed.header, values, now);
    if let Value::Object(members) = &mut header {
        members.insert("alg".to_owned(), Value::from(signed.algorithm.as_str()));
        members.insert("typ".to_owned(), Value::from("JWT"));
    }
    let claims = Zeroizing::new(json(&signed.claims, values, now).to_string());
    let key = signed.key.text(values, now);
    signed.algorithm.token(&key, &header.to_string(), &claims).map(SecretText::from)
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

/// A field for each part (RFC 7578). No value holds the boundary: nobody could know it before.
fn multipart(
    boundary: &str,
    fields: &[(String, Template)],
    values: &Values,
    now: SystemTime,
) -> String {
    let mut text = String::new();
    for (name, template) in fields {
        let name = name.replace('"', "%22").replace(['\r', '\n'], "");
        text.push_str(&format!("--{boundary}\r\ncontent-disposition: form-data; name=\"{name}\""));
        text.push_str("\r\n\r\n");
        text.push_str(&template.text(values, now));
        text.push_str("\r\n");
    }
    text.push_str(&format!("--{boundary}--\r\n"));
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
            to: Addressee::Upstream,
            method: Method::POST,
            target: format!("/login?key={secret}"),
            headers: headers.clone(),
            body: Bytes::from(secret),
        };
        let body = Body::new(secret.as_bytes().to_vec());
        let answer = StepAnswer { status: http::StatusCode::OK, headers: headers.into(), body };
        let shown = format!("{request:?} {answer:?}");
        assert!(shown.contains("POST") && shown.contains("200"), "{shown}");
        assert!(!shown.contains(secret), "{shown}");
    }
}
