//! How much goes on and how fast: counts and times of requests, second by second and for the last
//! minute. Bounded, and never asked by a request: it is fed from what was reported anyway.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::answers::Recent;

/// How long a slot of the last minute is.
const SLOT_SECONDS: u64 = 10;

/// How many slots the last minute has.
const SLOTS: usize = 6;

/// Times of requests, each counted in a class that is at most an eighth wider than its beginning.
#[derive(Clone, Debug)]
struct Times(Box<[u32; CLASSES]>);

/// Classes between two powers of two.
const CLASSES_PER_DOUBLING: u32 = 8;

/// Up to 2^27 microseconds, which are two minutes; what takes longer counts as that.
const CLASSES: usize = 28 * CLASSES_PER_DOUBLING as usize;

impl Default for Times {
    fn default() -> Self {
        Self(Box::new([0; CLASSES]))
    }
}

impl Times {
    fn count(&mut self, took: Duration) {
        let microseconds = u32::try_from(took.as_micros()).unwrap_or(u32::MAX).max(1);
        let power = microseconds.ilog2();
        // The bits behind the first one, as many as tell the classes of a doubling apart.
        let part = ((u64::from(microseconds) << 3 >> power) as u32) & (CLASSES_PER_DOUBLING - 1);
        let class = (power * CLASSES_PER_DOUBLING + part) as usize;
        if let Some(count) = self.0.get_mut(class.min(CLASSES - 1)) {
            *count = count.saturating_add(1);
        }
    }

    fn add(&mut self, other: &Self) {
        for (count, more) in self.0.iter_mut().zip(other.0.iter()) {
            *count = count.saturating_add(*more);
        }
    }

    /// So long took this part of all requests at most, in milliseconds: the end of a class.
    fn percentile(&self, part: f64) -> Option<f64> {
        let all: u64 = self.0.iter().map(|count| u64::from(*count)).sum();
        let wanted = (all as f64 * part).ceil() as u64;
        let mut seen = 0;
        let found = self.0.iter().position(|count| {
            seen += u64::from(*count);
            seen >= wanted && seen > 0
        });
        found.map(|class| {
            let class = class as u32;
            let begin = f64::from(2_u32.pow(class / CLASSES_PER_DOUBLING));
            let parts = f64::from(class % CLASSES_PER_DOUBLING + 1);
            begin * (1.0 + parts / f64::from(CLASSES_PER_DOUBLING)) / 1000.0
        })
    }
}

/// What was counted in a stretch of time.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    pub(super) requests: u64,
    pub(super) errors: u64,
    times: Times,
}

impl Counts {
    fn count(&mut self, status: u16, took: Duration) {
        self.requests += 1;
        self.errors += u64::from(status >= 500);
        self.times.count(took);
    }

    fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.times.add(&other.times);
    }

    /// So long took half, 95 in 100 and 99 in 100 of them at most, in milliseconds.
    pub(super) fn percentiles(&self) -> [Option<f64>; 3] {
        [0.5, 0.95, 0.99].map(|part| self.times.percentile(part))
    }
}

/// The last minute: the slot that is being filled, and those before it.
#[derive(Debug, Default)]
struct Minute {
    slot: Counts,
    before: VecDeque<Counts>,
}

impl Minute {
    fn next_slot(&mut self) {
        if self.before.len() == SLOTS - 1 {
            self.before.pop_front();
        }
        self.before.push_back(std::mem::take(&mut self.slot));
    }

    fn all(&self) -> Counts {
        let mut all = self.slot.clone();
        self.before.iter().for_each(|slot| all.add(slot));
        all
    }
}

/// Counts of all requests, and of each upstream's.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    second: Counts,
    minute: Minute,
    /// By name; there are as many as the configuration has had.
    upstreams: BTreeMap<Arc<str>, Minute>,
    seconds: u64,
}

impl Pulse {
    /// A request has ended.
    pub(super) fn count(&mut self, upstream: Option<&Arc<str>>, status: u16, took: Duration) {
        self.second.count(status, took);
        self.minute.slot.count(status, took);
        if let Some(upstream) = upstream {
            let known = match self.upstreams.get_mut(upstream) {
                Some(known) => known,
                None => self.upstreams.entry(Arc::clone(upstream)).or_default(),
            };
            known.slot.count(status, took);
        }
    }

    /// A second has passed: what was counted in it.
    pub(super) fn tick(&mut self) -> Counts {
        self.seconds += 1;
        if self.seconds.is_multiple_of(SLOT_SECONDS) {
            self.minute.next_slot();
            self.upstreams.values_mut().for_each(Minute::next_slot);
        }
        std::mem::take(&mut self.second)
    }

    /// The last minute of all requests, or of an upstream's.
    pub(super) fn recent(&self, upstream: Option<&str>, is_told: bool) -> Recent {
        // Since the start, or since the first of the slots began.
        let before = SLOT_SECONDS * (SLOTS as u64 - 1);
        let seconds = (self.seconds.min(before + self.seconds % SLOT_SECONDS)).max(1);
        if !is_told {
            return Recent { seconds, ..Recent::default() };
        }
        let all = match upstream {
            None => self.minute.all(),
            Some(name) => self.upstreams.get(name).map(Minute::all).unwrap_or_default(),
        };
        let [p50_ms, p95_ms, p99_ms] = all.percentiles();
        Recent {
            seconds,
            requests: Some(all.requests),
            per_second: Some((all.requests as f64 / seconds as f64 * 100.0).round() / 100.0),
            errors: Some(all.errors),
            p50_ms,
            p95_ms,
            p99_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails when a class is too wide, or a time falls into another one's.
    #[test]
    fn percentiles_are_at_most_an_eighth_too_long() {
        for microseconds in [1_u64, 2, 7, 9, 100, 999, 1000, 54_321, 1_000_000, 99_999_999] {
            let mut counts = Counts::default();
            counts.count(200, Duration::from_micros(microseconds));
            let told = counts.percentiles()[0].unwrap() * 1000.0;
            let real = microseconds as f64;
            assert!(told >= real && told <= real * 1.125 + 1.0, "{microseconds}: {told}");
        }
        let mut counts = Counts::default();
        for milliseconds in 1..=100 {
            counts.count(200, Duration::from_millis(milliseconds));
        }
        let [p50, p95, p99] = counts.percentiles().map(Option::unwrap);
        assert!((50.0..57.0).contains(&p50), "{p50}");
        assert!((95.0..108.0).contains(&p95), "{p95}");
        assert!((99.0..112.0).contains(&p99), "{p99}");
        assert_eq!(Counts::default().percentiles(), [None; 3]);
    }

    /// Fails when a minute holds more than a minute, or loses what came last.
    #[test]
    fn what_is_older_than_a_minute_is_forgotten() {
        let mut pulse = Pulse::default();
        let name: Arc<str> = Arc::from("cms");
        for _ in 0..120 {
            pulse.count(Some(&name), 500, Duration::from_millis(1));
            assert_eq!(pulse.tick().requests, 1);
        }
        let recent = pulse.recent(None, true);
        assert!((50..=60).contains(&recent.requests.unwrap()), "{recent:?}");
        assert_eq!(recent.per_second, Some(1.0), "{recent:?}");
        assert_eq!(recent.errors, recent.requests);
        assert_eq!(pulse.recent(Some("cms"), true).requests, recent.requests);
        assert_eq!(pulse.recent(Some("other"), true).requests, Some(0));
        assert_eq!(pulse.recent(None, false).requests, None);
    }
}
