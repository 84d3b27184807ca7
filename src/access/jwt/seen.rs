//! Tokens that were found good, by their SHA-256, so that one that comes again costs no
//! verification. Only good ones come here: nobody without one can fill it.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use std::time::SystemTime;

use aws_lc_rs::digest;

/// The most tokens that are remembered; at about 100 bytes, 1 MiB.
pub const SEEN_MAX: usize = 10_000;

/// Cores seldom meet at one of them.
const SHARDS: usize = 16;

/// A shard forgets its older half when the younger one is full.
const HALF_MAX: usize = SEEN_MAX / SHARDS / 2;

/// Tokens that were found good.
#[derive(Debug)]
pub(super) struct Seen([RwLock<Shard>; SHARDS]);

#[derive(Debug, Default)]
struct Shard {
    young: HashMap<Print, Good>,
    old: HashMap<Print, Good>,
}

/// The SHA-256 of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Print([u8; 32]);

/// What was found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Good {
    /// The number of its issuer.
    pub(super) issuer: u16,
    /// The number of the client's rule at the issuer.
    pub(super) rule: usize,
    /// With which keys of the issuer it was verified.
    pub(super) keys: u64,
    /// Until when it need not be judged anew.
    pub(super) until: SystemTime,
}

impl Print {
    pub(super) fn of(text: &str) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
        Self(bytes)
    }
}

impl Default for Seen {
    fn default() -> Self {
        Self(std::array::from_fn(|_| RwLock::default()))
    }
}

impl Seen {
    pub(super) fn find(&self, print: Print) -> Option<Good> {
        let shard = self.shard(print)?.read().unwrap_or_else(PoisonError::into_inner);
        shard.young.get(&print).or_else(|| shard.old.get(&print)).copied()
    }

    pub(super) fn note(&self, print: Print, good: Good) {
        let Some(shard) = self.shard(print) else { return };
        let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
        if shard.young.len() >= HALF_MAX {
            shard.old = std::mem::take(&mut shard.young);
        }
        shard.young.insert(print, good);
    }

    fn shard(&self, Print([first, ..]): Print) -> Option<&RwLock<Shard>> {
        self.0.get(usize::from(first) % SHARDS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_so_many_are_remembered_and_the_last_one_always() {
        let seen = Seen::default();
        let good = Good { issuer: 0, rule: 0, keys: 1, until: SystemTime::UNIX_EPOCH };
        for number in 0..3 * SEEN_MAX {
            let print = Print::of(&number.to_string());
            seen.note(print, good);
            assert!(seen.find(print).is_some());
        }
        let count = |shard: &RwLock<Shard>| {
            let shard = shard.read().unwrap();
            shard.young.len() + shard.old.len()
        };
        let all: usize = seen.0.iter().map(count).sum();
        assert!((SEEN_MAX / 4..=SEEN_MAX).contains(&all), "{all}");
    }
}
