//! Prolongs a session by its recipe's refresh steps, in place of a login: for sessions whose tokens
//! are short-lived and come with one for the next.
//!
//! A refresh token is often good for one use. So what a session has is sent at most once,
//! whatever came of it, and what the upstream gave is durable before it is used. When a
//! refresh is refused, or its answer is lost, a login follows. What could not be sent is kept.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::broker::Inner;
use super::tenure::Refresh;
use super::{Evidence, Exchange, Generation, Session, SessionKey, flight, ledger, retire};
use crate::clock::Moment;
use crate::login::{Attempt, Material, Next};
use crate::telemetry::Event;
use crate::upstream::Unreached;

/// Sessions that were found dead and can be prolonged, until somebody needs them. At most one a
/// key, and never more than there may be sessions.
#[derive(Debug, Default)]
pub(super) struct Lapsed(Mutex<HashMap<SessionKey, Arc<Session>>>);

impl Lapsed {
    /// Keeps a dead session for the next flight of its key, for as long as it would be kept without
    /// use, or for the flight that is refreshing it. Gives back what cannot be prolonged.
    pub(super) fn put(&self, inner: &Inner, session: Arc<Session>) -> Option<Arc<Session>> {
        let (upstream, _) = inner.upstream_and_account(&session.key);
        let tenure = &session.tenure;
        if upstream.recipe.refresh.is_empty() || tenure.refresh() == Refresh::Spent {
            return Some(session);
        }
        let mut lapsed = self.lock();
        // Asked under the lock: what is put later is not found by the stop.
        if lapsed.len() >= inner.limits().sessions_max || inner.stopping.is_cancelled() {
            return Some(session);
        }
        inner.schedule.put(unused_at(inner, &session), session.key, tenure.first);
        lapsed.insert(session.key, session)
    }

    /// Whether something is kept for `key`.
    pub(super) fn holds(&self, key: &SessionKey) -> bool {
        self.lock().contains_key(key)
    }

    /// Takes out what is kept for `key`, if `is_meant` is true of it.
    pub(super) fn take_if(
        &self,
        key: &SessionKey,
        is_meant: impl Fn(&Session) -> bool,
    ) -> Option<Arc<Session>> {
        let mut lapsed = self.lock();
        if !lapsed.get(key).is_some_and(|session| is_meant(session)) {
            return None;
        }
        lapsed.remove(key)
    }

    /// Takes out all that `is_meant` is true of, but for what is being refreshed: that is left to
    /// whoever does.
    pub(super) fn take_all(&self, is_meant: impl Fn(&SessionKey) -> bool) -> Vec<Arc<Session>> {
        let is_taken = |key: &SessionKey, session: &mut Arc<Session>| {
            is_meant(key) && session.tenure.refresh() != Refresh::UnderWay
        };
        self.lock().extract_if(is_taken).map(|(_, session)| session).collect()
    }

    /// Nothing panics under the lock: a poisoned map is whole.
    fn lock(&self) -> MutexGuard<'_, HashMap<SessionKey, Arc<Session>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When a lapsed session has been unused for too long.
fn unused_at(inner: &Inner, session: &Session) -> Moment {
    session.tenure.used() + inner.limits().session_idle
}

/// Ends the lapsed session that had an appointment now, because nobody has needed it for long.
pub(super) fn end_unused(inner: &Arc<Inner>, key: &SessionKey, tenure: Generation) {
    let now = inner.clock.now();
    let is_unused =
        |session: &Session| session.tenure.first == tenure && unused_at(inner, session) <= now;
    if let Some(session) = inner.lapsed.take_if(key, is_unused) {
        end_lapsed(inner, session);
    }
}

/// Ends a lapsed session. Its refresh token may be good: it is given back by the logout.
pub(super) fn end_lapsed(inner: &Arc<Inner>, session: Arc<Session>) {
    session.tenure.end();
    retire::bury(inner, session, Evidence::Verdict);
}

/// A session that a flight refreshes: the one that it renews, or one that was found dead.
pub(super) struct Refreshing {
    session: Arc<Session>,
    was_dead: bool,
    /// It has landed: what becomes of its refresh token from now on is for others to say.
    has_landed: bool,
}

/// What came of a refresh.
pub(super) enum Refreshed {
    /// The next version of the session.
    Next(Arc<Session>),
    /// Nothing: a login follows.
    Nothing,
    /// Nothing was sent, because that could not be recorded. What it would use is good.
    Unrecorded,
    /// Nothing was sent, because there was no connection. What it would use is good.
    Unreached(Unreached),
}

impl Refreshing {
    /// Claims what a flight of `key` can refresh; nothing when a login has to be made.
    pub(super) fn claim(inner: &Arc<Inner>, key: &SessionKey) -> Option<Self> {
        let (upstream, _) = inner.upstream_and_account(key);
        if upstream.recipe.refresh.is_empty() {
            return None;
        }
        let (session, was_dead) = match inner.store.session(key) {
            Some(session) => (session, false),
            None => (inner.lapsed.take_if(key, |_| true)?, true),
        };
        if session.tenure.claim_refresh() {
            return Some(Self { session, was_dead, has_landed: false });
        }
        if was_dead {
            end_lapsed(inner, session);
        }
        None
    }

