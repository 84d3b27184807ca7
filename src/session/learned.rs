//! How long the sessions of an account live, learned from those that died, where neither the
//! upstream nor its recipe tells.
//!
//! One death proves nothing: a server was restarted, an operator ended the session. Two in a row at
//! the same age do. From then on sessions are renewed ahead, and each one that is still alive by
//! then stretches what is believed a little, so that a mistake heals.

use std::time::Duration;

/// Shorter lives are not learned: renewing them ahead would be a storm of logins.
const LIFE_MIN: Duration = Duration::from_secs(5 * 60);

/// Longer lives are not learned: renewing ahead would save nobody anything.
const LIFE_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// Two ages agree when they differ by no more than this part of the longer one.
const TOLERANCE: u32 = 10;

/// How much a session that outlived its due stretches the belief: this part of it.
const STRETCH: u32 = 20;

/// What is believed of the life of one account's sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Learned {
    life: Option<Duration>,
    /// The age at the last death that could be judged.
    last_death: Option<Duration>,
}

impl Learned {
    /// A session was found dead: it was last seen alive at the age `alive_until`, and dead `unseen`
    /// later. A death after a long silence says nothing of the life, it may be an idle limit.
    pub(super) fn died(&mut self, alive_until: Duration, unseen: Duration) {
        if alive_until < LIFE_MIN || alive_until > LIFE_MAX || unseen > alive_until / TOLERANCE {
            return;
        }
        if let Some(before) = self.last_death.replace(alive_until) {
            let (short, long) = (before.min(alive_until), before.max(alive_until));
            if long - short <= long / TOLERANCE {
                self.life = Some(short);
            }
        }
    }

    /// A session was still alive when it was replaced at `age`.
    pub(super) fn outlived(&mut self, age: Duration) {
        if let Some(life) = self.life.filter(|life| age >= *life / 2) {
            self.life = Some((life + life / STRETCH).min(LIFE_MAX));
        }
    }

    /// How long a session is believed to live.
    pub(super) fn life(&self) -> Option<Duration> {
        self.life
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const MINUTE: Duration = Duration::from_secs(60);

    /// Fails when one death is believed.
    #[test]
    fn two_deaths_at_one_age_are_believed_and_one_is_not() {
        let mut learned = Learned::default();
        learned.died(HOUR, MINUTE);
        assert_eq!(learned.life(), None);
        learned.died(4 * HOUR, MINUTE);
        assert_eq!(learned.life(), None, "they do not agree");
        learned.died(4 * HOUR - 10 * MINUTE, MINUTE);
        assert_eq!(learned.life(), Some(4 * HOUR - 10 * MINUTE));
    }

    /// Fails when the time without use is not asked.
    #[test]
    fn a_death_after_a_long_silence_teaches_nothing() {
        let mut learned = Learned::default();
        for _ in 0..5 {
            learned.died(HOUR, HOUR);
        }
        assert_eq!(learned.life(), None);
    }

    #[test]
    fn a_session_that_is_alive_when_it_is_renewed_stretches_the_belief() {
        let mut learned = Learned::default();
        learned.died(HOUR, Duration::ZERO);
        learned.died(HOUR, Duration::ZERO);
        learned.outlived(10 * MINUTE);
        assert_eq!(learned.life(), Some(HOUR), "it was replaced early, for another reason");
        learned.outlived(54 * MINUTE);
        assert_eq!(learned.life(), Some(63 * MINUTE));
    }

    proptest! {
        #[test]
        fn what_is_believed_stays_within_its_bounds(
            steps in proptest::collection::vec((any::<bool>(), 0_u64..10_000_000, 0_u64..10_000_000), 0..60),
        ) {
            let mut learned = Learned::default();
            for (died, age, unseen) in steps {
                match died {
                    true => learned.died(Duration::from_secs(age), Duration::from_secs(unseen)),
                    false => learned.outlived(Duration::from_secs(age)),
                }
                if let Some(life) = learned.life() {
                    prop_assert!((LIFE_MIN..=LIFE_MAX).contains(&life));
                }
            }
        }
    }
}
