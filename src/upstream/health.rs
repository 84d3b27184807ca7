//! What becomes of something that fails again and again: it is left alone for a while that grows
//! and has a bound. For one address that is ejection, for the upstream as a whole a circuit that
//! opens.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Moment;

/// A pause is shorter by up to this part of it, so that no two processes keep step.
const PAUSE_SPREAD: u32 = 5;

/// What those are told to wait who come while one connection is tried out.
const TRIED_OUT_WAIT: Duration = Duration::from_secs(1);

/// How many failures in a row are borne, and what follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tolerance {
    /// After so many it is left alone; 0: never.
    pub failures_max: u32,
    /// For how long at first; twice as long each further time.
    pub pause: Duration,
    /// For how long at most.
    pub pause_max: Duration,
}

impl Tolerance {
    /// Whatever fails is tried again at once.
    pub const ENDLESS: Self =
        Self { failures_max: 0, pause: Duration::ZERO, pause_max: Duration::ZERO };

    fn pause(&self, pauses_before: u32, random: u32) -> Duration {
        let doubled = self.pause.saturating_mul(2_u32.saturating_pow(pauses_before));
        let pause = doubled.min(self.pause_max);
        pause - (pause / PAUSE_SPREAD).mul_f64(f64::from(random) / f64::from(u32::MAX))
    }
}

/// How something fares.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Health {
    failures: u32,
    pauses: u32,
    until: Option<Moment>,
}

impl Health {
    /// Until when it is left alone, if it is.
    pub(super) fn out_until(&self, now: Moment) -> Option<Moment> {
        self.until.filter(|until| now < *until)
    }

    /// One more failure. Returns for how long it is left alone from now on, if that begins here: a
    /// failure of something that was begun before it was left alone lengthens nothing.
    pub(super) fn failed(
        &mut self,
        tolerance: &Tolerance,
        now: Moment,
        random: u32,
    ) -> Option<Duration> {
        self.failures = self.failures.saturating_add(1);
        let borne = tolerance.failures_max == 0 || self.failures < tolerance.failures_max;
        if borne || self.out_until(now).is_some() {
            return None;
        }
        let pause = tolerance.pause(self.pauses, random);
        self.pauses = self.pauses.saturating_add(1);
        self.until = Some(now + pause);
        Some(pause)
    }

    /// It works: everything before is forgotten. Returns whether it had been left alone.
    pub(super) fn works(&mut self) -> bool {
        std::mem::take(self).until.is_some()
    }
}

/// Stops asking an upstream that cannot be reached, but for one connection now and then.
#[derive(Debug)]
pub(super) struct Circuit {
    tolerance: Tolerance,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    health: Health,
    opened: Option<Moment>,
    /// One connection is tried out.
    is_tried: bool,
}

/// Whether a connection may be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// It may.
    Closed,
    /// This one may, and no other until it has ended.
    Trial,
    /// It may not, for so long.
    Open(Duration),
}

/// A circuit that has opened, or stays open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Opened {
    pub(super) failures: u32,
    pub(super) pause: Duration,
}

impl Circuit {
    pub(super) fn new(tolerance: Tolerance) -> Self {
        Self { tolerance, state: Mutex::default() }
    }

    /// Whether a connection may be tried now. After [`Admission::Trial`] somebody has to say how it
    /// has ended, or that it was given up.
    pub(super) fn admit(&self, now: Moment) -> Admission {
        let mut state = self.lock();
        match state.open_for(now) {
            Some(wait) => Admission::Open(wait),
            None if state.opened.is_some() => {
                state.is_tried = true;
                Admission::Trial
            }
            None => Admission::Closed,
        }
    }

    /// For how long no connection is tried; nothing when one may be.
    pub(super) fn open_for(&self, now: Moment) -> Option<Duration> {
        self.lock().open_for(now)
    }

    /// A connection could not be made.
    pub(super) fn failed(&self, admission: Admission, now: Moment, random: u32) -> Option<Opened> {
        let mut state = self.lock();
        state.ended(admission);
        let pause = state.health.failed(&self.tolerance, now, random)?;
        state.opened.get_or_insert(now);
        Some(Opened { failures: state.health.failures, pause })
    }

    /// A connection was made. Returns for how long the circuit had been open, if it was.
    pub(super) fn connected(&self, now: Moment) -> Option<Duration> {
        let mut state = self.lock();
        let opened = std::mem::take(&mut *state).opened;
        opened.map(|opened| now.saturating_since(opened))
    }

