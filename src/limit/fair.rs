//! Who may go next: a queue that is fair between clients. No I/O and no clock: whoever asks says what
//! time it is.

use std::collections::{HashMap, VecDeque};

use super::bucket::{Bucket, Rate};
use crate::clock::Moment;

/// What all clients together may ask of an account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// How fast; nothing: as fast as they like.
    pub rate: Option<Rate>,
    /// The most requests under way, from their admission to the end of the answer's body.
    pub in_flight_max: Option<u32>,
    /// The most requests that wait.
    pub waiting_max: usize,
}

/// A client, as far as fairness goes.
pub(super) type Who = u32;

/// Requests that wait, each with what wakes it.
#[derive(Debug)]
pub(super) struct Fair<T> {
    bounds: Bounds,
    bucket: Option<Bucket>,
    in_flight: u32,
    paused_until: Moment,
    /// Clients with requests that wait; the first one is next.
    turns: VecDeque<Who>,
    waiting: HashMap<Who, VecDeque<Waiter<T>>>,
    count: usize,
    tickets: u64,
}

/// A request that waits.
#[derive(Debug)]
struct Waiter<T> {
    ticket: u64,
    /// It is of no use to it to go later.
    deadline: Moment,
    wake: T,
}

/// What becomes of a request that asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// It may go.
    Go,
    /// It waits, with this ticket.
    Waits(u64),
    /// Too many wait, and no client has many more than this one.
    Full,
}

impl<T> Fair<T> {
    pub(super) fn new(bounds: Bounds, now: Moment) -> Self {
        Self {
            bounds,
            bucket: bounds.rate.map(|rate| Bucket::new(rate, now)),
            in_flight: 0,
            paused_until: now,
            turns: VecDeque::new(),
            waiting: HashMap::new(),
            count: 0,
            tickets: 0,
        }
    }

    /// A client's request asks to go. `wake` is kept if it has to wait. Where the queue is full, the
    /// last request of the client with the most gives way to one of a client with fewer: what would
    /// wake it is dropped.
    pub(super) fn ask(&mut self, who: Who, now: Moment, deadline: Moment, wake: T) -> Asked {
        if self.count == 0 && self.take(now) {
            return Asked::Go;
        }
        if self.count >= self.bounds.waiting_max && !self.make_room(who) {
            return Asked::Full;
        }
        self.tickets += 1;
        self.count += 1;
        let queue = self.waiting.entry(who).or_default();
        if queue.is_empty() {
            self.turns.push_back(who);
        }
        queue.push_back(Waiter { ticket: self.tickets, deadline, wake });
        Asked::Waits(self.tickets)
    }

    /// Whether a request was pushed out for this client, which has fewer even with one more.
    fn make_room(&mut self, who: Who) -> bool {
        let own = self.waiting.get(&who).map_or(0, VecDeque::len);
        let longest = self.waiting.values_mut().max_by_key(|queue| queue.len());
        let Some(longest) = longest.filter(|queue| queue.len() > own + 1) else { return false };
        // It keeps its first one, and with it its client's turn.
        longest.pop_back();
        self.count -= 1;
        true
    }

    /// The next one that may go now, each client in its turn. Those whose deadline has passed cost
    /// nothing: what would wake them is dropped.
    pub(super) fn next(&mut self, now: Moment) -> Option<T> {
        loop {
            let who = *self.turns.front()?;
            let is_late = self.waiting.get(&who)?.front()?.deadline <= now;
            if !is_late && !self.take(now) {
                return None;
            }
            let queue = self.waiting.get_mut(&who)?;
            let waiter = queue.pop_front()?;
            let is_last = queue.is_empty();
            self.count -= 1;
            self.turns.pop_front();
            match is_last {
                true => _ = self.waiting.remove(&who),
                // One that was too late has not had its client's turn.
                false if is_late => self.turns.push_front(who),
                false => self.turns.push_back(who),
            }
            if !is_late {
                return Some(waiter.wake);
            }
        }
    }

