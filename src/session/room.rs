//! Makes room for one more session where an account, or Doorward, may have only so many.

use std::sync::Arc;

use super::broker::Inner;
use super::slots::Slot;
use super::{SessionKey, retire};
use crate::telemetry::{Event, LetGo};

/// Waits until there is room for a session of `key`. Where there is none, the session that was used
/// the longest ago is logged out first. Cancel safe.
pub(super) async fn make(inner: &Arc<Inner>, key: &SessionKey) -> Option<Slot> {
    if inner.store.len() > inner.limits.sessions_max {
        let_go(inner, |other| other != key);
    }
    let standing = inner.standing(key);
    if standing.slots.are_taken() {
        let_go(inner, |other| other != key && Arc::ptr_eq(inner.standing(other), standing));
    }
    standing.slots.take().await
}

fn let_go(inner: &Arc<Inner>, is_meant: impl Fn(&SessionKey) -> bool) {
    let Some(session) = inner.store.least_used(is_meant) else { return };
    // Somebody may have ended it meanwhile: then there is room, too.
    if let Some(session) = inner.store.take(session.key, &session.tenure) {
        let (about, why) = (inner.about(&session), LetGo::Room);
        inner.reporter.report(Event::LetGo { about, why });
        retire::retire(inner, session);
    }
}
