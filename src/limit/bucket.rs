//! So many requests in so much time, with a burst. The generic cell rate algorithm: one moment says
//! all that there is to know.

use std::time::Duration;

use crate::clock::Moment;

/// A rate with a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// The time from one request to the next where they come evenly.
    pub interval: Duration,
    /// The most requests at once.
    pub burst: u32,
}

/// What is left of a rate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    rate: Rate,
    /// When the bucket is full again.
    full_at: Moment,
}

impl Bucket {
    pub(super) fn new(rate: Rate, now: Moment) -> Self {
        Self { rate, full_at: now }
    }

    /// When the next request may go.
    pub(super) fn next_at(&self) -> Moment {
        self.full_at - self.rate.interval.saturating_mul(self.rate.burst.saturating_sub(1))
    }

    /// Takes one, if one is there.
    pub(super) fn take(&mut self, now: Moment) -> bool {
        if self.next_at() > now {
            return false;
        }
        self.full_at = self.full_at.max(now) + self.rate.interval;
        true
    }
}
