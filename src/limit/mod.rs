//! How much clients may ask of an account: a rate, requests under way, and the pause that an upstream
//! asks for. Who has to wait waits in a queue that is fair between clients, within the request's
//! deadline. A permit lives until the answer's body has ended.

mod bucket;
mod fair;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::clock::{Clock, Moment};
pub use bucket::Rate;
pub use fair::Bounds;
use fair::{Asked, Fair, Who};

/// How long everybody pauses where the upstream says that it was too much, and not until when.
const PAUSE: Duration = Duration::from_secs(1);

/// The longest pause that is taken on an upstream's word.
const PAUSE_MAX: Duration = Duration::from_secs(15 * 60);

/// One account's limits.
#[derive(Debug)]
pub struct Limit {
    state: Mutex<State>,
    /// Until when nobody goes, in milliseconds since the first moment; looked at without a lock.
    paused_until: AtomicU64,
    /// There is nothing but pauses.
    is_open: bool,
    clock: Clock,
    control: Handle,
}

#[derive(Debug)]
struct State {
    fair: Fair<oneshot::Sender<Permit>>,
    /// A task looks after those who wait for time to pass.
    is_watched: bool,
}

/// The limits of all accounts, by upstream and account.
#[derive(Debug)]
pub struct Limits(Vec<Vec<Arc<Limit>>>);

impl Limits {
    /// With those of each upstream's accounts.
    pub fn new(limits: Vec<Vec<Arc<Limit>>>) -> Self {
        Self(limits)
    }

    /// The limits of one account of one upstream, by their places.
    pub fn of(&self, upstream: u16, account: u16) -> Option<&Arc<Limit>> {
        self.0.get(usize::from(upstream))?.get(usize::from(account))
    }

    /// How many requests wait for their turn.
    pub fn waiting(&self) -> usize {
        self.0.iter().flatten().map(|limit| limit.waiting()).sum()
    }
}

/// A request that may go; its place is given back when it is dropped.
#[derive(Debug)]
pub struct Permit(Option<Arc<Limit>>);

/// Why a request may not go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The rate or a pause of the account.
    Rate {
        /// When to ask again.
        wait: Duration,
        /// The rate, if it has one.
        rate: Option<Rate>,
    },
    /// Too many requests are under way.
    Crowded,
}

impl Limit {
    /// One with these bounds, and nothing used of it. `control` runs the task that looks after those
    /// who wait; it ends when nobody does.
    pub fn new(bounds: Bounds, clock: Clock, control: Handle) -> Arc<Self> {
        let fair = Fair::new(bounds, clock.now());
        Arc::new(Self {
            state: Mutex::new(State { fair, is_watched: false }),
            paused_until: AtomicU64::new(0),
            is_open: bounds.rate.is_none() && bounds.in_flight_max.is_none(),
            clock,
            control,
        })
    }

    /// Lets a request of this client go, at once or in its turn. Cancel safe: a request that leaves
    /// gives its place in the queue up.
    ///
    /// # Errors
    /// See [`Refused`]: when the queue is full, its turn does not come before `deadline`, or it gives
    /// way to a client with fewer requests in a full queue.
    pub async fn admit(self: &Arc<Self>, client: u32, deadline: Moment) -> Result<Permit, Refused> {
        let now = self.clock.now();
        if self.is_open && self.paused_until.load(Ordering::Relaxed) <= milliseconds(now) {
            return Ok(Permit(None));
        }
        let (sender, receiver) = oneshot::channel();
        let ticket = {
            let mut state = self.lock();
            // No turn can come before the end of a pause.
            if state.fair.paused_until() > deadline {
                return Err(self.refusal(&state, now));
            }
            match state.fair.ask(client, now, deadline, sender) {
                Asked::Go => return Ok(self.permit()),
                Asked::Full => return Err(self.refusal(&state, now)),
                Asked::Waits(ticket) => ticket,
            }
        };
        self.watch();
        let _waiting = Waiting { limit: self, client, ticket };
        tokio::select! {
            biased;
            // Without a permit it was too late for its turn, or gave way to another client.
            permit = receiver => {
                permit.map_err(|_| self.refusal(&self.lock(), self.clock.now()))
            }
            () = self.clock.sleep_until(deadline) => {
                Err(self.refusal(&self.lock(), self.clock.now()))
            }
        }
    }

    /// The upstream has said that it was too much: nobody goes for as long as it says (`retry_after`),
    /// or for a second. Returns how long that is, unless they pause already.
    pub fn was_too_much(self: &Arc<Self>, retry_after: Option<Duration>) -> Option<Duration> {
        let pause = retry_after.unwrap_or(PAUSE).min(PAUSE_MAX);
        let now = self.clock.now();
        let begins = {
            let mut state = self.lock();
            let begins = state.fair.paused_until() <= now;
            state.fair.pause(now + pause);
            begins
        };
        self.paused_until.fetch_max(milliseconds(now + pause), Ordering::Relaxed);
        self.watch();
        begins.then_some(pause)
    }

    fn waiting(&self) -> usize {
        self.lock().fair.waiting()
    }

    fn refusal(&self, state: &State, now: Moment) -> Refused {
        let wait = state.fair.next_at().saturating_since(now);
        match state.fair.is_crowded() && wait.is_zero() {
            true => Refused::Crowded,
            false => Refused::Rate { wait, rate: state.fair.rate() },
        }
    }

    fn permit(self: &Arc<Self>) -> Permit {
        Permit(Some(Arc::clone(self)))
    }

    /// Lets everybody go who may. Permits are handed over outside the lock: one that nobody takes
    /// any more gives its place back by it.
    fn let_go(self: &Arc<Self>) {
        loop {
            let next = self.lock().fair.next(self.clock.now());
            let Some(next) = next else { return };
            _ = next.send(self.permit());
        }
    }

    /// Sees to it that somebody looks again when time lets the next one go.
    fn watch(self: &Arc<Self>) {
        let mut state = self.lock();
        if state.is_watched || state.fair.look_at().is_none() {
            return;
        }
        state.is_watched = true;
        drop(state);
        let limit = Arc::clone(self);
        self.control.spawn(async move {
            loop {
                let at = {
                    let mut state = limit.lock();
                    let at = state.fair.look_at();
                    state.is_watched = at.is_some();
                    at
                };
                let Some(at) = at else { return };
                limit.clock.sleep_until(at).await;
                limit.let_go();
            }
        });
    }

    /// Nothing panics under the lock: what it holds is whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Some(limit) = self.0.take() else { return };
        limit.lock().fair.ended();
        limit.let_go();
        limit.watch();
    }
}

/// A place in the queue.
struct Waiting<'l> {
    limit: &'l Arc<Limit>,
    client: Who,
    ticket: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.limit.lock().fair.leave(self.client, self.ticket);
    }
}

fn milliseconds(moment: Moment) -> u64 {
    u64::try_from(moment.since_first().as_millis()).unwrap_or(u64::MAX)
}
