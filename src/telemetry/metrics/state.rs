//! What is looked at only when somebody asks: how sessions, accounts, limits and connections stand.
//! Whoever has it hands it in.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// How everything stands.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// By upstream and account.
    pub accounts: Vec<Account>,
    /// By upstream.
    pub upstreams: Vec<Upstream>,
    /// By what has them: clients, routes, accounts.
    pub limits: Vec<Limit>,
    /// By listener.
    pub listeners: Vec<Listener>,
    /// Messages that were rejected: the listener, the reason, how many.
    pub rejected: Vec<(Arc<str>, &'static str, u64)>,
    /// What is taken on: `normal`, `shedding` or `full`.
    pub load: &'static str,
    /// Lines that are missing in the access log, if there is one.
    pub access_log_lost: Option<u64>,
    /// Spans that were not sent, if there are traces.
    pub spans_lost: Option<u64>,
}

/// How one account stands.
#[derive(Clone, Debug)]
pub struct Account {
    /// Its upstream's name.
    pub upstream: Arc<str>,
    /// Its name.
    pub account: Arc<str>,
    /// How many logins are under way.
    pub logging_in: u64,
    /// How many sessions are alive and not being renewed.
    pub live: u64,
    /// How many are being renewed.
    pub renewing: u64,
    /// When the first of them ends, where that is known.
    pub expires: Option<SystemTime>,
    /// How many login attempts are left.
    pub attempts_left: u32,
    /// How many there are in a whole budget.
    pub attempts_max: u32,
    /// `open`, `held_back` or `quarantined`.
    pub state: &'static str,
    /// For how long no login may be tried.
    pub held_back: Duration,
    /// For how long its requests wait because the upstream has asked for it.
    pub paused: Duration,
}

/// How one upstream stands.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// Its name.
    pub upstream: Arc<str>,
    /// Requests that wait for a login.
    pub login_waiters: u64,
    /// Whether no connection is tried.
    pub is_circuit_open: bool,
    /// Addresses that connections are made to.
    pub addresses_used: u64,
    /// Addresses that are left out for a while.
    pub addresses_left_out: u64,
}

/// What all limits of one kind have decided.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limit {
    /// `client`, `route` or `account`.
    pub limit: &'static str,
    /// Requests that wait now.
    pub waiting: u64,
    /// Requests that went at once, where the limit counts something.
    pub admitted: u64,
    /// Requests that had to wait for their turn.
    pub waited: u64,
    /// Requests that were refused because a rate was used up or a pause asked for.
    pub rate_limited: u64,
    /// Requests that were refused because too many were under way.
    pub overloaded: u64,
}

/// Connections of one listener.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Its name.
    pub listener: Arc<str>,
    /// How many there are.
    pub open: u64,
    /// How many there have been.
    pub accepted: u64,
}

impl State {
    /// The states that a process can be in.
    pub(super) const LOADS: [&'static str; 3] = ["normal", "shedding", "full"];
}

impl Account {
    /// The states that an account can be in.
    pub(super) const STATES: [&'static str; 3] = ["open", "held_back", "quarantined"];
}
