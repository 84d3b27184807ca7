//! What the process can still take on, told by whoever looks at its memory and descriptors: at first
//! new requests are refused, and then no connection is accepted. It is also the count of connections,
//! which says between two looks how many descriptors are in use.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use tokio::sync::watch;

/// How much is taken on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Load {
    /// Everything.
    #[default]
    Normal,
    /// No new requests, and no connections that idle.
    Shedding,
    /// No new connections, either.
    Full,
}

impl Load {
    /// The word in logs and in the audit trail.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Shedding => "shedding",
            Self::Full => "full",
        }
    }
}

/// So many percent of what there is, and new requests are refused.
pub const SHEDDING_FROM: u64 = 90;

/// So many, and nothing is accepted. What is left is for logins, the state, files of bodies and the
/// upstream connections of requests that are under way.
pub const FULL_FROM: u64 = 95;

/// So many descriptors are not counted as there at all: between two looks others than clients'
/// connections take some, and of few descriptors five percent are next to none.
pub const RESERVED_DESCRIPTORS: u64 = 16;

/// It is over only below so many: else it would begin anew with the next requests.
pub const NORMAL_BELOW: u64 = 80;

/// What the process can still take on.
#[derive(Debug)]
pub struct Overload {
    load: AtomicU8,
    changed: watch::Sender<Load>,
    connections: AtomicU64,
    /// Descriptors that are no client's connection, as of the last look.
    others: AtomicU64,
    descriptors_max: u64,
}

/// A client's connection; it is counted for as long as this lives.
#[derive(Debug)]
pub struct Connected(Arc<Overload>);

impl Default for Overload {
    fn default() -> Self {
        Self::new(u64::MAX)
    }
}

impl Overload {
    /// Of a process that may have so many descriptors.
    pub fn new(descriptors_max: u64) -> Self {
        let (changed, _) = watch::channel(Load::Normal);
        Self {
            load: AtomicU8::new(Load::Normal as u8),
            changed,
            connections: AtomicU64::new(0),
            others: AtomicU64::new(0),
            descriptors_max: descriptors_max.saturating_sub(RESERVED_DESCRIPTORS).max(1),
        }
    }

    /// How much is taken on.
    pub fn load(&self) -> Load {
        match self.load.load(Ordering::Relaxed) {
            0 => Load::Normal,
            1 => Load::Shedding,
            _ => Load::Full,
        }
    }

    /// Whether new requests are refused.
    pub fn is_shedding(&self) -> bool {
        self.load.load(Ordering::Relaxed) != Load::Normal as u8
    }

    /// Takes on so much from now on.
    pub fn set(&self, load: Load) {
        self.load.store(load as u8, Ordering::Relaxed);
        self.changed.send_if_modified(|known| std::mem::replace(known, load) != load);
    }

    /// What holds at least from now on, until the next look.
    pub fn raise(&self, load: Load) {
        if self.load() < load {
            self.set(load);
        }
    }

    /// Waits until connections are accepted. Cancel safe.
    pub async fn accepting(&self) {
        if self.load() == Load::Full {
            // The sender lives in `self`.
            _ = self.changed.subscribe().wait_for(|load| *load != Load::Full).await;
        }
    }

    /// A connection was accepted.
    pub fn connected(self: &Arc<Self>) -> Connected {
        let connections = self.connections.fetch_add(1, Ordering::Relaxed) + 1;
        let used = percent(connections + self.others.load(Ordering::Relaxed), self.descriptors_max);
        if used >= FULL_FROM {
            self.raise(Load::Full);
        } else if used >= SHEDDING_FROM {
            self.raise(Load::Shedding);
        }
        Connected(Arc::clone(self))
    }

    /// How many connections clients have.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// So many descriptors were in use a moment ago.
    pub fn note_descriptors(&self, used: u64) {
        self.others.store(used.saturating_sub(self.connections()), Ordering::Relaxed);
    }

    /// How many descriptors there may be, less those that are reserved.
    pub fn descriptors_max(&self) -> u64 {
        self.descriptors_max
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How much of `all` is used; 100 where there is nothing.
pub fn percent(used: u64, all: u64) -> u64 {
    u64::try_from(u128::from(used) * 100 / u128::from(all.max(1))).unwrap_or(u64::MAX)
}

/// What is taken on when so many percent of the scarcest thing are in use.
pub fn judge(before: Load, used: u64) -> Load {
    match before {
        _ if used >= FULL_FROM => Load::Full,
        _ if used < NORMAL_BELOW => Load::Normal,
        Load::Normal if used >= SHEDDING_FROM => Load::Shedding,
        before => before,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_is_taken_on_again_only_well_below() {
        let mut load = Load::Normal;
        for (used, expected) in [
            (79, Load::Normal),
            (89, Load::Normal),
            (90, Load::Shedding),
            (85, Load::Shedding),
            (95, Load::Full),
            (90, Load::Full),
            (80, Load::Full),
            (79, Load::Normal),
            (100, Load::Full),
        ] {
            load = judge(load, used);
            assert_eq!(load, expected, "{used} %");
        }
    }

    #[tokio::test]
    async fn connections_are_counted_between_two_looks() {
        let overload = Arc::new(Overload::new(100 + RESERVED_DESCRIPTORS));
        overload.note_descriptors(50);
        let mut connections: Vec<_> = (0..39).map(|_| overload.connected()).collect();
        assert_eq!(overload.load(), Load::Normal);
        connections.push(overload.connected());
        assert_eq!(overload.load(), Load::Shedding);
        connections.extend((0..5).map(|_| overload.connected()));
        assert_eq!(overload.load(), Load::Full);
        // What is full stays full until somebody has looked.
        drop(connections);
        assert_eq!((overload.connections(), overload.load()), (0, Load::Full));
        overload.set(Load::Normal);
        overload.accepting().await;
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_accepts_while_it_is_full() {
        let overload = Arc::new(Overload::default());
        overload.set(Load::Full);
        let waiting = tokio::spawn({
            let overload = Arc::clone(&overload);
            async move { overload.accepting().await }
        });
        tokio::time::sleep(std::time::Duration::from_secs(60)).await;
        assert!(!waiting.is_finished());
        overload.set(Load::Shedding);
        waiting.await.unwrap();
    }
}
