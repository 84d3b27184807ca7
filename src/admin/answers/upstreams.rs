//! Upstreams: how they can be reached, and what is left to each of their accounts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An upstream.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Upstream {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub url: String,
    /// How its sessions live: a recipe's name, or its file.
    pub recipe: String,
    /// Whether an operator has it left alone.
    pub paused: Option<Paused>,
    /// For how long no connection is tried, because none could be made before; null where they are.
    pub circuit_open_for_ms: Option<u64>,
    /// Why the addresses of its name could not be asked for last, if they could not.
    pub unresolved: Option<String>,
    /// Its addresses, as far as they are known.
    pub addresses: Vec<Address>,
    /// Its accounts.
    pub accounts: Vec<Account>,
}

/// An operator's pause.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Paused {
    /// What clients are told to wait.
    pub retry_after_seconds: u64,
}

/// One address of an upstream.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Address {
    /// The address with its port.
    pub address: String,
    /// For how long it is left out, because it failed; null where it is used.
    pub left_out_for_ms: Option<u64>,
    /// Connections to it, and attempts at one.
    pub connections: usize,
}

/// What is left to an account.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Account {
    /// Its name.
    pub name: String,
    /// Whether it may log in.
    pub state: AccountState,
    /// Why not, if it may not: a word of a closed list.
    pub cause: Option<String>,
    /// When it may again.
    pub retry_in_ms: Option<u64>,
    /// Login attempts that are left.
    pub attempts_left: u32,
    /// Login attempts of a whole budget.
    pub attempts_max: u32,
    /// The time without an attempt that makes the budget whole.
    pub window_ms: u64,
    /// When it is whole again; null where it is.
    pub refills_in_ms: Option<u64>,
    /// Logins that failed since the last one that did not.
    pub failures_in_a_row: u32,
    /// Logins that have begun and not ended.
    pub logins_under_way: u32,
    /// How long its sessions are believed to live, from those that died.
    pub learned_life_ms: Option<u64>,
    /// How full its limit is.
    pub limit: Option<LimitLevel>,
}

/// Whether an account may log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AccountState {
    /// It may.
    Open,
    /// Not for a while.
    HeldBack,
    /// Not with this secret.
    Quarantined,
}

/// How full a limit is.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct LimitLevel {
    /// Requests under way; counted only where the limit bounds something.
    pub in_flight: u32,
    /// The most of them; null for any number.
    pub in_flight_max: Option<u32>,
    /// Requests that wait.
    pub waiting: usize,
    /// The most of them.
    pub waiting_max: usize,
    /// The rates.
    pub rates: Vec<RateLevel>,
}

/// What is left of a rate.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RateLevel {
    /// What it counts: `all`, `reads` or `writes`.
    pub counts: String,
    /// Requests in a second where they come evenly; null for any number.
    pub per_second: Option<f64>,
    /// The most at once.
    pub burst: Option<u32>,
    /// How many may go at once now.
    pub left: Option<u32>,
    /// For how long none goes, because the upstream has asked for it.
    pub paused_for_ms: Option<u64>,
}