    /// A connection was given up, and nothing is known of the upstream.
    pub(super) fn given_up(&self, admission: Admission) {
        self.lock().ended(admission);
    }

    /// Nothing panics under the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn open_for(&self, now: Moment) -> Option<Duration> {
        match self.health.out_until(now) {
            Some(until) => Some(until.saturating_since(now)),
            None => self.is_tried.then_some(TRIED_OUT_WAIT),
        }
    }

    fn ended(&mut self, admission: Admission) {
        if admission == Admission::Trial {
            self.is_tried = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLERANCE: Tolerance = Tolerance {
        failures_max: 3,
        pause: Duration::from_secs(10),
        pause_max: Duration::from_secs(35),
    };

    fn at(seconds: u64) -> Moment {
        Moment::default() + Duration::from_secs(seconds)
    }

    #[test]
    fn failures_in_a_row_have_it_left_alone_for_a_growing_bounded_time() {
        let mut health = Health::default();
        assert_eq!(health.failed(&TOLERANCE, at(0), 0), None);
        assert_eq!(health.failed(&TOLERANCE, at(0), 0), None);
        let mut now = 0;
        for pause in [10, 20, 35, 35] {
            assert_eq!(health.out_until(at(now)), None);
            let told = health.failed(&TOLERANCE, at(now), 0);
            assert_eq!(told, Some(Duration::from_secs(pause)));
            // What was begun before fails, too.
            assert_eq!(health.failed(&TOLERANCE, at(now + 1), 0), None);
            assert_eq!(health.out_until(at(now + pause - 1)), Some(at(now + pause)));
            now += pause;
        }
        assert!(health.works());
        assert_eq!(health.failed(&TOLERANCE, at(now), 0), None);
        assert!(!health.works());
    }

    #[test]
    fn pauses_are_spread_and_never_longer_than_said() {
        assert_eq!(TOLERANCE.pause(0, u32::MAX), Duration::from_secs(8));
        assert_eq!(TOLERANCE.pause(200, 0), Duration::from_secs(35));
        let half = TOLERANCE.pause(0, u32::MAX / 2);
        assert!(half > Duration::from_secs(8) && half < Duration::from_secs(10), "{half:?}");
    }

    #[test]
    fn a_tolerance_without_end_leaves_nothing_alone() {
        let circuit = Circuit::new(Tolerance::ENDLESS);
        for _ in 0..1000 {
            assert_eq!(circuit.failed(Admission::Closed, at(0), 0), None);
        }
        assert_eq!(circuit.admit(at(0)), Admission::Closed);
    }

    #[test]
    fn an_open_circuit_lets_one_connection_through_at_a_time_until_one_is_made() {
        let circuit = Circuit::new(TOLERANCE);
        for _ in 0..2 {
            assert_eq!(circuit.failed(circuit.admit(at(0)), at(0), 0), None);
        }
        let opened = circuit.failed(circuit.admit(at(0)), at(0), 0);
        assert_eq!(opened, Some(Opened { failures: 3, pause: Duration::from_secs(10) }));
        assert_eq!(circuit.admit(at(4)), Admission::Open(Duration::from_secs(6)));
        assert_eq!(circuit.open_for(at(4)), Some(Duration::from_secs(6)));
        assert_eq!(circuit.open_for(at(10)), None);
        assert_eq!(circuit.admit(at(10)), Admission::Trial);
        assert_eq!(circuit.admit(at(10)), Admission::Open(TRIED_OUT_WAIT));
        // One that was begun before the circuit opened says nothing of the one that is tried out.
        circuit.given_up(Admission::Closed);
        assert_eq!(circuit.admit(at(10)), Admission::Open(TRIED_OUT_WAIT));
        circuit.given_up(Admission::Trial);
        let trial = circuit.admit(at(10));
        assert_eq!(trial, Admission::Trial);
        let opened = circuit.failed(trial, at(10), 0);
        assert_eq!(opened, Some(Opened { failures: 4, pause: Duration::from_secs(20) }));
        assert_eq!(circuit.admit(at(29)), Admission::Open(Duration::from_secs(1)));
        assert_eq!(circuit.admit(at(30)), Admission::Trial);
        assert_eq!(circuit.connected(at(31)), Some(Duration::from_secs(31)));
        assert_eq!(circuit.admit(at(31)), Admission::Closed);
        assert_eq!(circuit.connected(at(31)), None);
    }
}
