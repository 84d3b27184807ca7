//! What limits have decided, for as long as the process runs: a limit that a reload takes away leaves
//! its counts here.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Decided, Whose};

/// What all limits have decided, those included that there are no more.
#[derive(Debug, Default)]
pub struct Decisions(Mutex<Books>);

#[derive(Debug, Default)]
struct Books {
    /// Of limits that may still decide.
    open: Vec<(Whose, Arc<Counts>)>,
    /// Of those that are gone.
    closed: [Decided; Whose::ALL.len()],
}

/// What one limit counts. Each number only rises.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) admitted: AtomicU64,
    pub(super) waited: AtomicU64,
    pub(super) rate_limited: AtomicU64,
    pub(super) overloaded: AtomicU64,
}

impl Counts {
    fn read(&self) -> Decided {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Decided {
            admitted: of(&self.admitted),
            waited: of(&self.waited),
            rate_limited: of(&self.rate_limited),
            overloaded: of(&self.overloaded),
        }
    }
}

impl Decisions {
    /// Counts for one more limit, which are closed once it is gone.
    pub(super) fn open(&self, whose: Whose) -> Arc<Counts> {
        let counts = Arc::new(Counts::default());
        let mut books = self.lock();
        // There are never many more than there are limits.
        books.close();
        books.open.push((whose, Arc::clone(&counts)));
        counts
    }

    /// The sums, each for one kind of limit.
    pub fn all(&self) -> [(Whose, Decided); Whose::ALL.len()] {
        let mut books = self.lock();
        books.close();
        Whose::ALL.map(|whose| {
            let open = books.open.iter().filter(|(other, _)| *other == whose);
            let closed = books.closed.get(whose as usize).copied().unwrap_or_default();
            (whose, open.fold(closed, |sum, (_, counts)| sum + counts.read()))
        })
    }

    /// Nothing panics under the lock: what it holds is whole.
    fn lock(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Books {
    /// Adds up what nobody counts in any more.
    fn close(&mut self) {
        let Self { open, closed } = self;
        open.retain(|(whose, counts)| {
            let is_open = Arc::strong_count(counts) > 1;
            if let Some(sum) = closed.get_mut(*whose as usize).filter(|_| !is_open) {
                *sum = *sum + counts.read();
            }
            is_open
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails when a count falls, or is counted twice, when its limit goes.
    #[test]
    fn what_was_decided_stays_when_a_limit_goes() {
        let decisions = Decisions::default();
        let (route, account) = (decisions.open(Whose::Route), decisions.open(Whose::Account));
        route.admitted.fetch_add(2, Ordering::Relaxed);
        account.overloaded.fetch_add(1, Ordering::Relaxed);
        let before = decisions.all();
        drop(route);
        assert_eq!(decisions.all(), before);
        let another = decisions.open(Whose::Route);
        another.admitted.fetch_add(1, Ordering::Relaxed);
        let [client, route, account] = decisions.all().map(|(_, decided)| decided);
        assert_eq!(client, Decided::default());
        assert_eq!(route, Decided { admitted: 3, ..Decided::default() });
        assert_eq!(account, Decided { overloaded: 1, ..Decided::default() });
        assert_eq!(decisions.lock().open.len(), 2);
    }
}
