//! How much may be asked: by a client, by a route, of an account. A rate, requests under way, and the
//! pause that an upstream asks for. Who has to wait waits in a queue that is fair between clients,
//! within the request's deadline. A permit lives until the answer's body has ended.
//!
//! One mechanism serves all three: a client over its own rate waits in its turn as at an account, or
//! is refused at once where nobody may wait (`waiting_max = 0`).

mod all;
mod bucket;
mod budget;
mod decisions;
mod fair;
mod lane;
mod level;

use std::ops::Add;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};

use crate::clock::{Clock, Moment};
pub use all::{ByNumber, Limits, Permits, Place};
pub use bucket::Rate;
use budget::Window;
pub use budget::{Reading, Reset};
use decisions::Counts;
pub use decisions::Decisions;
use fair::{Asked, Fair, Who, kinds};
pub use fair::{Bounds, Kind, Rates};
pub use level::{Level, RateLevel};

/// The longest pause that is taken on an upstream's word.
const PAUSE_MAX: Duration = Duration::from_secs(15 * 60);

/// One limit.
#[derive(Debug)]
pub struct Limit {
    whose: Whose,
    state: Mutex<State>,
    /// Until when no reads and no writes go, in milliseconds since the first moment; looked at
    /// without a lock.
    paused_until: [AtomicU64; 2],
    /// There is nothing but pauses.
    is_open: AtomicBool,
    decided: Arc<Counts>,
    /// Somebody waits for less time than whoever looked after them knew of.
    sooner: Notify,
    clock: Clock,
    control: Handle,
}

/// Whose limit it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// A client's own.
    Client,
    /// A route's.
    Route,
    /// An account's.
    Account,
}

impl Whose {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Client, Self::Route, Self::Account];
}

#[derive(Debug)]
struct State {
    fair: Fair<oneshot::Sender<Permit>>,
    /// What the upstream says of reads and of writes.
    windows: [Window; 2],
    /// When the task that looks after those who wait looks again; nothing: there is none.
    looks_at: Option<Moment>,
}

/// What limits have decided so far. One that counts nothing decides nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decided {
    /// Requests that went at once.
    pub admitted: u64,
    /// Requests that went in their turn.
    pub waited: u64,
    /// Requests that were refused for a rate or a pause.
    pub rate_limited: u64,
    /// Requests that were refused for want of a place.
    pub overloaded: u64,
}

impl Add for Decided {
    type Output = Self;

    fn add(self, more: Self) -> Self {
        Self {
            admitted: self.admitted + more.admitted,
            waited: self.waited + more.waited,
            rate_limited: self.rate_limited + more.rate_limited,
            overloaded: self.overloaded + more.overloaded,
        }
    }
}

/// A request that may go; its place is given back when it is dropped.
#[derive(Debug)]
pub struct Permit(Option<Arc<Limit>>);

/// Why a request may not go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Whose limit it is.
    pub whose: Whose,
    /// What is used up.
    pub why: Why,
}

/// What is used up of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The rate, or the upstream has asked for a pause.
    Rate {
        /// When to ask again.
        wait: Duration,
        /// The rate, if there is one.
        rate: Option<Rate>,
        /// What the rate counts; nothing where it counts everything.
        kind: Option<Kind>,
    },
    /// Too many requests are under way.
    Crowded,
}

impl Limit {
    /// One with these bounds, and nothing used of it. What it decides is counted in `decisions`.
    /// `control` runs the task that looks after those who wait; it ends when nobody does.
    pub fn new(
        whose: Whose,
        bounds: Bounds,
        decisions: &Decisions,
        clock: Clock,
        control: Handle,
    ) -> Arc<Self> {
        let fair = Fair::new(bounds, clock.now());
        Arc::new(Self {
            whose,
            state: Mutex::new(State { fair, windows: Default::default(), looks_at: None }),
            paused_until: Default::default(),
            is_open: AtomicBool::new(bounds.is_open()),
            decided: decisions.open(whose),
            sooner: Notify::new(),
            clock,
            control,
        })
    }

    /// These are the bounds from now on. Who waits keeps its turn, what is under way counts, a pause
    /// that the upstream has asked for goes on, and nobody gets more at once by the change.
    pub fn set(self: &Arc<Self>, bounds: Bounds) {
        {
            let mut state = self.lock();
            if state.fair.bounds() == bounds {
                return;
            }
            state.fair.set(bounds, self.clock.now());
            self.is_open.store(bounds.is_open(), Ordering::Relaxed);
        }
        self.let_go();
        // Whoever looks after those who wait has to look at another time.
        self.sooner.notify_one();
        self.watch();
    }

    /// Lets a request of a client go that asks at `now`, at once or in its turn; with when that was.
    /// Cancel safe: a request that leaves gives its place in the queue up.
    ///
    /// # Errors
    /// See [`Refused`]: when the queue is full, its turn does not come before `deadline`, or it gives
    /// way to a client with fewer requests in a full queue.
    pub async fn admit(
        self: &Arc<Self>,
        asked: (Who, Kind),
        now: Moment,
        deadline: Moment,
    ) -> Result<(Permit, Moment), Refused> {
        if self.is_open.load(Ordering::Relaxed)
            && self.paused(asked.1).load(Ordering::Relaxed) <= now.milliseconds()
        {
            return Ok((Permit(None), now));
        }
        let (ticket, receiver) = {
            let mut state = self.lock();
            // No turn can come before the end of a pause.
            if state.fair.paused_until(asked.1) > deadline {
                return Err(self.refuse(&state, asked, now));
            }
            // Most need not wait, and nothing that would wake them.
            if state.fair.goes(asked.1, now) {
                one_more(&self.decided.admitted);
                return Ok((self.permit(), now));
            }
            let (sender, receiver) = oneshot::channel();
            match state.fair.ask(asked, now, deadline, sender) {
                Asked::Go => {
                    one_more(&self.decided.admitted);
                    return Ok((self.permit(), now));
                }
                Asked::Full => return Err(self.refuse(&state, asked, now)),
                Asked::Waits(ticket) => (ticket, receiver),
            }
        };
        self.watch();
        let waiting = Waiting { limit: self, who: asked.0, ticket };
        let permit = tokio::select! {
            biased;
            // Without a permit it was too late for its turn, or gave way to another client.
            permit = receiver => permit.ok(),
            () = self.clock.sleep_until(deadline) => None,
        };
        drop(waiting);
        let now = self.clock.now();
        match permit {
            Some(permit) => {
                one_more(&self.decided.waited);
                Ok((permit, now))
            }
            None => Err(self.refuse(&self.lock(), asked, now)),
        }
    }

