//! What a recipe's rules about time and number come to, tried with a clock by hand and without a
//! session: for those who test recipes. Pure.

use std::time::Duration;

use super::account::{Admission, Failure, Guard};
use super::jitter::Jitter;
use super::slots::Slots;
use super::{Unavailable, upkeep};
use crate::clock::Moment;
use crate::recipe::{Budget, SessionRules};
use crate::secret::{Fingerprint, SecretText};

/// More logins than any recipe may lose.
const LOGINS_MAX: u32 = 1000;

/// More often than any idle session is asked after.
const ASKED_MAX: usize = 10_000;

/// How many logins an account may lose whose answers tell nobody why, and for how long it is left
/// alone then.
pub fn lost_logins(budget: Budget) -> (u32, Duration) {
    let mut now = Moment::default();
    let mut guard = Guard::new(budget, now);
    let secret = Fingerprint::of([&SecretText::from("made up".to_owned())]);
    let mut lost = 0;
    while lost < LOGINS_MAX {
        match guard.admit(secret, now, Duration::ZERO) {
            Admission::Admitted => {
                lost += 1;
                _ = guard.failed(Failure::AnswerLost, secret, now, Jitter::NONE);
            }
            Admission::Refused(Unavailable::HeldBack { retry_after, .. }) => {
                if guard.attempts_left() == 0 {
                    return (lost, retry_after);
                }
                now = now + retry_after;
            }
            Admission::Refused(_) | Admission::Early(_) | Admission::Crowded => break,
        }
    }
    (lost, Duration::ZERO)
}

/// How long after its begin a session is renewed that ends after `life`; nothing: it is not worth it.
/// Real ones are renewed a little earlier, each at another moment.
pub fn renewed_after(ahead: Duration, life: Duration) -> Option<Duration> {
    let began = Moment::default();
    let renews = upkeep::renewal(began, began + life, ahead, Jitter::NONE)?;
    Some(renews.saturating_since(began))
}

/// How long after its last use an idle session is asked after first, and last; nothing: never.
pub fn asked_after(rules: &SessionRules) -> Option<(Duration, Duration)> {
    let used = Moment::default();
    let first = upkeep::keep_alive(rules, used, used, Jitter::NONE)?;
    let mut last = first;
    for _ in 0..ASKED_MAX {
        match upkeep::keep_alive(rules, used, last, Jitter::NONE) {
            Some(next) if next > last => last = next,
            _ => break,
        }
    }
    Some((first.saturating_since(used), last.saturating_since(used)))
}

/// How many sessions an account may have open at a time; nothing: as many as it takes.
pub fn sessions_at_a_time(rules: &SessionRules) -> Option<usize> {
    let slots = Slots::new(rules.sessions_max);
    let taken: Vec<_> = std::iter::from_fn(|| slots.take_now()).collect();
    (!taken.is_empty()).then_some(taken.len())
}
