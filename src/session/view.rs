//! Sessions and accounts as an operator looks at them. Nothing here changes or waits for anything:
//! each is read at one moment, and the next one may differ.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::account::State;
use super::broker::Inner;
use super::store::Flight;
use super::{AccountId, Broker, Generation, Scope, Session, SessionKey};

/// A session, or a login that will give one.
#[derive(Clone, Debug)]
pub struct SessionView {
    /// The upstream's name.
    pub upstream: Arc<str>,
    /// The account's name in the configuration.
    pub account: Arc<str>,
    /// The account.
    pub id: AccountId,
    /// Who shares it.
    pub scope: Scope,
    /// Whether requests can use it.
    pub stage: SessionStage,
    /// Its generation, or that which the login under way will give.
    pub generation: Generation,
    /// The generation that its login gave; later versions of the same session have others.
    pub opened_as: Generation,
    /// How long ago its login gave it.
    pub age: Option<Duration>,
    /// How long ago its life began: with the login, a refresh, or an answer that moved its end.
    pub life_began: Option<Duration>,
    /// When it ends, as far as is known.
    pub expires_in: Option<Duration>,
    /// How long ago a client's request was last answered by it.
    pub unused_for: Option<Duration>,
    /// Requests, streams and tunnels that carry it.
    pub holds: usize,
    /// Requests that wait for the login under way.
    pub waiters: usize,
}

/// Whether requests can use a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionStage {
    /// Not yet: its login is under way.
    LoggingIn,
    /// They do.
    Live,
    /// They do, while a login for the next one is under way.
    Renewing,
}

/// How an account stands with its upstream.
#[derive(Clone, Debug)]
pub struct AccountView {
    /// The account.
    pub id: AccountId,
    /// The upstream's name.
    pub upstream: Arc<str>,
    /// The account's name in the configuration.
    pub name: Arc<str>,
    /// Whether it may log in, as the guard sees it.
    pub state: State,
    /// How long no login is tried yet.
    pub held_for: Option<Duration>,
    /// How long no login is tried because somebody else ends its sessions.
    pub displaced_for: Option<Duration>,
    /// Attempts that are left.
    pub attempts_left: u32,
    /// Attempts of a whole budget.
    pub attempts_max: u32,
    /// The time without an attempt that makes the budget whole.
    pub window: Duration,
    /// When the budget is whole again; nothing where it is.
    pub refills_in: Option<Duration>,
    /// Logins that failed since the last one that did not.
    pub failures_in_a_row: u32,
    /// Logins that were admitted and have not ended.
    pub logins_under_way: u32,
    /// How long its sessions are believed to live, from those that died.
    pub learned_life: Option<Duration>,
}

impl Broker {
    /// All sessions and logins under way, by account and who shares them; those of accounts that a
    /// configuration has retired, too.
    pub fn sessions(&self) -> Vec<SessionView> {
        let mut all = self.0.store.all();
        all.sort_by_key(|(key, ..)| (key.account, key.scope));
        all.iter()
            .map(|(key, session, flight)| view(&self.0, key, session.as_deref(), flight.as_ref()))
            .collect()
    }

    /// How many sessions requests use, and how many logins are under way.
    pub fn counts(&self) -> (usize, usize) {
        self.0.store.counts()
    }

    /// How an account stands. It must be known.
    pub fn account(&self, id: AccountId) -> AccountView {
        let inner = &self.0;
        let now = inner.clock.now();
        let key = self.key(id, Scope::Shared);
        let (upstream, account) = inner.upstream_and_account(&key);
        let guard = inner.with_guard(&key, |guard| guard.clone());
        let state = guard.state().clone();
        let held_for = match &state {
            State::HeldBack { until, .. } => Some(until.saturating_since(now)),
            State::Open | State::Quarantined { .. } => None,
        };
        let refills_in = guard.refills_at.saturating_since(now);
        let attempts_left = match refills_in.is_zero() {
            true => guard.budget.attempts.saturating_sub(guard.under_way),
            false => guard.attempts_left,
        };
        AccountView {
            id,
            upstream: Arc::clone(&upstream.name),
            name: Arc::clone(&account.name),
            held_for: held_for.filter(|held| !held.is_zero()),
            displaced_for: inner.standing(&key).displaced(now),
            attempts_left,
            attempts_max: guard.budget.attempts,
            window: guard.budget.window,
            refills_in: Some(refills_in).filter(|_| attempts_left < guard.budget.attempts),
            failures_in_a_row: guard.failures_in_a_row,
            logins_under_way: guard.under_way,
            learned_life: inner.standing(&key).learned_life(),
            state,
        }
    }
}

fn view(
    inner: &Inner,
    key: &SessionKey,
    session: Option<&Session>,
    flight: Option<&Flight>,
) -> SessionView {
    let (upstream, account) = inner.upstream_and_account(key);
    let now = inner.clock.now();
    let stage = match (session, flight) {
        (None, _) => SessionStage::LoggingIn,
        (Some(_), None) => SessionStage::Live,
        (Some(_), Some(_)) => SessionStage::Renewing,
    };
    let coming = flight.map_or(Generation(0), |flight| flight.generation);
    SessionView {
        upstream: Arc::clone(&upstream.name),
        account: Arc::clone(&account.name),
        id: key.account,
        scope: key.scope,
        stage,
        generation: session.map_or(coming, |session| session.generation),
        opened_as: session.map_or(coming, |session| session.tenure.first),
        age: session.map(|session| now.saturating_since(session.tenure.opened)),
        life_began: session.map(|session| now.saturating_since(session.began)),
        expires_in: session.and_then(|one| Some(one.expires?.saturating_since(now))),
        unused_for: session.map(|session| now.saturating_since(session.tenure.used())),
        holds: session.map_or(0, |session| session.tenure.users.len()),
        waiters: flight.map_or(0, |flight| flight.waiters.load(Ordering::Relaxed)),
    }
}
