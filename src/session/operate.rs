//! What an operator does to sessions and accounts while they are in use. Requests that carry a
//! session keep it; nothing here takes one from them.

use std::convert::identity;

use super::counted::standing;
use super::store::{Expiry, Joined};
use super::{
    AccountId, Broker, Generation, Scope, SessionKey, Unavailable, flight, prolong, retire,
};
use crate::state::Unwritable;
use crate::telemetry::Trigger;

pub use super::counted::Cleared;

impl Broker {
    /// Makes a login, whether there is a session or not, and waits for its end. A session that is
    /// there serves requests until then. Where a login is under way already, that is the one. Cancel
    /// safe: the login goes on.
    ///
    /// # Errors
    /// See [`Unavailable`]: the guard decides as for any other login.
    pub async fn log_in_again(&self, key: SessionKey) -> Result<Generation, Unavailable> {
        let inner = &self.0;
        let begin = || flight::begin(inner, key, Trigger::Manual);
        let renewal = match inner.store.session(&key) {
            Some(session) => inner.store.renew(key, &session.tenure, begin)?,
            None => None,
        };
        let flight = match renewal.or_else(|| inner.store.under_way(&key)) {
            Some(flight) => flight,
            None => match inner.store.join(key, begin)? {
                Joined::Flight(flight) => flight,
                // Somebody was faster.
                Joined::Session(session) => return Ok(session.generation),
            },
        };
        flight::landed(flight).await.map(|session| session.generation)
    }

    /// Takes a session out of use: it is logged out once no request carries it, and the next request
    /// that needs one logs in. A login under way goes on. Returns the session's generation; nothing
    /// where there is none.
    pub fn log_out(&self, key: SessionKey) -> Option<Generation> {
        let inner = &self.0;
        if let Some(lapsed) = inner.lapsed.take_if(&key, |_| true) {
            prolong::end_lapsed(inner, lapsed);
        }
        match inner.store.expire(key, |_| true, identity) {
            Expiry::Late => None,
            Expiry::Ended(session) => {
                let generation = session.generation;
                retire::retire(inner, session);
                Some(generation)
            }
        }
    }

    /// Gives an account a whole budget and lifts its quarantine and its pauses. Accounts with the
    /// same login name share them.
    ///
    /// # Errors
    /// When what must be recorded cannot be: the account is cleared until the next start alone.
    pub async fn clear(&self, account: AccountId) -> Result<Cleared, Unwritable> {
        let inner = &self.0;
        let (key, now) = (self.key(account, Scope::Shared), inner.clock.now());
        let (was, attempts_left) = inner.gate(&key).end(|guard| {
            let before = (standing(guard.state()), guard.attempts_left());
            *guard = guard.clone().cleared(now);
            before
        });
        inner.standing(&key).cleared();
        inner.record_budget(&key).await?;
        let account = inner.account(&key).name.to_string();
        Ok(Cleared { account, was, attempts_left })
    }
}
