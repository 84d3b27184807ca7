//! Sessions that later answers change: rotated cookies, anti-forgery pairs, tokens that slide.
//!
//! The changed session is the next version: a generation of its own, so that a late word about the
//! version before does not end it, and the same tenure, so that it has one logout.

use std::sync::Arc;

use super::broker::Inner;
use super::{Session, Upstream, flight, ledger, upkeep};
use crate::clock::Moment;
use crate::fields::Fields;
use crate::login::{self, Material};

/// Takes what a living session's answer to a request for `path` brings. Of answers that were asked
/// for by the same version, the first wins. Returns the next version, current or not: what it holds
/// must not reach the client.
pub(super) fn roll(
    inner: &Arc<Inner>,
    upstream: &Upstream,
    session: &Arc<Session>,
    headers: &Fields,
    path: &str,
) -> Option<Arc<Session>> {
    let wall = inner.clock.wall();
    let material = login::roll(&upstream.recipe, &session.material, headers, path, wall)?;
    let (generation, tenure) = (inner.next_generation(), Arc::clone(&session.tenure));
    let began = began(inner, session, &material);
    // What cannot be sent changes nothing: the version before is still good.
    let next =
        flight::version(inner, session.key, generation, material, tenure, began, Some(session))
            .ok()?;
    // One that was replaced meanwhile has a logout before it, with the newest cookies.
    if session.tenure.rolls(session, &next) && inner.store.roll(session, &next) {
        ledger::record_soon(inner, &next);
        if next.expires < session.expires {
            upkeep::begin(inner, &next);
        }
    }
    Some(next)
}

/// The newest version of a session that is about to be used: the answer to a question may have
/// changed it before it was in the store.
pub(super) fn newest(inner: &Inner, session: &Arc<Session>) -> Arc<Session> {
    let newest = session.tenure.newest(session);
    if newest.generation == session.generation {
        return Arc::clone(session);
    }
    let (material, tenure) = (Material::clone(&newest.material), Arc::clone(&session.tenure));
    let began = began(inner, session, &material);
    // It was a version already: its values can be sent.
    flight::version(inner, session.key, newest.generation, material, tenure, began, Some(session))
        .unwrap_or_else(|_| Arc::clone(session))
}

/// A new end is that of a new life; otherwise the end is as far away as it was.
fn began(inner: &Inner, before: &Session, material: &Material) -> Moment {
    match material.expires == before.material.expires {
        true => before.began,
        false => inner.clock.now(),
    }
}
