//! How full a limit is, for an operator who looks at it.

use std::time::Duration;

use super::{Kind, Limit, Rate};

/// How full a limit is at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Level {
    /// Requests under way; counted only where the limit bounds something.
    pub in_flight: u32,
    /// The most of them; nothing: any number.
    pub in_flight_max: Option<u32>,
    /// Requests that wait.
    pub waiting: usize,
    /// The most of them.
    pub waiting_max: usize,
    /// Each rate, and the pause that the upstream has asked for.
    pub rates: Vec<RateLevel>,
}

/// What is left of a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLevel {
    /// What it counts; nothing where it counts everything.
    pub kind: Option<Kind>,
    /// The rate, and how many requests may go at once now; nothing where there is none.
    pub rate: Option<(Rate, u32)>,
    /// For how long none goes, because the upstream has asked for it.
    pub paused_for: Option<Duration>,
}

impl Limit {
    /// How full it is now.
    pub fn level(&self) -> Level {
        let now = self.clock.now();
        let state = self.lock();
        let bounds = state.fair.bounds();
        let rates = state.fair.lanes().map(|(kind, lane)| {
            let paused_for = lane.paused_until().saturating_since(now);
            RateLevel {
                kind,
                rate: lane.bucket().map(|bucket| (bucket.rate(), bucket.left(now))),
                paused_for: (!paused_for.is_zero()).then_some(paused_for),
            }
        });
        Level {
            in_flight: state.fair.in_flight(),
            in_flight_max: bounds.in_flight_max,
            waiting: state.fair.waiting(),
            waiting_max: bounds.waiting_max,
            rates: rates.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::super::{Bounds, Decisions, Rates, Whose};
    use super::*;
    use crate::clock::Clock;

    /// Fails when what is left is told too high, so that an operator waits for a queue that should
    /// not be there.
    #[tokio::test]
    async fn what_is_left_is_what_may_go_at_once() {
        let clock = Clock::manual(SystemTime::UNIX_EPOCH);
        let rate = Rate { interval: Duration::from_millis(100), burst: 3 };
        let rates = Rates::Together(Some(rate));
        let bounds = Bounds { rates, in_flight_max: Some(9), waiting_max: 5 };
        let control = tokio::runtime::Handle::current();
        let limit =
            Limit::new(Whose::Client, bounds, &Decisions::default(), clock.clone(), control);
        let left = || limit.level().rates[0].rate.unwrap().1;
        assert_eq!(left(), 3);
        let asked = (1, Kind::Read);
        let deadline = clock.now() + Duration::from_secs(1);
        let mut permits = Vec::new();
        for expected in [2, 1, 0] {
            permits.push(limit.admit(asked, clock.now(), deadline).await.unwrap().0);
            assert_eq!(left(), expected);
        }
        assert_eq!(limit.level().in_flight, 3);
        clock.advance(Duration::from_millis(150));
        assert_eq!(left(), 1);
        drop(permits);
        assert_eq!(limit.level().in_flight, 0);
        limit.pause(None, Duration::from_secs(2));
        assert_eq!(limit.level().rates[0].paused_for, Some(Duration::from_secs(2)));
    }
}
