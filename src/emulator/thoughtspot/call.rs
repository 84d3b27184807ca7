//! A call as it arrives: which version of the API, what it needs, its fields.

use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::Method;
use http::request::Parts;
use percent_encoding::percent_decode_str;
use serde_json::Value;

use crate::emulator::record::raw_target;
use crate::emulator::site;

/// The public part of REST API v1.
pub const V1: &str = "/callosum/v1/tspublic/v1";
/// The part of v1 that ThoughtSpot's own pages use.
pub const V1_INTERNAL: &str = "/callosum/v1";
/// REST API v2.
pub const V2: &str = "/api/rest/2.0";

/// Which of the two APIs; they differ in how they say no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V1,
    V2,
}

impl Version {
    pub fn of(head: &Parts) -> Self {
        if head.uri.path().starts_with(V2) { Self::V2 } else { Self::V1 }
    }
}

/// What a call needs.
pub fn need(head: &Parts) -> site::Call {
    let path = head.uri.path();
    let call = path.strip_prefix(V1).or_else(|| path.strip_prefix(V2)).unwrap_or(path);
    match (&head.method, call) {
        (&Method::POST, "/session/login" | "/session/auth/token" | "/auth/session/login")
        | (&Method::POST, "/auth/token/full" | "/auth/token/object" | "/auth/token/custom")
        | (&Method::POST | &Method::GET, "/session/login/token") => site::Call::Login,
        (_, "/" | "/login") => site::Call::Open,
        _ => site::Call::Guarded,
    }
}

/// Head and body of a call; handlers read their fields from it.
pub struct Incoming {
    pub head: Parts,
    pub body: Bytes,
}

impl<S: Send + Sync> FromRequest<S> for Incoming {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let (head, body) = request.into_parts();
        let whole = Request::from_parts(head.clone(), body);
        let body = Bytes::from_request(whole, state).await.map_err(IntoResponse::into_response)?;
        Ok(Self { head, body })
    }
}

impl Incoming {
    /// Path and query as they stood on the wire.
    pub fn target(&self) -> &str {
        raw_target(&self.head)
    }

    /// The fields of a form body.
    pub fn form(&self) -> Fields {
        Fields::read(std::str::from_utf8(&self.body).unwrap_or_default())
    }

    /// The fields of the query.
    pub fn query(&self) -> Fields {
        Fields::read(self.head.uri.query().unwrap_or_default())
    }

    /// The JSON body; null when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

/// Names and values as HTML forms write them.
#[derive(Debug)]
pub struct Fields(Vec<(String, String)>);

impl Fields {
    fn read(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        Self(pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(decoded).collect())
    }

    /// The first value of that name, unless it is empty.
    pub fn value(&self, name: &str) -> Option<&str> {
        let field = self.0.iter().find(|(field, _)| field == name);
        field.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    pub fn is_true(&self, name: &str) -> bool {
        self.value(name) == Some("true")
    }
}

fn decoded((name, value): (&str, &str)) -> (String, String) {
    let decode =
        |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
    (decode(name), decode(value))
}

/// A text field of a JSON object, unless it is missing or empty.
pub fn text<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// A flag that clients send as `true` and as `"true"`.
pub fn flag(object: &Value, name: &str) -> bool {
    match object.get(name) {
        Some(Value::Bool(flag)) => *flag,
        Some(Value::String(flag)) => flag == "true",
        _ => false,
    }
}

/// A number that clients send as `1` and as `"1"`.
pub fn number(object: &Value, name: &str) -> Option<u64> {
    match object.get(name)? {
        Value::Number(number) => number.as_u64(),
        Value::String(number) => number.parse().ok(),
        _ => None,
    }
}
