//! Notices that somebody else throws our sessions out: two gateways on an account with room for one
//! session would otherwise end each other's for ever.
//!
//! A session that dies young, and not by anything that Doorward did, was probably displaced by
//! another login. A few in a row, and the account is held back, longer each time.

use std::time::Duration;

use crate::clock::Moment;

/// A session that dies before this age dies young.
const YOUNG: Duration = Duration::from_secs(60);

/// So many young deaths in a row are taken for chance.
const TOLERATED: u32 = 2;

/// The first pause; it doubles with each young death that follows.
const PAUSE_FIRST: Duration = Duration::from_secs(30);

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(15 * 60);

/// The young deaths of one account's sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Displacement {
    in_a_row: u32,
    pause: Duration,
    until: Option<Moment>,
}

impl Displacement {
    /// A session was found dead at `age`. Returns the pause that begins now, if one does.
    pub(super) fn died(&mut self, age: Duration, now: Moment) -> Option<Duration> {
        // The other side comes back after a pause of its own: a session that lived that long has
        // not outlived the fight.
        if age >= YOUNG.max(self.pause * 2) {
            *self = Self::default();
            return None;
        }
        self.in_a_row = self.in_a_row.saturating_add(1);
        if self.in_a_row <= TOLERATED {
            return None;
        }
        self.pause = (self.pause * 2).clamp(PAUSE_FIRST, PAUSE_MAX);
        self.until = Some(now + self.pause);
        Some(self.pause)
    }

    /// How long the account is still held back; nothing when it is not.
    pub(super) fn held(&self, now: Moment) -> Option<Duration> {
        let left = self.until?.saturating_since(now);
        (!left.is_zero()).then_some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Fails when young deaths are not counted.
    #[test]
    fn a_few_young_deaths_hold_back_longer_each_time() {
        let mut displacement = Displacement::default();
        let mut now = Moment::default();
        assert_eq!(displacement.died(SECOND, now), None);
        assert_eq!(displacement.died(SECOND, now), None);
        let mut pauses = Vec::new();
        for _ in 0..7 {
            let pause = displacement.died(SECOND, now).unwrap();
            assert_eq!(displacement.held(now), Some(pause));
            now = now + pause;
            assert_eq!(displacement.held(now), None);
            pauses.push(pause.as_secs());
        }
        assert_eq!(pauses, [30, 60, 120, 240, 480, 900, 900]);
    }

    #[test]
    fn a_session_that_lives_ends_the_row() {
        let mut displacement = Displacement::default();
        let now = Moment::default();
        for _ in 0..3 {
            assert_eq!(displacement.died(YOUNG, now), None);
            assert_eq!(displacement.died(SECOND, now), None);
            assert_eq!(displacement.died(SECOND, now), None);
        }
    }

    /// Fails when the age that ends a row does not grow with the pause.
    #[test]
    fn the_other_sides_pause_is_not_taken_for_peace() {
        let mut displacement = Displacement::default();
        let now = Moment::default();
        for _ in 0..4 {
            displacement.died(SECOND, now);
        }
        // A pause of 60 s on the other side let this session live that long.
        assert!(displacement.died(Duration::from_secs(61), now).is_some());
    }
}
