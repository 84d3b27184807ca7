//! In front of every call: the rate limit, the session, the header against forged requests; behind
//! it: the rotation of cookies.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::ThoughtSpot;
use super::answers::Failure;
use super::call::{Version, need};
use super::sessions::{Key, Owner, Presented};
use crate::emulator::house::lock;
use crate::emulator::record::Credential;
use crate::emulator::site::{Call, Judged};

/// ThoughtSpot's guard against forged requests: any value will do.
pub const REQUESTED_BY: &str = "x-requested-by";

/// Who makes a call, for the handlers.
#[derive(Clone, Debug)]
pub struct Caller {
    pub key: Key,
    pub owner: Owner,
}

/// Why a call is not let through.
enum NotAdmitted {
    Refused(Failure),
    /// As a cluster with SAML does.
    ToLoginPage,
}

impl ThoughtSpot {
    /// What the frame is told of a request at its arrival. Changes nothing.
    pub fn judge_head(&self, head: &Parts) -> Judged {
        let presented = Presented::on(&head.headers);
        let live = lock(&self.sessions).live(&presented, &self.switches(), self.now());
        let credential = if live.is_some() {
            Credential::Live
        } else if presented.values().next().is_none() {
            Credential::None
        } else if presented.values().any(|value| self.house.mint.knows(value)) {
            Credential::Dead
        } else {
            Credential::Foreign
        };
        Judged { call: need(head), credential }
    }

    fn admit(&self, head: &Parts) -> Result<Caller, NotAdmitted> {
        let switches = self.switches();
        let presented = Presented::on(&head.headers);
        let sessions = lock(&self.sessions);
        let live = sessions.live(&presented, &switches, self.now());
        let caller = live.and_then(|key| Some(Caller { key, owner: sessions.owner(key)? }));
        drop(sessions);
        let Some(caller) = caller else {
            return Err(if switches.saml {
                NotAdmitted::ToLoginPage
            } else {
                NotAdmitted::Refused(Failure::Unauthorized(UNAUTHORIZED))
            });
        };
        let by_cookie = presented.bearer.is_none();
        if (by_cookie || Version::of(head) == Version::V1) && !requested_by(&head.headers) {
            let failure = Failure::NotRequestedBy(switches.requested_by_refusal);
            return Err(NotAdmitted::Refused(failure));
        }
        Ok(caller)
    }

    /// A refusal in the shape of the API that was called.
    pub fn refuse(&self, head: &Parts, failure: Failure) -> Response {
        failure.answer(Version::of(head), &self.house.mint)
    }

    fn too_fast(&self, head: &Parts) -> bool {
        let peer = head.extensions.get::<ConnectInfo<SocketAddr>>();
        let address = peer.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |peer| peer.0.ip());
        let fast = !lock(&self.rates).admit(address, &self.switches(), self.now());
        if fast {
            self.house.tally.rate_limited();
        }
        fast
    }

    fn rotated(&self, key: Key) -> Vec<String> {
        let (switches, now) = (self.switches(), self.now());
        let mut sessions = lock(&self.sessions);
        if !sessions.used(key, switches.rotate_every, now) {
            return Vec::new();
        }
        let grace = std::time::Duration::from_secs(switches.rotation_grace_seconds);
        sessions.rotate(key, now + grace, &self.house.mint);
        let Key::Session(session) = key else { return Vec::new() };
        sessions.cookies(session).into_iter().take(1).collect()
    }
}

const UNAUTHORIZED: &str = "Authentication token could not be authenticated by any configured \
                            realms. Please ensure that at least one realm can authenticate it.";

/// Whether the header against forged requests is there.
pub fn requested_by(headers: &HeaderMap) -> bool {
    headers.get(REQUESTED_BY).is_some_and(|value| !value.is_empty())
}

/// Stands around the router.
pub async fn gate(State(site): State<Arc<ThoughtSpot>>, request: Request, next: Next) -> Response {
    let (mut head, body) = request.into_parts();
    if site.too_fast(&head) {
        return site.refuse(&head, Failure::TooMany);
    }
    let mut admitted = None;
    if need(&head) == Call::Guarded {
        match site.admit(&head) {
            Ok(caller) => {
                admitted = Some(caller.key);
                head.extensions.insert(caller);
            }
            Err(NotAdmitted::Refused(failure)) => return site.refuse(&head, failure),
            Err(NotAdmitted::ToLoginPage) => {
                return (StatusCode::FOUND, [(header::LOCATION, "/login")]).into_response();
            }
        }
    }
    let mut response = next.run(Request::from_parts(head, body)).await;
    if let Some(key) = admitted {
        set_cookies(&mut response, site.rotated(key));
    }
    response
}

/// Adds cookies to an answer.
pub fn set_cookies(response: &mut Response, cookies: Vec<String>) {
    for cookie in cookies {
        // A cookie of ours is plain text.
        if let Ok(value) = HeaderValue::try_from(cookie) {
            response.headers_mut().append(header::SET_COOKIE, value);
        }
    }
}

/// An empty answer with cookies.
pub fn with_cookies(status: u16, cookies: Vec<String>) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::NO_CONTENT);
    let mut response = status.into_response();
    set_cookies(&mut response, cookies);
    response
}
