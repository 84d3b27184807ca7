//! Limits as settings tell them become those that requests meet.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::build::{BuildError, ids};
use crate::clock::Clock;
use crate::limit::{Bounds, Limit, Limits, Rate, Rates, Whose};
use crate::recipe::Recipe;
use crate::settings::{self, Settings};

/// All limits, by clients, routes and accounts. Those of accounts count reads and writes apart where
/// their upstream does, as long as nobody has given them a rate together.
///
/// # Errors
/// See [`BuildError`].
pub(super) fn limits(
    settings: &Settings,
    recipes: &[Arc<Recipe>],
    clock: &Clock,
) -> Result<Limits, BuildError> {
    let control = Handle::current();
    let new = |whose, bounds| Limit::new(whose, bounds, clock.clone(), control.clone());
    let own = settings.clients.iter().map(|client| {
        let limit = client.limits.as_ref().filter(|limit| bounds_something(limit));
        limit.map(|limit| new(Whose::Client, bounds(limit)))
    });
    let of_route = |route: &settings::Route| {
        let Some(limit) = route.limits.as_ref().filter(|limit| bounds_something(limit)) else {
            return Ok(Vec::new());
        };
        let (upstream, _) = ids(&settings.upstreams, &route.upstream, &route.account)?;
        let upstream = settings.upstreams.get(usize::from(upstream.0));
        let accounts = upstream.map_or(&[][..], |upstream| &upstream.accounts).iter();
        Ok(accounts.map(|_| new(Whose::Route, bounds(limit))).collect())
    };
    let of_upstream = |(upstream, recipe): (&settings::Upstream, &Arc<Recipe>)| {
        let mut bounds = bounds(&upstream.limits);
        if recipe.throttle.counts_apart && bounds.rates == Rates::Together(None) {
            bounds.rates = Rates::Apart { reads: None, writes: None };
        }
        upstream.accounts.iter().map(|_| new(Whose::Account, bounds)).collect()
    };
    Ok(Limits {
        clients: match settings.clients.iter().any(|client| client.limits.is_some()) {
            true => own.collect(),
            false => Vec::new(),
        },
        routes: settings.routes.iter().map(of_route).collect::<Result<_, BuildError>>()?,
        accounts: settings.upstreams.iter().zip(recipes).map(of_upstream).collect(),
    })
}

/// Whether anything is counted. A queue that nobody has to wait in is no limit.
pub(super) fn bounds_something(limit: &settings::Limit) -> bool {
    let has_rate = match limit.rates {
        settings::Rates::Together(rate) => rate.is_some(),
        settings::Rates::Apart { .. } => true,
    };
    has_rate || limit.in_flight_max.is_some()
}

fn bounds(limit: &settings::Limit) -> Bounds {
    let settings::Limit { rates, in_flight_max, waiting_max } = *limit;
    let rates = match rates {
        settings::Rates::Together(rate) => Rates::Together(rate.map(self::rate)),
        settings::Rates::Apart { reads, writes } => {
            Rates::Apart { reads: reads.map(self::rate), writes: writes.map(self::rate) }
        }
    };
    Bounds { rates, in_flight_max, waiting_max }
}

fn rate(settings::Rate { requests, per, burst }: settings::Rate) -> Rate {
    Rate { interval: per / requests, burst }
}
