//! The guard's rules, and that the budget holds whatever happens.

use std::time::SystemTime;

use proptest::prelude::*;

use super::*;
use crate::secret::SecretText;
use crate::upstream::ErrorType;

const BUDGET: Budget = Budget { attempts: 2, window: Duration::from_secs(7200) };

fn secret(text: &str) -> Fingerprint {
    Fingerprint::of(&[SecretText::from(text.to_owned())])
}

fn at(seconds: u64) -> Moment {
    Moment::default() + Duration::from_secs(seconds)
}

fn admit(guard: &mut Guard, secret: Fingerprint, now: Moment) -> Result<(), Unavailable> {
    match guard.admit(secret, now, Duration::ZERO) {
        Admission::Admitted => Ok(()),
        Admission::Refused(unavailable) => Err(unavailable),
        other => panic!("{other:?}"),
    }
}

fn failed(guard: &mut Guard, failure: Failure, secret: Fingerprint, now: Moment) -> Unavailable {
    guard.failed(failure, secret, now, Jitter::NONE)
}

fn refused(class: Option<RefusalClass>) -> Failure {
    Failure::Refused { class, retry_after: None }
}

#[test]
fn a_bad_secret_is_tried_once_and_a_new_one_gets_one_attempt() {
    let (old, new) = (secret("old"), secret("new"));
    let mut guard = Guard::new(BUDGET, at(0));
    admit(&mut guard, old, at(0)).unwrap();
    let told = failed(&mut guard, refused(Some(RefusalClass::BadSecret)), old, at(0));
    assert_eq!(told, Unavailable::Refused(Some(RefusalClass::BadSecret)));
    assert_eq!(admit(&mut guard, old, at(100_000)), Err(told));
    admit(&mut guard, new, at(1)).unwrap();
    failed(&mut guard, refused(Some(RefusalClass::BadSecret)), new, at(1));
    assert!(admit(&mut guard, new, at(2)).is_err());
}

#[test]
fn refused_secrets_of_one_login_name_do_not_take_turns() {
    let (one, other, good) = (secret("one"), secret("other"), secret("good"));
    let mut guard = Guard::new(BUDGET, at(0));
    for wrong in [one, other] {
        admit(&mut guard, wrong, at(0)).unwrap();
        failed(&mut guard, refused(Some(RefusalClass::BadSecret)), wrong, at(0));
    }
    let told = Err(Unavailable::Refused(Some(RefusalClass::BadSecret)));
    assert_eq!(admit(&mut guard, one, at(0)), told);
    // Nor does a pause of a third one, or its success, bring them back.
    admit(&mut guard, good, at(0)).unwrap();
    failed(&mut guard, refused(Some(RefusalClass::UpstreamBroken)), good, at(0));
    assert_eq!(admit(&mut guard, one, at(10)), told);
    admit(&mut guard, good, at(10)).unwrap();
    guard.succeeded(secret("s"));
    assert_eq!(admit(&mut guard, other, at(20)), told);
    assert_eq!(admit(&mut guard, good, at(20)), Ok(()));
}

#[test]
fn an_upstream_that_asks_for_no_pause_gets_one_that_grows() {
    let mut guard = Guard::new(BUDGET, at(0));
    let failure = Failure::Refused {
        class: Some(RefusalClass::Throttled),
        retry_after: Some(Duration::ZERO),
    };
    for expected in [1, 2, 4] {
        failed(&mut guard, failure, secret("s"), at(0));
        let State::HeldBack { until, .. } = guard.state() else { panic!("not held back") };
        assert_eq!(*until, at(expected));
    }
}

#[test]
fn an_unclassified_refusal_pauses_and_the_last_attempt_quarantines() {
    let mut guard = Guard::new(BUDGET, at(0));
    admit(&mut guard, secret("s"), at(0)).unwrap();
    assert_eq!(failed(&mut guard, refused(None), secret("s"), at(0)), Unavailable::Refused(None));
    assert!(matches!(admit(&mut guard, secret("s"), at(0)), Err(Unavailable::HeldBack { .. })));
    admit(&mut guard, secret("s"), at(1)).unwrap();
    failed(&mut guard, refused(None), secret("s"), at(1));
    assert!(matches!(guard.state(), State::Quarantined { .. }));
    assert_eq!(admit(&mut guard, secret("s"), at(600)), Err(Unavailable::Refused(None)));
}

