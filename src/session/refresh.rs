//! Renews a session ahead of its end, so that nobody has to wait for the login that follows it.

use std::sync::Arc;
use std::time::Duration;

use super::broker::Inner;
use super::store::Flight;
use super::{Session, Unavailable, flight, retire};
use crate::telemetry::Trigger;

/// After a renewal that failed the next one waits at least this long.
const RETRY_MIN: Duration = Duration::from_secs(1);

/// Renews `session` now, in a task of its own, again and again until it has ended or been replaced.
pub(super) fn spawn(inner: &Arc<Inner>, session: &Arc<Session>) {
    let (task, session) = (Arc::clone(inner), Arc::clone(session));
    let renewing = async move {
        let stopping = task.stopping.clone();
        tokio::select! {
            () = renew(&task, &session) => {}
            () = stopping.cancelled() => {}
        }
    };
    inner.tasks.spawn_on(renewing, &inner.control);
}

async fn renew(inner: &Arc<Inner>, session: &Arc<Session>) {
    loop {
        let failed = match begin(inner, session) {
            // Not the current session any more, or somebody else renews it.
            Ok(None) => return,
            Ok(Some(mut flight)) => match flight.outcome.wait_for(Option::is_some).await {
                Ok(outcome) => match outcome.as_ref() {
                    Some(Err(unavailable)) => unavailable.clone(),
                    _ => {
                        let now = inner.clock.now();
                        inner.standing(&session.key).outlived(&session.tenure, now);
                        return;
                    }
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
        let at = inner.clock.now() + pause.max(RETRY_MIN);
        if session.expires.is_some_and(|expires| at >= expires) {
            return;
        }
        inner.clock.sleep_until(at).await;
    }
}

/// Begins the renewal beside the living session, or, where the upstream has room for no other, in
/// its place: then it ends first, and who comes meanwhile waits.
fn begin(inner: &Arc<Inner>, session: &Arc<Session>) -> Result<Option<Flight>, Unavailable> {
    let (key, tenure) = (session.key, &session.tenure);
    let begin = || flight::begin(inner, key, Trigger::Refresh);
    let (upstream, _) = inner.upstream_and_account(&key);
    // A session that is prolonged needs no room beside itself.
    if !upstream.recipe.refresh.is_empty() || !inner.standing(&key).slots.are_taken() {
        return inner.store.renew(key, tenure, begin);
    }
    let begun = inner.store.begin_anew(key, tenure, begin)?;
    Ok(begun.map(|(ended, flight)| {
        retire::retire(inner, ended);
        flight
    }))
}
