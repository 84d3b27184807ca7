//! Step 6 of the walk: the client's request becomes one that can be sent to the upstream, up to the session.

use http::request::Parts;
use http::{HeaderMap, Method, Request, header};
use hyper::body::Incoming;

use super::exchange::Forwarded;
use super::parse::Call;
use super::{Peer, RequestId, Shared};
use crate::access;
use crate::forward::replay::Sending;
use crate::forward::{coding, hop, inject, target};
use crate::recipe::EndpointRule;
use crate::route::Route;
use crate::session::{Session, Upstream};

/// A request without its session.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) method: Method,
    /// The path that the upstream sees, without its base path.
    path: String,
    query: Option<String>,
    headers: HeaderMap,
}

pub(super) fn request(
    shared: &Shared,
    peer: &Peer,
    to: &Forwarded<'_>,
    head: Parts,
    rule: Option<&EndpointRule>,
    request_id: &RequestId,
) -> Prepared {
    let recipe = &*to.upstream.recipe;
    let mut headers = head.headers;
    hop::remove_hop_by_hop(&mut headers);
    access::strip(&mut headers);
    inject::strip(recipe, &mut headers);
    hop::set_forwarded(&mut headers, &peer.origin, &to.call.host);
    shared.via.add(&mut headers, head.version);
    headers.insert(hop::REQUEST_ID, request_id.field());
    // Whether to go on is said by us, who have the body in hand.
    headers.remove(header::EXPECT);
    if matches!(rule, Some(EndpointRule::Mask(_))) {
        coding::accept_identity_only(&mut headers);
        headers.remove(header::RANGE);
        headers.remove(header::IF_RANGE);
    } else if recipe.judges_bodies() {
        coding::accept_readable_only(&mut headers);
    }
    let path = upstream_path(to.call, to.route).to_owned();
    Prepared { method: head.method, path, query: to.call.query.clone(), headers }
}

/// The client's path as the upstream sees it.
pub(super) fn upstream_path<'a>(call: &'a Call, route: &Route) -> &'a str {
    if !route.strip_prefix {
        return &call.path;
    }
    // The prefix was matched on the canonical copy; as many segments are cut from the client's own bytes.
    let mut rest = call.path.as_str();
    for _ in 0..route.prefix.matches('/').count() {
        rest = rest.trim_start_matches('/');
        rest = rest.find('/').and_then(|end| rest.get(end..)).unwrap_or_default();
    }
    if rest.is_empty() { "/" } else { rest }
}

impl Prepared {
    /// The request with a session in it.
    pub(super) fn with(
        &self,
        session: &Session,
        upstream: &Upstream,
        body: Sending<Incoming>,
    ) -> Request<Sending<Incoming>> {
        let injector = &session.injector;
        let target = target::rewrite(
            &upstream.origin.base_path,
            &self.path,
            self.query.as_deref(),
            &upstream.recipe.strip_query,
            injector.query(&self.method),
        );
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.headers_mut() = self.headers.clone();
        injector.apply(&self.method, &self.path, request.headers_mut());
        // The client's target was a URI, and parts of one joined in order are one again.
        *request.uri_mut() = target.parse().unwrap_or_default();
        request
    }
}
