//! How much may be asked, as it is written: the same keys for clients, routes and accounts.

use schemars::JsonSchema;
use serde::Deserialize;

use super::DurationText;
use crate::settings::defaults;

/// How much may be asked. A request needs a place at its client's limit, at its route's and at its
/// account's, in this order. Who has to wait waits in a queue that is fair between clients, at most as
/// long as `timeouts.request`; then 429 `rate_limited`, or 503 `overloaded` where only a place was
/// missing. Either `rate` counts all requests, or `reads` and `writes` count each kind alone.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::settings) struct Limit {
    /// How fast requests may come, reads and writes together. Without it, as fast as they like.
    pub(in crate::settings) rate: Option<Rate>,
    /// How fast reads may come: requests whose method is safe (RFC 9110 section 9.2.1: GET, HEAD,
    /// OPTIONS, TRACE), as the upstream reads it. They do not wait for writes. Cannot stand beside
    /// `rate`.
    pub(in crate::settings) reads: Option<Rate>,
    /// How fast writes may come: all other requests. They do not wait for reads. Cannot stand beside
    /// `rate`.
    pub(in crate::settings) writes: Option<Rate>,
    /// The most requests under way, reads and writes together, each to the end of its answer's body.
    /// Without it, any number.
    #[schemars(range(min = 1, max = 1_000_000), extend("examples" = [20]))]
    pub(in crate::settings) in_flight_max: Option<u32>,
    /// The most requests that wait here. Further ones are refused at once; but one of a client with
    /// fewer takes the place of the last one of the client with the most. 0 lets nobody wait.
    #[schemars(range(max = 1_000_000))]
    pub(in crate::settings) waiting_max: usize,
}

impl Default for Limit {
    fn default() -> Self {
        let waiting_max = defaults::WAITING_MAX;
        Self { rate: None, reads: None, writes: None, in_flight_max: None, waiting_max }
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
