//! How much may be asked of an account, as it is written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::DurationText;
use crate::settings::defaults;

/// How much all clients together may ask of each account. A request that has to wait waits in a
/// queue that is fair between clients, at most as long as `timeouts.request`; then 429
/// `rate_limited`, or 503 `overloaded` where only a place was missing. Whatever is said here, a 429
/// of the upstream makes everybody on the account wait for its `Retry-After` (a second without one).
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::settings) struct AccountLimits {
    /// How fast requests may come. Without it, as fast as they like.
    pub(in crate::settings) rate: Option<Rate>,
    /// The most requests under way, each to the end of its answer's body. Without it, any number.
    #[schemars(range(min = 1, max = 1_000_000), extend("examples" = [20]))]
    pub(in crate::settings) in_flight_max: Option<u32>,
    /// The most requests that wait. Further ones are refused at once; but one of a client with fewer
    /// takes the place of the last one of the client with the most.
    #[schemars(range(max = 1_000_000))]
    pub(in crate::settings) waiting_max: usize,
}

impl Default for AccountLimits {
    fn default() -> Self {
        Self { rate: None, in_flight_max: None, waiting_max: defaults::WAITING_MAX }
    }
}

/// So many requests in so much time.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("examples" = [{"requests": 10, "per": "1s"}]))]
pub(in crate::settings) struct Rate {
    /// How many requests.
    #[schemars(required, range(min = 1, max = 1_000_000))]
    pub(in crate::settings) requests: Option<u32>,
    /// In how much time.
    #[schemars(required)]
    pub(in crate::settings) per: Option<DurationText>,
    /// The most requests at once. Without it, as many as `requests`.
    #[schemars(range(min = 1, max = 1_000_000), extend("examples" = [20]))]
    pub(in crate::settings) burst: Option<u32>,
}
