//! Spreads what would otherwise happen at once. The spread of a number is the same each time, in
//! one process; two processes spread differently.

use std::sync::OnceLock;
use std::time::Duration;

use super::Generation;

/// A part of a whole, from nothing to all of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Jitter(u32);

impl Jitter {
    /// No part at all.
    pub(super) const NONE: Self = Self(0);

    /// The part that belongs to a generation.
    pub(super) fn of(generation: Generation) -> Self {
        let mixed = mix(generation.0 ^ seed());
        Self(u32::try_from(mixed >> 32).unwrap_or_default())
    }

    /// This part of `whole`.
    pub(super) fn part_of(self, whole: Duration) -> Duration {
        let nanoseconds = whole.as_nanos() * u128::from(self.0) / u128::from(u32::MAX);
        Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }
}

/// Drawn once a process. Without randomness from the system all processes spread alike, which is
/// no fault worth a failure.
fn seed() -> u64 {
    static SEED: OnceLock<u64> = OnceLock::new();
    *SEED.get_or_init(|| {
        let mut bytes = [0; 8];
        match aws_lc_rs::rand::fill(&mut bytes) {
            Ok(()) => u64::from_ne_bytes(bytes),
            Err(_) => 0,
        }
    })
}

/// The finalizer of SplitMix64: neighbouring numbers come out far apart.
fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_part_is_within_the_whole_and_spread_over_it() {
        let whole = Duration::from_secs(100);
        let parts: Vec<_> = (0..1000).map(|n| Jitter::of(Generation(n)).part_of(whole)).collect();
        assert!(parts.iter().all(|part| *part <= whole));
        let low = parts.iter().filter(|part| **part < whole / 2).count();
        assert!((400..600).contains(&low), "{low}");
        assert_eq!(Jitter::NONE.part_of(whole), Duration::ZERO);
    }
}
