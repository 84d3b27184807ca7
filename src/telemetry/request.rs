//! What is told of a request.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, Method, StatusCode};

use super::RequestId;
use super::trace::Trace;

/// A request that ended.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its id.
    pub id: RequestId,
    /// Who sent it; nothing where nobody was let in.
    pub who: Option<Who>,
    /// The address that its connection came from; nothing on a Unix socket.
    pub peer: Option<IpAddr>,
    /// The name of the listener that it came in by.
    pub listener: Arc<str>,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The version, as a request line writes it.
    pub protocol: &'static str,
    /// What its route is for: a host, where it is for one, and a path prefix.
    pub route: Option<Arc<str>>,
    /// The upstream's name, where a route was found.
    pub upstream: Option<Arc<str>>,
    /// The account's name, where the request was allowed.
    pub account: Option<Arc<str>>,
    /// Which of the client's grants allowed it.
    pub grant: Option<usize>,
    /// The method.
    pub method: Method,
    /// The path without its query.
    pub path: String,
    /// What was sent to the upstream.
    pub sendings: Sendings,
    /// Host and port of the upstream's URL.
    pub server: Option<Server>,
    /// Its place in a trace, where its spans are recorded.
    pub trace: Option<Box<Trace>>,
    /// What the operator has named to be shown of its query and its fields.
    pub shown: Shown,
    /// What became of it.
    pub decision: Decision,
    /// The status that the client got.
    pub status: StatusCode,
    /// What decided the answer, from a closed list.
    pub reason: &'static str,
    /// The generation of the session that the last sending carried.
    pub generation: Option<u64>,
    /// Whether it was sent a second time.
    pub replayed: bool,
    /// The session that the first sending carried, where the upstream's answer called that dead.
    pub refused: Option<Refused>,
    /// Whether it had to wait for a session that was not there yet.
    pub awaited: bool,
    /// From the head of the request to its turn at the limits, or to the answer that it gets none.
    pub waited: Option<Duration>,
    /// From the head of the request to the session that the last sending carried.
    pub session_after: Option<Duration>,
    /// From the head of the request to the head of the upstream's last answer.
    pub head_after: Option<Duration>,
    /// From the head of the request to the end of the answer's body.
    pub took: Duration,
    /// Bytes of the answer's body.
    pub body_bytes: u64,
    /// How many stretches of the answer's body were replaced because they showed a secret.
    pub redacted: u64,
    /// The codings that were taken off the answer's body, if it had any.
    pub decoded: Option<Decoded>,
}

/// Host and port of a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// The host.
    pub address: Arc<str>,
    /// The port.
    pub port: u16,
}

/// What was sent of one request to its upstream: at most twice.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sendings([Option<Sending>; 2]);

/// One of them.
#[derive(Clone, Copy, Debug)]
pub struct Sending {
    /// From the head of the client's request to its beginning.
    pub after: Duration,
    /// Until the head of the answer, or until it was clear that none comes.
    pub took: Duration,
    /// The status of the answer, or the reason why there is none.
    pub outcome: Result<StatusCode, &'static str>,
}

impl Sendings {
    /// One that has ended.
    pub fn note(&mut self, sending: Sending) {
        if let Some(free) = self.0.iter_mut().find(|known| known.is_none()) {
            *free = Some(sending);
        }
    }

    /// All of them, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &Sending> {
        self.0.iter().flatten()
    }
}

/// What may be shown of requests, besides what is always told.
#[derive(Clone, Debug, Default)]
pub struct Shows {
    /// Names of parameters.
    pub query: Vec<String>,
    /// Names of fields.
    pub headers: Vec<HeaderName>,
}

/// What is shown of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// Parameters, as they were written.
    pub query: Vec<Pair>,
    /// Fields.
    pub headers: Vec<Pair>,
}

/// A name and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The name.
    pub name: Box<str>,
    /// The value; of a long one the beginning.
    pub value: Box<str>,
}

/// An answer that called a session dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The session's generation.
    pub generation: u64,
    /// The answer's status.
    pub status: StatusCode,
}

/// What was taken off an answer's body so that it could be searched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// The codings in the order in which they were applied, as `Content-Encoding` lists them.
    pub codings: Box<str>,
    /// How many bytes came in them.
    pub coded_bytes: u64,
}

/// Who sent a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// Whoever reaches a listener without keys.
    Open,
    /// The client of this name.
    Client(Arc<str>),
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Decision {
    /// It was sent to the upstream, whatever came of that.
    Forwarded,
    /// Doorward answered in the upstream's place.
    AnsweredLocally,
    /// It was not sent: the reason says why.
    Refused,
    /// The client left before anything was decided.
    Abandoned,
}

impl Decision {
    /// The word in metrics and in the access log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Forwarded => "forwarded",
            Self::AnsweredLocally => "answered_locally",
            Self::Refused => "refused",
            Self::Abandoned => "abandoned",
        }
    }
}

impl Request {
    /// The client's name, where it has one.
    pub fn client(&self) -> Option<&str> {
        match self.who.as_ref()? {
            Who::Open => None,
            Who::Client(name) => Some(name),
        }
    }
}
