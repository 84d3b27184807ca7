//! The end of sessions: a replaced one is logged out after its last request, one that was called
//! dead, too, and all of them when Doorward stops.

use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::broker::Inner;
use super::tenure::Newest;
use super::{Exchange, Mechanism, Scope, Session, SessionKey, Streams};
use crate::forward::verdict::{self, Verdict};
use crate::login::render;
use crate::recipe::Addressee;
use crate::recipe::condition::Truth;
use crate::telemetry::Event;

/// Sessions that could not be logged out and are remembered; beyond it the oldest are forgotten.
const LEFT_OVER_MAX: usize = 64;

/// What became of the sessions when Doorward stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogoutReport {
    /// Logged out, or found dead already: the upstream holds nothing more.
    pub confirmed: usize,
    /// Not confirmed: the upstream refused, did not answer in time, or has no logout.
    pub unconfirmed: usize,
    /// Left open for the next start, which is how the operator wants it.
    pub kept: usize,
}

/// Sessions whose logout was not confirmed: they may take up room at their upstream.
#[derive(Debug, Default)]
pub(super) struct LeftOver(Mutex<Vec<Arc<Session>>>);

impl LeftOver {
    fn put(&self, session: Arc<Session>) {
        let mut sessions = self.lock();
        if sessions.len() >= LEFT_OVER_MAX {
            sessions.remove(0);
        }
        sessions.push(session);
    }

    fn take(&self, is_meant: impl Fn(&Session) -> bool) -> Vec<Arc<Session>> {
        self.lock().extract_if(.., |session| is_meant(session)).collect()
    }

