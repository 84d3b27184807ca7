//! How many requests of one core are under way, each to the end of its answer's body.

use std::sync::{Arc, Weak};

/// A request that is under way for as long as this lives. What a core has of its own is the first
/// one, and is no request; cores do not share one.
#[derive(Clone, Debug, Default)]
pub struct UnderWay(Arc<()>);

/// Counts them from elsewhere.
#[derive(Clone, Debug)]
pub struct UnderWayCount(Weak<()>);

impl UnderWay {
    /// How they are counted.
    pub fn count(&self) -> UnderWayCount {
        UnderWayCount(Arc::downgrade(&self.0))
    }
}

impl UnderWayCount {
    /// How many there are; none once the core is gone.
    pub fn get(&self) -> usize {
        self.0.strong_count().saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_count_while_they_live() {
        let core = UnderWay::default();
        let count = core.count();
        assert_eq!(count.get(), 0);
        let requests = [core.clone(), core.clone()];
        assert_eq!(count.get(), 2);
        drop(requests);
        assert_eq!(count.get(), 0);
        drop(core);
        assert_eq!(count.get(), 0);
    }
}
