//! An operator has an upstream left alone: no request is sent to it, and no login begins.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Whether an upstream is paused; looked at for each request, without a lock.
#[derive(Debug, Default)]
pub struct Pause {
    /// What clients are told to wait, in milliseconds; 0 where it is not paused.
    retry_after: AtomicU64,
}

impl Pause {
    /// Nothing is sent from now on, and clients are told to ask again after so long. What is under
    /// way goes on. Returns whether it was paused already.
    pub fn begin(&self, retry_after: Duration) -> bool {
        let milliseconds = u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX);
        self.retry_after.swap(milliseconds.max(1), Ordering::Relaxed) > 0
    }

    /// Everything goes on. Returns whether it was paused.
    pub fn end(&self) -> bool {
        self.retry_after.swap(0, Ordering::Relaxed) > 0
    }

    /// After how long it is worth asking again; nothing where it is not paused.
    pub fn retry_after(&self) -> Option<Duration> {
        match self.retry_after.load(Ordering::Relaxed) {
            0 => None,
            milliseconds => Some(Duration::from_millis(milliseconds)),
        }
    }
}
