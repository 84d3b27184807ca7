//! How much goes on and how fast: counts and times of requests, second by second and for the last
//! minute. Bounded, and never asked by a request: it is fed from what each core has counted.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::answers::Recent;
use crate::telemetry::stories::Counts;

/// How long a slot of the last minute is.
const SLOT_SECONDS: u64 = 10;

/// How many slots the last minute has.
const SLOTS: usize = 6;

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
    /// So much was counted of requests to an upstream, or of those that had none.
    pub(super) fn add(&mut self, upstream: Option<&Arc<str>>, counts: &Counts) {
        self.second.add(counts);
        self.minute.slot.add(counts);
        if let Some(upstream) = upstream {
            let known = match self.upstreams.get_mut(upstream) {
                Some(known) => known,
                None => self.upstreams.entry(Arc::clone(upstream)).or_default(),
            };
            known.slot.add(counts);
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
    use std::time::Duration;

    use super::*;

    /// Fails when a minute holds more than a minute, or loses what came last.
    #[test]
    fn what_is_older_than_a_minute_is_forgotten() {
        let mut pulse = Pulse::default();
        let name: Arc<str> = Arc::from("cms");
        let mut one = Counts::default();
        one.count(500, Duration::from_millis(1));
        for _ in 0..120 {
            pulse.add(Some(&name), &one);
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
