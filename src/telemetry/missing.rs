//! A count of what is missing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts what could not be handed on. Clones are the same count.
#[derive(Clone, Debug, Default)]
pub struct Missing(Arc<AtomicU64>);

impl Missing {
    /// How much is missing.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// So much more is missing.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }
}
