//! The end of sessions: a replaced one is logged out after its last request, all of them when Doorward stops.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::broker::Inner;
use super::{Exchange, Mechanism, Session};
use crate::login::render;
use crate::recipe::condition::Truth;
use crate::telemetry::Event;

/// What became of the sessions when Doorward stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogoutReport {
    /// Logged out, confirmed by the upstream.
    pub confirmed: usize,
    /// Not confirmed: the upstream refused, did not answer in time, or has no logout.
    pub unconfirmed: usize,
}

/// Logs a replaced session out as soon as no request carries it, at the latest after the drain time.
pub(super) fn retire(inner: &Arc<Inner>, session: Arc<Session>) {
    let inner = Arc::clone(inner);
    let control = inner.control.clone();
    inner.tasks.clone().spawn_on(
        async move {
            session.users.close();
            tokio::select! {
                () = session.users.wait() => {}
                () = inner.clock.sleep(inner.limits.drain_timeout) => {}
                () = inner.stopping.cancelled() => {}
            }
            log_out(&inner, &session).await;
        },
        &control,
    );
}

/// Waits for logins and logouts under way, then logs out every session, all within `within`.
pub(super) async fn stop(inner: &Arc<Inner>, within: Duration) -> LogoutReport {
    let deadline = inner.clock.now() + within;
    inner.stopping.cancel();
    inner.tasks.close();
    // A login under way may still give a session that has to be closed; half of the time is for it.
    tokio::select! {
        () = inner.tasks.wait() => {}
        () = inner.clock.sleep(within / 2) => {}
    }
    let mut logouts = JoinSet::new();
    let mut report = LogoutReport::default();
    for session in inner.store.take_all() {
        let inner = Arc::clone(inner);
        report.unconfirmed += 1;
        logouts.spawn(async move { log_out(&inner, &session).await });
    }
    let confirm = async {
        while let Some(confirmed) = logouts.join_next().await {
            if matches!(confirmed, Ok(true)) {
                report.confirmed += 1;
                report.unconfirmed -= 1;
            }
        }
    };
    tokio::select! {
        () = confirm => {}
        () = inner.clock.sleep_until(deadline) => {}
    }
    report
}

/// Logs one session out, once and best effort. Returns whether the upstream confirmed it.
async fn log_out(inner: &Arc<Inner>, session: &Session) -> bool {
    if inner.without == Some(Mechanism::Logout) {
        return false;
    }
    let confirmed = tokio::select! {
        confirmed = steps(inner, session) => confirmed,
        () = inner.clock.sleep(inner.limits.logout_timeout) => false,
    };
    inner.reporter.report(Event::Logout { about: inner.about(session), confirmed });
    confirmed
}

async fn steps(inner: &Inner, session: &Session) -> bool {
    let (upstream, _) = inner.upstream_and_account(&session.key);
    for step in &upstream.recipe.logout {
        let Ok(request) = render::request(step, &session.material.values, inner.clock.wall())
        else {
            return false;
        };
        let exchange = Exchange { request, session: Some(&session.injector) };
        let Ok(answer) = inner.transport.exchange(session.key.upstream, exchange).await else {
            return false;
        };
        if step.expect.judge(&answer.seen_by(step)) != Truth::Yes {
            return false;
        }
    }
    !upstream.recipe.logout.is_empty()
}
