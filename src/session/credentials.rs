//! What an account logs in with: one immutable value, swapped whole when a secret has changed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::recipe::template::Values;
use crate::secret::Fingerprint;

/// The fields of an account, and what tells its secrets from others.
#[derive(Debug)]
pub struct Credentials {
    /// Its fields.
    pub values: Values,
    /// The fingerprint of its secrets.
    pub fingerprint: Fingerprint,
}

/// The credentials of one account. Requests ask for the fingerprint alone, which is one atomic
/// read; the rest is for logins and rotations.
#[derive(Debug)]
pub(super) struct Vault {
    fingerprint: AtomicU64,
    held: Mutex<Held>,
    newer: Notify,
}

#[derive(Debug)]
struct Held {
    /// What requests use.
    current: Arc<Credentials>,
    /// What they used before, as long as no login has proved the current ones.
    previous: Option<Arc<Credentials>>,
    /// What is tried out beside the current ones.
    candidate: Option<Arc<Credentials>>,
    /// What an operator asked for last and no rotation has taken up yet.
    wanted: Option<Arc<Credentials>>,
    /// Whether a rotation goes on; it takes up what is wanted when it has ended.
    is_rotating: bool,
    /// What was tried last and refused, and why.
    refused: Option<(Fingerprint, &'static str)>,
    /// Nobody logs in with any of them any more.
    is_closed: bool,
}

impl Vault {
    pub(super) fn new(credentials: Credentials) -> Self {
        let fingerprint = AtomicU64::new(number(credentials.fingerprint));
        let held = Held {
            current: Arc::new(credentials),
            previous: None,
            candidate: None,
            wanted: None,
            is_rotating: false,
            refused: None,
            is_closed: false,
        };
        Self { fingerprint, held: Mutex::new(held), newer: Notify::new() }
    }

    /// The fingerprint of the secrets that requests use now.
    pub(super) fn fingerprint(&self) -> Fingerprint {
        Fingerprint::from_bytes(self.fingerprint.load(Ordering::Acquire).to_be_bytes())
    }

    /// The credentials that requests use now.
    pub(super) fn current(&self) -> Arc<Credentials> {
        Arc::clone(&self.lock().current)
    }

    /// The credentials with this fingerprint, if they are in use or tried out.
    pub(super) fn of(&self, fingerprint: Fingerprint) -> Option<Arc<Credentials>> {
        let held = self.lock();
        if held.is_closed {
            return None;
        }
        let mut known = std::iter::once(&held.current).chain(&held.candidate);
        known.find(|known| known.fingerprint == fingerprint).map(Arc::clone)
    }

    /// Asks for a rotation to `credentials`. Returns whether somebody has to begin one: where one
    /// goes on, it takes them up itself.
    pub(super) fn want(&self, credentials: Credentials) -> bool {
        let mut held = self.lock();
        let is_current = held.current.fingerprint == credentials.fingerprint;
        if held.is_closed || (!held.is_rotating && is_current) {
            return false;
        }
        held.wanted = Some(Arc::new(credentials));
        self.newer.notify_one();
        !std::mem::replace(&mut held.is_rotating, true)
    }

    /// Its account is no account any more: no login is begun with what it holds.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
    }

    /// Whether its account is none any more.
    pub(super) fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// What a rotation is to take up now. Without anything the rotation has ended.
    pub(super) fn take_wanted(&self) -> Option<Arc<Credentials>> {
        let mut held = self.lock();
        held.is_rotating = held.wanted.is_some();
        held.wanted.take()
    }

    /// Whoever rotated has died: the next secret that is wanted begins a rotation.
    pub(super) fn lost_rotation(&self) {
        self.lock().is_rotating = false;
    }

    /// Waits until something newer is wanted.
    pub(super) async fn newer(&self) {
        while self.lock().wanted.is_none() {
            self.newer.notified().await;
        }
    }

    /// Lets logins be made with `credentials`, beside the current ones.
    pub(super) fn try_out(&self, credentials: &Arc<Credentials>) {
        self.lock().candidate = Some(Arc::clone(credentials));
    }

    /// Makes requests use `credentials`, which a login has proved.
    pub(super) fn switch(&self, credentials: &Arc<Credentials>) {
        let mut held = self.lock();
        held.previous = None;
        self.use_now(&mut held, Arc::clone(credentials));
    }

    /// Makes requests use `credentials`, which are not proved. Should they be refused, the last
    /// ones that were good are used again; where `or_back` is false, they are not.
    pub(super) fn switch_unproved(&self, credentials: &Arc<Credentials>, or_back: bool) {
        let mut held = self.lock();
        held.previous = match or_back {
            true => held.previous.take().or_else(|| Some(Arc::clone(&held.current))),
            false => None,
        };
        self.use_now(&mut held, Arc::clone(credentials));
    }

    /// A login with these secrets succeeded.
    pub(super) fn proved(&self, fingerprint: Fingerprint) {
        let mut held = self.lock();
        if held.current.fingerprint == fingerprint {
            held.previous = None;
        }
    }

    /// The upstream refused these secrets. Returns whether they were in use without proof: then
    /// requests use the ones before again.
    pub(super) fn refused(&self, fingerprint: Fingerprint, cause: &'static str) -> bool {
        let mut held = self.lock();
        held.candidate = held.candidate.take().filter(|one| one.fingerprint != fingerprint);
        if held.current.fingerprint != fingerprint {
            held.refused = Some((fingerprint, cause));
            return false;
        }
        let Some(previous) = held.previous.take() else { return false };
        held.refused = Some((fingerprint, cause));
        self.use_now(&mut held, previous);
        true
    }

    /// Why these secrets were refused, if they are the last that were.
    pub(super) fn refusal_of(&self, fingerprint: Fingerprint) -> Option<&'static str> {
        self.lock().refused.filter(|(refused, _)| *refused == fingerprint).map(|(_, why)| why)
    }

    /// Nothing is tried out any more.
    pub(super) fn give_up(&self) {
        self.lock().candidate = None;
    }

    fn use_now(&self, held: &mut Held, credentials: Arc<Credentials>) {
        // Stored under the lock, so that the number never differs from what is held.
        self.fingerprint.store(number(credentials.fingerprint), Ordering::Release);
        held.candidate = None;
        held.current = credentials;
    }

    /// Held for one read or write; nothing panics under it.
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn number(fingerprint: Fingerprint) -> u64 {
    u64::from_be_bytes(fingerprint.to_bytes())
}
