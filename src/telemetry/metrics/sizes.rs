//! Sizes of bodies, counted into buckets.

/// The upper bounds of the buckets, in bytes. The conventions advise none for sizes: from 1 KiB to
/// 256 MiB, each eight times as much as the one before.
const BOUNDS: [u64; 7] = [1 << 10, 1 << 13, 1 << 16, 1 << 19, 1 << 22, 1 << 25, 1 << 28];

/// How many bodies had which size.
#[derive(Clone, Debug, Default)]
pub(super) struct Sizes {
    /// By bucket; the last one is for what is larger than every bound.
    counts: [u64; BOUNDS.len() + 1],
    sum: u64,
}

impl Sizes {
    /// One more of so many bytes.
    pub(super) fn note(&mut self, bytes: u64) {
        let bucket = BOUNDS.iter().position(|bound| bytes <= *bound);
        if let Some(count) = self.counts.get_mut(bucket.unwrap_or(BOUNDS.len())) {
            *count += 1;
        }
        self.sum = self.sum.saturating_add(bytes);
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

    /// The bytes of all of them together.
    pub(super) fn sum(&self) -> u64 {
        self.sum
    }

    /// Each bucket's upper bound in bytes and its own count.
    pub(super) fn buckets(&self) -> Vec<(f64, u64)> {
        let bounds = BOUNDS.into_iter().map(|bound| bound as f64);
        bounds.chain([f64::INFINITY]).zip(self.counts).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        for (bucket, bound) in BOUNDS.into_iter().enumerate() {
            let mut sizes = Sizes::default();
            sizes.note(bound);
            sizes.note(bound + 1);
            assert_eq!(sizes.counts[bucket..bucket + 2], [1, 1], "{bound}");
        }
        let mut all = Sizes::default();
        all.note(0);
        let mut largest = Sizes::default();
        largest.note(u64::MAX);
        all.add(&largest);
        assert_eq!((all.count(), all.sum()), (2, u64::MAX));
        assert_eq!(all.buckets().first(), Some(&(1024.0, 1)));
        assert_eq!(all.buckets().last(), Some(&(f64::INFINITY, 1)));
    }
}
