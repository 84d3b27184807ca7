//! The lock-out guard: whether an account may log in, and what a refused login does to that.
//!
//! The state is one enum; the budget beside it only ever shrinks by attempts and grows by a success
//! or by the recipe's window. A login is admitted right before it is recorded and sent; as long as
//! nobody knows whether the secret is right, one at a time.

use std::time::Duration;

use super::jitter::Jitter;
use super::{HoldCause, Unavailable};
use crate::clock::Moment;
use crate::recipe::{Budget, RefusalClass};
use crate::secret::{Fingerprint, TotpStep};
use crate::upstream::Unreached;

/// The first pause after a failure whose cause may pass by itself; it doubles with each one.
const PAUSE_FIRST: Duration = Duration::from_secs(1);

/// The longest pause, but for its spread: an operator who repaired something waits no longer.
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// A growing pause is longer by up to this part of it, so that no two processes keep step.
const PAUSE_SPREAD: u32 = 4;

/// The pause when the upstream says that there is no room, and not for how long.
const PAUSE_WITHOUT_HINT: Duration = Duration::from_secs(30);

/// No upstream holds an account back for longer than this by its own word.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// Refused secrets that one guard remembers: more than accounts that share a login name, or changes
/// of one secret.
pub(super) const REFUSED_MAX: usize = 64;

/// Whether an account may log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It may.
    Open,
    /// Not before a moment.
    HeldBack {
        /// That moment.
        until: Moment,
        /// Why.
        cause: HoldCause,
    },
    /// Not with this secret.
    Quarantined {
        /// What the upstream said, where the recipe knows it.
        cause: Option<RefusalClass>,
        /// The secret that it said it of.
        fingerprint: Fingerprint,
    },
}

/// The guard of one account at one upstream.
#[derive(Clone, Debug)]
pub struct Guard {
    pub(super) state: State,
    /// Every secret that was refused. Accounts can share a login name, and what one of them does
    /// later must not bring the refused secret of another back.
    pub(super) refused: Vec<(Fingerprint, Option<RefusalClass>)>,
    pub(super) budget: Budget,
    pub(super) attempts_left: u32,
    pub(super) failures_in_a_row: u32,
    /// When the budget is whole again: its window after the last attempt.
    pub(super) refills_at: Moment,
    /// When the next login may begin.
    pub(super) next_login_at: Moment,
    /// A secret was refused since the budget was last whole: a new one gets one attempt, even where
    /// the budget is spent.
    pub(super) grants: bool,
    /// The secrets that got their one attempt beyond a spent budget.
    pub(super) granted: Vec<Fingerprint>,
    /// The last time step whose one-time code was sent: none is sent twice.
    pub(super) code_used: Option<TotpStep>,
    /// Logins that were admitted and have not ended.
    pub(super) under_way: u32,
    /// The secret that the upstream accepted last, in this process.
    pub(super) proven: Option<Fingerprint>,
}

/// Whether a login may begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Its attempt is spent.
    Admitted,
    /// It is too early: the distance between two logins.
    Early(Moment),
    /// Another login of the account has to end first: it may use up the budget, or tell that the
    /// secret is wrong.
    Crowded,
    /// No.
    Refused(Unavailable),
}

/// How a login ended without a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The upstream refused it, in a way that the recipe knows or does not.
    Refused {
        /// What it means.
        class: Option<RefusalClass>,
        /// How long the upstream asks to wait.
        retry_after: Option<Duration>,
    },
    /// Nothing was sent.
    Unreachable(Unreached),
    /// Nothing was sent: the attempt could not be recorded.
    Unrecorded,
    /// Something was sent and no answer came.
    AnswerLost,
    /// Nothing was sent: Doorward stopped while the login waited for its time.
    Withdrawn,
}

impl Guard {
    /// An account that has not been tried.
    pub fn new(budget: Budget, now: Moment) -> Self {
        Self {
            state: State::Open,
            refused: Vec::new(),
            budget,
            attempts_left: budget.attempts,
            failures_in_a_row: 0,
            refills_at: now,
            next_login_at: now,
            grants: false,
            granted: Vec::new(),
            code_used: None,
            under_way: 0,
            proven: None,
        }
    }

