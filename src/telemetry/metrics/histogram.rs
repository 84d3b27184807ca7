//! Durations, counted into the buckets that the conventions advise.

use std::time::Duration;

/// The upper bounds of the buckets, in seconds (OpenTelemetry semantic conventions for HTTP metrics).
pub(super) const BOUNDS: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// The same, to compare with.
const BOUNDS_MICROSECONDS: [u64; 14] = [
    5_000, 10_000, 25_000, 50_000, 75_000, 100_000, 250_000, 500_000, 750_000, 1_000_000,
    2_500_000, 5_000_000, 7_500_000, 10_000_000,
];

/// How often something took how long.
#[derive(Clone, Debug, Default)]
pub(super) struct Histogram {
    /// By bucket; the last one is for what is longer than every bound.
    counts: [u64; BOUNDS.len() + 1],
    sum: Duration,
}

impl Histogram {
    /// One more that took so long.
    pub(super) fn note(&mut self, took: Duration) {
        let microseconds = u64::try_from(took.as_nanos().div_ceil(1000)).unwrap_or(u64::MAX);
        let bucket = BOUNDS_MICROSECONDS.iter().position(|bound| microseconds <= *bound);
        if let Some(count) = self.counts.get_mut(bucket.unwrap_or(BOUNDS.len())) {
            *count += 1;
        }
        self.sum = self.sum.saturating_add(took);
    }

    /// All that another one has counted.
    pub(super) fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        self.sum = self.sum.saturating_add(other.sum);
    }

    /// How many there were.
    pub(super) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How long all of them took together, in seconds.
    pub(super) fn sum(&self) -> f64 {
        self.sum.as_secs_f64()
    }

    /// Each bucket's upper bound in seconds and its own count.
    pub(super) fn buckets(&self) -> Vec<(f64, u64)> {
        BOUNDS.into_iter().chain([f64::INFINITY]).zip(self.counts).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        for (bucket, bound) in BOUNDS.into_iter().enumerate() {
            let mut histogram = Histogram::default();
            histogram.note(Duration::from_secs_f64(bound));
            histogram.note(Duration::from_secs_f64(bound) + Duration::from_nanos(1));
            assert_eq!(histogram.counts[bucket..bucket + 2], [1, 1], "{bound}");
        }
        let mut longest = Histogram::default();
        longest.note(Duration::MAX);
        longest.note(Duration::MAX);
        assert_eq!((longest.count(), longest.sum), (2, Duration::MAX));
        let mut both = Histogram::default();
        both.note(Duration::ZERO);
        both.add(&longest);
        assert_eq!(both.buckets().first(), Some(&(0.005, 1)));
        assert_eq!(both.buckets().last(), Some(&(f64::INFINITY, 2)));
    }
}