    /// Nothing panics under the lock: a poisoned list is whole.
    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Session>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Logs out what an account has left open, because its upstream has no room for one more session.
/// Returns whether any was closed.
pub(super) async fn make_room(inner: &Arc<Inner>, key: &SessionKey) -> bool {
    let standing = inner.standing(key);
    let is_meant = |session: &Session| Arc::ptr_eq(&inner.standing(&session.key), &standing);
    let mut closed = false;
    for session in inner.left_over.take(is_meant) {
        closed |= end(inner, &session).await;
    }
    closed
}

/// Counts the logouts that are made while Doorward stops, whoever makes them.
#[derive(Debug, Default)]
pub(super) struct Tally(Mutex<LogoutReport>);

impl Tally {
    fn change(&self, change: impl FnOnce(&mut LogoutReport)) {
        // Nothing panics under the lock: a poisoned count is whole.
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn report(&self) -> LogoutReport {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What says that a session is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// The answer to a request, which may be mistaken.
    Verdict,
    /// The probe, or the session's known end.
    Certain,
}

/// Logs a replaced session out as soon as no request carries it. How long its streams may hold that
/// up is for the upstream's settings to say. The task ends when the session is closed.
pub(super) fn retire(inner: &Arc<Inner>, session: Arc<Session>) -> JoinHandle<()> {
    let streams = inner.upstream_and_account(&session.key).0.streams;
    if streams == Streams::Close {
        session.tenure.cut.cancel();
    }
    // Where the account has no room for another session, one that stays would keep everybody out.
    let is_kept = streams == Streams::Keep && !inner.standing(&session.key).slots.are_taken();
    let task = Arc::clone(inner);
    let retiring = async move {
        session.tenure.users.close();
        tokio::select! {
            () = session.tenure.users.wait() => {}
            () = task.clock.sleep(task.limits().drain_timeout), if !is_kept => {}
            () = task.stopping.cancelled() => {}
        }
        close(&task, &session).await;
    };
    inner.tasks.spawn_on(retiring, &inner.control)
}

/// Takes leave of a session that was found dead. Nothing is left to log out, unless a verdict was
/// mistaken: then the upstream still holds the session. So it is logged out once no request carries
/// it; its streams may be alive, and nobody waits for its room. The drain time lets the login that
/// follows end first.
pub(super) fn bury(inner: &Arc<Inner>, session: Arc<Session>, evidence: Evidence) {
    let (upstream, _) = inner.upstream_and_account(&session.key);
    if upstream.streams == Streams::Close {
        session.tenure.cut.cancel();
    }
    if evidence == Evidence::Certain || upstream.recipe.logout.is_empty() {
        inner.forget(&session);
        return;
    }
    let task = Arc::clone(inner);
    let burying = async move {
        session.tenure.users.close();
        task.record_closing(&session).await;
        let rest = task.clock.sleep(task.limits().drain_timeout);
        tokio::select! {
            _ = async { tokio::join!(session.tenure.users.wait(), rest) } => {}
            () = task.stopping.cancelled() => {}
        }
        close(&task, &session).await;
    };
    inner.tasks.spawn_on(burying, &inner.control);
}

/// Logs every session out, and those that logins under way still give, all within `within`.
pub(super) async fn stop(inner: &Arc<Inner>, within: Duration) -> LogoutReport {
    let deadline = inner.clock.now() + within;
    inner.stopping.cancel();
    inner.tasks.close();
    for session in inner.lapsed.take_all(|_| true) {
        let task = inner.clone();
        inner.tasks.spawn_on(async move { close(&task, &session).await }, &inner.control);
    }
    for session in inner.store.take_all() {
        let is_shared = session.key.scope == Scope::Shared;
        if inner.keeps_sessions() && is_shared && session.tenure.record.is_some() {
            inner.logouts_at_stop.change(|report| report.kept += 1);
            let task = inner.clone();
            // Where it cannot be written, the next start finds what was written before.
            let keeping = async move { _ = task.record_session(&session).await };
            inner.tasks.spawn_on(keeping, &inner.control);
            continue;
        }
        let task = inner.clone();
        inner.tasks.spawn_on(async move { close(&task, &session).await }, &inner.control);
    }
    // A login that lands from now on finds its flight forgotten, and its session is retired by a
    // task of its own.
    tokio::select! {
        () = inner.tasks.wait() => {}
        () = inner.clock.sleep_until(deadline) => {}
    }
    inner.logouts_at_stop.report()
}

/// Logs a session out that nobody has used, in a task of its own. What became of versions of it
/// before does not count: it has tokens of its own.
pub(super) fn close_anew(inner: &Arc<Inner>, session: Arc<Session>) {
    let task = Arc::clone(inner);
    let closing = async move {
        session.tenure.release_logout();
        close(&task, &session).await;
    };
    inner.tasks.spawn_on(closing, &inner.control);
}

/// Logs one session out and, while Doorward stops, counts what came of it. Returns whether the
/// upstream confirmed it.
pub(super) async fn close(inner: &Arc<Inner>, session: &Arc<Session>) -> bool {
    if !inner.stopping.is_cancelled() {
        return log_out(inner, session).await;
    }
    inner.logouts_at_stop.change(|report| report.unconfirmed += 1);
    let confirmed = log_out(inner, session).await;
    if confirmed {
        inner.logouts_at_stop.change(|report| {
            report.unconfirmed -= 1;
            report.confirmed += 1;
        });
    }
    confirmed
}

/// Logs one session out, once and best effort. Returns whether the upstream confirmed it.
async fn log_out(inner: &Arc<Inner>, session: &Arc<Session>) -> bool {
    if inner.without == Some(Mechanism::Logout) || !session.tenure.claim_logout() {
        return false;
    }
    if is_given_again(inner, session) {
        session.tenure.end();
        inner.record_end(&session.key, session.tenure.record).await;
        return false;
    }
    end(inner, session).await
}

/// Sends the logout, and records that it will be sent and what came of it.
async fn end(inner: &Arc<Inner>, session: &Arc<Session>) -> bool {
    // Where this cannot be written the logout is sent all the same.
    inner.record_closing(session).await;
    let newest = session.tenure.newest(session);
    let began = inner.clock.now();
    let confirmed = tokio::select! {
        confirmed = steps(inner, session, &newest) => confirmed,
        () = inner.clock.sleep(inner.limits().logout_timeout) => false,
    };
    let took = inner.clock.now().saturating_since(began);
    session.tenure.end();
    let (upstream, _) = inner.upstream_and_account(&session.key);
    if confirmed || upstream.recipe.logout.is_empty() {
        inner.record_closed(session, newest.life).await;
    } else {
        inner.left_over.put(Arc::clone(session));
    }
    inner.reporter.report(Event::Logout { about: inner.about(session), confirmed, took });
    confirmed
}

/// Some upstreams give the session that there is to whoever logs in: to log the older one out would
/// end the current one.
fn is_given_again(inner: &Inner, session: &Session) -> bool {
    let (_, account) = inner.upstream_and_account(&session.key);
    // A changed secret makes another key.
    let key = SessionKey { fingerprint: account.credentials().fingerprint, ..session.key };
    inner.store.session(&key).is_some_and(|current| {
        current.tenure.first != session.tenure.first
            && current.injector == session.tenure.newest(session).injector
    })
}

async fn steps(inner: &Inner, session: &Session, newest: &Newest) -> bool {
    let (upstream, _) = inner.upstream_and_account(&session.key);
    let Ok(place) = upstream.place(&newest.material.values) else { return false };
    for step in &upstream.recipe.logout {
        let Ok(request) = render::request(step, &newest.material.values, inner.clock.wall()) else {
            return false;
        };
        let place = place.as_deref();
        let exchange = Exchange { request, session: Some(&newest.injector), place };
        // All steps together have one time.
        let answer = upstream.transport.exchange(exchange, pending()).await;
        let Ok(answer) = answer else { return false };
        let seen = answer.seen_by(step);
        // A session that the upstream calls dead has nothing left to close.
        let is_closed = step.expect.judge(&seen) == Truth::Yes
            || step.to == Addressee::Upstream
                && matches!(verdict::judge(&upstream.recipe, &seen), Verdict::Expired(_));
        if !is_closed {
            return false;
        }
    }
    !upstream.recipe.logout.is_empty()
}
