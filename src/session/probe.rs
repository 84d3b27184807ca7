//! Asks "who am I" when an answer is ambiguous: one question for everybody who wants to know, and
//! its answer is kept for a while, so that a forbidden request costs no login and a thousand of
//! them cost one probe.

use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use http::StatusCode;
use tokio::sync::watch;

use super::broker::Inner;
use super::{Exchange, Generation, Session, roll};
use crate::clock::Moment;
use crate::login::render;
use crate::recipe::condition::Truth;
use crate::telemetry::Event;

/// How long a session that was found alive is not asked about again over an ambiguous answer.
const ALIVE_KEPT: Duration = Duration::from_secs(30);

/// The same over an answer that calls it dead: should it have died meanwhile, no client sees that
/// for longer.
const ALIVE_KEPT_AGAINST_VERDICT: Duration = Duration::from_secs(1);

/// Without a probe, how long a contradicted session is believed in. It bounds the logins that an
/// endpoint costs which calls every session dead.
const CONTRADICTION_KEPT: Duration = Duration::from_secs(60);

/// Why the probe is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// The answer can mean a dead session or a missing right.
    Ambiguous,
    /// The answer calls a session dead that was called so by mistake before.
    Contradicted,
    /// Nobody has used the session for a while: its upstream has to see it.
    Unused,
}

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
    /// About a version: what it says of one says nothing of the next.
    Asking(Generation, watch::Receiver<Option<Aliveness>>),
    AliveAt(Moment),
}

/// Whether `session` is alive. Cancel safe: the question is asked by a task of its own.
pub(super) async fn probe(inner: &Arc<Inner>, session: &Arc<Session>, doubt: Doubt) -> Aliveness {
    let (upstream, _) = inner.upstream_and_account(&session.key);
    if upstream.recipe.probe.is_none() {
        return without_probe(inner, session);
    }
    let mut answer = match join(inner, session, doubt) {
        Ok(known) => return known,
        Err(asking) => asking,
    };
    match answer.wait_for(Option::is_some).await {
        Ok(known) => known.unwrap_or(Aliveness::Unknown),
        Err(_) => Aliveness::Unknown,
    }
}

/// Nobody can be asked: the verdict counts again after a while, lest a dead session is kept for
/// ever.
fn without_probe(inner: &Inner, session: &Session) -> Aliveness {
    match session.tenure.contradicted.get() {
        Some(at) if inner.clock.now().saturating_since(*at) >= CONTRADICTION_KEPT => {
            Aliveness::Dead
        }
        Some(_) | None => Aliveness::Unknown,
    }
}

fn join(
    inner: &Arc<Inner>,
    session: &Arc<Session>,
    doubt: Doubt,
) -> Result<Aliveness, watch::Receiver<Option<Aliveness>>> {
    let mut probed = lock(session);
    match &*probed {
        Probed::AliveAt(at) if inner.clock.now().saturating_since(*at) < doubt.alive_kept() => {
            return Ok(Aliveness::Alive);
        }
        Probed::Asking(about, answer) if *about == session.generation => {
            return Err(answer.clone());
        }
        Probed::Nothing | Probed::Asking(..) | Probed::AliveAt(_) => {}
    }
    let (sender, receiver) = watch::channel(None);
    *probed = Probed::Asking(session.generation, receiver.clone());
    let (inner, session) = (Arc::clone(inner), Arc::clone(session));
    let control = inner.control.clone();
    inner.tasks.clone().spawn_on(
        async move {
            let asking = Asking(Arc::clone(&session));
            let known = ask(&inner, &session).await;
            if known == Aliveness::Alive {
                *lock(&session) = Probed::AliveAt(inner.clock.now());
            }
            drop(asking);
            sender.send_replace(Some(known));
        },
        &control,
    );
    Err(receiver)
}

/// A question under way. Ends it even if its task dies: then the next doubt asks anew.
struct Asking(Arc<Session>);

impl Drop for Asking {
    fn drop(&mut self) {
        let mut probed = lock(&self.0);
        // Otherwise a newer version is being asked about, or is alive.
        if matches!(&*probed, Probed::Asking(about, _) if *about == self.0.generation) {
            *probed = Probed::Nothing;
        }
    }
}

async fn ask(inner: &Arc<Inner>, session: &Arc<Session>) -> Aliveness {
    let (upstream, _) = inner.upstream_and_account(&session.key);
    let Some(probe) = &upstream.recipe.probe else { return Aliveness::Unknown };
    let Ok(request) = render::request(&probe.step, &session.material.values, inner.clock.wall())
    else {
        return Aliveness::Unknown;
    };
    let place = session.place.as_deref();
    let exchange = Exchange { request, session: Some(&session.injector), place };
    let began = inner.clock.now();
    let time_is_up = inner.clock.sleep(inner.limits().login_timeout);
    let answer = upstream.transport.exchange(exchange, time_is_up).await;
    let Ok(answer) = answer else { return Aliveness::Unknown };
    let alive = probe.step.expect.judge(&answer.seen_by(&probe.step)) == Truth::Yes;
    let took = inner.clock.now().saturating_since(began);
    inner.reporter.report(Event::Probe { about: inner.about(session), alive, took });
    match alive {
        true => {
            // This answer can change the session as any other.
            let path = probe.step.path.literal().unwrap_or("/");
            roll::roll(inner, &upstream, session, &answer.headers, path);
            Aliveness::Alive
        }
        // A server that is out of order or too busy has said nothing about the session.
        false if answer.status.is_server_error() => Aliveness::Unknown,
        false if answer.status == StatusCode::TOO_MANY_REQUESTS => Aliveness::Unknown,
        false => Aliveness::Dead,
    }
}

impl Doubt {
    fn alive_kept(self) -> Duration {
        match self {
            Self::Ambiguous => ALIVE_KEPT,
            Self::Contradicted => ALIVE_KEPT_AGAINST_VERDICT,
            Self::Unused => Duration::ZERO,
        }
    }
}

/// Held for one read or write; a poisoned value is as good as another.
fn lock(session: &Session) -> MutexGuard<'_, Probed> {
    session.tenure.probed.lock().unwrap_or_else(PoisonError::into_inner)
}
