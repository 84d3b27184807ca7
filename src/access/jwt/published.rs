//! The keys that an issuer has published: whoever fetches them puts them here, whoever verifies
//! takes them from here, and asks for them where they are missing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Notify, watch};

use super::keys::KeySet;

/// The keys of one issuer, as they were last fetched.
#[derive(Debug)]
pub struct Published {
    state: watch::Sender<State>,
    /// Counts the key sets, without a lock.
    version: AtomicU64,
    wanted: Notify,
}

#[derive(Debug)]
struct State {
    keys: Option<Arc<KeySet>>,
    /// How many attempts to fetch have ended.
    attempts: u64,
    phase: Phase,
}

/// What becomes of a question for keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// They are being fetched: the answer is near.
    Fetching,
    /// It makes them be fetched.
    Ready,
    /// They are as new as they may be.
    Fresh,
    /// They could not be fetched, and are tried again at a time of their own.
    Failing,
}

/// What is known when somebody looks.
pub(super) struct Known {
    pub(super) keys: Option<Arc<KeySet>>,
    /// Which keys they are.
    pub(super) version: u64,
    pub(super) missing: Missing,
}

/// What to do about a key that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// Wait until more attempts than so many have ended.
    Wait(u64),
    /// There is none.
    Final,
    /// Nobody knows.
    Unknown,
}

impl Default for Published {
    fn default() -> Self {
        let state = State { keys: None, attempts: 0, phase: Phase::Fetching };
        Self { state: watch::Sender::new(state), version: AtomicU64::new(0), wanted: Notify::new() }
    }
}

impl Published {
    /// Nothing yet: the first attempt is about to be made.
    pub fn new() -> Self {
        Self::default()
    }

    /// An attempt to fetch them begins.
    pub fn begin(&self) {
        self.state.send_modify(|state| state.phase = Phase::Fetching);
    }

    /// They were fetched. Returns whether they are others than before.
    pub fn publish(&self, keys: KeySet) -> bool {
        let mut is_new = false;
        self.state.send_modify(|state| {
            is_new = state.keys.as_deref() != Some(&keys);
            if is_new {
                state.keys = Some(Arc::new(keys));
                self.version.fetch_add(1, Ordering::AcqRel);
            }
            state.attempts += 1;
            state.phase = Phase::Fresh;
        });
        is_new
    }

    /// They could not be fetched. The last ones stay. Returns whether there are any.
    pub fn fail(&self) -> bool {
        let mut are_there = false;
        self.state.send_modify(|state| {
            are_there = state.keys.is_some();
            state.attempts += 1;
            state.phase = Phase::Failing;
        });
        are_there
    }

    /// The last ones are too old to be used.
    pub fn forget(&self) {
        self.state.send_modify(|state| {
            state.keys = None;
            self.version.fetch_add(1, Ordering::AcqRel);
        });
    }

    /// They may be fetched again when somebody asks.
    pub fn listen(&self) {
        self.state.send_modify(|state| state.phase = Phase::Ready);
    }

    /// Waits until somebody asks for a key that is not there. Cancel safe.
    pub async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// Which keys they are.
    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    pub(super) fn known(&self) -> Known {
        let state = self.state.borrow();
        Known {
            keys: state.keys.clone(),
            version: self.version(),
            missing: match state.phase {
                Phase::Fetching | Phase::Ready => Missing::Wait(state.attempts),
                Phase::Fresh => Missing::Final,
                Phase::Failing => Missing::Unknown,
            },
        }
    }

    /// Asks for them, where that helps.
    pub(super) fn ask(&self) {
        if self.state.borrow().phase == Phase::Ready {
            self.wanted.notify_one();
        }
    }

    /// Waits until more attempts than so many have ended. Cancel safe.
    pub(super) async fn attempted(&self, attempts: u64) {
        let mut seen = self.state.subscribe();
        // The sender lives as long as `self`.
        _ = seen.wait_for(|state| state.attempts > attempts).await;
    }
}
