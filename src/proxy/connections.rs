//! How many connections each listener has, and has had, on all cores and over all configurations.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Connections by the name of their listener.
#[derive(Debug, Default)]
pub struct Connections(Mutex<BTreeMap<Arc<str>, Arc<Count>>>);

#[derive(Debug, Default)]
struct Count {
    open: AtomicU64,
    accepted: AtomicU64,
}

/// A connection; it is counted as open for as long as this lives.
#[derive(Debug)]
pub struct Counted(Arc<Count>);

impl Connections {
    /// A listener of this name has accepted one.
    pub fn begin(&self, listener: &Arc<str>) -> Counted {
        let count = Arc::clone(self.lock().entry(Arc::clone(listener)).or_default());
        count.open.fetch_add(1, Ordering::Relaxed);
        count.accepted.fetch_add(1, Ordering::Relaxed);
        Counted(count)
    }

    /// Of each listener how many there are, and how many there have been.
    pub fn counts(&self) -> Vec<(Arc<str>, u64, u64)> {
        let counts = self.lock();
        let counts = counts.iter().map(|(listener, count)| {
            let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
            (Arc::clone(listener), read(&count.open), read(&count.accepted))
        });
        counts.collect()
    }

    /// Nothing panics under the lock: what it holds is whole.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Arc<Count>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}