    /// The same account after an operator has cleared it. Codes that were sent stay sent, and logins
    /// that are under way keep the attempts that they have spent.
    pub(super) fn cleared(self, now: Moment) -> Self {
        let Self { code_used, under_way, budget, .. } = self;
        let attempts_left = budget.attempts.saturating_sub(under_way);
        Self { code_used, under_way, attempts_left, ..Self::new(budget, now) }
    }

    /// An account of which something may have been forgotten: one attempt, and a whole budget only
    /// when that succeeds or the window has passed.
    pub fn cautious(budget: Budget, now: Moment) -> Self {
        Self {
            attempts_left: budget.attempts.min(1),
            refills_at: now + budget.window,
            ..Self::new(budget, now)
        }
    }

    /// The recipe's budget is this one from now on. Nobody is given an attempt by that: a larger one
    /// counts when it is whole again.
    pub(super) fn obeys(&mut self, budget: Budget) {
        self.budget = budget;
        self.attempts_left = self.attempts_left.min(budget.attempts);
    }

    /// Whether there is nothing about it that a new one would not have.
    pub(super) fn is_blank(&self, now: Moment) -> bool {
        let is_open = match self.state {
            State::Open => true,
            State::HeldBack { until, .. } => until <= now,
            State::Quarantined { .. } => false,
        };
        let is_whole = self.refills_at <= now && self.next_login_at <= now && self.under_way == 0;
        is_open && is_whole && self.refused.is_empty() && self.code_used.is_none()
    }

    /// Whether a login with this secret may be asked for. Spends nothing.
    ///
    /// # Errors
    /// When none may be tried now.
    pub fn check(&self, fingerprint: Fingerprint, now: Moment) -> Result<(), Unavailable> {
        if let Some(cause) = self.refusal_of(fingerprint) {
            return Err(Unavailable::Refused(cause));
        }
        if let State::HeldBack { until, cause } = &self.state {
            let retry_after = until.saturating_since(now);
            if !retry_after.is_zero() {
                return Err(Unavailable::HeldBack { retry_after, cause: *cause });
            }
        }
        if self.left(fingerprint, now) == 0 && self.under_way == 0 {
            let retry_after = self.refills_at.saturating_since(now);
            return Err(Unavailable::HeldBack { retry_after, cause: HoldCause::BudgetSpent });
        }
        Ok(())
    }

    /// Spends one attempt where a login may begin now. `distance` later the next one may. Each
    /// admitted login has to end by [`Guard::succeeded`] or `Guard::failed`.
    pub fn admit(
        &mut self,
        fingerprint: Fingerprint,
        now: Moment,
        distance: Duration,
    ) -> Admission {
        if let Err(unavailable) = self.check(fingerprint, now) {
            return Admission::Refused(unavailable);
        }
        let left = self.left(fingerprint, now);
        if self.under_way > 0 && (self.proven != Some(fingerprint) || left == 0) {
            return Admission::Crowded;
        }
        if now < self.next_login_at {
            return Admission::Early(self.next_login_at);
        }
        if now >= self.refills_at {
            self.grants = false;
            self.granted.clear();
        } else if self.attempts_left == 0 && left > 0 {
            self.granted.push(fingerprint);
        }
        self.attempts_left = left.saturating_sub(1);
        self.under_way += 1;
        self.refills_at = now + self.budget.window;
        self.next_login_at = now + distance;
        Admission::Admitted
    }

    /// An admitted login succeeded.
    pub fn succeeded(&mut self, fingerprint: Fingerprint) {
        self.ended();
        self.refused.retain(|(refused, _)| *refused != fingerprint);
        self.state = State::Open;
        self.attempts_left = self.budget.attempts.saturating_sub(self.under_way);
        self.failures_in_a_row = 0;
        self.grants = false;
        self.granted.clear();
        self.proven = Some(fingerprint);
    }

