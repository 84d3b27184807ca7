//! A line as one JSON object.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use serde::Serialize;

use crate::telemetry::visible::Visible;
use crate::telemetry::{Pair, Request};

/// Most lines are shorter.
const LINE_BYTES_USUAL: usize = 512;

/// A request, in the order in which its line shows it.
#[derive(Serialize)]
struct Line<'r> {
    at: String,
    request_id: &'r str,
    listener: &'r str,
    peer: Option<String>,
    client: Option<&'r str>,
    method: &'r str,
    path: &'r str,
    protocol: &'r str,
    scheme: &'r str,
    status: u16,
    decision: &'static str,
    reason: &'static str,
    upstream: Option<&'r str>,
    account: Option<&'r str>,
    generation: Option<u64>,
    replayed: bool,
    waited_ms: Option<f64>,
    session_ms: Option<f64>,
    head_ms: Option<f64>,
    took_ms: f64,
    body_bytes: u64,
    redacted: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    query: Option<BTreeMap<&'r str, Vec<&'r str>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    headers: Option<BTreeMap<&'r str, Vec<&'r str>>>,
}

pub(super) fn line(at: SystemTime, request: &Request) -> String {
    let line = Line {
        at: time(at),
        request_id: request.id.as_str(),
        listener: &request.listener,
        peer: request.peer.map(|peer| peer.to_string()),
        client: request.client(),
        method: request.method.as_str(),
        path: &request.path,
        protocol: request.protocol,
        scheme: request.scheme,
        status: request.status.as_u16(),
        decision: request.decision.as_str(),
        reason: request.reason,
        upstream: request.upstream.as_deref(),
        account: request.account.as_deref(),
        generation: request.generation,
        replayed: request.replayed,
        waited_ms: request.waited.map(milliseconds),
        session_ms: request.session_after.map(milliseconds),
        head_ms: request.head_after.map(milliseconds),
        took_ms: milliseconds(request.took),
        body_bytes: request.body_bytes,
        redacted: request.redacted,
        query: by_name(&request.shown.query),
        headers: by_name(&request.shown.headers),
    };
    let mut text = Vec::with_capacity(LINE_BYTES_USUAL);
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, Visible);
    // Texts, numbers and truth values always become JSON, and that is UTF-8.
    _ = line.serialize(&mut serializer);
    String::from_utf8(text).unwrap_or_default()
}

fn by_name(pairs: &[Pair]) -> Option<BTreeMap<&str, Vec<&str>>> {
    let mut all = BTreeMap::<_, Vec<_>>::new();
    for Pair { name, value } in pairs {
        all.entry(&**name).or_default().push(&**value);
    }
    (!all.is_empty()).then_some(all)
}

fn time(at: SystemTime) -> String {
    // No clock of a machine shows a time that RFC 3339 has no year for.
    Timestamp::try_from(at).map(|at| format!("{at:.6}")).unwrap_or_default()
}

/// To the microsecond.
fn milliseconds(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}
