//! Who may go next: queues that are fair between clients. No I/O and no clock: whoever asks says what
//! time it is.

use super::bucket::Rate;
use super::lane::{Lane, Waiter};
use crate::clock::Moment;

/// What may be asked all together of whatever has these bounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// How fast.
    pub rates: Rates,
    /// The most requests under way, from their admission to the end of the answer's body.
    pub in_flight_max: Option<u32>,
    /// The most requests that wait.
    pub waiting_max: usize,
}

/// How fast requests may come; where there is no rate, as fast as they like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rates {
    /// Reads and writes count together, and wait in one queue.
    Together(Option<Rate>),
    /// Each kind counts alone, and waits in a queue of its own.
    Apart {
        /// How fast reads may come.
        reads: Option<Rate>,
        /// How fast writes may come.
        writes: Option<Rate>,
    },
}

/// What a request does, as far as limits go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Its method is safe (RFC 9110 section 9.2.1).
    Read,
    /// Any other.
    Write,
}

/// A client, as far as fairness goes.
pub(super) type Who = u32;

/// Requests that wait, each with what wakes it.
#[derive(Debug)]
pub(super) struct Fair<T> {
    bounds: Bounds,
    /// Where reads and writes count together, these are all.
    reads: Lane<T>,
    writes: Lane<T>,
    /// Which kind goes first where both could: the other one than last time.
    first: Kind,
    in_flight: u32,
    tickets: u64,
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

impl Bounds {
    /// Whether nothing is bounded.
    pub(super) fn is_open(&self) -> bool {
        let has_rate = [Kind::Read, Kind::Write].iter().any(|kind| self.rates.of(*kind).is_some());
        !has_rate && self.in_flight_max.is_none()
    }
}

impl Default for Rates {
    fn default() -> Self {
        Self::Together(None)
    }
}

impl Rates {
    /// The rate that a request of this kind counts against.
    pub fn of(&self, kind: Kind) -> Option<Rate> {
        match (self, kind) {
            (Self::Together(rate), _) => *rate,
            (Self::Apart { reads, .. }, Kind::Read) => *reads,
            (Self::Apart { writes, .. }, Kind::Write) => *writes,
        }
    }

    /// The kind that a request counts as; nothing where both count together.
    pub fn kind(&self, kind: Kind) -> Option<Kind> {
        match self {
            Self::Together(_) => None,
            Self::Apart { .. } => Some(kind),
        }
    }
}

impl Kind {
    /// The word in the configuration and in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "reads",
            Self::Write => "writes",
        }
    }

    fn other(self) -> Self {
        match self {
            Self::Read => Self::Write,
            Self::Write => Self::Read,
        }
    }
}

impl<T> Fair<T> {
    pub(super) fn new(bounds: Bounds, now: Moment) -> Self {
        Self {
            bounds,
            reads: Lane::new(bounds.rates.of(Kind::Read), now),
            writes: Lane::new(bounds.rates.of(Kind::Write), now),
            first: Kind::Read,
            in_flight: 0,
            tickets: 0,
        }
    }

    /// Whether a request goes at once: then its place is taken.
    pub(super) fn goes(&mut self, kind: Kind, now: Moment) -> bool {
        !self.is_behind(kind, now) && self.take(kind, now)
    }

    /// These are the bounds from now on. Those who wait go on waiting, what is under way counts, and
    /// nobody gets more at once by the change.
    pub(super) fn set(&mut self, bounds: Bounds, now: Moment) {
        let is_apart = |rates: Rates| matches!(rates, Rates::Apart { .. });
        let (was, is) = (is_apart(self.bounds.rates), is_apart(bounds.rates));
        self.bounds = bounds;
        match (was, is) {
            (true, false) => {
                self.reads.take_in(&mut self.writes);
                self.reads.no_more_than(&self.writes, now);
            }
            (false, true) => self.writes.no_more_than(&self.reads, now),
            _ => {}
        }
        self.reads.set(bounds.rates.of(Kind::Read), now);
        self.writes.set(bounds.rates.of(Kind::Write), now);
    }

    /// The bounds.
    pub(super) fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// A client's request asks to go. `wake` is kept if it has to wait. Where the queue is full, the
    /// last request of the client with the most gives way to one of a client with fewer: what would
    /// wake it is dropped.
    pub(super) fn ask(
        &mut self,
        (who, kind): (Who, Kind),
        now: Moment,
        deadline: Moment,
        wake: T,
    ) -> Asked {
        if self.goes(kind, now) {
            return Asked::Go;
        }
        if self.waiting() >= self.bounds.waiting_max && !self.make_room(who) {
            return Asked::Full;
        }
        self.tickets += 1;
        let ticket = self.tickets;
        self.lane_mut(kind).push(who, Waiter { ticket, deadline, wake });
        Asked::Waits(ticket)
    }

