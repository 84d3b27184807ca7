//! Makes room for one more session where an account, or Doorward, may have only so many.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use super::broker::Inner;
use super::slots::Slot;
use super::{Session, SessionKey, prolong, retire};
use crate::telemetry::{Event, LetGo};

/// A session that nobody has used yet is left to whom it was opened for, for so long.
pub(super) const FIRST_USE_WITHIN: Duration = Duration::from_secs(10);

/// Waits until there is room for a session of `key`. Where there is none, the session that was used
/// the longest ago is logged out first. Cancel safe.
pub(super) async fn make(inner: &Arc<Inner>, key: &SessionKey) -> Option<Slot> {
    if inner.store.len() > inner.limits().sessions_max {
        let_go(inner, |other| other != key);
    }
    let standing = inner.standing(key);
    let slots = &standing.slots;
    let mut slot = pin!(slots.take());
    loop {
        let first_use = slots.first_use();
        if slots.are_taken() {
            let is_meant = |other: &SessionKey| Arc::ptr_eq(&inner.standing(other), &standing);
            for lapsed in inner.lapsed.take_all(is_meant) {
                prolong::end_lapsed(inner, lapsed);
            }
            let_go(inner, |other| other != key && Arc::ptr_eq(&inner.standing(other), &standing));
        }
        tokio::select! {
            slot = slot.as_mut() => return slot,
            // Then there is one more that can be let go.
            () = first_use => {}
            () = inner.clock.sleep(FIRST_USE_WITHIN) => {}
        }
    }
}

fn let_go(inner: &Arc<Inner>, is_meant: impl Fn(&SessionKey) -> bool) {
    let now = inner.clock.now();
    let may_go = |session: &Session| {
        let tenure = &session.tenure;
        is_meant(&session.key)
            && (tenure.was_ever_used() || tenure.opened + FIRST_USE_WITHIN <= now)
    };
    let Some(session) = inner.store.least_used(may_go) else { return };
    // Somebody may have ended it meanwhile: then there is room, too.
    if let Some(session) = inner.store.take(session.key, &session.tenure) {
        let (about, why) = (inner.about(&session), LetGo::Room);
        inner.reporter.report(Event::LetGo { about, why });
        retire::retire(inner, session);
    }
}
