//! Brings single values of a session anew, without a login: an anti-forgery token that the upstream
//! calls stale. One renewal for everybody whose request was answered so.
//!
//! The renewed session is the next version: a generation of its own and the same tenure, as one that
//! an answer has changed ([`super::roll`]).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::broker::Inner;
use super::{Exchange, Session, flight, ledger};
use crate::clock::Moment;
use crate::login::{Attempt, Material, Next};
use crate::telemetry::Event;

/// How long after a renewal its values are believed in: an endpoint that calls every value stale costs
/// no more renewals.
const RENEWALS_APART: Duration = Duration::from_secs(1);

/// A renewal gives way so often to what other answers make of the session meanwhile.
const TRIES_MAX: usize = 3;

/// What is known of a session's renewals.
#[derive(Debug, Default)]
pub(super) struct Renewing(Mutex<State>);

#[derive(Debug, Default)]
enum State {
    #[default]
    Never,
    UnderWay(watch::Receiver<Option<bool>>),
    EndedAt(Moment),
}

/// Renews what the recipe's renewal brings, unless the current session has it other than `session`
/// already. Whether a request that was answered as stale is worth sending again. Cancel safe: the
/// renewal is made by a task of its own.
pub(super) async fn renew(inner: &Arc<Inner>, session: &Arc<Session>) -> bool {
    let mut renewed = match join(inner, session) {
        Ok(known) => return known,
        Err(under_way) => under_way,
    };
    match renewed.wait_for(Option::is_some).await {
        Ok(renewed) => renewed.unwrap_or(false),
        Err(_) => false,
    }
}

fn join(inner: &Arc<Inner>, session: &Arc<Session>) -> Result<bool, watch::Receiver<Option<bool>>> {
    let mut state = lock(session);
    if let State::UnderWay(renewed) = &*state {
        return Err(renewed.clone());
    }
    let Some(current) = inner.store.session(&session.key) else { return Ok(false) };
    if current.tenure.first != session.tenure.first || is_other(inner, &current, session) {
        return Ok(true);
    }
    if let State::EndedAt(at) = *state
        && inner.clock.now().saturating_since(at) < RENEWALS_APART
    {
        return Ok(false);
    }
    let (sender, receiver) = watch::channel(None);
    *state = State::UnderWay(receiver.clone());
    let (inner, control) = (Arc::clone(inner), inner.control.clone());
    inner.tasks.clone().spawn_on(
        async move {
            // Ends it even if the task dies here.
            let ending = Ending(Arc::clone(&inner), Arc::clone(&current));
            let renewed = run(&inner, current).await;
            drop(ending);
            sender.send_replace(Some(renewed));
        },
        &control,
    );
    Err(receiver)
}

/// Whether one version has another value than the other of what a renewal brings.
fn is_other(inner: &Inner, current: &Session, session: &Session) -> bool {
    let (upstream, _) = inner.upstream_and_account(&session.key);
    let mut takes = upstream.recipe.renew.iter().flat_map(|step| &step.take);
    takes.any(|take| {
        current.material.values.text(&take.name) != session.material.values.text(&take.name)
    })
}

struct Ending(Arc<Inner>, Arc<Session>);

impl Drop for Ending {
    fn drop(&mut self) {
        *lock(&self.1) = State::EndedAt(self.0.clock.now());
    }
}

async fn run(inner: &Arc<Inner>, mut current: Arc<Session>) -> bool {
    let started = inner.clock.now();
    let mut outcome = Err("other answers changed the session meanwhile");
    for _ in 0..TRIES_MAX {
        let material = match steps(inner, &current).await {
            Ok(material) => material,
            Err(why) => {
                outcome = Err(why);
                break;
            }
        };
        match put(inner, &current, material) {
            Ok(generation) => {
                outcome = Ok(generation);
                break;
            }
            Err(None) => break,
            Err(Some(newer)) => current = newer,
        }
    }
    let took = inner.clock.now().saturating_since(started);
    inner.reporter.report(Event::Renewed { about: inner.about(&current), outcome, took });
    outcome.is_ok()
}

/// Makes the next version of `current`; else the version that came meanwhile, if the session lives.
fn put(
    inner: &Arc<Inner>,
    current: &Arc<Session>,
    material: Material,
) -> Result<u64, Option<Arc<Session>>> {
    let (generation, tenure) = (inner.next_generation(), Arc::clone(&current.tenure));
    let (key, began) = (current.key, current.began);
    let next = flight::version(inner, key, generation, material, tenure, began, Some(current));
    let Ok(next) = next else { return Err(None) };
    if current.tenure.rolls(current, &next) && inner.store.roll(current, &next) {
        ledger::record_soon(inner, &next);
        return Ok(generation.0);
    }
    let newer = inner.store.session(&key);
    Err(newer.filter(|newer| newer.tenure.first == current.tenure.first))
}

async fn steps(inner: &Inner, session: &Session) -> Result<Material, &'static str> {
    let (upstream, _) = inner.upstream_and_account(&session.key);
    let (recipe, base_path) = (Arc::clone(&upstream.recipe), &upstream.origin.base_path);
    let mut attempt = Attempt::renewal(recipe, &session.material, base_path);
    let deadline = inner.clock.now() + inner.limits().login_timeout;
    let mut next = attempt.start(inner.clock.wall());
    loop {
        match next {
            Next::Send(request) => {
                let place = session.place.as_deref();
                let exchange = Exchange { request, session: None, place };
                let time_is_up = inner.clock.sleep_until(deadline);
                let answer = upstream.transport.exchange(exchange, time_is_up).await;
                let answer = answer.map_err(|_| "the answer was lost")?;
                next = attempt.answer(&answer, inner.clock.wall());
            }
            Next::Done(material) => return Ok(material),
            Next::Refused(_) => return Err("refused"),
            Next::Wait { .. } => return Err("a renewal sends no one-time codes"),
        }
    }
}

/// Held for one read or write; a poisoned value is as good as another.
fn lock(session: &Session) -> MutexGuard<'_, State> {
    session.tenure.renewing.0.lock().unwrap_or_else(PoisonError::into_inner)
}
