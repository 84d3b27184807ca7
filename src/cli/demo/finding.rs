//! What a step of the walk should show and what was seen.

use std::fmt::Display;

use crate::emulator::{Counters, Vendor};

/// A step of the walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    ColdLogin,
    CachedCall,
    LocalLogin,
    ReplayedCall,
    LateExpiry,
    NothingLeaked,
    Logout,
}

/// What was found of one step at one vendor's server.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub(super) vendor: Vendor,
    pub(super) step: Step,
    pub(super) checks: Vec<Check>,
}

/// One thing that was looked at.
#[derive(Clone, Debug)]
pub(super) struct Check {
    pub(super) what: &'static str,
    pub(super) expected: String,
    pub(super) seen: String,
    shown: Shown,
}

/// When a check stands in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    Always,
    WhenWrong,
}

/// What a server should have counted in one step. What is not named here should not have happened.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Expected {
    pub(super) logins: u64,
    pub(super) logouts: u64,
    pub(super) live_sessions: u64,
    /// Requests that came with a session which the server had ended.
    pub(super) dead_credentials: u64,
    pub(super) writes: u64,
}

impl Step {
    /// Its name in the table.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::ColdLogin => "cold login",
            Self::CachedCall => "cached call",
            Self::LocalLogin => "local login",
            Self::ReplayedCall => "replayed call",
            Self::LateExpiry => "late expiry",
            Self::NothingLeaked => "nothing leaked",
            Self::Logout => "logout at stop",
        }
    }

    /// What it shows.
    pub(super) fn promise(self) -> &'static str {
        match self {
            Self::ColdLogin => "three calls at once cost one login",
            Self::CachedCall => "the next call costs none",
            Self::LocalLogin => "a client's own login never reaches the server",
            Self::ReplayedCall => {
                "session killed on the server: one login, and the POST is executed once"
            }
            Self::LateExpiry => {
                "session killed again: a late refusal of the old one does not end the new one"
            }
            Self::NothingLeaked => "no password, token or cookie came back",
            Self::Logout => "no session is left on the server",
        }
    }
}

impl Finding {
    pub(super) fn is_ok(&self) -> bool {
        self.checks.iter().all(Check::is_ok)
    }
}

impl Check {
    /// A check that stands in the table.
    pub(super) fn new(what: &'static str, expected: impl Display, seen: impl Display) -> Self {
        let (expected, seen) = (expected.to_string(), seen.to_string());
        Self { what, expected, seen, shown: Shown::Always }
    }

    /// A check that stands in the table only when it failed.
    pub(super) fn quiet(what: &'static str, expected: impl Display, seen: impl Display) -> Self {
        Self::new(what, expected, seen).unshown()
    }

    /// The same check, in the table only when it failed.
    pub(super) fn unshown(self) -> Self {
        Self { shown: Shown::WhenWrong, ..self }
    }

    pub(super) fn is_ok(&self) -> bool {
        self.expected == self.seen
    }

    pub(super) fn is_shown(&self) -> bool {
        self.shown == Shown::Always || !self.is_ok()
    }
}

impl Expected {
    /// Holds a server's counters against this.
    pub(super) fn checks(&self, seen: &Counters) -> Vec<Check> {
        let happens = |what, expected, seen| match expected {
            0 => Check::quiet(what, expected, seen),
            _ => Check::new(what, expected, seen),
        };
        let never = |what, seen| Check::quiet(what, 0, seen);
        vec![
            Check::new("logins", self.logins, seen.logins),
            happens("writes", self.writes, seen.writes),
            happens(
                "calls on a dead session",
                self.dead_credentials,
                seen.requests_with_dead_credential,
            ),
            happens("logouts", self.logouts, seen.logouts),
            Check::new("live sessions", self.live_sessions, seen.live_sessions),
            never("refused logins", seen.logins_refused),
            never("logins that carried a session", seen.logins_with_credential),
            never("writes executed twice", seen.duplicate_writes),
            never("calls without a session", seen.requests_without_credential),
            never("calls with a made-up session", seen.requests_with_foreign_credential),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_expected_is_a_failure_and_is_shown() {
        let expected = Expected { logins: 1, live_sessions: 1, ..Expected::default() };
        let mut counters = Counters { logins: 1, live_sessions: 1, ..Counters::default() };
        let checks = expected.checks(&counters);
        assert!(checks.iter().all(Check::is_ok));
        let shown: Vec<_> = checks.iter().filter(|check| check.is_shown()).collect();
        assert_eq!(shown.len(), 2);

        counters.duplicate_writes = 1;
        let wrong: Vec<_> =
            expected.checks(&counters).into_iter().filter(|check| !check.is_ok()).collect();
        assert_eq!(wrong.len(), 1);
        assert_eq!(wrong[0].what, "writes executed twice");
        assert!(wrong[0].is_shown());
    }
}
