//! What is noted of one request while it is under way; reported once, when it is over.

use std::sync::Arc;

use http::uri::PathAndQuery;
use http::{Method, StatusCode};

use super::{RequestId, Shared};
use crate::clock::{Clock, Moment};
use crate::limit::Permit;
use crate::session::Generation;
use crate::telemetry::{Event, Request};

/// What is noted of one request. Reports itself when it is dropped, however the request ends.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) id: RequestId,
    pub(super) client: Option<Arc<str>>,
    pub(super) upstream: Option<Arc<str>>,
    pub(super) method: Method,
    /// Once it is understood.
    pub(super) target: Option<PathAndQuery>,
    pub(super) status: StatusCode,
    pub(super) reason: &'static str,
    pub(super) generation: Option<Generation>,
    pub(super) replayed: bool,
    pub(super) body_bytes: u64,
    pub(super) started: Moment,
    /// Its place among what the account may be asked, until the answer's body has ended.
    pub(super) permit: Option<Permit>,
    shared: Arc<Shared>,
}

/// The reason of a request whose client left before it was answered.
pub(super) const CLIENT_LEFT: &str = "client_left";

/// The reason of a stream that was cut because its session was replaced.
pub(super) const SESSION_REPLACED: &str = "session_replaced";

impl Record {
    pub(super) fn new(id: RequestId, method: Method, shared: Arc<Shared>) -> Self {
        Self {
            id,
            client: None,
            upstream: None,
            method,
            target: None,
            status: StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
            reason: CLIENT_LEFT,
            generation: None,
            replayed: false,
            body_bytes: 0,
            started: shared.clock.now(),
            permit: None,
            shared,
        }
    }

    /// The clock that the request is measured by.
    pub(super) fn clock(&self) -> &Clock {
        &self.shared.clock
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let Shared { clock, reporter, .. } = &*self.shared;
        if !reporter.wants_requests() {
            return;
        }
        reporter.report(Event::Request(Box::new(Request {
            id: Arc::from(self.id.as_str()),
            client: self.client.take(),
            upstream: self.upstream.take(),
            method: self.method.clone(),
            path: self.target.as_ref().map(|target| target.path().to_owned()).unwrap_or_default(),
            status: self.status,
            reason: self.reason,
            generation: self.generation.map(|generation| generation.0),
            replayed: self.replayed,
            took: clock.now().saturating_since(self.started),
            body_bytes: self.body_bytes,
        })));
    }
}
