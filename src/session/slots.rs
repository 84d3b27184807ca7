//! How many sessions one account may have open at a time: live ones, those that wait for their
//! logout, and those that logins under way will give.

use std::sync::Arc;

use tokio::sync::futures::Notified;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// The slots of one account; without a cap there is always one more.
#[derive(Debug)]
pub(super) struct Slots {
    free: Option<Arc<Semaphore>>,
    /// A session was used for the first time: from now on it may be let go.
    first_use: Notify,
}

/// Room for one session, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Slot(#[expect(dead_code, reason = "it is held, not read")] OwnedSemaphorePermit);

impl Slots {
    /// Room for so many sessions; nothing: no cap.
    pub(super) fn new(sessions_max: Option<u32>) -> Self {
        let slots = sessions_max.and_then(|max| usize::try_from(max).ok());
        let free = slots.map(|slots| Arc::new(Semaphore::new(slots.max(1))));
        Self { free, first_use: Notify::new() }
    }

    /// Whether one more session has to wait for another one's end.
    pub(super) fn are_taken(&self) -> bool {
        self.free.as_ref().is_some_and(|free| free.available_permits() == 0)
    }

    /// Waits until one of the account's sessions is used for the first time.
    pub(super) fn first_use(&self) -> Notified<'_> {
        self.first_use.notified()
    }

    /// One of the account's sessions is used for the first time.
    pub(super) fn used_first(&self) {
        self.first_use.notify_waiters();
    }

    /// Room, if there is some and a cap.
    pub(super) fn take_now(&self) -> Option<Slot> {
        Arc::clone(self.free.as_ref()?).try_acquire_owned().ok().map(Slot)
    }

    /// Waits for room, in the order of asking. Nothing where there is no cap. Cancel safe.
    pub(super) async fn take(&self) -> Option<Slot> {
        // The semaphore is never closed, so that this cannot fail.
        Arc::clone(self.free.as_ref()?).acquire_owned().await.ok().map(Slot)
    }
}
