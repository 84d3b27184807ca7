//! How one login name stands with its upstream: what all accounts that share it have in common.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::displacement::Displacement;
use super::learned::Learned;
use super::overview::Waiting;
use super::slots::Slots;
use super::{Generation, Session};
use crate::clock::Moment;

/// The standing of one login name at one upstream.
#[derive(Debug)]
pub(super) struct Standing {
    /// Room for its sessions.
    pub(super) slots: Slots,
    /// The newest generation at the last death that counted. What was opened before and dies later
    /// died of the same cause: one restart of an upstream ends the sessions of all clients.
    died_until: Mutex<Generation>,
    /// Requests that wait for a login.
    pub(super) waiting: Waiting,
    displacement: Mutex<Displacement>,
    learned: Mutex<Learned>,
}

impl Standing {
    /// Nothing is known yet.
    pub(super) fn new(sessions_max: Option<u32>) -> Self {
        Self {
            slots: Slots::new(sessions_max),
            died_until: Mutex::new(Generation(0)),
            waiting: Waiting::default(),
            displacement: Mutex::default(),
            learned: Mutex::default(),
        }
    }

    /// A session was found dead, and nothing that Doorward did ended it; `newest` is the newest
    /// generation of all. Returns for how long the account is held back from now on, because
    /// somebody else seems to end its sessions.
    pub(super) fn died(
        &self,
        session: &Session,
        newest: Generation,
        now: Moment,
    ) -> Option<Duration> {
        {
            let mut died_until = lock(&self.died_until);
            if session.tenure.first <= *died_until {
                return None;
            }
            *died_until = newest;
        }
        let (began, alive) = (session.began, session.tenure.alive());
        lock(&self.learned).died(alive.saturating_since(began), now.saturating_since(alive));
        lock(&self.displacement).died(now.saturating_since(session.tenure.opened), now)
    }

    /// A session was replaced while it was alive.
    pub(super) fn outlived(&self, session: &Session, now: Moment) {
        lock(&self.learned).outlived(now.saturating_since(session.began));
    }

    /// For how long no login may be tried, because somebody else ends the account's sessions.
    pub(super) fn displaced(&self, now: Moment) -> Option<Duration> {
        lock(&self.displacement).held(now)
    }

    /// Forgets that somebody else ends the account's sessions.
    pub(super) fn cleared(&self) {
        *lock(&self.displacement) = Displacement::default();
    }

    /// How long a session is believed to live, from those that died.
    pub(super) fn learned_life(&self) -> Option<Duration> {
        lock(&self.learned).life()
    }
}

/// Nothing panics under these locks: a poisoned value is whole.
fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}
