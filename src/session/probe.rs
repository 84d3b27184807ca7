//! Asks "who am I" when an answer is ambiguous: one question for everybody who wants to know, and its answer is
//! kept for a while, so that a forbidden request costs no login and a thousand of them cost one probe.

use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::broker::Inner;
use super::{Exchange, Session};
use crate::clock::Moment;
use crate::login::render;
use crate::recipe::condition::Truth;
use crate::telemetry::Event;

/// How long a session that was found alive is not asked about again.
const ALIVE_KEPT: Duration = Duration::from_secs(30);

/// Whether a session is alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aliveness {
    /// It is.
    Alive,
    /// It is not.
    Dead,
    /// The probe got no answer.
    Unknown,
}

/// What is known of a session.
#[derive(Debug, Default)]
pub(super) enum Probed {
    #[default]
    Nothing,
    Asking(watch::Receiver<Option<Aliveness>>),
    AliveUntil(Moment),
}

/// Whether `session` is alive. Cancel safe: the question is asked by a task of its own.
pub(super) async fn probe(inner: &Arc<Inner>, session: &Arc<Session>) -> Aliveness {
    let mut answer = match join(inner, session) {
        Ok(known) => return known,
        Err(asking) => asking,
    };
    match answer.wait_for(Option::is_some).await {
        Ok(known) => known.unwrap_or(Aliveness::Unknown),
        Err(_) => Aliveness::Unknown,
    }
}

fn join(
    inner: &Arc<Inner>,
    session: &Arc<Session>,
) -> Result<Aliveness, watch::Receiver<Option<Aliveness>>> {
    let mut probed = lock(session);
    match &*probed {
        Probed::AliveUntil(until) if inner.clock.now() < *until => return Ok(Aliveness::Alive),
        Probed::Asking(answer) => return Err(answer.clone()),
        Probed::Nothing | Probed::AliveUntil(_) => {}
    }
    let (sender, receiver) = watch::channel(None);
    *probed = Probed::Asking(receiver.clone());
    let (inner, session) = (Arc::clone(inner), Arc::clone(session));
    let control = inner.control.clone();
    inner.tasks.clone().spawn_on(
        async move {
            let known = ask(&inner, &session).await;
            *lock(&session) = match known {
                Aliveness::Alive => Probed::AliveUntil(inner.clock.now() + ALIVE_KEPT),
                Aliveness::Dead | Aliveness::Unknown => Probed::Nothing,
            };
            sender.send_replace(Some(known));
        },
        &control,
    );
    Err(receiver)
}

async fn ask(inner: &Arc<Inner>, session: &Session) -> Aliveness {
    let (upstream, _) = inner.upstream_and_account(&session.key);
    let Some(probe) = &upstream.recipe.probe else { return Aliveness::Unknown };
    let Ok(request) = render::request(&probe.step, &session.material.values, inner.clock.wall())
    else {
        return Aliveness::Unknown;
    };
    let exchange = Exchange { request, session: Some(&session.injector) };
    let answer = tokio::select! {
        answer = inner.transport.exchange(session.key.upstream, exchange) => answer,
        () = inner.clock.sleep(inner.limits.login_timeout) => return Aliveness::Unknown,
    };
    let Ok(answer) = answer else { return Aliveness::Unknown };
    let alive = probe.step.expect.judge(&answer.seen_by(&probe.step)) == Truth::Yes;
    inner.reporter.report(Event::Probe { about: inner.about(session), alive });
    match alive {
        true => Aliveness::Alive,
        // A server that is out of order has said nothing about the session.
        false if answer.status.is_server_error() => Aliveness::Unknown,
        false => Aliveness::Dead,
    }
}

/// Held for one read or write; a poisoned value is as good as another.
fn lock(session: &Session) -> MutexGuard<'_, Probed> {
    session.probed.lock().unwrap_or_else(PoisonError::into_inner)
}
