//! The sessions of all accounts in one concurrent map. Nothing here waits: no guard of the map can
//! live across an await, because there is none.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use foldhash::fast::RandomState;
use tokio::sync::watch;

use super::tenure::Tenure;
use super::{AccountId, Generation, Held, Session, SessionKey, Unavailable};
use crate::secret::Fingerprint;

/// How a login ended, for everybody who waits for it.
pub(super) type Outcome = Result<Arc<Session>, Unavailable>;

/// A login under way.
#[derive(Clone, Debug)]
pub(super) struct Flight {
    /// The generation that its session will have; it also names the flight.
    pub(super) generation: Generation,
    /// Shows the outcome once there is one.
    pub(super) outcome: watch::Receiver<Option<Outcome>>,
    /// How many requests wait for it.
    pub(super) waiters: Arc<AtomicUsize>,
}

/// A request that waits for a flight; it is counted for as long as this lives.
pub(super) struct Waiter(Arc<AtomicUsize>);

impl Flight {
    /// One more request waits.
    pub(super) fn waiter(&self) -> Waiter {
        self.waiters.fetch_add(1, Ordering::Relaxed);
        Waiter(Arc::clone(&self.waiters))
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The state of one key; a key without an entry has no session.
#[derive(Debug)]
enum State {
    LoggingIn(Flight),
    Live(Arc<Session>),
    Renewing(Arc<Session>, Flight),
}

/// What is under way for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    LoggingIn,
    Live,
    Renewing,
}

/// What somebody who needs a session gets.
#[derive(Debug)]
pub(super) enum Joined {
    Session(Arc<Session>),
    Flight(Flight),
}

/// What happened when a session was reported dead.
#[derive(Debug)]
pub(super) enum Expiry<T> {
    /// It was the current one and is gone now.
    Ended(T),
    /// It was an older one: the report came late.
    Late,
}

/// The sessions of all accounts.
#[derive(Debug, Default)]
pub(super) struct Store(DashMap<SessionKey, State, RandomState>);

impl Store {
    /// The session of `key`, if there is one.
    pub(super) fn session(&self, key: &SessionKey) -> Option<Arc<Session>> {
        match self.0.get(key)?.value() {
            State::Live(session) | State::Renewing(session, _) => Some(Arc::clone(session)),
            State::LoggingIn(_) => None,
        }
    }

    /// The same for one request. It is held before anybody else can take it out and log it out.
    pub(super) fn hold(&self, key: &SessionKey) -> Option<Held> {
        match self.0.get(key)?.value() {
            State::Live(session) | State::Renewing(session, _) => Some(Held::of(session)),
            State::LoggingIn(_) => None,
        }
    }

    /// Shows every key with its session and with what is under way for it.
    pub(super) fn look(&self, mut see: impl FnMut(&SessionKey, Phase, Option<&Session>)) {
        for entry in &self.0 {
            match entry.value() {
                State::LoggingIn(_) => see(entry.key(), Phase::LoggingIn, None),
                State::Live(session) => see(entry.key(), Phase::Live, Some(session)),
                State::Renewing(session, _) => see(entry.key(), Phase::Renewing, Some(session)),
            }
        }
    }

    /// The session of `key`, or the login under way, or a new login that `begin` starts. Of any
    /// number of callers at once, one begins.
    pub(super) fn join(
        &self,
        key: SessionKey,
        begin: impl FnOnce() -> Result<Flight, Unavailable>,
    ) -> Result<Joined, Unavailable> {
        match self.0.entry(key) {
            Entry::Occupied(entry) => Ok(match entry.get() {
                State::Live(session) | State::Renewing(session, _) => {
                    Joined::Session(Arc::clone(session))
                }
                State::LoggingIn(flight) => Joined::Flight(flight.clone()),
            }),
            Entry::Vacant(entry) => {
                let flight = begin()?;
                entry.insert(State::LoggingIn(flight.clone()));
                Ok(Joined::Flight(flight))
            }
        }
    }