    /// Whether others come first: those of the same kind, and those who wait for nothing but the
    /// place that would be taken. Who waits for a token of another kind is passed.
    fn is_behind(&mut self, kind: Kind, now: Moment) -> bool {
        let apart = self.bounds.rates.kind(kind);
        self.lane(kind).count() > 0
            || self.bounds.in_flight_max.is_some()
                && apart.is_some_and(|kind| self.lane_mut(kind.other()).is_ready(now))
    }

    /// Whether a request was pushed out for this client, which has fewer even with one more.
    fn make_room(&mut self, who: Who) -> bool {
        let all = |who: Who| self.reads.count_of(who) + self.writes.count_of(who);
        let waiting = self.reads.counts().chain(self.writes.counts());
        let most = waiting.map(|(who, _)| (all(who), who)).max_by_key(|(count, _)| *count);
        let Some((_, most)) = most.filter(|(count, _)| *count > all(who) + 1) else { return false };
        let longer = match self.writes.count_of(most) > self.reads.count_of(most) {
            true => &mut self.writes,
            false => &mut self.reads,
        };
        longer.pop_last(most);
        true
    }

    /// The next one that may go now: each client in its turn, the kinds by turns where they count
    /// apart.
    pub(super) fn next(&mut self, now: Moment) -> Option<T> {
        [self.first, self.first.other()].into_iter().find_map(|kind| {
            let goes = !self.is_crowded() && self.lane_mut(kind).is_ready(now);
            if !goes || !self.take(kind, now) {
                return None;
            }
            self.first = kind.other();
            self.lane_mut(kind).pop()
        })
    }

    /// A request that waits has given up.
    pub(super) fn leave(&mut self, who: Who, ticket: u64) {
        // It may have come when the kinds were counted otherwise.
        self.reads.leave(who, ticket);
        self.writes.leave(who, ticket);
    }

    /// A request is over.
    pub(super) fn ended(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// Nobody goes before this moment; where kinds count apart, nobody of this kind, if one is said.
    pub(super) fn pause(&mut self, kind: Option<Kind>, until: Moment) {
        for kind in kinds(kind) {
            self.lane_mut(*kind).pause(until);
        }
    }

    /// Until when nobody of this kind goes.
    pub(super) fn paused_until(&self, kind: Kind) -> Moment {
        self.lane(kind).paused_until()
    }

    /// How fast requests may come.
    pub(super) fn rates(&self) -> Rates {
        self.bounds.rates
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.reads.count() + self.writes.count()
    }

    /// How many requests are under way.
    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Requests that wait for the same tokens, by what they count as; nothing: all of them.
    pub(super) fn lanes(&self) -> impl Iterator<Item = (Option<Kind>, &Lane<T>)> {
        let kinds: &[_] = match self.bounds.rates {
            Rates::Together(_) => &[None],
            Rates::Apart { .. } => &[Some(Kind::Read), Some(Kind::Write)],
        };
        kinds.iter().map(|kind| (*kind, self.lane(kind.unwrap_or(Kind::Read))))
    }

    /// Whether all places are taken.
    pub(super) fn is_crowded(&self) -> bool {
        self.bounds.in_flight_max.is_some_and(|most| self.in_flight >= most)
    }

    /// When time alone lets the next one of this kind go, if there is a place for it.
    pub(super) fn next_at(&self, kind: Kind) -> Moment {
        self.lane(kind).next_at()
    }

    /// When one more request of this client would go, were it the last one to come and places free.
    pub(super) fn turn_at(&self, (who, kind): (Who, Kind)) -> Moment {
        self.lane(kind).turn_at(who)
    }

    /// When to look again for those who wait; nothing while nobody does, or while a place has to
    /// become free first.
    pub(super) fn look_at(&self) -> Option<Moment> {
        let lanes = [&self.reads, &self.writes].into_iter().filter(|lane| lane.count() > 0);
        let at = lanes.map(Lane::next_at).min();
        at.filter(|_| !self.is_crowded())
    }

    fn take(&mut self, kind: Kind, now: Moment) -> bool {
        if self.is_crowded() || !self.lane_mut(kind).take(now) {
            return false;
        }
        self.in_flight += 1;
        true
    }

    fn lane(&self, kind: Kind) -> &Lane<T> {
        match self.bounds.rates.kind(kind) {
            Some(Kind::Write) => &self.writes,
            Some(Kind::Read) | None => &self.reads,
        }
    }

    fn lane_mut(&mut self, kind: Kind) -> &mut Lane<T> {
        match self.bounds.rates.kind(kind) {
            Some(Kind::Write) => &mut self.writes,
            Some(Kind::Read) | None => &mut self.reads,
        }
    }
}

/// This kind, or both.
pub(super) fn kinds(kind: Option<Kind>) -> &'static [Kind] {
    match kind {
        Some(Kind::Read) => &[Kind::Read],
        Some(Kind::Write) => &[Kind::Write],
        None => &[Kind::Read, Kind::Write],
    }
}

#[cfg(test)]
#[path = "fair_tests.rs"]
mod tests;
