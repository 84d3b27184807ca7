//! The lock-out guard: whether an account may log in, and what a refused login does to that.
//!
//! The state is one enum; the budget beside it only ever shrinks by attempts and grows by a success
//! or by the recipe's window.

use std::time::Duration;

use super::{HoldCause, Unavailable};
use crate::clock::Moment;
use crate::recipe::{Budget, RefusalClass};
use crate::secret::{Fingerprint, TotpStep};

/// The first pause after a failure whose cause may pass by itself; it doubles with each one.
const PAUSE_FIRST: Duration = Duration::from_secs(1);

/// The longest pause: an operator who repaired something waits no longer than this.
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// The pause when the upstream says that there is no room, and not for how long.
const PAUSE_WITHOUT_HINT: Duration = Duration::from_secs(30);

/// No upstream holds an account back for longer than this by its own word.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// Refused secrets that one guard remembers: more than accounts that share a login name, or changes
/// of one secret.
const REFUSED_MAX: usize = 64;

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
#[derive(Debug)]
pub struct Guard {
    state: State,
    /// Every secret that was refused. Accounts can share a login name, and what one of them does
    /// later must not bring the refused secret of another back.
    refused: Vec<(Fingerprint, Option<RefusalClass>)>,
    budget: Budget,
    attempts_left: u32,
    failures_in_a_row: u32,
    last_attempt: Moment,
    /// The last time step whose one-time code was sent: an upstream takes each code once.
    code_used: Option<TotpStep>,
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
    Unreachable,
    /// Something was sent and no answer came.
    AnswerLost,
    /// Nothing was sent: all sessions that the account may have are in use.
    NoRoom,
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
            last_attempt: now,
            code_used: None,
        }
    }

    /// Spends one attempt.
    ///
    /// # Errors
    /// When no login may be tried now with this secret.
    pub fn admit(&mut self, fingerprint: Fingerprint, now: Moment) -> Result<(), Unavailable> {
        if let Some(cause) = self.refusal_of(fingerprint) {
            return Err(Unavailable::Refused(cause));
        }
        match &self.state {
            State::Open => {}
            State::HeldBack { until, cause } => {
                let retry_after = until.saturating_since(now);
                if !retry_after.is_zero() {
                    return Err(Unavailable::HeldBack { retry_after, cause: *cause });
                }
            }
            // Another secret gets one attempt; what is left of the budget stays as it is.
            State::Quarantined { .. } => self.attempts_left = self.attempts_left.max(1),
        }
        if now.saturating_since(self.last_attempt) >= self.budget.window {
            self.attempts_left = self.budget.attempts;
        }
        if self.attempts_left == 0 {
            self.quarantine(None, fingerprint);
            return Err(Unavailable::Refused(None));
        }
        self.attempts_left -= 1;
        self.last_attempt = now;
        Ok(())
    }

    /// A login succeeded.
    pub fn succeeded(&mut self) {
        self.state = State::Open;
        self.attempts_left = self.budget.attempts;
        self.failures_in_a_row = 0;
    }

    /// A login failed. Returns what those who waited for it are told.
    pub fn failed(
        &mut self,
        failure: Failure,
        fingerprint: Fingerprint,
        now: Moment,
    ) -> Unavailable {
        if failure != Failure::Withdrawn {
            self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        }
        match failure {
            Failure::Withdrawn => {
                self.refund();
                Unavailable::Stopping
            }
            Failure::Unreachable => {
                self.refund();
                self.hold_back(HoldCause::Unreachable, self.growing_pause(), now);
                Unavailable::Unreachable
            }
            Failure::NoRoom => {
                self.refund();
                self.hold_back(HoldCause::SessionsFull, self.growing_pause(), now);
                self.refusal(None, now)
            }
            Failure::AnswerLost => {
                // Nobody has refused anything: when the budget is spent, its window is waited for.
                let pause = match self.attempts_left {
                    0 => self.budget.window,
                    _ => self.growing_pause(),
                };
                self.hold_back(HoldCause::AnswerLost, pause, now);
                self.refusal(None, now)
            }
            Failure::Refused { class: None, .. } => {
                match self.attempts_left {
                    0 => self.quarantine(None, fingerprint),
                    _ => {
                        let pause = self.growing_pause();
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
                    self.refund();
                    // An upstream that says "at once" is asked less often all the same.
                    let pause = match (cause, retry_after) {
                        (_, Some(hint)) => hint.max(self.growing_pause()),
                        (HoldCause::UpstreamBroken, None) => self.growing_pause(),
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

    /// Whether it may log in.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The attempts that are left.
    pub fn attempts_left(&self) -> u32 {
        self.attempts_left
    }

    /// The upstream did not judge the secret: the attempt comes back.
    fn refund(&mut self) {
        self.attempts_left = (self.attempts_left + 1).min(self.budget.attempts);
    }

    fn quarantine(&mut self, cause: Option<RefusalClass>, fingerprint: Fingerprint) {
        if self.refused.len() >= REFUSED_MAX {
            self.refused.remove(0);
        }
        self.refused.push((fingerprint, cause));
        self.state = State::Quarantined { cause, fingerprint };
    }

    fn hold_back(&mut self, cause: HoldCause, pause: Duration, now: Moment) {
        self.state = State::HeldBack { until: now + pause, cause };
    }

    fn refusal(&self, class: Option<RefusalClass>, now: Moment) -> Unavailable {
        match &self.state {
            State::HeldBack { until, cause } => {
                Unavailable::HeldBack { retry_after: until.saturating_since(now), cause: *cause }
            }
            _ => Unavailable::Refused(class),
        }
    }

    fn growing_pause(&self) -> Duration {
        let doublings = self.failures_in_a_row.saturating_sub(1).min(16);
        (PAUSE_FIRST * 2_u32.pow(doublings)).min(PAUSE_MAX)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::SecretText;

    const BUDGET: Budget = Budget { attempts: 2, window: Duration::from_secs(7200) };

    fn secret(text: &str) -> Fingerprint {
        Fingerprint::of(&[SecretText::from(text.to_owned())])
    }

    fn at(seconds: u64) -> Moment {
        Moment::default() + Duration::from_secs(seconds)
    }

    fn refused(class: Option<RefusalClass>) -> Failure {
        Failure::Refused { class, retry_after: None }
    }

    #[test]
    fn a_bad_secret_is_tried_once_and_a_new_one_gets_one_attempt() {
        let (old, new) = (secret("old"), secret("new"));
        let mut guard = Guard::new(BUDGET, at(0));
        guard.admit(old, at(0)).unwrap();
        let told = guard.failed(refused(Some(RefusalClass::BadSecret)), old, at(0));
        assert_eq!(told, Unavailable::Refused(Some(RefusalClass::BadSecret)));
        assert_eq!(guard.admit(old, at(100_000)), Err(told));
        guard.admit(new, at(1)).unwrap();
        guard.failed(refused(Some(RefusalClass::BadSecret)), new, at(1));
        assert!(guard.admit(new, at(2)).is_err());
    }

    #[test]
    fn refused_secrets_of_one_login_name_do_not_take_turns() {
        let (one, other, good) = (secret("one"), secret("other"), secret("good"));
        let mut guard = Guard::new(BUDGET, at(0));
        for wrong in [one, other] {
            guard.admit(wrong, at(0)).unwrap();
            guard.failed(refused(Some(RefusalClass::BadSecret)), wrong, at(0));
        }
        let told = Err(Unavailable::Refused(Some(RefusalClass::BadSecret)));
        assert_eq!(guard.admit(one, at(0)), told);
        // Nor does a pause of a third one, or its success, bring them back.
        guard.admit(good, at(0)).unwrap();
        guard.failed(refused(Some(RefusalClass::UpstreamBroken)), good, at(0));
        assert_eq!(guard.admit(one, at(10)), told);
        guard.admit(good, at(10)).unwrap();
        guard.succeeded();
        assert_eq!(guard.admit(other, at(20)), told);
        assert_eq!(guard.admit(good, at(20)), Ok(()));
    }

    #[test]
    fn an_upstream_that_asks_for_no_pause_gets_one_that_grows() {
        let mut guard = Guard::new(BUDGET, at(0));
        let failure = Failure::Refused {
            class: Some(RefusalClass::Throttled),
            retry_after: Some(Duration::ZERO),
        };
        for expected in [1, 2, 4] {
            guard.failed(failure, secret("s"), at(0));
            let State::HeldBack { until, .. } = guard.state() else { panic!("not held back") };
            assert_eq!(*until, at(expected));
        }
    }

    #[test]
    fn an_unclassified_refusal_pauses_and_the_last_attempt_quarantines() {
        let mut guard = Guard::new(BUDGET, at(0));
        guard.admit(secret("s"), at(0)).unwrap();
        assert_eq!(guard.failed(refused(None), secret("s"), at(0)), Unavailable::Refused(None));
        assert!(matches!(guard.admit(secret("s"), at(0)), Err(Unavailable::HeldBack { .. })));
        guard.admit(secret("s"), at(1)).unwrap();
        guard.failed(refused(None), secret("s"), at(1));
        assert!(matches!(guard.state(), State::Quarantined { .. }));
        assert_eq!(guard.admit(secret("s"), at(600)), Err(Unavailable::Refused(None)));
    }

    #[test]
    fn what_is_not_about_the_secret_costs_no_attempt_and_the_pause_grows() {
        let mut guard = Guard::new(BUDGET, at(0));
        let mut now = at(0);
        let mut pauses = Vec::new();
        for _ in 0..12 {
            guard.admit(secret("s"), now).unwrap();
            guard.failed(refused(Some(RefusalClass::UpstreamBroken)), secret("s"), now);
            let State::HeldBack { until, .. } = guard.state() else { panic!("not held back") };
            pauses.push(until.saturating_since(now).as_secs());
            now = *until;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        assert_eq!(guard.attempts_left(), BUDGET.attempts);
        guard.admit(secret("s"), now).unwrap();
        guard.succeeded();
        assert_eq!(guard.state(), &State::Open);
    }

    #[test]
    fn lost_answers_spend_the_budget_and_its_window_is_waited_for() {
        let mut guard = Guard::new(BUDGET, at(0));
        let mut now = at(0);
        for _ in 0..BUDGET.attempts {
            guard.admit(secret("s"), now).unwrap();
            guard.failed(Failure::AnswerLost, secret("s"), now);
            let State::HeldBack { until, .. } = guard.state() else { panic!("not held back") };
            now = *until;
        }
        assert!(now >= at(0) + BUDGET.window, "the budget was exceeded");
        guard.admit(secret("s"), now).unwrap();
        assert_eq!(guard.attempts_left(), BUDGET.attempts - 1);
    }

    #[test]
    fn a_one_time_code_is_given_out_once() {
        let mut guard = Guard::new(BUDGET, at(0));
        assert_eq!(guard.use_code(TotpStep(60)), Ok(()));
        assert_eq!(guard.use_code(TotpStep(60)), Err(TotpStep(60)));
        assert_eq!(guard.use_code(TotpStep(30)), Err(TotpStep(60)));
        assert_eq!(guard.use_code(TotpStep(90)), Ok(()));
        assert_eq!(guard.code_used(), Some(TotpStep(90)));
    }

    #[test]
    fn a_login_that_was_withdrawn_never_happened() {
        let mut guard = Guard::new(BUDGET, at(0));
        guard.admit(secret("s"), at(0)).unwrap();
        let told = guard.failed(Failure::Withdrawn, secret("s"), at(0));
        assert_eq!(told, Unavailable::Stopping);
        assert_eq!((guard.state(), guard.attempts_left()), (&State::Open, BUDGET.attempts));
    }

    #[test]
    fn a_lost_answer_is_counted() {
        let mut guard = Guard::new(BUDGET, at(0));
        guard.admit(secret("s"), at(0)).unwrap();
        let told = guard.failed(Failure::AnswerLost, secret("s"), at(0));
        assert!(matches!(told, Unavailable::HeldBack { cause: HoldCause::AnswerLost, .. }));
        assert_eq!(guard.attempts_left(), 1);
    }

    #[test]
    fn the_budget_is_whole_again_after_the_window() {
        let mut guard = Guard::new(BUDGET, at(0));
        guard.admit(secret("s"), at(0)).unwrap();
        guard.failed(refused(None), secret("s"), at(0));
        guard.admit(secret("s"), at(7200)).unwrap();
        assert_eq!(guard.attempts_left(), BUDGET.attempts - 1);
    }

    #[test]
    fn an_upstream_that_says_how_long_to_wait_is_believed_within_reason() {
        let mut guard = Guard::new(BUDGET, at(0));
        guard.admit(secret("s"), at(0)).unwrap();
        let failure = Failure::Refused {
            class: Some(RefusalClass::Throttled),
            retry_after: Some(Duration::from_secs(86_400)),
        };
        let told = guard.failed(failure, secret("s"), at(0));
        let expected =
            Unavailable::HeldBack { retry_after: RETRY_AFTER_MAX, cause: HoldCause::Throttled };
        assert_eq!(told, expected);
    }
}
