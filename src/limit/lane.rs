//! Requests of one kind that wait: each client in its turn. No I/O and no clock.

use std::collections::{HashMap, VecDeque};

use super::bucket::{Bucket, Rate};
use super::fair::Who;
use crate::clock::Moment;

/// Requests that wait for the same tokens, each with what wakes it.
#[derive(Debug)]
pub(super) struct Lane<T> {
    bucket: Option<Bucket>,
    paused_until: Moment,
    /// Clients with requests that wait; the first one is next.
    turns: VecDeque<Who>,
    waiting: HashMap<Who, VecDeque<Waiter<T>>>,
    count: usize,
}

/// A request that waits.
#[derive(Debug)]
pub(super) struct Waiter<T> {
    pub(super) ticket: u64,
    /// It is of no use to it to go later.
    pub(super) deadline: Moment,
    pub(super) wake: T,
}

impl<T> Lane<T> {
    pub(super) fn new(rate: Option<Rate>, now: Moment) -> Self {
        Self {
            bucket: rate.map(|rate| Bucket::new(rate, now)),
            paused_until: now,
            turns: VecDeque::new(),
            waiting: HashMap::new(),
            count: 0,
        }
    }

    /// Has its requests come at another rate; see [`Bucket::at`].
    pub(super) fn set(&mut self, rate: Option<Rate>, now: Moment) {
        self.bucket = match (rate, self.bucket) {
            (None, _) => None,
            (Some(rate), None) => Some(Bucket::new(rate, now)),
            (Some(rate), Some(bucket)) => Some(bucket.at(rate, now)),
        };
    }

    /// Nobody is given more than by another one, whose pause holds here, too.
    pub(super) fn no_more_than(&mut self, other: &Self, now: Moment) {
        self.pause(other.paused_until);
        self.bucket = match (self.bucket, other.bucket) {
            (Some(bucket), Some(other)) => Some(bucket.least(other.at(bucket.rate(), now))),
            (bucket, _) => bucket,
        };
    }

    /// Has those who wait elsewhere wait here.
    pub(super) fn take_in(&mut self, other: &mut Self) {
        while let Some(who) = other.turns.front().copied() {
            let Some(waiter) = other.remove(who, 0) else { return };
            self.push(who, waiter);
        }
    }

    /// What is left of the rate, if there is one.
    pub(super) fn bucket(&self) -> Option<&Bucket> {
        self.bucket.as_ref()
    }

    /// How many wait.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// How many of this client wait.
    pub(super) fn count_of(&self, who: Who) -> usize {
        self.waiting.get(&who).map_or(0, VecDeque::len)
    }

    /// Every client with requests that wait, and how many.
    pub(super) fn counts(&self) -> impl Iterator<Item = (Who, usize)> {
        self.waiting.iter().map(|(who, queue)| (*who, queue.len()))
    }

    /// Nobody goes before this moment.
    pub(super) fn pause(&mut self, until: Moment) {
        self.paused_until = self.paused_until.max(until);
    }

    /// Until when nobody goes.
    pub(super) fn paused_until(&self) -> Moment {
        self.paused_until
    }

    /// When time alone lets the next one go.
    pub(super) fn next_at(&self) -> Moment {
        let by_rate = self.bucket.map(|bucket| bucket.next_at());
        by_rate.map_or(self.paused_until, |at| at.max(self.paused_until))
    }

    /// When one more request of this client would go, were it the last one to come.
    pub(super) fn turn_at(&self, who: Who) -> Moment {
        let own = self.count_of(who);
        let others = self.counts().filter(|(other, _)| *other != who);
        let ahead = own + others.map(|(_, count)| count.min(own + 1)).sum::<usize>();
        let interval = self.bucket.map(|bucket| bucket.interval()).unwrap_or_default();
        self.next_at() + interval.saturating_mul(u32::try_from(ahead).unwrap_or(u32::MAX))
    }

    /// Takes a token, if one is there and nobody has to pause.
    pub(super) fn take(&mut self, now: Moment) -> bool {
        self.paused_until <= now && self.bucket.as_mut().is_none_or(|bucket| bucket.take(now))
    }

    /// Whether somebody waits whom time lets go now. Those at the head whose deadline has passed
    /// cost nothing: what would wake them is dropped, and their client keeps its turn.
    pub(super) fn is_ready(&mut self, now: Moment) -> bool {
        while let Some(who) = self.turns.front().copied() {
            let head = self.waiting.get(&who).and_then(VecDeque::front);
            if head.is_some_and(|head| head.deadline > now) {
                return self.next_at() <= now;
            }
            self.remove(who, 0);
        }
        false
    }

    pub(super) fn push(&mut self, who: Who, waiter: Waiter<T>) {
        let queue = self.waiting.entry(who).or_default();
        if queue.is_empty() {
            self.turns.push_back(who);
        }
        queue.push_back(waiter);
        self.count += 1;
    }

    /// The next one; its client's next turn comes after everybody else's.
    pub(super) fn pop(&mut self) -> Option<T> {
        let who = self.turns.front().copied()?;
        let waiter = self.remove(who, 0)?;
        // It is gone from the turns if this was its only one.
        if self.waiting.contains_key(&who) {
            self.turns.rotate_left(1);
        }
        Some(waiter.wake)
    }

    /// A client's last request gives way.
    pub(super) fn pop_last(&mut self, who: Who) {
        let last = self.count_of(who).saturating_sub(1);
        self.remove(who, last);
    }

    /// A request has given up.
    pub(super) fn leave(&mut self, who: Who, ticket: u64) {
        let Some(queue) = self.waiting.get(&who) else { return };
        if let Some(place) = queue.iter().position(|waiter| waiter.ticket == ticket) {
            self.remove(who, place);
        }
    }

    #[cfg(test)]
    pub(super) fn is_clean(&self) -> bool {
        self.turns.is_empty() && self.waiting.is_empty() && self.count == 0
    }

    /// Takes one out, and its client's turn with the last one.
    fn remove(&mut self, who: Who, place: usize) -> Option<Waiter<T>> {
        let queue = self.waiting.get_mut(&who)?;
        let waiter = queue.remove(place)?;
        self.count -= 1;
        if queue.is_empty() {
            self.waiting.remove(&who);
            // It is the first one in all that happens often.
            if let Some(turn) = self.turns.iter().position(|turn| *turn == who) {
                self.turns.remove(turn);
            }
        }
        Some(waiter)
    }
}