    /// An admitted login failed. Returns what those who waited for it are told.
    pub(super) fn failed(
        &mut self,
        failure: Failure,
        fingerprint: Fingerprint,
        now: Moment,
        jitter: Jitter,
    ) -> Unavailable {
        self.ended();
        let was_tried = !matches!(
            failure,
            Failure::Withdrawn
                | Failure::Unreachable(Unreached::CircuitOpen { .. } | Unreached::Exhausted)
        );
        if was_tried {
            self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        }
        match failure {
            Failure::Withdrawn => {
                self.refund(fingerprint);
                Unavailable::Stopping
            }
            Failure::Unreachable(unreached) => {
                self.refund(fingerprint);
                // One that was not even tried says nothing new.
                if was_tried {
                    self.hold_back(HoldCause::Unreachable, self.growing_pause(jitter), now);
                }
                Unavailable::Unreachable(unreached)
            }
            Failure::Unrecorded => {
                self.refund(fingerprint);
                self.hold_back(HoldCause::StateUnwritable, self.growing_pause(jitter), now);
                self.refusal(None, now)
            }
            Failure::AnswerLost => self.answer_lost(now, jitter),
            Failure::Refused { class: None, .. } => {
                match self.attempts_left {
                    0 => self.quarantine(None, fingerprint),
                    _ => {
                        let pause = self.growing_pause(jitter);
                        self.hold_back(HoldCause::UnclassifiedRefusal, pause, now);
                    }
                }
                Unavailable::Refused(None)
            }
            Failure::Refused { class: Some(class), retry_after } => match hold_cause(class) {
                None => {
                    self.quarantine(Some(class), fingerprint);
                    Unavailable::Refused(Some(class))
                }
                Some(cause) => {
                    self.refund(fingerprint);
                    // An upstream that says "at once" is asked less often all the same.
                    let pause = match (cause, retry_after) {
                        (_, Some(hint)) => hint.max(self.doubled_pause()),
                        (HoldCause::UpstreamBroken, None) => self.growing_pause(jitter),
                        (_, None) => PAUSE_WITHOUT_HINT,
                    };
                    self.hold_back(cause, pause.min(RETRY_AFTER_MAX), now);
                    self.refusal(Some(class), now)
                }
            },
        }
    }

    /// What the upstream said of this secret, if it has refused it.
    pub fn refusal_of(&self, fingerprint: Fingerprint) -> Option<Option<RefusalClass>> {
        let refused = self.refused.iter().find(|(refused, _)| *refused == fingerprint);
        refused.map(|(_, cause)| *cause)
    }

    /// The last time step whose one-time code was sent.
    pub fn code_used(&self) -> Option<TotpStep> {
        self.code_used
    }

    /// Notes the time step of a one-time code that is about to be sent.
    ///
    /// # Errors
    /// The step that was used last: another login sent this code, or a later one, meanwhile.
    pub fn use_code(&mut self, step: TotpStep) -> Result<(), TotpStep> {
        if let Some(used) = self.code_used.filter(|used| step.is_spent_by(*used)) {
            return Err(used);
        }
        self.code_used = Some(step);
        Ok(())
    }

    /// No login may be sent for a reason of our own. Returns what those who wait are told.
    pub(super) fn hold(&mut self, cause: HoldCause, now: Moment, jitter: Jitter) -> Unavailable {
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        self.hold_back(cause, self.growing_pause(jitter), now);
        self.refusal(None, now)
    }

    /// Sessions of ours were closed: there may be room sooner than the upstream was asked for.
    pub(super) fn made_room(&mut self, now: Moment, jitter: Jitter) {
        let sooner = now + self.growing_pause(jitter);
        if let State::HeldBack { until, cause: HoldCause::SlotsFull } = &mut self.state {
            *until = sooner.min(*until);
        }
    }

    /// A login that was begun before a restart and never ended. Its attempt was counted when it
    /// began.
    pub(super) fn was_interrupted(&mut self, now: Moment, jitter: Jitter) {
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        if !matches!(self.state, State::Quarantined { .. }) {
            self.answer_lost(now, jitter);
        }
    }

    /// Whether it may log in.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The attempts that are left.
    pub fn attempts_left(&self) -> u32 {
        self.attempts_left
    }

    /// What is left for this secret: a budget whose window has passed is whole, and one that is
    /// spent has one attempt for a secret that is not the refused one.
    pub(super) fn left(&self, fingerprint: Fingerprint, now: Moment) -> u32 {
        if now >= self.refills_at {
            return self.budget.attempts.saturating_sub(self.under_way);
        }
        let granted = self.granted.contains(&fingerprint) || self.granted.len() >= REFUSED_MAX;
        match self.grants && !granted {
            true => self.attempts_left.max(1),
            false => self.attempts_left,
        }
    }

