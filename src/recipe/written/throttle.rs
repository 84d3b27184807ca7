//! An upstream's own limits as a recipe's author writes them.

use schemars::JsonSchema;
use serde::Deserialize;

/// What the upstream tells of its own limits. Everybody on an account waits where it says that
/// nothing is left.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Throttle {
    /// How long everybody waits after a 429 that does not say how long.
    pub pause: String,
    /// The header field of every answer that says how many requests are left.
    pub remaining: Option<String>,
    /// The header field that says when there are more.
    pub reset: Option<Reset>,
    /// The length of the windows in which the upstream counts, where no answer says when there are
    /// more.
    pub window: Option<String>,
    /// Answers say both in `RateLimit` (draft-ietf-httpapi-ratelimit-headers): `"name";r=0;t=30`.
    pub ratelimit: bool,
    /// What the upstream counts together.
    pub counts: Counts,
}

/// When there are more.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reset {
    /// The header field.
    pub header: String,
    /// How to read it.
    pub unit: ResetUnit,
}

/// How an upstream writes when there are more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ResetUnit {
    /// Seconds from now.
    Seconds,
    /// Milliseconds from now.
    Milliseconds,
    /// Seconds since 1970.
    EpochSeconds,
    /// Milliseconds since 1970.
    EpochMilliseconds,
    /// An HTTP date (RFC 9110 section 5.6.7).
    HttpDate,
}

/// What an upstream counts together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Counts {
    /// All requests.
    #[default]
    Together,
    /// Reads and writes each for themselves.
    Apart,
}

impl Default for Throttle {
    fn default() -> Self {
        Self {
            pause: "1s".to_owned(),
            remaining: None,
            reset: None,
            window: None,
            ratelimit: false,
            counts: Counts::default(),
        }
    }
}
