//! How many requests there were in a stretch of time, and how long they took.

use std::time::Duration;

/// Times of requests, each counted in a class that is at most an eighth wider than its beginning.
#[derive(Clone, Debug)]
struct Times([u32; CLASSES]);

/// Classes between two powers of two.
const CLASSES_PER_DOUBLING: u32 = 8;

/// Up to 2^27 microseconds, which are two minutes; what takes longer counts as that.
const CLASSES: usize = 28 * CLASSES_PER_DOUBLING as usize;

impl Default for Times {
    fn default() -> Self {
        Self([0; CLASSES])
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

/// What was counted of requests in a stretch of time.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// How many have ended.
    pub requests: u64,
    /// Those among them that were answered with a status of 500 or above.
    pub errors: u64,
    times: Times,
}

impl Counts {
    /// A request has ended, so answered and after such a time.
    pub fn count(&mut self, status: u16, took: Duration) {
        self.requests += 1;
        self.errors += u64::from(status >= 500);
        self.times.count(took);
    }

    /// So much was counted besides.
    pub fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.times.add(&other.times);
    }

    /// So long took half, 95 in 100 and 99 in 100 of them at most, in milliseconds.
    pub fn percentiles(&self) -> [Option<f64>; 3] {
        [0.5, 0.95, 0.99].map(|part| self.times.percentile(part))
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
}
