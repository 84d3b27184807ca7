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

impl Rate {
    /// The same as so many requests in so many whole seconds, about as long as it takes to make a
    /// used burst whole again.
    pub fn in_whole_seconds(&self) -> (u64, u64) {
        let window = self.interval.saturating_mul(self.burst);
        let seconds = (window.as_secs() + u64::from(window.subsec_nanos() > 0)).max(1);
        let nanoseconds = Duration::from_secs(seconds).as_nanos();
        let requests = nanoseconds.checked_div(self.interval.as_nanos());
        let requests = requests.and_then(|requests| u64::try_from(requests).ok());
        (requests.unwrap_or(u64::from(self.burst)), seconds)
    }
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

    /// The time from one request to the next where they come evenly.
    pub(super) fn interval(&self) -> Duration {
        self.rate.interval
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails when a client is told of a shorter window, or of another rate, than there is.
    #[test]
    fn a_rate_is_told_in_whole_seconds() {
        let second = Duration::from_secs(1);
        for (requests, per, burst, told) in [
            (1, second, 1, (1, 1)),
            (10, second, 20, (20, 2)),
            (100, second, 10, (100, 1)),
            (3, second, 3, (3, 1)),
            (7, second * 60, 7, (7, 60)),
            (1, second * 60, 1, (1, 60)),
            (3, second * 2, 4, (4, 3)),
        ] {
            let rate = Rate { interval: per / requests, burst };
            assert_eq!(rate.in_whole_seconds(), told, "{requests} in {per:?}, {burst} at once");
        }
    }
}
