//! The appointments of all sessions, kept by one task: a hundred thousand sessions cost a hundred
//! thousand entries of an ordered map, not as many timers.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::{Generation, SessionKey};
use crate::clock::{Clock, Moment};

/// When which session has to be looked at.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    /// Generations name tenures, and tell appointments at one moment apart.
    appointments: Mutex<Appointments>,
    /// There is an earlier appointment than before.
    earlier: Notify,
}

/// One appointment a tenure: a newer one takes the place of the one before.
#[derive(Debug, Default)]
struct Appointments {
    in_order: BTreeMap<(Moment, Generation), SessionKey>,
    of: HashMap<Generation, Moment>,
}

impl Schedule {
    /// Makes an appointment. A session that has ended by then is for the caller of
    /// [`Schedule::next`] to pass over.
    pub(super) fn put(&self, at: Moment, key: SessionKey, generation: Generation) {
        let is_first = {
            let mut appointments = self.lock();
            if let Some(before) = appointments.of.insert(generation, at) {
                appointments.in_order.remove(&(before, generation));
            }
            appointments.in_order.insert((at, generation), key);
            appointments
                .in_order
                .first_key_value()
                .is_some_and(|(first, _)| *first == (at, generation))
        };
        if is_first {
            self.earlier.notify_one();
        }
    }

    /// Waits until an appointment is due and takes it. Cancel safe: one that was not returned is
    /// still there.
    pub(super) async fn next(&self, clock: &Clock) -> (SessionKey, Generation) {
        loop {
            let first = self.lock().in_order.first_key_value().map(|((at, _), _)| *at);
            match first {
                Some(at) if at <= clock.now() => {
                    let mut appointments = self.lock();
                    if let Some(((_, generation), key)) = appointments.in_order.pop_first() {
                        appointments.of.remove(&generation);
                        return (key, generation);
                    }
                }
                Some(at) => tokio::select! {
                    () = clock.sleep_until(at) => {}
                    () = self.earlier.notified() => {}
                },
                None => self.earlier.notified().await,
            }
        }
    }

    /// Nothing panics under the lock: a poisoned map is whole.
    fn lock(&self) -> MutexGuard<'_, Appointments> {
        self.appointments.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::secret::{Fingerprint, SecretText};
    use crate::session::{AccountId, Scope, Tenant, UpstreamId};

    fn key() -> SessionKey {
        let fingerprint = Fingerprint::of(&[SecretText::from("s".to_owned())]);
        SessionKey {
            upstream: UpstreamId(0),
            tenant: Tenant(fingerprint),
            account: AccountId(0),
            fingerprint,
            scope: Scope::Shared,
        }
    }

    #[tokio::test]
    async fn appointments_are_kept_in_the_order_of_their_time() {
        let clock = Clock::manual(SystemTime::UNIX_EPOCH);
        let schedule = Schedule::default();
        let key = key();
        let at = |seconds| clock.now() + Duration::from_secs(seconds);
        for (seconds, generation) in [(30, 1), (10, 2), (10, 3), (20, 4)] {
            schedule.put(at(seconds), key, Generation(generation));
        }
        let mut next = Box::pin(schedule.next(&clock));
        assert!(futures_poll(&mut next).await.is_none());
        drop(next);
        clock.advance(Duration::from_secs(30));
        let mut kept = Vec::new();
        for _ in 0..4 {
            kept.push(schedule.next(&clock).await.1.0);
        }
        assert_eq!(kept, [2, 3, 4, 1]);
    }

    /// Fails when a sleeper is not told of an earlier appointment.
    #[tokio::test]
    async fn an_earlier_appointment_is_noticed_while_a_later_one_is_awaited() {
        let clock = Clock::manual(SystemTime::UNIX_EPOCH);
        let schedule = std::sync::Arc::new(Schedule::default());
        let key = key();
        schedule.put(clock.now() + Duration::from_secs(3600), key, Generation(1));
        let waiting = tokio::spawn({
            let (schedule, clock) = (std::sync::Arc::clone(&schedule), clock.clone());
            async move { schedule.next(&clock).await }
        });
        tokio::task::yield_now().await;
        schedule.put(clock.now(), key, Generation(2));
        assert_eq!(waiting.await.unwrap().1, Generation(2));
    }

    async fn futures_poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        std::future::poll_fn(|context| {
            std::task::Poll::Ready(match std::pin::Pin::new(&mut *future).poll(context) {
                std::task::Poll::Ready(output) => Some(output),
                std::task::Poll::Pending => None,
            })
        })
        .await
    }
}
