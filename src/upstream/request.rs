//! What is sent to an upstream, apart from what its connection adds.

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, header};

use super::Origin;

/// The head of a request, borrowed from whoever may send it a second time. `Host` and the fields
/// that frame a message are the connection's to write: here they are passed over.
#[derive(Clone, Debug)]
pub struct RequestHead<'a> {
    /// The method.
    pub method: &'a Method,
    /// Path and query, in origin form.
    pub target: &'a PathAndQuery,
    /// The fields, in the order in which they are sent.
    pub fields: Vec<(&'a HeaderName, &'a HeaderValue)>,
}

impl<'a> RequestHead<'a> {
    /// A head with all these fields.
    pub fn new(method: &'a Method, target: &'a PathAndQuery, headers: &'a HeaderMap) -> Self {
        Self { method, target, fields: headers.iter().collect() }
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
        for (name, value) in &self.fields {
            if **name != header::HOST {
                headers.append(*name, (*value).clone());
            }
        }
        request
    }
}

fn authority(value: &HeaderValue) -> Option<Authority> {
    value.to_str().ok()?.parse().ok()
}