#[test]
fn what_is_not_about_the_secret_costs_no_attempt_and_the_pause_grows() {
    let mut guard = Guard::new(BUDGET, at(0));
    let mut now = at(0);
    let mut pauses = Vec::new();
    for _ in 0..12 {
        admit(&mut guard, secret("s"), now).unwrap();
        failed(&mut guard, refused(Some(RefusalClass::UpstreamBroken)), secret("s"), now);
        let State::HeldBack { until, .. } = guard.state() else { panic!("not held back") };
        pauses.push(until.saturating_since(now).as_secs());
        now = *until;
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
    assert_eq!(guard.attempts_left(), BUDGET.attempts);
    admit(&mut guard, secret("s"), now).unwrap();
    guard.succeeded(secret("s"));
    assert_eq!(guard.state(), &State::Open);
}

#[test]
fn lost_answers_spend_the_budget_and_its_window_is_waited_for() {
    let mut guard = Guard::new(BUDGET, at(0));
    let mut now = at(0);
    for _ in 0..BUDGET.attempts {
        admit(&mut guard, secret("s"), now).unwrap();
        failed(&mut guard, Failure::AnswerLost, secret("s"), now);
        let State::HeldBack { until, .. } = guard.state() else { panic!("not held back") };
        now = *until;
    }
    assert!(now >= at(0) + BUDGET.window, "the budget was exceeded");
    admit(&mut guard, secret("s"), now).unwrap();
    assert_eq!(guard.attempts_left(), BUDGET.attempts - 1);
}

#[test]
fn a_lost_answer_is_counted() {
    let mut guard = Guard::new(BUDGET, at(0));
    admit(&mut guard, secret("s"), at(0)).unwrap();
    let told = failed(&mut guard, Failure::AnswerLost, secret("s"), at(0));
    assert!(matches!(told, Unavailable::HeldBack { cause: HoldCause::AnswerLost, .. }));
    assert_eq!(guard.attempts_left(), 1);
}

#[test]
fn the_budget_is_whole_again_after_the_window() {
    let mut guard = Guard::new(BUDGET, at(0));
    admit(&mut guard, secret("s"), at(0)).unwrap();
    failed(&mut guard, refused(None), secret("s"), at(0));
    admit(&mut guard, secret("s"), at(7200)).unwrap();
    assert_eq!(guard.attempts_left(), BUDGET.attempts - 1);
}

#[test]
fn an_upstream_that_says_how_long_to_wait_is_believed_within_reason() {
    let mut guard = Guard::new(BUDGET, at(0));
    admit(&mut guard, secret("s"), at(0)).unwrap();
    let failure = Failure::Refused {
        class: Some(RefusalClass::Throttled),
        retry_after: Some(Duration::from_secs(86_400)),
    };
    let told = failed(&mut guard, failure, secret("s"), at(0));
    let expected =
        Unavailable::HeldBack { retry_after: RETRY_AFTER_MAX, cause: HoldCause::Throttled };
    assert_eq!(told, expected);
}

#[test]
fn as_long_as_no_secret_is_proven_one_login_is_sent_at_a_time() {
    let mut guard = Guard::new(BUDGET, at(0));
    let admit = |guard: &mut Guard| guard.admit(secret("s"), at(0), Duration::ZERO);
    assert_eq!(admit(&mut guard), Admission::Admitted);
    assert_eq!(admit(&mut guard), Admission::Crowded);
    guard.succeeded(secret("s"));
    assert_eq!(admit(&mut guard), Admission::Admitted);
    assert_eq!(admit(&mut guard), Admission::Admitted);
    // The budget bounds what is under way, too, and nobody is quarantined for that.
    assert_eq!(admit(&mut guard), Admission::Crowded);
    guard.succeeded(secret("s"));
    assert_eq!(admit(&mut guard), Admission::Admitted);
}

#[test]
fn logins_keep_their_distance() {
    let mut guard = Guard::new(BUDGET, at(0));
    let distance = Duration::from_secs(1);
    assert_eq!(guard.admit(secret("s"), at(0), distance), Admission::Admitted);
    guard.succeeded(secret("s"));
    assert_eq!(guard.admit(secret("s"), at(0), distance), Admission::Early(at(1)));
    assert_eq!(guard.admit(secret("s"), at(1), distance), Admission::Admitted);
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
    admit(&mut guard, secret("s"), at(0)).unwrap();
    let told = failed(&mut guard, Failure::Withdrawn, secret("s"), at(0));
    assert_eq!(told, Unavailable::Stopping);
    assert_eq!((guard.state(), guard.attempts_left()), (&State::Open, BUDGET.attempts));
}

#[test]
fn growing_pauses_are_spread_within_a_quarter() {
    use crate::session::Generation;
    let mut pauses = std::collections::BTreeSet::new();
    for generation in 0..50 {
        let mut guard = Guard::new(BUDGET, at(0));
        guard.admit(secret("s"), at(0), Duration::ZERO);
        let jitter = Jitter::of(Generation(generation));
        let broken = refused(Some(RefusalClass::UpstreamBroken));
        guard.failed(broken, secret("s"), at(0), jitter);
        let State::HeldBack { until, .. } = guard.state() else { panic!("not held back") };
        let pause = until.saturating_since(at(0));
        assert!((PAUSE_FIRST..=PAUSE_FIRST * 5 / 4).contains(&pause), "{pause:?}");
        pauses.insert(pause);
    }
    assert!(pauses.len() > 40);
}

fn restored(guard: &Guard, now: Moment, before: SystemTime, after: SystemTime) -> Guard {
    let kept = guard.snapshot(now, before);
    Guard::restored(&kept, BUDGET, Duration::from_secs(1), at(0), after).unwrap()
}

#[test]
fn a_restart_changes_nothing_but_the_time() {
    let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    let mut guard = Guard::new(BUDGET, at(0));
    admit(&mut guard, secret("a"), at(50)).unwrap();
    failed(&mut guard, refused(Some(RefusalClass::Locked)), secret("a"), at(50));
    guard.use_code(TotpStep(90)).unwrap();
    let mut after = restored(&guard, at(60), wall, wall + Duration::from_secs(5));
    assert_eq!(after.state(), guard.state());
    assert_eq!(after.attempts_left(), guard.attempts_left());
    assert!(after.use_code(TotpStep(90)).is_err());
    let told = Err(Unavailable::Refused(Some(RefusalClass::Locked)));
    assert_eq!(admit(&mut after, secret("a"), at(999_999)), told);
    assert_eq!(admit(&mut after, secret("b"), at(1)), Ok(()));
}

/// Fails when a clock that was set back gives attempts back, or lengthens a pause without bound.
#[test]
fn a_clock_that_was_set_back_gives_nothing_and_holds_nobody_for_ever() {
    let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let earlier = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
    let mut guard = Guard::new(BUDGET, at(0));
    admit(&mut guard, secret("s"), at(0)).unwrap();
    failed(&mut guard, refused(None), secret("s"), at(0));
    let mut after = restored(&guard, at(0), wall, earlier);
    let State::HeldBack { until, cause } = *after.state() else { panic!("not held back") };
    assert!(until <= at(0) + pause_max(cause, BUDGET));
    assert_eq!(admit(&mut after, secret("s"), until), Ok(()));
    assert_eq!(after.attempts_left(), 0);
}

/// What may happen to an account, in any order.
#[derive(Clone, Debug)]
enum Happens {
    /// A login is asked for, with one of three secrets.
    Login(u8),
    /// The oldest login under way ends.
    Ends(Ending),
    /// Time passes, on both clocks.
    Passes(u64),
    /// Doorward is killed and starts again; the wall clock has moved by so many seconds.
    Restarts(i64),
}

#[derive(Clone, Copy, Debug)]
enum Ending {
    Refused(Option<RefusalClass>),
    Lost,
    Unsent,
}

fn happens() -> impl Strategy<Value = Happens> {
    let ending = prop_oneof![
        4 => Just(Ending::Refused(None)),
        1 => Just(Ending::Refused(Some(RefusalClass::BadSecret))),
        3 => Just(Ending::Lost),
        1 => Just(Ending::Unsent),
    ];
    prop_oneof![
        6 => (0..3_u8).prop_map(Happens::Login),
        5 => ending.prop_map(Happens::Ends),
        3 => (0..2000_u64).prop_map(Happens::Passes),
        2 => (-20_000..7_000_i64).prop_map(Happens::Restarts),
    ]
}

/// An account, the guard before it, and what its vendor has counted.
struct World {
    guard: Guard,
    now: Moment,
    wall: SystemTime,
    /// Secrets of the logins under way.
    under_way: Vec<Fingerprint>,
    /// Logins that spent an attempt, by the time that Doorward can know to have passed.
    spent: Vec<(u64, Fingerprint)>,
    /// Seconds that have passed at least: running time, and what the wall says of a stop.
    known: u64,
}

impl World {
    fn login(&mut self, secret: Fingerprint) {
        let before = self.guard.state().clone();
        match self.guard.admit(secret, self.now, Duration::ZERO) {
            Admission::Admitted => {
                let held = matches!(before, State::HeldBack { until, .. } if until > self.now);
                assert!(!held, "a login was admitted in a pause");
                let same = matches!(before, State::Quarantined { fingerprint, .. } if fingerprint == secret);
                assert!(!same, "a quarantined secret was admitted");
                assert!(self.under_way.is_empty(), "two at once with a secret that nobody knows");
                self.under_way.push(secret);
                self.spent.push((self.known, secret));
            }
            _ => assert_eq!(*self.guard.state(), before, "a refusal has changed the state"),
        }
    }

    fn ends(&mut self, ending: Ending) {
        let Some(secret) = self.under_way.pop() else { return };
        let failure = match ending {
            Ending::Refused(class) => refused(class),
            Ending::Lost => Failure::AnswerLost,
            Ending::Unsent => {
                self.spent.pop();
                Failure::Unreachable(Unreached::Failed(ErrorType::named("dns_error")))
            }
        };
        failed(&mut self.guard, failure, secret, self.now);
        let state = self.guard.state();
        assert_ne!(*state, State::Open, "a failure left the account open");
        if let Ending::Refused(Some(RefusalClass::BadSecret)) = ending {
            assert!(
                matches!(state, State::Quarantined { fingerprint, .. } if *fingerprint == secret)
            );
        }
    }

    fn restarts(&mut self, by: i64) {
        // What was begun is in the ledger; its attempt was recorded before it was sent.
        let kept = self.guard.snapshot(self.now, self.wall);
        let moved = Duration::from_secs(by.unsigned_abs());
        self.wall = if by < 0 { self.wall - moved } else { self.wall + moved };
        self.known += u64::try_from(by).unwrap_or_default();
        self.now = at(0);
        self.guard = Guard::restored(&kept, BUDGET, Duration::ZERO, self.now, self.wall).unwrap();
        for _ in self.under_way.drain(..) {
            self.guard.was_interrupted(self.now, Jitter::NONE);
        }
    }

    /// No more attempts in any window than the budget, and one for each other secret.
    fn judge(&self) {
        let window = BUDGET.window.as_secs();
        for (index, (from, _)) in self.spent.iter().enumerate() {
            let within = self.spent.iter().skip(index).take_while(|(at, _)| at - from < window);
            let within: Vec<_> = within.map(|(_, secret)| *secret).collect();
            let secrets: std::collections::BTreeSet<_> = within.iter().collect();
            let most = BUDGET.attempts as usize + secrets.len() - 1;
            assert!(within.len() <= most, "{} attempts of {most}", within.len());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Fails when any order of refusals, lost answers, restarts and clock jumps costs more logins
    /// than the budget has.
    #[test]
    fn the_budget_holds_whatever_happens(all in proptest::collection::vec(happens(), 1..60)) {
        let mut world = World {
            guard: Guard::new(BUDGET, at(0)),
            now: at(0),
            wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000),
            under_way: Vec::new(),
            spent: Vec::new(),
            known: 0,
        };
        for one in all {
            match one {
                Happens::Login(number) => world.login(secret(&number.to_string())),
                Happens::Ends(ending) => world.ends(ending),
                Happens::Passes(seconds) => {
                    world.now = world.now + Duration::from_secs(seconds);
                    world.wall += Duration::from_secs(seconds);
                    world.known += seconds;
                }
                Happens::Restarts(by) => world.restarts(by),
            }
            world.judge();
        }
    }
}

/// Fails when the pause that an upstream asked for gives way to a shorter one.
#[test]
fn a_long_pause_is_not_shortened_by_another_cause() {
    let (now, secret) = (Moment::default(), secret("s"));
    let mut guard = Guard::new(BUDGET, now);
    let throttled = Failure::Refused {
        class: Some(RefusalClass::Throttled),
        retry_after: Some(Duration::from_secs(3600)),
    };
    admit(&mut guard, secret, now).unwrap();
    guard.failed(throttled, secret, now, Jitter::NONE);
    guard.hold(HoldCause::StateUnwritable, now, Jitter::NONE);
    let later = guard.check(secret, now + Duration::from_secs(60));
    let Err(Unavailable::HeldBack { retry_after, cause }) = later else { panic!("{later:?}") };
    assert_eq!((retry_after, cause), (Duration::from_secs(3540), HoldCause::Throttled));
}
