//! A session's life as its author writes it: cookies, end, idle time, what later answers change.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

/// What the login's result is and how long it lives.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Session {
    /// Which cookies of the login belong to the session.
    #[serde(default)]
    pub cookies: Cookies,
    /// When the vendor tells it: the moment or the time left, from a taken value.
    pub expires: Option<Expires>,
    /// Where the session's requests go in the place of the upstream's URL, if the login tells it.
    pub base_url: Option<BaseUrl>,
    /// The longest life that the vendor documents, for example `4h`.
    pub max_age: Option<String>,
    /// The time without use after which the vendor ends the session, for example `3h`.
    pub idle: Option<String>,
    /// For how long without a client's request Doorward keeps a session alive by its probe, for
    /// example `12h`. Longer than `idle`.
    pub keep_alive: Option<String>,
    /// The most sessions that Doorward keeps open at a time for one account.
    #[schemars(range(min = 1, max = 1000))]
    pub sessions_max: Option<u32>,
    /// Values that later answers bring anew, by name: anti-forgery tokens, rotating tokens.
    #[serde(default)]
    pub roll: BTreeMap<String, Rolled>,
    /// How long before a known end the session is renewed. At least a tenth of its life.
    pub refresh_ahead: Option<String>,
}

/// Where a session's requests go.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BaseUrl {
    /// The name of a taken value: scheme, host and port.
    pub value: String,
    /// Where that may lead: origins, templates over parameters; `*.` at the beginning of a host stands for
    /// one label or more. A login that tells of another place gives no session.
    #[schemars(length(min = 1))]
    pub allow: Vec<String>,
}

/// Which cookies belong to the session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cookies {
    /// None: what the login sets is dropped.
    #[default]
    None,
    /// All that the login's answers set.
    Login,
    /// All that the login's answers set; later answers add, change and remove some, too.
    Rolling,
}

/// Where in later answers a value stands. Exactly one place.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rolled {
    /// A header field.
    pub header: Option<String>,
    /// A cookie by name.
    pub cookie: Option<String>,
    /// A cookie whose name has something that this regular expression finds.
    pub cookie_matches: Option<String>,
    /// A regular expression over what stands there; its first group is the value.
    pub part: Option<String>,
}

/// The end of a session as the vendor tells it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Expires {
    /// The name of a taken value.
    pub value: String,
    /// How to read it.
    pub unit: ExpiryUnit,
}

/// How a vendor writes the end of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExpiryUnit {
    /// Seconds from now.
    Seconds,
    /// Milliseconds from now.
    Milliseconds,
    /// Seconds since 1970.
    EpochSeconds,
    /// Milliseconds since 1970.
    EpochMilliseconds,
    /// Microseconds since 1970.
    EpochMicroseconds,
    /// An RFC 3339 date and time.
    Rfc3339,
    /// A JSON Web Token with an `exp` claim (RFC 7519 section 4.1.4).
    Jwt,
}
