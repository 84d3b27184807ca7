//! Sessions, one row each, and a row for each account without one.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A session, a login that will give one, or an account without either.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Session {
    /// The upstream's name.
    pub upstream: String,
    /// The account's name.
    pub account: String,
    /// The client that has it for itself; null where all who use the account share it.
    pub client: Option<String>,
    /// How it is.
    pub state: SessionState,
    /// Why there is none, or no other one: a word of a closed list.
    pub cause: Option<String>,
    /// When a login may be tried again.
    pub retry_in_ms: Option<u64>,
    /// Which session it is; each version of one has a number of its own.
    pub generation: Option<u64>,
    /// The number that its login gave it.
    pub opened_as: Option<u64>,
    /// How long ago that was.
    pub age_ms: Option<u64>,
    /// How long its life is from its login, its last refresh or the answer that last moved its end;
    /// null where nobody knows its end.
    pub life_ms: Option<u64>,
    /// When it ends.
    pub expires_in_ms: Option<u64>,
    /// How long the account's sessions are believed to live, from those that died.
    pub learned_life_ms: Option<u64>,
    /// How long ago a client's request was last answered by it.
    pub unused_for_ms: Option<u64>,
    /// Requests, streams and tunnels that carry it.
    pub holds: usize,
    /// Requests that wait for the login under way.
    pub waiters: usize,
    /// The account's last login, as far as it is remembered.
    pub last_login: Option<LastLogin>,
}

/// How a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SessionState {
    /// There is none; the next request that needs one logs in.
    None,
    /// Its login is under way.
    LoggingIn,
    /// Requests use it.
    Live,
    /// Requests use it while a login for the next one is under way.
    Renewing,
    /// There is none, and no login is tried for a while.
    HeldBack,
    /// There is none, and no login is tried until the secret changes or an operator clears it.
    Quarantined,
}

/// A login of an account.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct LastLogin {
    /// When it ended.
    pub at: String,
    /// Why it was made: `cold` (there was no session), `expired`, `refresh` (it was about to end),
    /// `rotation` (the secret has changed) or `manual` (an operator asked for it).
    pub trigger: String,
    /// How it ended.
    pub outcome: LoginOutcome,
    /// Why it failed, if it did.
    pub cause: Option<String>,
    /// How long it took.
    pub took_ms: u64,
}

/// How a login ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LoginOutcome {
    /// It gave a session.
    LoggedIn,
    /// It gave none.
    Failed,
}
