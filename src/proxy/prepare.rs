//! Step 6 of the walk: the client's request becomes one that can be sent to the upstream, up to the
//! session.

use std::borrow::Cow;

use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Method, Uri, Version, header};
use http_body::Body as _;

use super::error::Problem;
use super::exchange::{Client, Forwarded};
use super::force::Serving;
use super::parse::Call;
use super::record::Record;
use super::tunnel::{self, Wanted};
use super::upload::Upload;
use crate::access::{self, Withheld};
use crate::fields::Field;
use crate::forward::body::{self, BodyKind};
use crate::forward::hop::Told;
use crate::forward::inject::Credentials;
use crate::forward::{coding, hop, target};
use crate::recipe::{EndpointRule, Overwrite};
use crate::route::Route;
use crate::session::{SearchBodies, Session, Upstream};
use crate::telemetry::trace::{TRACEPARENT, TRACESTATE};
use crate::upstream::RequestHead;

/// A request without its session: what is left of the client's, and what is said beside it.
#[derive(Debug)]
pub(super) struct Prepared<'a> {
    pub(super) method: &'a Method,
    /// What the client asked for.
    target: &'a PathAndQuery,
    /// The path that the upstream sees, without its base path.
    pub(super) path: &'a str,
    /// Whether a credential was found in what the client asked for. The path that the upstream sees is the end of
    /// the client's: it has none that the whole has not.
    shows_credential: bool,
    /// The client's fields that travel on.
    kept: Vec<Field<'a>>,
    told: Told<'a>,
    via: &'a HeaderValue,
    request_id: HeaderValue,
    /// What it is told of its trace, by sending; nothing where there are no traces.
    traceparents: Vec<HeaderValue>,
    /// In the place of the client's own field.
    accept_encoding: Option<Cow<'a, HeaderValue>>,
    /// The same.
    max_forwards: Option<HeaderValue>,
    /// The client holds its body back until it is asked for.
    pub(super) expects_continue: bool,
    /// The upgrade that it asks for.
    pub(super) upgrade: Option<Wanted>,
    /// The kind of its body, where the session goes into that.
    pub(super) writes: Option<BodyKind>,
}

/// Fields that are said beside the client's, at most, without those of the session.
const SAID: usize = 13;

static VIA: HeaderName = header::VIA;
static ACCEPT_ENCODING: HeaderName = header::ACCEPT_ENCODING;
static MAX_FORWARDS: HeaderName = header::MAX_FORWARDS;
static COOKIE: HeaderName = header::COOKIE;
static CONNECTION: HeaderName = header::CONNECTION;
static UPGRADE: HeaderName = header::UPGRADE;
static SEC_WEBSOCKET_KEY: HeaderName = header::SEC_WEBSOCKET_KEY;
static TO_UPGRADE: HeaderValue = HeaderValue::from_static("upgrade");

