//! What is sent to an upstream, apart from what its connection adds.

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version, header};

use super::Origin;
use crate::fields::Field;

/// The head of a request, borrowed from whoever may send it a second time. `Host` and the fields
/// that frame a message are the connection's to write: here they are passed over.
#[derive(Clone, Debug)]
pub struct RequestHead<'a> {
    /// The method.
    pub method: &'a Method,
    /// Path and query, in origin form.
    pub target: &'a PathAndQuery,
    /// The fields, in the order in which they are sent.
    pub fields: Vec<Field<'a>>,
}

impl<'a> RequestHead<'a> {
    /// A head with all these fields.
    pub fn new(method: &'a Method, target: &'a PathAndQuery, headers: &'a HeaderMap) -> Self {
        Self {
            method,
            target,
            fields: headers.iter().map(|(name, value)| Field::of(name, value)).collect(),
        }
    }

    /// A message for hyper's HTTP/1.1.
    pub(super) fn http1<B>(&self, origin: &Origin, body: B) -> Request<B> {
        let mut request = self.message(Version::HTTP_11, Uri::from(self.target.clone()), body);
        request.headers_mut().insert(header::HOST, origin.authority.clone());
        request
    }

    /// A message for HTTP/2, which carries scheme and authority beside the path (RFC 9113 section
    /// 8.3.1).
    pub(super) fn http2<B>(&self, origin: &Origin, body: B) -> Request<B> {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(match origin.tls {
            Some(_) => Scheme::HTTPS,
            None => Scheme::HTTP,
        });
        parts.authority = authority(&origin.authority);
        parts.path_and_query = Some(self.target.clone());
        // Authority and target were checked when the settings and the request were read.
        let uri = Uri::from_parts(parts).unwrap_or_default();
        self.message(Version::HTTP_2, uri, body)
    }

    fn message<B>(&self, version: Version, uri: Uri, body: B) -> Request<B> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.version_mut() = version;
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        for field in &self.fields {
            if *field.name != header::HOST
                && let Some(value) = field.to_value()
            {
                headers.append(field.name, value);
            }
        }
        request
    }
}

fn authority(value: &HeaderValue) -> Option<Authority> {
    value.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails when HTTP/2 may keep a session's value in a table.
    #[test]
    fn what_no_table_may_keep_is_said_to_the_library() {
        let mut headers = HeaderMap::new();
        let mut secret = HeaderValue::from_static("canary");
        secret.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, secret);
        headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        headers.insert(header::HOST, HeaderValue::from_static("a"));
        let target = PathAndQuery::from_static("/x");
        let head = RequestHead::new(&Method::GET, &target, &headers);
        let sent = head.message(Version::HTTP_2, Uri::from_static("/x"), ());
        let sent: Vec<_> = sent.headers().iter().collect();
        assert_eq!(sent.len(), 2, "{sent:?}");
        for (name, value) in sent {
            assert_eq!(value.is_sensitive(), *name == header::AUTHORIZATION, "{name}");
        }
    }
}
