//! What an account logs in with: one immutable value, swapped whole when a secret has changed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
/// read; the values are for logins.
#[derive(Debug)]
pub(super) struct Vault {
    fingerprint: AtomicU64,
    held: Mutex<Arc<Credentials>>,
}

impl Vault {
    pub(super) fn new(credentials: Credentials) -> Self {
        let fingerprint = AtomicU64::new(number(credentials.fingerprint));
        Self { fingerprint, held: Mutex::new(Arc::new(credentials)) }
    }

    /// The fingerprint of the secrets that requests use now.
    pub(super) fn fingerprint(&self) -> Fingerprint {
        Fingerprint::from_bytes(self.fingerprint.load(Ordering::Acquire).to_be_bytes())
    }

    /// The credentials that requests use now.
    pub(super) fn current(&self) -> Arc<Credentials> {
        Arc::clone(&self.lock())
    }

    /// Held for one read or write; nothing panics under it.
    fn lock(&self) -> MutexGuard<'_, Arc<Credentials>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn number(fingerprint: Fingerprint) -> u64 {
    u64::from_be_bytes(fingerprint.to_bytes())
}
