//! Which keys are revoked. It is asked for each request, so what it says of a key is one flag that
//! whoever holds the key's digest holds too; and a flag never goes back.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::key::Digest;

/// All keys that are revoked, or may be. Clones are the same; configurations come and go beside it,
/// so none of them can make a key good again.
#[derive(Clone, Debug, Default)]
pub struct Revocations(Arc<Mutex<HashMap<[u8; 32], Revocation>>>);

/// Whether one key is revoked. Clones are the same. Whatever is bound to a key, such as a token
/// that was given for it, keeps one and asks it.
#[derive(Clone, Debug, Default)]
pub struct Revocation(Arc<State>);

#[derive(Debug, Default)]
struct State {
    is_revoked: AtomicBool,
    told: Notify,
}

impl Revocations {
    /// What is to be asked about the key with this digest.
    pub fn of(&self, digest: &Digest) -> Revocation {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(*digest.bytes()).or_default().clone()
    }

    /// Revokes a key, from now on and for ever. Returns whether it was good until now.
    pub fn revoke(&self, digest: &Digest) -> bool {
        let Revocation(state) = self.of(digest);
        let was_revoked = state.is_revoked.swap(true, Ordering::AcqRel);
        state.told.notify_waiters();
        !was_revoked
    }

    /// Whether the key with this digest is revoked.
    pub fn is_revoked(&self, digest: &Digest) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(digest.bytes()).is_some_and(Revocation::is_revoked)
    }
}

impl Revocation {
    /// Whether the key is revoked. Neither locks nor waits.
    pub fn is_revoked(&self) -> bool {
        self.0.is_revoked.load(Ordering::Acquire)
    }

    /// Comes when the key is revoked. Cancel safe.
    pub async fn revoked(&self) {
        loop {
            // First the ear, then the question: what happens in between is heard.
            let told = self.0.told.notified();
            if self.is_revoked() {
                return;
            }
            told.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::tests::key;

    #[tokio::test]
    async fn what_is_revoked_stays_so_for_whoever_asks() {
        let (alice, bob) = (key("alice").digest(), key("bob").digest());
        let revocations = Revocations::default();
        let held = revocations.of(&alice);
        assert!(!held.is_revoked());
        let mut waiting = std::pin::pin!(held.revoked());
        assert!(futures_are_pending(waiting.as_mut()).await);
        assert!(revocations.revoke(&alice));
        waiting.await;
        assert!(!revocations.revoke(&alice), "revoked anew");
        assert!(held.is_revoked() && revocations.of(&alice).is_revoked());
        assert!(revocations.is_revoked(&alice) && !revocations.is_revoked(&bob));
        assert!(!revocations.of(&bob).is_revoked());
    }

    async fn futures_are_pending(future: std::pin::Pin<&mut impl Future<Output = ()>>) -> bool {
        let mut future = Some(future);
        std::future::poll_fn(|context| {
            let polled = future.take().map(|future| future.poll(context).is_pending());
            std::task::Poll::Ready(polled.unwrap_or(false))
        })
        .await
    }
}
