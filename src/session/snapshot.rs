//! A guard as it is kept over a restart. Moments become wall times and back: a wall clock that was
//! set back never gives an attempt back, and never lengthens a pause beyond its named maximum.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::HoldCause;
use super::account::{Guard, REFUSED_MAX, State, class_name, class_named, pause_max};
use crate::clock::Moment;
use crate::recipe::{Budget, RefusalClass};
use crate::secret::{Fingerprint, TotpStep};

/// What is written of a guard. Never a secret.
#[derive(Debug, Serialize, Deserialize)]
struct Written {
    state: WrittenState,
    /// Fingerprints and classes.
    refused: Vec<(String, Option<String>)>,
    attempts_left: u32,
    failures_in_a_row: u32,
    /// Milliseconds since 1970.
    refills_at: u64,
    next_login_at: u64,
    grants: bool,
    granted: Vec<String>,
    code_used: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
enum WrittenState {
    Open,
    HeldBack { until: u64, cause: String },
    Quarantined { cause: Option<String>, fingerprint: String },
}

impl Guard {
    /// What is kept of it. Logins under way are not: each has a record of its own.
    pub(super) fn snapshot(&self, now: Moment, wall: SystemTime) -> Zeroizing<Vec<u8>> {
        let at = |moment: Moment| milliseconds(wall + moment.saturating_since(now));
        let written = Written {
            state: match &self.state {
                State::Open => WrittenState::Open,
                State::HeldBack { until, cause } => {
                    WrittenState::HeldBack { until: at(*until), cause: cause.as_str().to_owned() }
                }
                State::Quarantined { cause, fingerprint } => WrittenState::Quarantined {
                    cause: cause.map(|class| class_name(class).to_owned()),
                    fingerprint: shown(*fingerprint),
                },
            },
            refused: self
                .refused
                .iter()
                .map(|(refused, class)| {
                    (shown(*refused), class.map(|class| class_name(class).to_owned()))
                })
                .collect(),
            attempts_left: self.attempts_left,
            failures_in_a_row: self.failures_in_a_row,
            refills_at: at(self.refills_at),
            next_login_at: at(self.next_login_at),
            grants: self.grants,
            granted: self.granted.iter().map(|granted| shown(*granted)).collect(),
            code_used: self.code_used.map(|step| step.0),
        };
        // Strings and numbers can always be written.
        Zeroizing::new(serde_json::to_vec(&written).unwrap_or_default())
    }

    /// A guard that was kept; nothing when it cannot be understood. `distance` is the most that two
    /// logins are kept apart.
    pub(super) fn restored(
        kept: &[u8],
        budget: Budget,
        distance: Duration,
        now: Moment,
        wall: SystemTime,
    ) -> Option<Self> {
        let written: Written = serde_json::from_slice(kept).ok()?;
        let left = |at: u64, longest: Duration| {
            let at = UNIX_EPOCH + Duration::from_millis(at);
            now + at.duration_since(wall).unwrap_or_default().min(longest)
        };
        let state = match written.state {
            WrittenState::Open => State::Open,
            WrittenState::HeldBack { until, cause } => {
                let cause = HoldCause::ALL.into_iter().find(|known| known.as_str() == cause)?;
                State::HeldBack { until: left(until, pause_max(cause, budget)), cause }
            }
            WrittenState::Quarantined { cause, fingerprint } => {
                State::Quarantined { cause: class(cause)?, fingerprint: read(&fingerprint)? }
            }
        };
        let refused = written
            .refused
            .into_iter()
            .take(REFUSED_MAX)
            .map(|(refused, cause)| Some((read(&refused)?, class(cause)?)));
        Some(Self {
            state,
            refused: refused.collect::<Option<_>>()?,
            attempts_left: written.attempts_left.min(budget.attempts),
            failures_in_a_row: written.failures_in_a_row,
            refills_at: left(written.refills_at, budget.window),
            next_login_at: left(written.next_login_at, distance),
            grants: written.grants,
            granted: written.granted.iter().map(|granted| read(granted)).collect::<Option<_>>()?,
            code_used: written.code_used.map(TotpStep),
            ..Self::new(budget, now)
        })
    }
}

/// A class as it was written; the outer nothing when there is no such class.
fn class(written: Option<String>) -> Option<Option<RefusalClass>> {
    match written {
        None => Some(None),
        Some(name) => class_named(&name).map(Some),
    }
}

pub(super) fn shown(fingerprint: Fingerprint) -> String {
    HEXLOWER.encode(&fingerprint.to_bytes())
}

pub(super) fn read(shown: &str) -> Option<Fingerprint> {
    let bytes = HEXLOWER.decode(shown.as_bytes()).ok()?;
    bytes.try_into().ok().map(Fingerprint::from_bytes)
}

pub(super) fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
