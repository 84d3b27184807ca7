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

    /// The same at another rate. What is left stays, or as much of it as there may be now: by a
    /// change nobody gets more.
    pub(super) fn at(self, rate: Rate, now: Moment) -> Self {
        let used = self.full_at.saturating_since(now).as_nanos();
        let used = used * rate.interval.as_nanos() / self.rate.interval.as_nanos().max(1);
        let of = |burst: u32| u128::from(burst) * rate.interval.as_nanos();
        let used = (used + of(rate.burst)).saturating_sub(of(self.rate.burst));
        let used = Duration::from_nanos(u64::try_from(used).unwrap_or(u64::MAX));
        Self { rate, full_at: now + used }
    }

    /// Its rate.
    pub(super) fn rate(&self) -> Rate {
        self.rate
    }

    /// The same with no more than is left of another of the same rate.
    pub(super) fn least(self, other: Self) -> Self {
        Self { full_at: self.full_at.max(other.full_at), ..self }
    }

    /// The time from one request to the next where they come evenly.
    pub(super) fn interval(&self) -> Duration {
        self.rate.interval
    }

    /// When the next request may go.
    pub(super) fn next_at(&self) -> Moment {
        self.full_at - self.rate.interval.saturating_mul(self.rate.burst.saturating_sub(1))
    }

    /// How many could be taken now, one after the other.
    pub(super) fn left(&self, now: Moment) -> u32 {
        let used = self.full_at.saturating_since(now).as_nanos();
        let used = used.div_ceil(self.rate.interval.as_nanos().max(1));
        self.rate.burst.saturating_sub(u32::try_from(used).unwrap_or(u32::MAX))
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

    fn left(bucket: Bucket, now: Moment) -> usize {
        let mut bucket = bucket;
        std::iter::from_fn(|| bucket.take(now).then_some(())).count()
    }

    /// Fails when a change of the rate gives more requests at once than were left.
    #[test]
    fn another_rate_gives_nobody_more_than_was_left() {
        let now = Moment::default() + Duration::from_secs(1000);
        let rate = |millis, burst| Rate { interval: Duration::from_millis(millis), burst };
        let after = |used: usize, from: Rate, to: Rate| {
            let mut bucket = Bucket::new(from, now);
            for _ in 0..used {
                assert!(bucket.take(now));
            }
            bucket.at(to, now)
        };
        for (used, from, to, is_left) in [
            (10, rate(100, 10), rate(100, 50), 0),
            (7, rate(100, 10), rate(10, 50), 3),
            (0, rate(100, 10), rate(10, 50), 10),
            (4, rate(100, 10), rate(1000, 3), 3),
            (9, rate(100, 10), rate(1000, 3), 1),
            (10, rate(100, 10), rate(1000, 3), 0),
        ] {
            let bucket = after(used, from, to);
            assert_eq!(left(bucket, now), is_left, "{used} of {from:?}, then {to:?}");
        }
        // It fills up at the new rate.
        let bucket = after(10, rate(100, 10), rate(10, 50));
        assert_eq!(left(bucket, now + Duration::from_millis(70)), 7);
        let more = Bucket::new(rate(10, 50), now);
        assert_eq!(left(more.least(bucket), now), 0);
    }

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
