//! Renews a session ahead of its end, so that nobody has to wait for the login that follows it.

use std::sync::Arc;
use std::time::Duration;

use super::broker::Inner;
use super::{Session, Unavailable, flight};
use crate::telemetry::Trigger;
use crate::upstream::Unreached;

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
        let begin = || flight::begin(inner, session.key, Trigger::Refresh);
        let outcome = match inner.store.renew(session.key, &session.tenure, begin) {
            // Not the current session any more, or somebody else renews it.
            Ok(None) => return,
            Ok(Some(flight)) => flight::landed(flight).await,
            Err(unavailable) => Err(unavailable),
        };
        let Err(failed) = outcome else {
            let now = inner.clock.now();
            return inner.standing(&session.key).outlived(session, now);
        };
        let pause = match failed {
            Unavailable::HeldBack { retry_after, .. }
            | Unavailable::Unreachable(Unreached::CircuitOpen { retry_after }) => retry_after,
            Unavailable::Timeout | Unavailable::Unreachable(_) => RETRY_MIN,
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
