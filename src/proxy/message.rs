//! What the walk takes and gives: messages as they are in every version of HTTP.

use http::{Extensions, Method, Response, StatusCode, Uri, Version, request};

use crate::fields::Fields;

/// A request, apart from its body.
#[derive(Debug)]
pub struct Head {
    /// The method.
    pub method: Method,
    /// The target.
    pub uri: Uri,
    /// The version that it came by.
    pub version: Version,
    /// Its fields.
    pub headers: Fields,
    /// What its connection says beside it: how to take the connection over, and for what an extended
    /// CONNECT asks.
    pub extensions: Extensions,
}

impl From<request::Parts> for Head {
    fn from(parts: request::Parts) -> Self {
        let request::Parts { method, uri, version, headers, extensions, .. } = parts;
        Self { method, uri, version, headers: headers.into(), extensions }
    }
}

/// An answer. Its version is the connection's to say.
#[derive(Debug)]
pub struct Answer<B> {
    /// The status.
    pub status: StatusCode,
    /// Its fields.
    pub headers: Fields,
    /// Its body.
    pub body: B,
}

impl<B> Answer<B> {
    /// The same with another body.
    pub fn map<C>(self, body: impl FnOnce(B) -> C) -> Answer<C> {
        let Self { status, headers, body: before } = self;
        Answer { status, headers, body: body(before) }
    }
}

impl<B> From<Response<B>> for Answer<B> {
    fn from(response: Response<B>) -> Self {
        let (parts, body) = response.into_parts();
        Self { status: parts.status, headers: parts.headers.into(), body }
    }
}

impl<B> From<Answer<B>> for Response<B> {
    fn from(answer: Answer<B>) -> Self {
        let Answer { status, headers, body } = answer;
        let mut response = Self::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = headers.into();
        response
    }
}
