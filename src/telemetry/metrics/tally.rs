//! What one core counts of its requests. Only that core writes here, and it does so once for each
//! request: the lock is free but while somebody reads, which takes microseconds. Nothing is allocated
//! but for what was not seen before.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foldhash::fast::RandomState;
use http::StatusCode;

use super::catalog::Catalog;
use super::histogram::Histogram;
use super::sizes::Sizes;
use crate::telemetry::{Decision, Sending, Sendings, Server};

/// So many series of requests, and as many of sendings, are kept by one core. What would be one more
/// is counted with others of its kind: without its route, its method and the last digits of its status.
pub(super) const SERIES_MAX: usize = 1000;

/// What one core counts of its requests.
#[derive(Debug)]
pub struct Tally {
    pub(super) catalog: Arc<Catalog>,
    begun: AtomicU64,
    counts: Mutex<Counts>,
}

/// A request that is over.
#[derive(Debug)]
pub struct Ended<'a> {
    /// Its route's number, where one was found.
    pub route: Option<u16>,
    /// Who sent it.
    pub sender: Sender,
    /// Its method.
    pub method: &'a http::Method,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// What the client was answered; nothing where it left before.
    pub status: Option<StatusCode>,
    /// What became of it.
    pub decision: Decision,
    /// What decided the answer, from a closed list.
    pub reason: &'static str,
    /// What became of it after its session was found dead.
    pub replay: Replay,
    /// From its head to the end of the answer's body.
    pub took: Duration,
    /// Bytes of its body that its client has sent.
    pub received_bytes: u64,
    /// Bytes of the answer's body.
    pub body_bytes: u64,
    /// Stretches of the answer's body that were replaced because they showed a secret.
    pub redacted: u64,
    /// What was sent to the upstream.
    pub sendings: Sendings,
}

/// Who sent a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sender {
    /// Nobody was let in.
    #[default]
    Nobody,
    /// Whoever reaches a listener without keys.
    Open,
    /// The client with this number.
    Client(u32),
}

/// What became of a request after its session was found dead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Replay {
    /// Its session was not found dead.
    #[default]
    None,
    /// There was no other session for it.
    NoSession,
    /// It was sent again.
    Sent,
    /// It could not be sent again, or must not be.
    Refused,
}

impl Replay {
    pub(super) fn as_str(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::NoSession => Some("no_session"),
            Self::Sent => Some("sent"),
            Self::Refused => Some("refused"),
        }
    }
}

/// A word of a closed list. Compared by its place in the program: the same word may stand in two
/// places, which whoever reads adds up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Word(pub(super) &'static str);

impl PartialEq for Word {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.0, other.0)
    }
}

impl Eq for Word {}

impl Hash for Word {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_usize(self.0.as_ptr().addr());
    }
}

/// A method, out of a closed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::telemetry) enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Connect,
    Options,
    Trace,
    Patch,
    Query,
    Other,
}

impl Method {
    pub(in crate::telemetry) fn of(method: &http::Method) -> Self {
        match *method {
            http::Method::GET => Self::Get,
            http::Method::POST => Self::Post,
            http::Method::PUT => Self::Put,
            http::Method::DELETE => Self::Delete,
            http::Method::PATCH => Self::Patch,
            http::Method::HEAD => Self::Head,
            http::Method::OPTIONS => Self::Options,
            http::Method::CONNECT => Self::Connect,
            http::Method::TRACE => Self::Trace,
            _ if method.as_str() == "QUERY" => Self::Query,
            _ => Self::Other,
        }
    }

    pub(in crate::telemetry) fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
            Self::Options => "OPTIONS",
            Self::Trace => "TRACE",
            Self::Patch => "PATCH",
            Self::Query => "QUERY",
            Self::Other => "_OTHER",
        }
    }
}

/// How a sending ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Outcome {
    Status(u16),
    Failed(Word),
}

/// What requests are told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) route: Option<u16>,
    pub(super) method: Method,
    pub(super) status: Option<u16>,
    pub(super) scheme: Word,
    pub(super) decision: Decision,
    pub(super) reason: Word,
    pub(super) replay: Replay,
    /// It stands for others as well, whose route, method and status are not told.
    pub(super) is_merged: bool,
}

/// What sendings are told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct SendingKey {
    pub(super) route: Option<u16>,
    pub(super) method: Method,
    pub(super) outcome: Outcome,
    pub(super) is_merged: bool,
}

/// What is counted of requests with one key.
#[derive(Clone, Debug, Default)]
pub(super) struct Series {
    pub(super) duration: Histogram,
    pub(super) received: Sizes,
    pub(super) given: Sizes,
    pub(super) redacted: u64,
}

/// All that one core has counted.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    pub(super) ended: u64,
    pub(super) requests: HashMap<Key, Series, RandomState>,
    pub(super) sendings: HashMap<SendingKey, Histogram, RandomState>,
    pub(super) open: u64,
    /// By client.
    pub(super) clients: HashMap<u32, u64, RandomState>,
    pub(super) other_clients: u64,
}

