//! Renews sessions ahead of a known end, so that nobody has to wait for the login that follows it.

use std::sync::Arc;
use std::time::Duration;

use super::broker::Inner;
use super::flight;
use super::{Session, Unavailable};
use crate::clock::Moment;
use crate::telemetry::Trigger;

/// After a renewal that failed the next one waits at least this long.
const RETRY_MIN: Duration = Duration::from_secs(1);

/// Shorter lives are not renewed ahead: without a pause between them the logins would never end.
const RENEWED_LIFE_MIN: Duration = Duration::from_secs(10);

/// Schedules the renewal of a session whose end is known.
pub(super) fn schedule(inner: &Arc<Inner>, session: &Arc<Session>) {
    let Some(expires) = session.expires else { return };
    let now = inner.clock.now();
    let life = expires.saturating_since(now);
    if life < RENEWED_LIFE_MIN {
        return;
    }
    let (upstream, _) = inner.upstream_and_account(&session.key);
    let ahead = ahead(life, upstream.recipe.session.refresh_ahead);
    let at = now + life.saturating_sub(ahead);
    let (inner, session) = (Arc::clone(inner), Arc::clone(session));
    let control = inner.control.clone();
    inner.tasks.clone().spawn_on(
        async move {
            let stopping = inner.stopping.clone();
            tokio::select! {
                () = renew(&inner, &session, at) => {}
                () = stopping.cancelled() => {}
            }
        },
        &control,
    );
}

/// At least what the recipe says and a tenth of the life, at most half of it.
fn ahead(life: Duration, rule: Duration) -> Duration {
    rule.max(life / 10).min(life / 2)
}

async fn renew(inner: &Arc<Inner>, session: &Arc<Session>, mut at: Moment) {
    loop {
        inner.clock.sleep_until(at).await;
        let begin = || flight::begin(inner, session.key, Trigger::Refresh);
        let failed = match inner.store.renew(session.key, session.generation, begin) {
            // Not the current session any more, or somebody else renews it.
            Ok(None) => return,
            Ok(Some(mut flight)) => match flight.outcome.wait_for(Option::is_some).await {
                Ok(outcome) => match outcome.as_ref() {
                    Some(Err(unavailable)) => unavailable.clone(),
                    _ => return,
                },
                Err(_) => return,
            },
            Err(unavailable) => unavailable,
        };
        let pause = match failed {
            Unavailable::HeldBack { retry_after, .. } => retry_after,
            Unavailable::Timeout | Unavailable::Unreachable => RETRY_MIN,
            // A refused account gets no background logins either.
            Unavailable::Refused(_) | Unavailable::Stopping => return,
        };
        at = inner.clock.now() + pause.max(RETRY_MIN);
        if session.expires.is_some_and(|expires| at >= expires) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lead_is_within_a_tenth_and_a_half_of_the_life() {
        let seconds = Duration::from_secs;
        assert_eq!(ahead(seconds(300), seconds(30)), seconds(30));
        assert_eq!(ahead(seconds(86_400), seconds(30)), seconds(8_640));
        assert_eq!(ahead(seconds(20), seconds(30)), seconds(10));
    }
}
