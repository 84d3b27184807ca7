//! Looks after living sessions: renews them ahead of their end, asks after those that would die of
//! disuse, and logs out those that nobody has used for long.

use std::sync::Arc;
use std::time::Duration;

use super::broker::Inner;
use super::jitter::Jitter;
use super::probe::{self, Aliveness};
use super::{Doubt, Evidence, Generation, Session, SessionKey, prolong, refresh, retire};
use crate::clock::Moment;
use crate::recipe::SessionRules;
use crate::telemetry::{Event, LetGo};

/// Shorter lives are not renewed ahead: without a pause between them the logins would never end.
const RENEWED_LIFE_MIN: Duration = Duration::from_secs(10);

/// A session is asked after when three quarters of the time that it may be unused have passed.
const KEEP_ALIVE_AT: (u32, u32) = (3, 4);

/// Appointments are at least this far apart: a session costs the keeper next to nothing.
const APPOINTMENTS_APART_MIN: Duration = Duration::from_secs(1);

/// What has to happen to a session, and when.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    /// Its known end.
    ends: Option<Moment>,
    /// Nobody has used it for so long that it is logged out.
    stops: Moment,
    /// It is replaced while it is alive.
    renews: Option<Moment>,
    /// It is asked after, so that its upstream does not end it.
    asks: Option<Moment>,
}

/// Makes a new session's first appointment.
pub(super) fn begin(inner: &Inner, session: &Session) {
    let at = plan(inner, session).first();
    inner.schedule.put(at, session.key, session.tenure.first);
}

/// Keeps the appointments of all sessions until Doorward stops.
pub(super) async fn run(inner: Arc<Inner>) {
    let stopping = inner.stopping.clone();
    loop {
        let (key, tenure) = tokio::select! {
            due = inner.schedule.next(&inner.clock) => due,
            () = stopping.cancelled() => return,
        };
        attend(&inner, key, tenure);
        // Many may be due at once, and logins run on the same threads.
        tokio::task::coop::consume_budget().await;
    }
}

/// Does what is due, and makes the next appointment where the session goes on.
fn attend(inner: &Arc<Inner>, key: SessionKey, tenure: Generation) {
    let current = inner.store.session(&key).filter(|current| current.tenure.first == tenure);
    let Some(session) = current else { return prolong::end_unused(inner, &key, tenure) };
    let (now, plan) = (inner.clock.now(), plan(inner, &session));
    if plan.ends.is_some_and(|ends| ends <= now) {
        inner.end_at_known_time(&session);
        return;
    }
    // One that is being renewed is not taken: it is looked at again when that has ended.
    if plan.stops <= now
        && let Some(unused) = inner.store.take(key, &session.tenure)
    {
        let (about, why) = (inner.about(&unused), LetGo::Unused);
        inner.reporter.report(Event::LetGo { about, why });
        retire::retire(inner, unused);
        return;
    }
    if plan.renews.is_some_and(|renews| renews <= now) && session.tenure.claim_renewal() {
        refresh::spawn(inner, &session);
    }
    if plan.asks.is_some_and(|asks| asks <= now) {
        ask(inner, &session);
    }
    let next = self::plan(inner, &session).first().max(now + APPOINTMENTS_APART_MIN);
    inner.schedule.put(next, key, tenure);
}

fn ask(inner: &Arc<Inner>, session: &Arc<Session>) {
    let (task, session) = (Arc::clone(inner), Arc::clone(session));
    let asking = async move {
        let aliveness = tokio::select! {
            aliveness = probe::probe(&task, &session, Doubt::Unused) => aliveness,
            () = task.stopping.cancelled() => return,
        };
        match aliveness {
            Aliveness::Alive => session.tenure.was_probed(task.clock.now()),
            Aliveness::Dead => task.expire(&session, Evidence::Certain),
            Aliveness::Unknown => {}
        }
    };
    inner.tasks.spawn_on(asking, &inner.control);
}

fn plan(inner: &Inner, session: &Session) -> Plan {
    let (upstream, _) = inner.upstream_and_account(&session.key);
    let rules = &upstream.recipe.session;
    let tenure = &session.tenure;
    let jitter = Jitter::of(tenure.first);
    let began = session.began;
    let learned = || Some(began + inner.standing(&session.key).learned_life()?);
    // A request that is under way uses it, however long it takes.
    let used = if tenure.users.is_empty() { tenure.used() } else { inner.clock.now() };
    let end = session.expires.or_else(learned);
    let renews = end
        .filter(|_| !tenure.is_renewal_claimed())
        .and_then(|end| renewal(began, end, rules.refresh_ahead, jitter));
    Plan {
        ends: session.expires,
        stops: used + inner.limits().session_idle,
        renews,
        asks: keep_alive(rules, used, tenure.alive(), jitter),
    }
}

/// When a session that ends at `end` is renewed: ahead by what the recipe says and at least a tenth
/// of its life, at most half of it, and by up to a fifth of that more, so that sessions that began
/// together do not log in together.
pub(super) fn renewal(
    opened: Moment,
    end: Moment,
    rule: Duration,
    jitter: Jitter,
) -> Option<Moment> {
    let life = end.saturating_since(opened);
    if life < RENEWED_LIFE_MIN {
        return None;
    }
    let ahead = rule.max(life / 10);
    let ahead = (ahead + jitter.part_of(ahead / 5)).min(life / 2);
    Some(opened + (life - ahead))
}

/// When a session that dies of disuse is asked after: not if nobody has used it for as long as the
/// recipe keeps it alive.
pub(super) fn keep_alive(
    rules: &SessionRules,
    used: Moment,
    alive: Moment,
    jitter: Jitter,
) -> Option<Moment> {
    let (idle, kept) = (rules.idle?, rules.keep_alive?);
    let (numerator, denominator) = KEEP_ALIVE_AT;
    let at = alive + idle * numerator / denominator - jitter.part_of(idle / 10);
    (at <= used + kept).then_some(at)
}

impl Plan {
    fn first(&self) -> Moment {
        let due = [self.ends, self.renews, self.asks];
        due.into_iter().flatten().fold(self.stops, Moment::min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::default() + Duration::from_secs(seconds)
    }

    #[test]
    fn the_lead_is_within_a_tenth_and_a_half_of_the_life() {
        let lead = |life: u64, rule: u64, jitter: Jitter| {
            let renews = renewal(at(0), at(life), Duration::from_secs(rule), jitter);
            renews.map(|renews| at(life).saturating_since(renews).as_secs())
        };
        assert_eq!(lead(300, 30, Jitter::NONE), Some(30));
        assert_eq!(lead(86_400, 30, Jitter::NONE), Some(8_640));
        assert_eq!(lead(20, 30, Jitter::NONE), Some(10));
        assert_eq!(lead(9, 1, Jitter::NONE), None);
        for generation in 1..200 {
            let lead = lead(86_400, 30, Jitter::of(Generation(generation))).unwrap();
            assert!((8_640..=10_368).contains(&lead), "{lead}");
        }
    }

    /// Fails when sessions that began together are renewed together.
    #[test]
    fn sessions_that_began_together_are_renewed_apart() {
        let renews = |generation| {
            let jitter = Jitter::of(Generation(generation));
            renewal(at(0), at(86_400), Duration::from_secs(30), jitter).unwrap()
        };
        let moments: std::collections::BTreeSet<_> = (1..=100).map(renews).collect();
        assert!(moments.len() > 90, "{}", moments.len());
    }
}