impl Tally {
    pub(super) fn new(catalog: Arc<Catalog>) -> Self {
        let clients = catalog.clients.keys().map(|number| (*number, 0)).collect();
        let counts = Mutex::new(Counts { clients, ..Counts::default() });
        Self { catalog, begun: AtomicU64::new(0), counts }
    }

    /// A request has begun.
    pub fn begun(&self) {
        self.begun.fetch_add(1, Ordering::Relaxed);
    }

    /// A request is over.
    pub fn ended(&self, request: &Ended<'_>) {
        let key = Key {
            route: request.route,
            method: Method::of(request.method),
            status: request.status.map(|status| status.as_u16()),
            scheme: Word(request.scheme),
            decision: request.decision,
            reason: Word(request.reason),
            replay: request.replay,
            is_merged: false,
        };
        let mut counts = self.lock();
        counts.ended += 1;
        counts.note_sender(request.sender);
        let series = bounded(&mut counts.requests, key, Key::merged);
        series.duration.note(request.took);
        series.received.note(request.received_bytes);
        series.given.note(request.body_bytes);
        series.redacted += request.redacted;
        for Sending { took, outcome, .. } in request.sendings.iter() {
            let Key { route, method, .. } = key;
            let outcome = match outcome {
                Ok(status) => Outcome::Status(status.as_u16()),
                Err(reason) => Outcome::Failed(Word(reason)),
            };
            let key = SendingKey { route, method, outcome, is_merged: false };
            bounded(&mut counts.sendings, key, SendingKey::merged).note(*took);
        }
    }

    /// What a route is for, and host and port of its upstream's URL.
    pub fn names(&self, route: Option<u16>) -> (Option<Arc<str>>, Option<Server>) {
        let Some(route) = self.catalog.route(route) else { return (None, None) };
        let server = self.catalog.upstream(route.upstream);
        let server =
            server.map(|server| Server { address: Arc::clone(&server.address), port: server.port });
        (Some(Arc::clone(&route.route)), server)
    }

    /// How many have begun, and all that was counted.
    pub(super) fn read(&self) -> (u64, Counts) {
        // In this order none has ended that has not begun.
        let counts = self.lock().clone();
        (self.begun.load(Ordering::Relaxed).max(counts.ended), counts)
    }

    /// Nothing panics under the lock: what it holds is whole.
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    fn note_sender(&mut self, sender: Sender) {
        match sender {
            Sender::Nobody => {}
            Sender::Open => self.open += 1,
            Sender::Client(number) => match self.clients.get_mut(&number) {
                Some(count) => *count += 1,
                None => self.other_clients += 1,
            },
        }
    }
}

/// The value of a key; of a merged one where there are too many.
fn bounded<K: Copy + Eq + Hash, V: Default>(
    map: &mut HashMap<K, V, RandomState>,
    key: K,
    merged: impl Fn(K) -> K,
) -> &mut V {
    let is_full = map.len() >= SERIES_MAX && !map.contains_key(&key);
    map.entry(if is_full { merged(key) } else { key }).or_default()
}

/// The first of the codes that begin with the same digit.
fn class(status: u16) -> u16 {
    status / 100 * 100
}

impl Key {
    fn merged(self) -> Self {
        Self {
            route: None,
            method: Method::Other,
            status: self.status.map(class),
            replay: Replay::None,
            is_merged: true,
            ..self
        }
    }
}

impl SendingKey {
    fn merged(self) -> Self {
        let outcome = match self.outcome {
            Outcome::Status(status) => Outcome::Status(class(status)),
            failed => failed,
        };
        Self { route: None, method: Method::Other, outcome, is_merged: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_apart_has_a_bound_and_nothing_is_lost_at_it() {
        let tally = Tally::new(Arc::default());
        let method = http::Method::from_bytes(b"BREW").unwrap();
        for number in 0..20_000_u16 {
            let status = StatusCode::from_u16(200 + number % 300).unwrap();
            let mut sendings = Sendings::default();
            sendings.note(Sending {
                after: Duration::ZERO,
                took: Duration::ZERO,
                outcome: Ok(status),
            });
            tally.begun();
            tally.ended(&Ended {
                route: Some(number / 300),
                sender: Sender::Client(number.into()),
                method: &method,
                scheme: "http",
                status: Some(status),
                decision: Decision::Forwarded,
                reason: "forwarded",
                replay: Replay::None,
                took: Duration::ZERO,
                received_bytes: 2,
                body_bytes: 1,
                redacted: 0,
                sendings,
            });
        }
        let (begun, counts) = tally.read();
        assert_eq!((begun, counts.ended, counts.other_clients), (20_000, 20_000, 20_000));
        assert!(counts.requests.len() <= SERIES_MAX + 3, "{}", counts.requests.len());
        assert!(counts.sendings.len() <= SERIES_MAX + 3, "{}", counts.sendings.len());
        let bytes = |of: fn(&Series) -> &Sizes| -> u64 {
            counts.requests.values().map(|series| of(series).sum()).sum()
        };
        assert_eq!((bytes(|all| &all.received), bytes(|all| &all.given)), (40_000, 20_000));
        assert_eq!(counts.sendings.values().map(Histogram::count).sum::<u64>(), 20_000);
    }
}
