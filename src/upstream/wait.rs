//! Since when somebody waits for the head of an answer: making a connection takes nothing of that
//! time, and as long as there is none, nothing can have been sent.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Dialler;
use crate::clock::Moment;

/// How long somebody waits for the head of an answer, and how far its request has come.
#[derive(Debug)]
pub struct Wait {
    /// Nothing where that is for somebody else to say.
    time: Option<Duration>,
    /// [`BEFORE`], [`CONNECTING`], or [`FIRST`] and the milliseconds of the clock at which the request
    /// was given to a connection.
    stage: AtomicU64,
}

const BEFORE: u64 = 0;
const CONNECTING: u64 = 1;
const FIRST: u64 = 2;

/// How far a request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Nothing has been done for it; or, where its time is the caller's to bound, it has found a
    /// connection that waited, as nearly all do: those need no clock.
    Before,
    /// A connection is made for it: nothing was sent.
    Connecting,
    /// It was given to a connection at this moment.
    Sent(Moment),
}

impl Wait {
    /// As long as the caller waits.
    pub fn for_the_caller() -> Self {
        Self { time: None, stage: AtomicU64::new(BEFORE) }
    }

    /// So long from when the request is given to a connection.
    pub fn at_most(time: Duration) -> Self {
        Self { time: Some(time), stage: AtomicU64::new(BEFORE) }
    }

    /// How far the request has come.
    pub fn stage(&self) -> Stage {
        match self.stage.load(Ordering::Relaxed) {
            BEFORE => Stage::Before,
            CONNECTING => Stage::Connecting,
            sent => Stage::Sent(Moment::default() + Duration::from_millis(sent - FIRST)),
        }
    }

    pub(super) fn time(&self) -> Option<Duration> {
        self.time
    }

    /// A connection is made.
    pub(super) fn connects(&self) {
        self.stage.store(CONNECTING, Ordering::Relaxed);
    }

    /// The request is given to a connection.
    pub(super) fn begins(&self, dialler: &Dialler) {
        if self.time.is_some() || self.stage.load(Ordering::Relaxed) == CONNECTING {
            self.stage.store(FIRST + dialler.milliseconds(), Ordering::Relaxed);
        }
    }
}
