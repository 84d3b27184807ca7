//! One story in the place where it is kept: no more memory than needs be, since each request writes
//! some that nobody has touched for long. It is written over, not made anew.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Method;

use super::{Note, UpstreamNumber};
use crate::telemetry::metrics::Method as Word;
use crate::telemetry::{Decision, Refused};

/// So many bytes of memory a story takes, besides a long path.
const SLOT_BYTES: usize = 256;

/// A path that is longer has memory of its own.
pub(super) const PATH_BYTES_MAX: usize = 108;

/// Of a path that is longer still, so much of the beginning is kept: a story must not be as long as a head
/// may be.
const LONG_BYTES_MAX: usize = 2048;

/// Stands for the rest of it.
const REST: &str = "…";

/// Memory of a long path is used again for another one, unless it is longer than this.
const LONG_BYTES_KEPT: usize = 1024;

/// A story, what comes first and always in the first of its cache lines, and its path in the last.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(super) struct Slot {
    /// See `Story::number`.
    pub(super) number: u64,
    /// When it ended: nanoseconds of the wall clock since 1970.
    pub(super) at: u64,
    /// The number in the request's id.
    pub(super) request: u64,
    pub(super) took_ms: u64,
    pub(super) body_bytes: u64,
    pub(super) client: Option<Arc<str>>,
    pub(super) reason: &'static str,
    pub(super) generation: Option<u64>,
    pub(super) rare: Option<Box<Rare>>,
    pub(super) upstream: Option<UpstreamNumber>,
    pub(super) account: Option<u32>,
    pub(super) waited: After,
    pub(super) session_after: After,
    pub(super) head_after: After,
    pub(super) status: u16,
    pub(super) peer: Option<IpAddr>,
    pub(super) decision: Decision,
    /// `Other` where `rare` has it.
    pub(super) method: Word,
    pub(super) is_replayed: bool,
    pub(super) is_awaited: bool,
    path_bytes: u8,
    path: [u8; PATH_BYTES_MAX],
}

const _: () = assert!(size_of::<Slot>() == SLOT_BYTES, "a story has grown");

/// What few stories have.
#[derive(Clone, Debug, Default)]
pub(super) struct Rare {
    pub(super) refused: Option<Refused>,
    pub(super) redacted: u64,
    /// A method of no closed list.
    pub(super) method: Option<Method>,
    /// A long path; empty where it is not.
    path: String,
}

/// Milliseconds from the head of a request, 49 days at most, or nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct After(u32);

impl After {
    const NEVER: Self = Self(u32::MAX);

    fn new(after: Option<Duration>) -> Self {
        let Some(after) = after else { return Self::NEVER };
        Self(u32::try_from(milliseconds(after)).unwrap_or(u32::MAX).min(u32::MAX - 1))
    }

    pub(super) fn duration(self) -> Option<Duration> {
        (self != Self::NEVER).then(|| Duration::from_millis(self.0.into()))
    }
}

/// Whole milliseconds.
fn milliseconds(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1000).saturating_add(duration.subsec_millis().into())
}

impl Slot {
    /// A place in which nothing is written yet.
    pub(super) fn vacant() -> Self {
        Self {
            number: 0,
            at: 0,
            request: 0,
            took_ms: 0,
            body_bytes: 0,
            client: None,
            reason: "",
            generation: None,
            rare: None,
            upstream: None,
            account: None,
            waited: After::NEVER,
            session_after: After::NEVER,
            head_after: After::NEVER,
            status: 0,
            peer: None,
            decision: Decision::Refused,
            method: Word::Other,
            is_replayed: false,
            is_awaited: false,
            path_bytes: 0,
            path: [0; PATH_BYTES_MAX],
        }
    }

    /// Writes a story over what is here; nothing of that is shown any more.
    pub(super) fn write(&mut self, number: u64, at: u64, note: Note<'_>) {
        self.number = number;
        self.at = at;
        self.request = note.id.number();
        self.took_ms = milliseconds(note.took);
        self.body_bytes = note.body_bytes;
        self.client = note.client.map(|(_, name)| name);
        self.reason = note.reason;
        self.generation = note.generation;
        self.upstream = note.upstream;
        self.account = note.account;
        self.waited = After::new(note.waited);
        self.session_after = After::new(note.session_after);
        self.head_after = After::new(note.head_after);
        self.status = note.status.as_u16();
        self.peer = note.peer;
        self.decision = note.decision;
        self.method = Word::of(note.method);
        self.is_replayed = note.is_replayed;
        self.is_awaited = note.is_awaited;
        let (path, is_other) = (note.path.as_bytes(), self.method == Word::Other);
        let short = self.path.get_mut(..path.len());
        let is_rare = short.is_none() || is_other || note.refused.is_some() || note.redacted > 0;
        self.path_bytes = 0;
        let long = match short {
            Some(short) => {
                short.copy_from_slice(path);
                // No more than `PATH_BYTES_MAX`.
                self.path_bytes = path.len() as u8;
                ""
            }
            None => note.path,
        };
        if is_rare {
            let rare = self.rare.get_or_insert_default();
            rare.refused = note.refused;
            rare.redacted = note.redacted;
            rare.method = is_other.then(|| note.method.clone());
            rare.rewrite_path(long);
        } else {
            self.rare = None;
        }
    }

    /// The path.
    pub(super) fn path(&self) -> &str {
        let long = self.rare.as_ref().map(|rare| &*rare.path).filter(|path| !path.is_empty());
        let short = || self.path.get(..self.path_bytes.into()).unwrap_or_default();
        // A path was copied whole.
        long.unwrap_or_else(|| std::str::from_utf8(short()).unwrap_or_default())
    }
}

impl Rare {
    fn rewrite_path(&mut self, path: &str) {
        if self.path.capacity() > LONG_BYTES_KEPT {
            self.path = String::new();
        }
        self.path.clear();
        let kept = path.floor_char_boundary(LONG_BYTES_MAX);
        self.path.push_str(path.get(..kept).unwrap_or_default());
        if kept < path.len() {
            self.path.push_str(REST);
        }
    }
}
