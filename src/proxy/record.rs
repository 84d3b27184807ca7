//! What is noted of one request while it is under way; reported once, when it is over.

use std::sync::Arc;

use http::{Method, StatusCode};

use super::RequestId;
use crate::clock::{Clock, Moment};
use crate::session::Generation;
use crate::telemetry::{Event, Reporter, Request};

/// What is noted of one request. Reports itself when it is dropped, however the request ends.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) id: RequestId,
    pub(super) client: Option<Arc<str>>,
    pub(super) upstream: Option<Arc<str>>,
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) status: StatusCode,
    pub(super) reason: &'static str,
    pub(super) generation: Option<Generation>,
    pub(super) replayed: bool,
    pub(super) body_bytes: u64,
    pub(super) started: Moment,
    clock: Clock,
    reporter: Reporter,
}

/// The reason of a request whose client left before it was answered.
pub(super) const CLIENT_LEFT: &str = "client_left";

impl Record {
    pub(super) fn new(id: RequestId, method: Method, clock: Clock, reporter: Reporter) -> Self {
        Self {
            id,
            client: None,
            upstream: None,
            method,
            path: String::new(),
            status: StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
            reason: CLIENT_LEFT,
            generation: None,
            replayed: false,
            body_bytes: 0,
            started: clock.now(),
            clock,
            reporter,
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if !self.reporter.wants_requests() {
            return;
        }
        self.reporter.report(Event::Request(Box::new(Request {
            id: Arc::from(self.id.as_str()),
            client: self.client.take(),
            upstream: self.upstream.take(),
            method: self.method.clone(),
            path: std::mem::take(&mut self.path),
            status: self.status,
            reason: self.reason,
            generation: self.generation.map(|generation| generation.0),
            replayed: self.replayed,
            took: self.clock.now().saturating_since(self.started),
            body_bytes: self.body_bytes,
        })));
    }
}
