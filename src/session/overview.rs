//! How all sessions and accounts stand at the moment, for whoever watches.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::account::State;
use super::broker::{Broker, Inner};
use super::members::Member;
use super::store::Phase;
use super::{Account, AccountId, Session, Upstream};
use crate::clock::Moment;

/// How one account stands.
#[derive(Debug)]
pub struct Overview {
    /// Its upstream.
    pub upstream: Arc<Upstream>,
    /// The account.
    pub account: Arc<Account>,
    /// Requests that wait for a login. Accounts that share a login name share them: they are told of
    /// one of them.
    pub login_waiters: u64,
    /// Logins under way for keys that have no session.
    pub logging_in: u64,
    /// Sessions that are not being renewed.
    pub live: u64,
    /// Sessions that are being renewed.
    pub renewing: u64,
    /// When the first of its sessions ends, where that is known.
    pub expires: Option<Moment>,
    /// How many login attempts are left for the secret that is in use.
    pub attempts_left: u32,
    /// How many there are in a whole budget.
    pub attempts_max: u32,
    /// Whether it may log in. One that was held back until now may.
    pub state: State,
}

/// Requests that wait for a flight.
#[derive(Debug, Default)]
pub(super) struct Waiting(AtomicU64);

/// One of them; it waits as long as this lives.
pub(super) struct Waits<'w>(&'w Waiting);

impl Waiting {
    pub(super) fn begin(&self) -> Waits<'_> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Waits(self)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Broker {
    /// How every account of the configuration in use stands, in no order.
    pub fn overview(&self) -> Vec<Overview> {
        let inner = &self.0;
        let mut all = Vec::new();
        let (mut places, mut standings) = (HashMap::<AccountId, usize>::new(), Vec::new());
        for member in inner.members.all() {
            if member.account.is_retired() {
                continue;
            }
            let is_told = standings.iter().any(|known| Arc::ptr_eq(known, &member.standing));
            standings.push(Arc::clone(&member.standing));
            places.insert(member.account.id, all.len());
            let mut overview = Overview::new(inner, &member);
            if !is_told {
                overview.login_waiters = member.standing.waiting.0.load(Ordering::Relaxed);
            }
            all.push(overview);
        }
        inner.store.look(|key, phase, session| {
            let place = places.get(&key.account);
            if let Some(overview) = place.and_then(|place| all.get_mut(*place)) {
                overview.add(phase, session);
            }
        });
        all
    }
}

impl Overview {
    fn new(inner: &Inner, member: &Member) -> Self {
        let (now, fingerprint) = (inner.clock.now(), member.account.vault.fingerprint());
        let (attempts_left, attempts_max, state) = member.gate.with(|guard| {
            let state = match guard.state() {
                State::HeldBack { until, .. } if *until <= now => State::Open,
                state => state.clone(),
            };
            (guard.left(fingerprint, now), guard.budget.attempts, state)
        });
        Self {
            upstream: Arc::clone(&member.upstream),
            account: Arc::clone(&member.account),
            login_waiters: 0,
            logging_in: 0,
            live: 0,
            renewing: 0,
            expires: None,
            attempts_left,
            attempts_max,
            state,
        }
    }

    fn add(&mut self, phase: Phase, session: Option<&Session>) {
        match phase {
            Phase::LoggingIn => self.logging_in += 1,
            Phase::Live => self.live += 1,
            Phase::Renewing => self.renewing += 1,
        }
        let expires = session.and_then(|session| session.expires);
        self.expires = self.expires.into_iter().chain(expires).min();
    }

    /// For how long no login may be tried.
    pub fn held_back(&self, now: Moment) -> Duration {
        match self.state {
            State::HeldBack { until, .. } => until.saturating_since(now),
            State::Open | State::Quarantined { .. } => Duration::ZERO,
        }
    }
}

impl State {
    /// The word in metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::HeldBack { .. } => "held_back",
            Self::Quarantined { .. } => "quarantined",
        }
    }
}