    /// Begins the renewal of a session that is still alive, in whatever version; nothing when it is
    /// not the current one or is being renewed already.
    pub(super) fn renew(
        &self,
        key: SessionKey,
        tenure: &Tenure,
        begin: impl FnOnce() -> Result<Flight, Unavailable>,
    ) -> Result<Option<Flight>, Unavailable> {
        let Entry::Occupied(mut entry) = self.0.entry(key) else { return Ok(None) };
        let State::Live(session) = entry.get() else { return Ok(None) };
        if session.tenure.first != tenure.first {
            return Ok(None);
        }
        let session = Arc::clone(session);
        let flight = begin()?;
        entry.insert(State::Renewing(session, flight.clone()));
        Ok(Some(flight))
    }

    /// Takes out the session that the flight of `generation` renews; who needs one waits for the
    /// flight from now on.
    pub(super) fn end_renewed(
        &self,
        key: SessionKey,
        generation: Generation,
    ) -> Option<Arc<Session>> {
        let mut entry = self.0.get_mut(&key)?;
        let State::Renewing(session, flight) = entry.value() else { return None };
        if flight.generation != generation {
            return None;
        }
        let (session, flight) = (Arc::clone(session), flight.clone());
        *entry.value_mut() = State::LoggingIn(flight);
        Some(session)
    }

    /// Replaces a version of a session by its next one, if it is the current one.
    pub(super) fn roll(&self, before: &Session, next: &Arc<Session>) -> bool {
        let Some(mut entry) = self.0.get_mut(&before.key) else { return false };
        match entry.value_mut() {
            State::Live(session) | State::Renewing(session, _)
                if session.generation == before.generation =>
            {
                *session = Arc::clone(next);
                true
            }
            _ => false,
        }
    }

    /// Takes a living session out, if it is the current one and is not being renewed.
    pub(super) fn take(&self, key: SessionKey, tenure: &Tenure) -> Option<Arc<Session>> {
        let taken = self.0.remove_if(&key, |_, state| match state {
            State::Live(session) => session.tenure.first == tenure.first,
            State::LoggingIn(_) | State::Renewing(..) => false,
        });
        match taken?.1 {
            State::Live(session) => Some(session),
            State::LoggingIn(_) | State::Renewing(..) => None,
        }
    }

    /// The living session that `is_meant` and that was used the longest ago; one that nobody uses
    /// now before those that somebody does. Looks at every session.
    pub(super) fn least_used(&self, is_meant: impl Fn(&Session) -> bool) -> Option<Arc<Session>> {
        let sessions = self.0.iter().filter_map(|entry| match entry.value() {
            State::Live(session) if is_meant(session) => Some(Arc::clone(session)),
            _ => None,
        });
        sessions.min_by_key(|session| (!session.tenure.users.is_empty(), session.tenure.used()))
    }

    /// How many keys have a session.
    pub(super) fn live(&self) -> usize {
        let is_live = |state: &State| matches!(state, State::Live(_) | State::Renewing(..));
        self.0.iter().filter(|entry| is_live(entry.value())).count()
    }

    /// The login under way of `key`, beside a session or without one.
    pub(super) fn under_way(&self, key: &SessionKey) -> Option<Flight> {
        match self.0.get(key)?.value() {
            State::LoggingIn(flight) | State::Renewing(_, flight) => Some(flight.clone()),
            State::Live(_) => None,
        }
    }

    /// Every key with its session and the login under way. Each is as it was at one moment, all
    /// together were not.
    pub(super) fn all(&self) -> Vec<(SessionKey, Option<Arc<Session>>, Option<Flight>)> {
        let all = self.0.iter().map(|entry| match entry.value() {
            State::LoggingIn(flight) => (*entry.key(), None, Some(flight.clone())),
            State::Live(session) => (*entry.key(), Some(Arc::clone(session)), None),
            State::Renewing(session, flight) => {
                (*entry.key(), Some(Arc::clone(session)), Some(flight.clone()))
            }
        });
        all.collect()
    }

    /// How many sessions there are, and how many logins are under way.
    pub(super) fn counts(&self) -> (usize, usize) {
        self.0.iter().fold((0, 0), |(sessions, flights), entry| match entry.value() {
            State::LoggingIn(_) => (sessions, flights + 1),
            State::Live(_) => (sessions + 1, flights),
            State::Renewing(..) => (sessions + 1, flights + 1),
        })
    }