    /// A request that waits has given up.
    pub(super) fn leave(&mut self, who: Who, ticket: u64) {
        let Some(queue) = self.waiting.get_mut(&who) else { return };
        let Some(place) = queue.iter().position(|waiter| waiter.ticket == ticket) else { return };
        queue.remove(place);
        self.count -= 1;
        if queue.is_empty() {
            self.waiting.remove(&who);
            self.turns.retain(|turn| *turn != who);
        }
    }

    /// A request is over.
    pub(super) fn ended(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// Nobody goes before this moment.
    pub(super) fn pause(&mut self, until: Moment) {
        self.paused_until = self.paused_until.max(until);
    }

    /// Until when nobody goes.
    pub(super) fn paused_until(&self) -> Moment {
        self.paused_until
    }

    /// The rate, if there is one.
    pub(super) fn rate(&self) -> Option<Rate> {
        self.bounds.rate
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.count
    }

    /// Whether all places are taken.
    pub(super) fn is_crowded(&self) -> bool {
        self.bounds.in_flight_max.is_some_and(|most| self.in_flight >= most)
    }

    /// When time alone lets the next one go, if there is a place for it.
    pub(super) fn next_at(&self) -> Moment {
        let by_rate = self.bucket.map(|bucket| bucket.next_at());
        by_rate.map_or(self.paused_until, |at| at.max(self.paused_until))
    }

    /// When to look again for those who wait; nothing while nobody does, or while a place has to
    /// become free first.
    pub(super) fn look_at(&self) -> Option<Moment> {
        (self.count > 0 && !self.is_crowded()).then(|| self.next_at())
    }

    fn take(&mut self, now: Moment) -> bool {
        if self.is_crowded() || self.paused_until > now {
            return false;
        }
        if let Some(bucket) = &mut self.bucket
            && !bucket.take(now)
        {
            return false;
        }
        self.in_flight += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::rc::{Rc, Weak};
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn start() -> Moment {
        Moment::default() + Duration::from_secs(1000)
    }

    fn never() -> Moment {
        start() + Duration::from_secs(100_000)
    }

    fn rate(per_second: u32, burst: u32) -> Option<Rate> {
        Some(Rate { interval: Duration::from_secs(1) / per_second, burst })
    }

    /// Fails when a client with many requests that wait goes more often than one with few.
    #[test]
    fn a_greedy_client_starves_nobody() {
        let bounds = Bounds { rate: rate(10, 1), in_flight_max: None, waiting_max: 2000 };
        let mut fair = Fair::new(bounds, start());
        assert_eq!(fair.ask(0, start(), never(), 0), Asked::Go);
        for _ in 0..1000 {
            assert!(matches!(fair.ask(0, start(), never(), 0), Asked::Waits(_)));
        }
        for modest in 1..10 {
            fair.ask(modest, start(), never(), modest);
        }
        let mut gone = Vec::new();
        for tenth in 1..=20_u32 {
            let now = start() + Duration::from_millis(100) * tenth;
            gone.extend(fair.next(now));
            assert!(fair.next(now).is_none(), "faster than the rate");
        }
        let modest: Vec<_> = gone.iter().filter(|who| **who != 0).collect();
        assert_eq!(modest.len(), 9);
        assert!(gone.iter().take(10).filter(|who| **who == 0).count() <= 1, "{gone:?}");
    }

    #[test]
    fn a_pause_holds_for_everybody() {
        let bounds = Bounds { waiting_max: 10, ..Bounds::default() };
        let mut fair = Fair::new(bounds, start());
        let end = start() + Duration::from_secs(5);
        fair.pause(end);
        fair.pause(start() + Duration::from_secs(2));
        assert!(matches!(fair.ask(1, start(), never(), 1), Asked::Waits(_)));
        assert_eq!(fair.look_at(), Some(end));
        assert_eq!(fair.next(start() + Duration::from_secs(4)), None);
        assert_eq!(fair.next(end), Some(1));
        assert_eq!(fair.ask(1, end, never(), 1), Asked::Go);
    }

    /// Fails when a request that is too late takes another one's turn.
    #[test]
    fn who_is_too_late_costs_nothing() {
        let bounds = Bounds { rate: rate(1, 1), in_flight_max: None, waiting_max: 10 };
        let mut fair = Fair::new(bounds, start());
        assert_eq!(fair.ask(0, start(), never(), 0), Asked::Go);
        for (who, seconds) in [(1, 5), (1, 5), (2, 5), (1, 100)] {
            let deadline = start() + Duration::from_secs(seconds);
            fair.ask(who, start(), deadline, who);
        }
        let later = start() + Duration::from_secs(5);
        assert_eq!(fair.next(later), Some(1));
        assert_eq!((fair.next(later), fair.waiting()), (None, 0));
    }

    /// Fails when a client that fills the queue keeps the others out of it.
    #[test]
    fn a_full_queue_has_room_for_a_client_with_fewer() {
        let bounds = Bounds { rate: rate(1, 1), in_flight_max: None, waiting_max: 4 };
        let mut fair = Fair::new(bounds, start());
        assert_eq!(fair.ask(0, start(), never(), 0), Asked::Go);
        for request in 1..=4 {
            assert!(matches!(fair.ask(0, start(), never(), request), Asked::Waits(_)));
        }
        assert_eq!(fair.ask(0, start(), never(), 5), Asked::Full);
        assert!(matches!(fair.ask(1, start(), never(), 10), Asked::Waits(_)));
        assert!(matches!(fair.ask(2, start(), never(), 20), Asked::Waits(_)));
        // Nobody is pushed out for one who would then have as many.
        assert_eq!(fair.ask(1, start(), never(), 11), Asked::Full);
        assert_eq!(fair.waiting(), 4);
        let gone: Vec<_> =
            (1..=5).filter_map(|second| fair.next(start() + Duration::from_secs(second))).collect();
        assert_eq!(gone, [1, 10, 20, 2], "the last ones of the greedy client gave way");
    }

    proptest! {
        /// Whatever happens: never more under way than may be, never more in a second than the rate
        /// and its burst, and nobody is lost.
        #[test]
        fn bounds_hold_in_any_order(
            acts in prop::collection::vec((0..4_u8, 0..4_u32, 0..200_u64), 1..200),
            most in 1..4_u32,
            burst in 1..4_u32,
        ) {
            let bounds = Bounds { rate: rate(10, burst), in_flight_max: Some(most), waiting_max: 8 };
            let (mut fair, mut now) = (Fair::new(bounds, start()), start());
            let mut waiting: Vec<(Who, u64, Weak<Who>)> = Vec::new();
            let (mut under_way, mut went) = (0, Vec::new());
            for (act, who, wait) in acts {
                now = now + Duration::from_millis(wait);
                let wake = Rc::new(who);
                let woken_by = Rc::downgrade(&wake);
                match act {
                    0 | 1 => match fair.ask(who, now, never(), wake) {
                        Asked::Go => { under_way += 1; went.push(now); }
                        Asked::Waits(ticket) => {
                            let before = waiting.len();
                            waiting.retain(|(_, _, wake)| wake.strong_count() > 0);
                            // One gives way, and only in a full queue.
                            prop_assert_eq!(waiting.len(), before.min(7));
                            waiting.push((who, ticket, woken_by));
                        }
                        Asked::Full => prop_assert!(waiting.len() >= 8),
                    },
                    2 if under_way > 0 => { fair.ended(); under_way -= 1; }
                    _ => if let Some((who, ticket, _)) = waiting.pop() { fair.leave(who, ticket) },
                }
                while let Some(wake) = fair.next(now) {
                    let who = *wake;
                    let place = waiting.iter().position(|(waits, _, _)| *waits == who);
                    prop_assert!(place.is_some(), "{} does not wait", who);
                    waiting.remove(place.unwrap_or_default());
                    under_way += 1;
                    went.push(now);
                }
                prop_assert!(waiting.iter().all(|(_, _, wake)| wake.strong_count() > 0));
                prop_assert!(under_way <= most);
                prop_assert_eq!(fair.count, waiting.len());
                prop_assert_eq!(fair.turns.len(), fair.waiting.len());
                let second = Duration::from_secs(1);
                let late = went.iter().filter(|at| **at + second > now).count() as u32;
                prop_assert!(late <= 10 + burst, "{} in a second", late);
            }
        }
    }
}
