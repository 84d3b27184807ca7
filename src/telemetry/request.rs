//! What is told of a request.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};

/// A request that ended.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its id.
    pub id: Arc<str>,
    /// Who sent it; nothing where nobody was let in.
    pub who: Option<Who>,
    /// The address that its connection came from; nothing on a Unix socket.
    pub peer: Option<IpAddr>,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

impl Request {
    /// The client's name, where it has one.
    pub fn client(&self) -> Option<&str> {
        match self.who.as_ref()? {
            Who::Open => None,
            Who::Client(name) => Some(name),
        }
    }
}
