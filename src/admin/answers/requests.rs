//! What happened: requests, logins, changes of sessions, messages that were rejected.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::LoginOutcome;

/// A request that ended. No query, no field and no body is known of it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Request {
    /// Its id, which the client and the upstream got in `X-Request-Id`.
    pub id: String,
    /// When it ended.
    pub at: String,
    /// The client; null at a listener that asks nobody, and where nobody was let in.
    pub client: Option<String>,
    /// The address that its connection came from; null on a Unix socket.
    pub peer: Option<String>,
    /// The upstream, where a route was found.
    pub upstream: Option<String>,
    /// The account, where the request was allowed.
    pub account: Option<String>,
    /// The method.
    pub method: String,
    /// The path without its query, or `/[client credential]` where it held a key or a token.
    pub path: String,
    /// What became of it.
    pub decision: Decision,
    /// The status that the client got; 499 where it left before.
    pub status: u16,
    /// What decided the answer: a word of a closed list.
    pub reason: String,
    /// The session that the last sending carried.
    pub generation: Option<u64>,
    /// Whether it was sent a second time.
    pub replayed: bool,
    /// The session that the first sending carried, where the answer called that dead.
    pub refused: Option<Refused>,
    /// Whether it waited for a login.
    pub awaited_login: bool,
    /// How many requests waited for the same login, this one included and as far as they are kept.
    pub login_shared_by: usize,
    /// From its head to its turn at the limits.
    pub waited_ms: Option<u64>,
    /// From its head to the session of the last sending.
    pub session_ms: Option<u64>,
    /// From its head to the head of the upstream's last answer.
    pub head_ms: Option<u64>,
    /// From its head to the end of the answer's body.
    pub took_ms: u64,
    /// Bytes of the answer's body.
    pub body_bytes: u64,
    /// Stretches of the answer's body that were replaced because they showed a secret.
    pub redacted: u64,
    /// What happened to it, in words.
    pub story: String,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// It was sent to the upstream, whatever came of that.
    Forwarded,
    /// Doorward answered in the upstream's place.
    AnsweredLocally,
    /// It was not sent.
    Refused,
    /// The client left before anything was decided.
    Abandoned,
}

/// An answer that called a session dead.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Refused {
    /// The session.
    pub generation: u64,
    /// The answer's status.
    pub status: u16,
}

/// A login that ended.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Login {
    /// When it ended.
    pub at: String,
    /// The upstream.
    pub upstream: String,
    /// The account.
    pub account: String,
    /// Why it was made: `cold`, `expired`, `refresh`, `rotation` or `manual`.
    pub trigger: String,
    /// How it ended.
    pub outcome: LoginOutcome,
    /// Why it failed, if it did.
    pub cause: Option<String>,
    /// The session that it gave.
    pub generation: Option<u64>,
    /// How long it took.
    pub took_ms: u64,
    /// How many requests waited for it, as far as they are kept.
    pub shared_by: usize,
}

/// Something else that happened to a session, an account, an upstream or the gateway.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SessionChange {
    /// When.
    pub at: String,
    /// What: `expired`, `late_expiry`, `probed`, `logged_out`, `refreshed`, `let_go`, `displaced`,
    /// `paused`, `quarantined`, `rotation`, `adopted`, `left_open`, `answer_lost`, `reach`,
    /// `reload` or `operator`.
    pub what: String,
    /// The upstream, if it is about one.
    pub upstream: Option<String>,
    /// The account, if it is about one.
    pub account: Option<String>,
    /// The session, if it is about one.
    pub generation: Option<u64>,
    /// In words.
    pub detail: String,
}

/// Events that a slow reader of the live stream did not get.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Lost {
    /// How many.
    pub lost: u64,
}

/// A message that was rejected for what it is. Nothing of a value, a query or a body is known of it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Rejected {
    /// When.
    pub at: String,
    /// The listener's name.
    pub listener: String,
    /// The address that its connection came from; null on a Unix socket.
    pub peer: Option<String>,
    /// Why: a word of a closed list.
    pub reason: String,
    /// Its method, where that could be read.
    pub method: Option<String>,
    /// Its path without the query, where that could be read.
    pub path: Option<String>,
    /// The names of its fields, where one of them may be what is wrong.
    pub fields: Vec<String>,
}