    fn ended(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }

    /// The upstream did not judge the secret: the attempt comes back.
    fn refund(&mut self, fingerprint: Fingerprint) {
        if self.granted.contains(&fingerprint) {
            self.granted.retain(|granted| *granted != fingerprint);
        } else {
            let whole = self.budget.attempts.saturating_sub(self.under_way);
            self.attempts_left = (self.attempts_left + 1).min(whole);
        }
    }

    fn answer_lost(&mut self, now: Moment, jitter: Jitter) -> Unavailable {
        // Nobody has refused anything: when the budget is spent, its window is waited for.
        let pause = match self.attempts_left {
            0 => self.budget.window,
            _ => self.growing_pause(jitter),
        };
        self.hold_back(HoldCause::AnswerLost, pause, now);
        self.refusal(None, now)
    }

    fn quarantine(&mut self, cause: Option<RefusalClass>, fingerprint: Fingerprint) {
        if self.refused.len() >= REFUSED_MAX {
            self.refused.remove(0);
        }
        self.refused.push((fingerprint, cause));
        self.state = State::Quarantined { cause, fingerprint };
        self.grants = true;
        self.proven = None;
    }

    /// Never shortens a pause that there is.
    fn hold_back(&mut self, cause: HoldCause, pause: Duration, now: Moment) {
        let until = now + pause;
        if !matches!(&self.state, State::HeldBack { until: longer, .. } if *longer > until) {
            self.state = State::HeldBack { until, cause };
        }
    }

    fn refusal(&self, class: Option<RefusalClass>, now: Moment) -> Unavailable {
        match &self.state {
            State::HeldBack { until, cause } => {
                Unavailable::HeldBack { retry_after: until.saturating_since(now), cause: *cause }
            }
            _ => Unavailable::Refused(class),
        }
    }

    fn growing_pause(&self, jitter: Jitter) -> Duration {
        let pause = self.doubled_pause();
        pause + jitter.part_of(pause / PAUSE_SPREAD)
    }

    fn doubled_pause(&self) -> Duration {
        let doublings = self.failures_in_a_row.saturating_sub(1).min(16);
        (PAUSE_FIRST * 2_u32.pow(doublings)).min(PAUSE_MAX)
    }
}

/// The longest that a cause holds an account back.
pub(super) fn pause_max(cause: HoldCause, budget: Budget) -> Duration {
    let growing = PAUSE_MAX + PAUSE_MAX / PAUSE_SPREAD;
    match cause {
        HoldCause::AnswerLost | HoldCause::BudgetSpent => budget.window.max(growing),
        HoldCause::SlotsFull | HoldCause::Throttled | HoldCause::UpstreamBroken => RETRY_AFTER_MAX,
        HoldCause::UnclassifiedRefusal
        | HoldCause::Unreachable
        | HoldCause::Displaced
        | HoldCause::SessionsFull
        | HoldCause::LoginsQueued
        | HoldCause::StateUnwritable
        | HoldCause::Paused => growing,
    }
}

/// What passes by itself holds back; what only an operator can mend is quarantine.
fn hold_cause(class: RefusalClass) -> Option<HoldCause> {
    match class {
        RefusalClass::BadSecret
        | RefusalClass::Locked
        | RefusalClass::SecondFactor
        | RefusalClass::NotAllowed => None,
        RefusalClass::SlotsFull => Some(HoldCause::SlotsFull),
        RefusalClass::Throttled => Some(HoldCause::Throttled),
        RefusalClass::UpstreamBroken => Some(HoldCause::UpstreamBroken),
    }
}

/// The word for a class in logs and problem details, as recipes write it.
pub fn class_name(class: RefusalClass) -> &'static str {
    class.as_str()
}

/// The class that is written so.
pub(super) fn class_named(name: &str) -> Option<RefusalClass> {
    [
        RefusalClass::BadSecret,
        RefusalClass::Locked,
        RefusalClass::SecondFactor,
        RefusalClass::NotAllowed,
        RefusalClass::SlotsFull,
        RefusalClass::Throttled,
        RefusalClass::UpstreamBroken,
    ]
    .into_iter()
    .find(|class| class_name(*class) == name)
}

#[cfg(test)]
#[path = "account_tests.rs"]
mod tests;
