//! Step 6 of the walk: the client's request becomes one that can be sent to the upstream, up to the
//! session.

use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Request, Uri, Version, header};
use http_body::Body as _;

use super::error::Problem;
use super::exchange::Forwarded;
use super::parse::Call;
use super::tunnel::{self, Wanted};
use super::upload::Upload;
use super::{Peer, RequestId, Shared};
use crate::access;
use crate::forward::replay::Sending;
use crate::forward::{coding, hop, inject, target, upgrade};
use crate::recipe::EndpointRule;
use crate::route::Route;
use crate::session::{SearchBodies, Session, Upstream};

/// A request without its session.
#[derive(Debug)]
pub(super) struct Prepared<'a> {
    pub(super) method: Method,
    /// What the client asked for.
    target: &'a PathAndQuery,
    /// The path that the upstream sees, without its base path.
    pub(super) path: &'a str,
    headers: HeaderMap,
    /// The client holds its body back until it is asked for.
    pub(super) expects_continue: bool,
    /// The upgrade that it asks for.
    pub(super) upgrade: Option<Wanted>,
}

pub(super) fn request<'a>(
    shared: &Shared,
    peer: &Peer,
    to: &Forwarded<'a>,
    mut head: Parts,
    body: &Upload,
    rule: Option<&EndpointRule>,
    request_id: &RequestId,
) -> Prepared<'a> {
    let recipe = &*to.upstream.recipe;
    // In a tunnel nothing could be masked.
    let upgrade = tunnel::wanted(&mut head, !body.is_end_stream(), &to.upstream.origin)
        .filter(|_| !matches!(rule, Some(EndpointRule::Mask(_))));
    let mut headers = head.headers;
    hop::remove_hop_by_hop(&mut headers);
    access::strip(&mut headers, &shared.key_headers);
    inject::strip(recipe, &mut headers);
    hop::set_forwarded(&mut headers, &peer.origin, &to.call.host);
    shared.via.add(&mut headers, head.version);
    headers.insert(hop::REQUEST_ID, request_id.field());
    // Said anew wherever a body is held back; HTTP/1.0 does not know it (RFC 9110 section 10.1.1).
    let expects = headers.remove(header::EXPECT);
    let expects_continue = head.version > Version::HTTP_10
        && expects.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    let (search, is_masked) =
        (to.upstream.search_bodies, matches!(rule, Some(EndpointRule::Mask(_))));
    if search != SearchBodies::Off || is_masked {
        // A client that puts the parts of a value together would have it whole.
        headers.remove(header::RANGE);
        headers.remove(header::IF_RANGE);
        match search {
            SearchBodies::Decode => coding::accept_readable(&mut headers),
            SearchBodies::Identity | SearchBodies::Off => {
                coding::accept_identity_only(&mut headers);
            }
        }
    } else if recipe.judges_bodies() {
        coding::accept_readable_only(&mut headers);
    }
    if let Some(wanted) = &upgrade {
        upgrade::set(&mut headers, &wanted.protocol);
    }
    let path = upstream_path(to.call, to.route);
    let (method, target) = (head.method, &to.call.target);
    Prepared { method, target, path, headers, expects_continue, upgrade }
}

/// The client's path as the upstream sees it.
pub(super) fn upstream_path<'a>(call: &'a Call, route: &Route) -> &'a str {
    if !route.strip_prefix {
        return call.target.path();
    }
    // The prefix was matched on the canonical copy; as many segments are cut from the client's own
    // bytes.
    let mut rest = call.target.path();
    let mut left = route.prefix.matches('/').count();
    while left > 0
        && let Some(segment_on) = rest.strip_prefix('/')
    {
        let (segment, _) = segment_on.split_once('/').unwrap_or((segment_on, ""));
        rest = segment_on.get(segment.len()..).unwrap_or_default();
        // The canonical copy has no segment where there is nothing but parameters.
        left -= usize::from(!segment.split(';').next().unwrap_or_default().is_empty());
    }
    if rest.is_empty() { "/" } else { rest }
}

impl Prepared<'_> {
    /// The request with a session in it.
    pub(super) fn with(
        &self,
        session: &Session,
        upstream: &Upstream,
        body: Sending<Upload>,
    ) -> Result<Request<Sending<Upload>>, Problem> {
        let injector = &session.injector;
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.headers_mut() = self.headers.clone();
        injector.apply(&self.method, self.path, request.headers_mut());
        *request.uri_mut() = self.uri(session, upstream)?;
        Ok(request)
    }

    /// The target that the upstream sees; mostly it is the client's own.
    fn uri(&self, session: &Session, upstream: &Upstream) -> Result<Uri, Problem> {
        let (base_path, recipe) = (&upstream.origin.base_path, &upstream.recipe);
        if access::holds_credential(self.path.as_bytes()) {
            // It cannot be taken out of a path.
            return Err(Problem::BadRequest("the path holds a client key or token"));
        }
        let mut add = session.injector.query(&self.method).peekable();
        let same_path = base_path.is_empty() && self.path == self.target.path();
        let is_unchanged = |query: &str| {
            recipe.strip_query.is_empty() && !access::holds_credential(query.as_bytes())
        };
        let same_query = add.peek().is_none() && self.target.query().is_none_or(is_unchanged);
        if same_path && same_query {
            return Ok(Uri::from(self.target.clone()));
        }
        let is_dropped = |pair: &str| {
            let name = pair.split_once('=').map_or(pair, |(name, _)| name);
            recipe.strips_query(name) || access::holds_credential(pair.as_bytes())
        };
        let query = self.target.query();
        let target = target::rewrite(base_path, self.path, query, is_dropped, add);
        // The client's target was a URI, and parts of one joined in order are one again, unless it
        // is too long now.
        Uri::try_from(target).map_err(|_| Problem::BadRequest("the request target is too long"))
    }
}