pub(super) fn request<'a>(
    serving: &'a Serving,
    client: Client<'a>,
    to: &Forwarded<'a>,
    upload: &Upload,
    rule: Option<&EndpointRule>,
    record: &Record,
) -> Result<Prepared<'a>, Problem> {
    let Client { peer, head, issued, offered, .. } = client;
    let recipe = &*to.upstream.recipe;
    let is_masked = matches!(rule, Some(EndpointRule::Mask(_)));
    // In a tunnel nothing could be masked.
    let upgrade = tunnel::wanted(head, offered, !upload.is_end_stream(), &to.upstream.origin)
        .filter(|_| !is_masked);
    let headers = &head.headers;
    let writes = match upload.is_end_stream() {
        true => None,
        false => body::kind(recipe, &head.method, headers).map_err(Problem::of_writing)?,
    };
    let search = to.upstream.search_bodies;
    let is_searched = search != SearchBodies::Off || is_masked;
    let accept_encoding = match search {
        SearchBodies::Decode => Some(Cow::Owned(coding::accept_readable(headers))),
        _ if is_searched => Some(Cow::Borrowed(&coding::IDENTITY)),
        _ if recipe.judges_bodies() => coding::accept_readable_only(headers).map(Cow::Owned),
        _ => None,
    };
    let (nominated, withheld) =
        (hop::nominated(headers), Withheld::of(issued, &serving.in_force.key_headers));
    let credentials = Credentials::among(recipe, headers);
    let max_forwards = to.call.forwards_left.map(|left| HeaderValue::from(left.saturating_sub(1)));
    let is_our_handshake = upgrade.as_ref().is_some_and(|wanted| wanted.key().is_some());
    let trace = record.trace.as_deref();
    let traceparents = trace.map_or_else(Vec::new, |trace| {
        (0..trace.sendings.len()).filter_map(|sending| trace.traceparent(sending)).collect()
    });
    let stays = |name: &HeaderName| {
        hop::stays(name, &nominated)
            || withheld.is_ours(name)
            || credentials.have(name)
            || *name == hop::REQUEST_ID
            // Said anew: wherever a body is held back, and with one forwarding less. Trailers end here.
            || *name == header::EXPECT
            || *name == header::TRAILER
            || (is_our_handshake && *name == header::SEC_WEBSOCKET_KEY)
            || (max_forwards.is_some() && *name == header::MAX_FORWARDS)
            // A client that puts the parts of a value together would have it whole.
            || (is_searched && (*name == header::RANGE || *name == header::IF_RANGE))
            || (writes.is_some() && is_of_the_body(name))
            || (accept_encoding.is_some() && *name == header::ACCEPT_ENCODING)
            // Said anew, for each sending. Without a trace of the caller's nothing was told of it.
            || (trace.is_some() && *name == TRACEPARENT)
            || (trace.is_some_and(|trace| trace.parent.is_none()) && *name == TRACESTATE)
    };
    // Here and below: the allocator gives pieces of such sizes without detours.
    let mut kept = Vec::with_capacity(headers.len().next_power_of_two());
    let mut showing = Vec::new();
    for field in headers.whole() {
        let Field { name, value, .. } = field;
        if !stays(name) {
            // A plain name shows nobody anything.
            match withheld.is_in(value) || !hop::is_plain(name) && withheld.is_in(name.as_ref()) {
                true => showing.push(name),
                false => kept.push(field),
            }
        }
    }
    if !showing.is_empty() {
        kept.retain(|field| !showing.contains(&field.name));
    }
    // HTTP/1.0 does not know it (RFC 9110 section 10.1.1).
    let expects_continue = head.version > Version::HTTP_10
        && headers
            .get(header::EXPECT)
            .is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue"));
    Ok(Prepared {
        method: &head.method,
        target: &to.call.target,
        path: upstream_path(to.call, to.route),
        shows_credential: record.shows_credential,
        kept,
        told: peer.origin.told(to.call.host),
        via: serving.shared.via.entry(head.version),
        request_id: record.id.field(),
        traceparents,
        accept_encoding,
        max_forwards,
        expects_continue,
        upgrade,
        writes,
    })
}

/// Whether a field tells of a body what is not true any more when something was put into it.
fn is_of_the_body(name: &HeaderName) -> bool {
    *name == header::CONTENT_LENGTH
        || matches!(name.as_str(), "content-md5" | "digest" | "content-digest" | "repr-digest")
}

/// The client's path as the upstream sees it.
pub(super) fn upstream_path<'a>(call: &'a Call<'_>, route: &Route) -> &'a str {
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

/// What a request carries of its session besides header fields that the session owns.
pub(super) struct Carried<'a> {
    target: Cow<'a, PathAndQuery>,
    cookie: Option<Cow<'a, HeaderValue>>,
    session: &'a Session,
    traceparent: Option<&'a HeaderValue>,
}