    /// Sends the refresh steps. Where they give nothing the session is ended if it was found dead.
    /// Not cancel safe: a refresh token is used up.
    pub(super) async fn run(&self, inner: &Arc<Inner>, generation: Generation) -> Refreshed {
        // A start that finds this recorded never sends the same once more.
        if inner.record_session(&self.session).await.is_err() {
            self.put_back(inner, generation);
            return Refreshed::Unrecorded;
        }
        match prolong(inner, &self.session, generation).await {
            Ok(next) => return Refreshed::Next(next),
            Err(Some(unreached)) => {
                self.put_back(inner, generation);
                ledger::record_soon(inner, &self.session);
                return Refreshed::Unreached(unreached);
            }
            Err(None) => {}
        }
        self.session.tenure.was_not_refreshed();
        if self.was_dead || self.take_lapsed(inner, generation).is_some() {
            end_lapsed(inner, Arc::clone(&self.session));
        } else {
            ledger::record_soon(inner, &self.session);
        }
        Refreshed::Nothing
    }

    /// Leaves the session to the next flight.
    fn put_back(&self, inner: &Arc<Inner>, generation: Generation) {
        self.session.tenure.was_not_sent();
        let unwanted = match self.was_dead {
            true => inner.lapsed.put(inner, Arc::clone(&self.session)),
            // The stop has left what died meanwhile to this flight.
            false if inner.stopping.is_cancelled() => self.take_lapsed(inner, generation),
            false => None,
        };
        if let Some(unwanted) = unwanted {
            end_lapsed(inner, unwanted);
        }
    }

    /// The next version has landed: it may be refreshed in its turn, and what was found dead
    /// meanwhile is no more than the version before it.
    pub(super) fn landed(mut self, inner: &Inner, generation: Generation) {
        self.has_landed = true;
        self.session.tenure.was_refreshed();
        self.take_lapsed(inner, generation);
    }

    /// Takes out a version before `generation` of this session.
    fn take_lapsed(&self, inner: &Inner, generation: Generation) -> Option<Arc<Session>> {
        inner.lapsed.take_if(&self.session.key, |lapsed| {
            lapsed.tenure.first == self.session.tenure.first && lapsed.generation < generation
        })
    }
}

impl Drop for Refreshing {
    /// A flight that died sends nothing more: the session is not left to it any longer.
    fn drop(&mut self) {
        if !self.has_landed && self.session.tenure.refresh() == Refresh::UnderWay {
            self.session.tenure.was_not_refreshed();
        }
    }
}

/// The next version of a session; else why nothing was sent, if nothing was.
async fn prolong(
    inner: &Arc<Inner>,
    session: &Arc<Session>,
    generation: Generation,
) -> Result<Arc<Session>, Option<Unreached>> {
    let started = inner.clock.now();
    let mut unreached = None;
    let result = steps(inner, session, &mut unreached).await;
    let next = result.and_then(|material| {
        let tenure = Arc::clone(&session.tenure);
        flight::session(inner, session.key, generation, material, tenure)
            .map_err(|_| "a value cannot be sent")
    });
    let took = inner.clock.now().saturating_since(started);
    let outcome = next.as_ref().map(|next| next.generation.0).map_err(|why| *why);
    inner.reporter.report(Event::Refreshed { about: inner.about(session), outcome, took });
    let next = next.map_err(|_| unreached)?;
    if inner.record_given(&next).await.is_err() {
        // What is not durable is not used; a login is held back for the same reason.
        retire::close(inner, &next).await;
        return Err(None);
    }
    Ok(next)
}

async fn steps(
    inner: &Inner,
    session: &Session,
    unreached: &mut Option<Unreached>,
) -> Result<Material, &'static str> {
    let (upstream, _) = inner.upstream_and_account(&session.key);
    let (recipe, base_path) = (Arc::clone(&upstream.recipe), &upstream.origin.base_path);
    let mut attempt = Attempt::refresh(recipe, &session.material, base_path);
    let deadline = inner.clock.now() + inner.limits().login_timeout;
    let mut next = attempt.start(inner.clock.wall());
    let mut sent = false;
    loop {
        match next {
            Next::Send(request) => {
                let exchange = Exchange { request, session: None, place: None };
                let time_is_up = inner.clock.sleep_until(deadline);
                let answer = upstream.transport.exchange(exchange, time_is_up).await;
                let answer = answer.map_err(|error| match error.unreached().filter(|_| !sent) {
                    Some(why) => {
                        *unreached = Some(why);
                        "the upstream could not be reached"
                    }
                    None => "the answer was lost",
                })?;
                sent = true;
                next = attempt.answer(&answer, inner.clock.wall());
            }
            Next::Done(material) => return Ok(material),
            Next::Refused(_) => return Err("refused"),
            Next::Wait { .. } => return Err("a refresh sends no one-time codes"),
        }
    }
}
