//! Where the logins of one login name pass one by one: each is admitted by the guard when its turn
//! has come.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};

use super::account::{Admission, Guard};
use super::broker::Inner;
use super::{HoldCause, SessionKey, Unavailable};

/// How long a login waits for its turn. The guard's own pauses are not waited for: they are told.
const TURN_WAIT_MAX: Duration = Duration::from_secs(60);

/// The guard of one login name, and the queue before it.
#[derive(Debug)]
pub(super) struct Gate {
    guard: Mutex<Guard>,
    /// First come, first served; held only until the login is admitted.
    turn: Semaphore,
    /// A login has ended.
    ended: Notify,
}

impl Gate {
    pub(super) fn new(guard: Guard) -> Self {
        Self { guard: Mutex::new(guard), turn: Semaphore::new(1), ended: Notify::new() }
    }

    /// Runs `act` on the guard. Nothing in a guard panics, so a poisoned one is whole.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut Guard) -> T) -> T {
        act(&mut self.guard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Runs `act` on the guard when a login has ended, and lets the next one in.
    pub(super) fn end<T>(&self, act: impl FnOnce(&mut Guard) -> T) -> T {
        let told = self.with(act);
        self.ended.notify_one();
        told
    }
}

/// Waits for the turn of a login and spends its attempt. Cancel safe: what was not returned was
/// not spent.
///
/// # Errors
/// When no login may be tried now, or too many wait.
pub(super) async fn pass(inner: &Inner, key: &SessionKey) -> Result<(), Unavailable> {
    let distance = inner.limits().login_distance;
    tokio::select! {
        // First: room that the stop makes is for nobody.
        biased;
        () = inner.stopping.cancelled() => Err(Unavailable::Stopping),
        passed = wait(inner, key, distance) => passed,
        () = inner.clock.sleep(TURN_WAIT_MAX) => Err(Unavailable::HeldBack {
            retry_after: distance.max(Duration::from_secs(1)),
            cause: HoldCause::LoginsQueued,
        }),
    }
}

async fn wait(inner: &Inner, key: &SessionKey, distance: Duration) -> Result<(), Unavailable> {
    let gate = inner.gate(key);
    // The semaphore is never closed.
    let _turn = gate.turn.acquire().await;
    loop {
        let now = inner.clock.now();
        match gate.with(|guard| guard.admit(key.fingerprint, now, distance)) {
            Admission::Admitted => return Ok(()),
            Admission::Refused(unavailable) => return Err(unavailable),
            Admission::Early(at) => inner.clock.sleep_until(at).await,
            // Whoever ended before we wait has left its notice.
            Admission::Crowded => gate.ended.notified().await,
        }
    }
}