    /// How many keys have a session or a login under way.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Ends the session that `is_dead` is true of; a login under way goes on. The session is handed
    /// to `leave` before anybody finds the key without it. `leave` must not ask the store.
    pub(super) fn expire<T>(
        &self,
        key: SessionKey,
        is_dead: impl Fn(&Session) -> bool,
        leave: impl FnOnce(Arc<Session>) -> T,
    ) -> Expiry<T> {
        let Entry::Occupied(mut entry) = self.0.entry(key) else { return Expiry::Late };
        match entry.get() {
            State::Live(session) if is_dead(session) => {
                let left = leave(Arc::clone(session));
                entry.remove();
                Expiry::Ended(left)
            }
            State::Renewing(session, flight) if is_dead(session) => {
                let (left, flight) = (leave(Arc::clone(session)), flight.clone());
                entry.insert(State::LoggingIn(flight));
                Expiry::Ended(left)
            }
            _ => Expiry::Late,
        }
    }

    /// Ends the flight of `generation` with a session or without one. Returns the session that
    /// nobody will use any more: the one that was replaced, or the new one, if the store has
    /// forgotten its flight.
    pub(super) fn land(
        &self,
        key: SessionKey,
        generation: Generation,
        session: Option<Arc<Session>>,
    ) -> Option<Arc<Session>> {
        let Entry::Occupied(mut entry) = self.0.entry(key) else { return session };
        let replaced = match entry.get() {
            State::LoggingIn(flight) if flight.generation == generation => None,
            State::Renewing(old, flight) if flight.generation == generation => {
                Some(Arc::clone(old))
            }
            _ => return session,
        };
        match (session, &replaced) {
            (Some(session), _) => _ = entry.insert(State::Live(session)),
            // The renewal failed: the old session is still good.
            (None, Some(old)) => {
                let old = Arc::clone(old);
                entry.insert(State::Live(old));
                return None;
            }
            (None, None) => _ = entry.remove(),
        }
        replaced
    }

    /// What an account has with these secrets, whoever shares it: a session, or else a login under
    /// way.
    pub(super) fn any(&self, account: AccountId, secrets: Fingerprint) -> Option<Joined> {
        let mut flight = None;
        for entry in self.0.iter().filter(|entry| entry.key().is_of(account, secrets)) {
            match entry.value() {
                State::Live(session) | State::Renewing(session, _) => {
                    return Some(Joined::Session(Arc::clone(session)));
                }
                State::LoggingIn(under_way) => flight = Some(under_way.clone()),
            }
        }
        flight.map(Joined::Flight)
    }

    /// Takes the sessions of an account with these secrets out. Logins under way go on.
    pub(super) fn take_all_of(
        &self,
        account: AccountId,
        secrets: Fingerprint,
    ) -> Vec<Arc<Session>> {
        self.take_all_that(|key| key.is_of(account, secrets))
    }

    /// Takes the sessions out whose keys are meant. Logins under way go on.
    pub(super) fn take_all_that(
        &self,
        is_meant: impl Fn(&SessionKey) -> bool,
    ) -> Vec<Arc<Session>> {
        let keys = self.0.iter().map(|entry| *entry.key());
        let keys: Vec<_> = keys.filter(is_meant).collect();
        let has_session = |_: &SessionKey, state: &State| !matches!(state, State::LoggingIn(_));
        let taken = keys.iter().filter_map(|key| self.0.remove_if(key, has_session));
        taken.filter_map(|(_, state)| state.into_session()).collect()
    }

    /// Takes every session out and forgets the logins under way.
    pub(super) fn take_all(&self) -> Vec<Arc<Session>> {
        let keys: Vec<SessionKey> = self.0.iter().map(|entry| *entry.key()).collect();
        let taken = keys.iter().filter_map(|key| self.0.remove(key));
        taken.filter_map(|(_, state)| state.into_session()).collect()
    }
}

impl State {
    fn into_session(self) -> Option<Arc<Session>> {
        match self {
            Self::Live(session) | Self::Renewing(session, _) => Some(session),
            Self::LoggingIn(_) => None,
        }
    }
}

impl SessionKey {
    fn is_of(&self, account: AccountId, secrets: Fingerprint) -> bool {
        (self.account, self.fingerprint) == (account, secrets)
    }
}
