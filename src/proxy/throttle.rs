//! What an upstream's answer says of the upstream's own limits holds for everybody on the account.

use std::sync::Arc;

use http::StatusCode;

use super::exchange::Forwarded;
use super::force::Serving;
use super::places::kind;
use crate::fields::Fields;
use crate::forward::throttle;
use crate::limit::{Reading, Reset};
use crate::session::Account;
use crate::telemetry::Event;

/// Makes everybody wait whom the upstream would answer 429, as long as its answer says. Where its
/// recipe names no field to read, an answer that is no 429 costs nothing here.
pub(super) fn heed(
    serving: &Serving,
    to: &Forwarded<'_>,
    account: &Account,
    status: StatusCode,
    headers: &Fields,
) {
    let (shared, recipe) = (&*serving.shared, &to.upstream.recipe.throttle);
    let is_429 = status == StatusCode::TOO_MANY_REQUESTS;
    if !is_429 && recipe.remaining.is_none() && !recipe.ratelimit {
        return;
    }
    let Some(limit) = serving.in_force.admission.account(account.id.0) else { return };
    let kind = recipe.counts_apart.then(|| kind(to.reading));
    let wall = || shared.clock.wall();
    if let Some(left) = throttle::left(recipe, headers, wall)
        && let Some(reset) = left.reset.map(Reset::After).or(recipe.window.map(Reset::Window))
    {
        limit.was_left(kind, Reading { left: left.requests, reset });
    }
    if is_429 && let Some(pause) = limit.pause(kind, throttle::pause(recipe, headers, wall())) {
        shared.reporter.report(Event::Paused {
            upstream: Arc::clone(&to.upstream.name),
            account: Arc::clone(&account.name),
            pause,
        });
    }
}