impl Prepared<'_> {
    /// What of `session` goes into the request when it is sent for the first time (0), or again (1).
    ///
    /// # Errors
    /// When the target cannot be sent with it.
    pub(super) fn carried<'a>(
        &'a self,
        session: &'a Session,
        upstream: &Upstream,
        sending: usize,
    ) -> Result<Carried<'a>, Problem> {
        let target = self.target(session, upstream)?;
        let cookie = session.injector.cookie(self.method, self.path);
        Ok(Carried { target, cookie, session, traceparent: self.traceparents.get(sending) })
    }

    /// The request's head with a session in it.
    pub(super) fn with<'a>(&'a self, carried: &'a Carried<'_>) -> RequestHead<'a> {
        let mut fields = Vec::with_capacity((self.kept.len() + SAID).next_power_of_two());
        fields.extend_from_slice(&self.kept);
        let mut say = |name, value: &'a HeaderValue| fields.push(Field::of(name, value));
        self.told.fields().for_each(|(name, value)| say(name, value));
        say(&VIA, self.via);
        say(&hop::REQUEST_ID, &self.request_id);
        self.accept_encoding.iter().for_each(|codings| say(&ACCEPT_ENCODING, codings));
        carried.traceparent.into_iter().for_each(|trace| say(&TRACEPARENT, trace));
        self.max_forwards.iter().for_each(|left| say(&MAX_FORWARDS, left));
        if let Some(wanted) = &self.upgrade {
            say(&CONNECTION, &TO_UPGRADE);
            say(&UPGRADE, &wanted.protocol);
            wanted.key().into_iter().for_each(|key| say(&SEC_WEBSOCKET_KEY, key));
        }
        for (name, value, overwrite) in carried.session.injector.headers(self.method) {
            let is_there = fields.iter().any(|field| field.name == name);
            match overwrite {
                Overwrite::IfAbsent if is_there => continue,
                Overwrite::Always if is_there => fields.retain(|field| field.name != name),
                Overwrite::IfAbsent | Overwrite::Always => {}
            }
            fields.push(Field::of(name, value));
        }
        // The client's own stays here; one that the session has as a field gives way to its cookies.
        if carried.cookie.is_some() && fields.iter().any(|field| *field.name == COOKIE) {
            fields.retain(|field| *field.name != COOKIE);
        }
        fields.extend(carried.cookie.as_deref().map(|cookie| Field::of(&COOKIE, cookie)));
        RequestHead { method: self.method, target: &carried.target, fields }
    }

    /// The target that the upstream sees; mostly it is the client's own.
    fn target(
        &self,
        session: &Session,
        upstream: &Upstream,
    ) -> Result<Cow<'_, PathAndQuery>, Problem> {
        let (base_path, recipe) = (&session.origin(upstream).base_path, &upstream.recipe);
        debug_assert!(self.shows_credential || !access::holds_credential(self.path.as_bytes()));
        if self.shows_credential && access::holds_credential(self.path.as_bytes()) {
            // It cannot be taken out of a path.
            return Err(Problem::BadRequest("the path holds a client key or token"));
        }
        let mut add = session.injector.query(self.method).peekable();
        let same_path = base_path.is_empty() && self.path == self.target.path();
        let is_unchanged = |query: &str| {
            recipe.strip_query.is_empty() && !access::holds_credential(query.as_bytes())
        };
        let same_query = add.peek().is_none() && self.target.query().is_none_or(is_unchanged);
        if same_path && same_query {
            return Ok(Cow::Borrowed(self.target));
        }
        let is_dropped = |pair: &str| {
            let name = pair.split_once('=').map_or(pair, |(name, _)| name);
            recipe.strips_query(name) || access::holds_credential(pair.as_bytes())
        };
        let query = self.target.query();
        let target = target::rewrite(base_path, self.path, query, is_dropped, add);
        // The client's target was a URI, and parts of one joined in order are one again, unless it
        // is too long now.
        let target = Uri::try_from(target).ok().and_then(|uri| uri.into_parts().path_and_query);
        target.map(Cow::Owned).ok_or(Problem::TargetTooLong)
    }
}
