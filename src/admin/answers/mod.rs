//! What the admin API says: the types that answers are written from, that their schemas are made
//! from, and that the command line reads them into. Members may be added; none gets another meaning
//! as long as paths begin with `/admin/v1`.
//!
//! Lengths of time are milliseconds (`_ms`) or seconds (`_seconds`); moments are RFC 3339, in UTC.

mod clients;
mod requests;
mod sessions;
mod status;
mod upstreams;

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use clients::{Client, Grant, Key, KeyState};
pub use requests::{Decision, Login, Lost, Refused, Rejected, Request, SessionChange};
pub use sessions::{LastLogin, LoginOutcome, Session, SessionState};
pub use status::{
    Check, Configuration, GatewayState, LastReload, Listener, Recent, Setting, SettingOrigin,
    Status, Summary, Traffic, UpstreamTraffic,
};
pub use upstreams::{Account, AccountState, Address, LimitLevel, Paused, RateLevel, Upstream};

/// A part of a list.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "PageOf{T}")]
pub struct Page<T> {
    /// The elements.
    pub items: Vec<T>,
    /// What `after` must be to get the next part; null where there is none.
    pub next: Option<String>,
    /// How many elements there are in all parts together.
    pub total: usize,
}

/// What has been done.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Done {
    /// What: `log_in`, `log_out`, `clear`, `pause`, `resume`, `revoke`, `drain` or `reload`.
    pub action: String,
    /// On what; empty where the whole gateway is meant.
    pub subject: String,
    /// What came of it, in words.
    pub detail: String,
    /// The session that it is about.
    pub generation: Option<u64>,
}

/// A link that opens the page once.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Link {
    /// The address. Whoever opens it first is let in, so it is no more to be shown around than a
    /// password.
    pub url: String,
    /// How long it can be opened.
    pub expires_in_seconds: u64,
}

/// Why something was not done (RFC 9457).
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// `urn:doorward:admin:` and the code.
    pub r#type: String,
    /// A few words for people.
    pub title: String,
    /// The status code.
    pub status: u16,
    /// A sentence.
    pub detail: String,
    /// The stable code.
    pub code: String,
    /// When it is worth asking again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<u64>,
}

/// A moment as answers show it.
pub fn time(at: SystemTime) -> String {
    // No clock of a machine shows a time that RFC 3339 has no year for.
    Timestamp::try_from(at).map(|at| format!("{at:.3}")).unwrap_or_default()
}

/// A length of time as people say it, to about two digits.
pub fn in_words(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match milliseconds {
        ..1000 => format!("{milliseconds} ms"),
        1000..60_000 => format!("{seconds} s"),
        60_000..3_600_000 => format!("{minutes} min {} s", seconds % 60),
        3_600_000..86_400_000 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

/// A length of time as answers show it.
pub fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
