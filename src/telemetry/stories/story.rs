//! A story as it is read.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::Method;

use super::slot::Slot;
use super::{Named, UpstreamNumber};
use crate::telemetry::{Decision, Refused, Request, RequestId};

/// What is kept of a request that ended. Its members mean what those of [`Request`] do.
#[derive(Clone, Debug)]
pub struct Story {
    /// Of two stories that are kept, that of the request that ended later has the higher one, and no
    /// two have the same; 0 where it is not kept.
    pub number: u64,
    /// When it ended.
    pub at: SystemTime,
    /// Its id.
    pub id: RequestId,
    /// The client's name, where it has one.
    pub client: Option<Arc<str>>,
    /// The address that its connection came from.
    pub peer: Option<IpAddr>,
    /// The upstream's name.
    pub upstream: Option<Arc<str>>,
    /// The account's name.
    pub account: Option<Arc<str>>,
    /// The method.
    pub method: Method,
    /// The path without its query.
    pub path: String,
    /// What became of it.
    pub decision: Decision,
    /// The status that the client got.
    pub status: u16,
    /// What decided the answer.
    pub reason: &'static str,
    /// The generation of the last sending's session.
    pub generation: Option<u64>,
    /// Whether it was sent a second time.
    pub replayed: bool,
    /// The session that was called dead.
    pub refused: Option<Refused>,
    /// Whether it had to wait for a session.
    pub awaited: bool,
    /// Until its turn at the limits, in whole milliseconds as all times here.
    pub waited: Option<Duration>,
    /// Until the session of the last sending.
    pub session_after: Option<Duration>,
    /// Until the head of the last answer.
    pub head_after: Option<Duration>,
    /// Until the end of the answer's body.
    pub took: Duration,
    /// Bytes of the answer's body.
    pub body_bytes: u64,
    /// Stretches of the answer's body that were replaced.
    pub redacted: u64,
}

impl Story {
    /// The story of a request that is not kept, or not yet.
    pub fn of(at: SystemTime, request: &Request) -> Self {
        Self {
            number: 0,
            at,
            id: request.id.clone(),
            client: request.client().map(Arc::from),
            peer: request.peer,
            upstream: request.upstream.clone(),
            account: request.account.clone(),
            method: request.method.clone(),
            path: request.path.clone(),
            decision: request.decision,
            status: request.status.as_u16(),
            reason: request.reason,
            generation: request.generation,
            replayed: request.replayed,
            refused: request.refused,
            awaited: request.awaited,
            waited: request.waited,
            session_after: request.session_after,
            head_after: request.head_after,
            took: request.took,
            body_bytes: request.body_bytes,
            redacted: request.redacted,
        }
    }

    /// The one in a slot of a core that gives ids with this prefix and knows these upstreams.
    pub(super) fn read(slot: Slot, id: RequestId, names: &[Named]) -> Self {
        let path = slot.path().to_owned();
        let rare = slot.rare.map(|rare| *rare).unwrap_or_default();
        let named = slot.upstream.and_then(|UpstreamNumber(number)| names.get(number as usize));
        let word = || Method::from_bytes(slot.method.as_str().as_bytes()).unwrap_or_default();
        Self {
            number: slot.number,
            at: system_time(slot.at),
            id,
            client: slot.client,
            peer: slot.peer,
            upstream: named.map(|named| Arc::clone(&named.name)),
            account: named.zip(slot.account).and_then(|(named, id)| named.account(id)),
            method: rare.method.unwrap_or_else(word),
            path,
            decision: slot.decision,
            status: slot.status,
            reason: slot.reason,
            generation: slot.generation,
            replayed: slot.is_replayed,
            refused: rare.refused,
            awaited: slot.is_awaited,
            waited: slot.waited.duration(),
            session_after: slot.session_after.duration(),
            head_after: slot.head_after.duration(),
            took: Duration::from_millis(slot.took_ms),
            body_bytes: slot.body_bytes,
            redacted: rare.redacted,
        }
    }
}

/// The time so many nanoseconds after 1970.
pub(super) fn system_time(nanoseconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(nanoseconds)
}