    /// The upstream has said that it was too much: nobody goes for so long; where reads and writes
    /// count apart, nobody of this kind, if one is said. Returns how long that is, unless they pause
    /// already.
    pub fn pause(self: &Arc<Self>, kind: Option<Kind>, pause: Duration) -> Option<Duration> {
        let pause = pause.min(PAUSE_MAX);
        let now = self.clock.now();
        let begins = {
            let mut state = self.lock();
            let begins = kinds(kind).iter().any(|kind| state.fair.paused_until(*kind) <= now);
            self.pause_until(&mut state, kind, now + pause);
            begins
        };
        self.watch();
        begins.then_some(pause)
    }

    /// The upstream has said what is left of its own limit. Where nothing is, everybody waits until
    /// there is more, instead of being told 429.
    pub fn was_left(self: &Arc<Self>, kind: Option<Kind>, reading: Reading) {
        if reading.left > 0 && matches!(reading.reset, Reset::After(_)) {
            return;
        }
        let now = self.clock.now();
        {
            let mut state = self.lock();
            let [reads, writes] = &mut state.windows;
            // One window is enough for an upstream that counts both together.
            let window = if kind == Some(Kind::Write) { writes } else { reads };
            let Some(end) = window.read(reading, now) else { return };
            self.pause_until(&mut state, kind, end.min(now + PAUSE_MAX));
        }
        self.watch();
    }

    fn pause_until(&self, state: &mut State, kind: Option<Kind>, until: Moment) {
        // Where reads and writes wait in one queue, none passes the other.
        let kind = kind.and_then(|kind| state.fair.rates().kind(kind));
        state.fair.pause(kind, until);
        for kind in kinds(kind) {
            // Rounded up: nobody goes before the end.
            self.paused(*kind).fetch_max(until.milliseconds() + 1, Ordering::Relaxed);
        }
    }

    fn paused(&self, kind: Kind) -> &AtomicU64 {
        let [reads, writes] = &self.paused_until;
        match kind {
            Kind::Read => reads,
            Kind::Write => writes,
        }
    }

    fn waiting(&self) -> usize {
        self.lock().fair.waiting()
    }

    /// For how long nobody goes because the upstream has asked for a pause; where reads and writes
    /// count apart, for how long those do not that wait longer.
    pub fn paused_for(&self) -> Duration {
        let now = self.clock.now().milliseconds();
        let until = self.paused_until.iter().map(|until| until.load(Ordering::Relaxed)).max();
        Duration::from_millis(until.unwrap_or(0).saturating_sub(now))
    }

    fn refuse(&self, state: &State, asked: (Who, Kind), now: Moment) -> Refused {
        let refused = self.refusal(state, asked, now);
        one_more(match refused.why {
            Why::Rate { .. } => &self.decided.rate_limited,
            Why::Crowded => &self.decided.overloaded,
        });
        refused
    }

    fn refusal(&self, state: &State, asked: (Who, Kind), now: Moment) -> Refused {
        let (fair, kind) = (&state.fair, asked.1);
        let rates = fair.rates();
        let is_paused = fair.paused_until(kind) > now;
        let is_used_up = rates.of(kind).is_some() && (fair.next_at(kind) > now);
        // Without a rate and a pause only a place can be missing.
        let lacks_place = rates.of(kind).is_none() || fair.is_crowded();
        let why = match lacks_place && !is_paused && !is_used_up {
            true => Why::Crowded,
            false => Why::Rate {
                wait: fair.turn_at(asked).saturating_since(now),
                rate: rates.of(kind),
                kind: rates.kind(kind),
            },
        };
        Refused { whose: self.whose, why }
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
        let Some(at) = state.fair.look_at() else { return };
        match state.looks_at {
            Some(looks_at) if looks_at <= at => return,
            Some(_) => return self.sooner.notify_one(),
            None => state.looks_at = Some(at),
        }
        drop(state);
        let limit = Arc::clone(self);
        self.control.spawn(async move {
            loop {
                let at = {
                    let mut state = limit.lock();
                    state.looks_at = state.fair.look_at();
                    state.looks_at
                };
                let Some(at) = at else { return };
                tokio::select! {
                    () = limit.clock.sleep_until(at) => limit.let_go(),
                    () = limit.sooner.notified() => {}
                }
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
        let is_waited_for = {
            let mut state = limit.lock();
            state.fair.ended();
            state.fair.waiting() > 0
        };
        if is_waited_for {
            limit.let_go();
            limit.watch();
        }
    }
}

/// A place in the queue.
struct Waiting<'l> {
    limit: &'l Arc<Limit>,
    who: Who,
    ticket: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.limit.lock().fair.leave(self.who, self.ticket);
    }
}

fn one_more(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}
