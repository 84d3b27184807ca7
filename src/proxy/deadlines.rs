//! The deadlines of one core's requests, all looked after by one task. Nearly all of them are taken
//! back before they have come, so that setting one must cost next to nothing: a timer of the runtime
//! for each request costs more than a tenth of what else is done for it.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use slab::Slab;
use tokio::sync::Notify;

use super::Core;
use super::deliver::Delivery;
use super::error::Problem;
use crate::clock::{Clock, Moment};
use crate::forward::replay::Progress;
use crate::upstream::{ConnectError, SendError, Stage};

/// How late a deadline may be noticed.
const LATE_MAX: Duration = Duration::from_millis(250);

/// The deadlines of one core. Clones share them.
#[derive(Clone, Debug)]
pub struct Deadlines(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    clock: Clock,
    waiting: Mutex<Waiting>,
    /// There is something to look after again.
    begun: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    entries: Slab<Entry>,
    is_looked_after: bool,
}

#[derive(Debug)]
struct Entry {
    due: Moment,
    has_come: bool,
    waker: Option<Waker>,
}

impl Deadlines {
    /// No deadline yet. They come only while [`Deadlines::run`] runs.
    pub fn new(clock: Clock) -> Self {
        let waiting = Mutex::default();
        Self(Arc::new(Shared { clock, waiting, begun: Notify::new() }))
    }

    /// Waits until the clock shows `due`, and at most [`LATE_MAX`] longer. Cancel safe.
    pub(super) fn sleep_until(&self, due: Moment) -> Sleep<'_> {
        Sleep { shared: &self.0, due, key: None }
    }

    /// Looks after the deadlines for as long as it is polled. Without any, it sleeps.
    pub async fn run(self) {
        let Shared { clock, begun, .. } = &*self.0;
        loop {
            // Read before the look: what is moved past meanwhile is not waited for once more.
            let now = clock.now();
            if !self.0.look(now) {
                begun.notified().await;
            }
            clock.sleep_until(now + LATE_MAX).await;
        }
    }
}

impl Shared {
    /// Nothing panics under the lock; a poisoned list is as good as another.
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes whose deadline has come. Whether anybody waits.
    fn look(&self, now: Moment) -> bool {
        let mut waiting = self.waiting();
        for (_, entry) in &mut waiting.entries {
            if entry.due <= now && !entry.has_come {
                entry.has_come = true;
                entry.waker.take().into_iter().for_each(Waker::wake);
            }
        }
        waiting.is_looked_after = !waiting.entries.is_empty();
        waiting.is_looked_after
    }
}

/// Waits for one deadline.
#[derive(Debug)]
pub(super) struct Sleep<'a> {
    shared: &'a Shared,
    due: Moment,
    /// Once it has been polled.
    key: Option<usize>,
}

impl Future for Sleep<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Self { shared, due, .. } = *self;
        let mut waiting = shared.waiting();
        let known = self.key.and_then(|key| waiting.entries.get_mut(key));
        let Some(entry) = known else {
            let waker = Some(context.waker().clone());
            self.key = Some(waiting.entries.insert(Entry { due, has_come: false, waker }));
            if !std::mem::replace(&mut waiting.is_looked_after, true) {
                shared.begun.notify_one();
            }
            return Poll::Pending;
        };
        if entry.has_come {
            return Poll::Ready(());
        }
        match &mut entry.waker {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }
}

impl Drop for Sleep<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.shared.waiting().entries.try_remove(key);
        }
    }
}

/// Waits until the head of the answer to a request that is sent `now` is overdue. A body that is
/// still coming in takes as long as it takes: then the head is due one `response_timeout` after its
/// end, give or take another. Time in which a connection is made does not count, but for the
/// request's own.
pub(super) async fn overdue(
    core: &Core,
    delivery: &Delivery<'_>,
    now: Moment,
    deadline: Moment,
) -> Problem {
    let (clock, replay) = (&core.shared.clock, delivery.replay);
    let window = delivery.upstream.origin.response_timeout;
    let mut due = deadline.min(now + window);
    let mut seen = replay.progress();
    loop {
        core.deadlines.sleep_until(due).await;
        match delivery.wait.stage() {
            Stage::Connecting if deadline <= clock.now() => {
                return Problem::from(SendError::Unreachable(ConnectError::Timeout));
            }
            Stage::Connecting => {
                due = deadline.min(clock.now() + window);
                continue;
            }
            Stage::Sent(at) if clock.now() < deadline.min(at + window) => {
                due = deadline.min(at + window);
                continue;
            }
            Stage::Before | Stage::Sent(_) => {}
        }
        let now = replay.progress();
        match (seen, now) {
            (Progress::Ended, _) => return Problem::UpstreamTimeout,
            (before, after) if before == after => {
                return match replay.waits_for_client() {
                    true => Problem::BodyTimeout,
                    false => Problem::UpstreamStalled,
                };
            }
            _ => seen = now,
        }
        due = clock.now() + window;
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use tokio::task::JoinHandle;

    use super::*;

    fn sleeper(deadlines: &Deadlines, due: Moment) -> JoinHandle<()> {
        let deadlines = deadlines.clone();
        tokio::spawn(async move { deadlines.sleep_until(due).await })
    }

    async fn let_others_run() {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_deadline_comes_when_it_is_due_and_not_before() {
        let clock = Clock::manual(SystemTime::UNIX_EPOCH);
        let deadlines = Deadlines::new(clock.clone());
        tokio::spawn(deadlines.clone().run());
        for _ in 0..3 {
            let early = sleeper(&deadlines, clock.now() + Duration::from_secs(10));
            let late = sleeper(&deadlines, clock.now() + Duration::from_secs(20));
            let_others_run().await;
            clock.advance(Duration::from_secs(9));
            let_others_run().await;
            assert!(!early.is_finished());
            clock.advance(Duration::from_secs(1) + LATE_MAX);
            early.await.unwrap();
            assert!(!late.is_finished());
            clock.advance(Duration::from_secs(10) + LATE_MAX);
            late.await.unwrap();
            // Nobody waits: the next one begins anew.
            clock.advance(LATE_MAX);
            let_others_run().await;
            assert!(!deadlines.0.waiting().is_looked_after);
        }
    }

    #[tokio::test]
    async fn a_deadline_that_is_moved_past_before_anybody_looks_comes_all_the_same() {
        let clock = Clock::manual(SystemTime::UNIX_EPOCH);
        let deadlines = Deadlines::new(clock.clone());
        let sleeper = sleeper(&deadlines, clock.now() + Duration::from_secs(10));
        let_others_run().await;
        clock.advance(Duration::from_secs(3600));
        tokio::spawn(deadlines.clone().run());
        sleeper.await.unwrap();
    }

    #[tokio::test]
    async fn what_is_taken_back_leaves_nothing() {
        let deadlines = Deadlines::new(Clock::manual(SystemTime::UNIX_EPOCH));
        let sleepers: Vec<_> = (0..9).map(|_| sleeper(&deadlines, Moment::default())).collect();
        let_others_run().await;
        assert_eq!(deadlines.0.waiting().entries.len(), 9);
        for sleeper in sleepers {
            sleeper.abort();
            assert!(sleeper.await.unwrap_err().is_cancelled());
        }
        assert!(deadlines.0.waiting().entries.is_empty());
    }
}
