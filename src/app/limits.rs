//! Limits as settings tell them become those that requests meet.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::runtime::Handle;

use super::build::BuildError;
use super::ids::Ids;
use crate::clock::Clock;
use crate::limit::{Bounds, ByNumber, Decisions, Limit, Limits, Rate, Rates, Whose};
use crate::recipe::Recipe;
use crate::settings::{self, Settings};

/// Whose a limit is, by the names that it has in the configuration: over a reload it stays what it
/// is, with those who wait and what is used of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Of {
    Client(String),
    /// A route by its host and path, for one account of its upstream.
    Route(Option<String>, String, (String, String)),
    /// An upstream's account.
    Account(String, String),
}

/// The limits of one configuration, by whose they are.
#[derive(Debug, Default)]
pub(super) struct Named {
    limits: HashMap<Of, Arc<Limit>>,
    /// The same for all configurations of a process.
    decisions: Arc<Decisions>,
}

/// Limits as they will be. Nothing has changed yet.
pub(super) struct Planned {
    pub(super) limits: Arc<Limits>,
    pub(super) named: Named,
    /// Those that are known, with other bounds.
    bounds: Vec<(Arc<Limit>, Bounds)>,
}

impl Planned {
    /// Puts the bounds in force.
    pub(super) fn set(&self) {
        self.bounds.iter().for_each(|(limit, bounds)| limit.set(*bounds));
    }
}

/// All limits, by clients, routes and accounts. Those of accounts count reads and writes apart where
/// their upstream does, as long as nobody has given them a rate together. What is there `before` is
/// used on.
///
/// # Errors
/// See [`BuildError`].
pub(super) fn limits(
    settings: &Settings,
    ids: &Ids,
    recipes: &[Arc<Recipe>],
    clock: &Clock,
    before: &Named,
) -> Result<Planned, BuildError> {
    let decisions = Arc::clone(&before.decisions);
    let named = Named { limits: HashMap::new(), decisions: Arc::clone(&decisions) };
    let mut planning = Planning { clock, before, named, bounds: Vec::new() };
    let (mut clients, mut accounts) = (ByNumber::default(), ByNumber::default());
    for client in &settings.clients {
        let Some(limit) = client.limits.as_ref().filter(|limit| bounds_something(limit)) else {
            continue;
        };
        let name = client.id.as_str();
        let limit = planning.limit(Of::Client(name.to_owned()), Whose::Client, bounds(limit));
        clients.insert(ids.client(name)?.0, limit);
    }
    for (upstream, recipe) in settings.upstreams.iter().zip(recipes) {
        let mut bounds = bounds(&upstream.limits);
        if recipe.throttle.counts_apart && bounds.rates == Rates::Together(None) {
            bounds.rates = Rates::Apart { reads: None, writes: None };
        }
        for account in &upstream.accounts {
            let of = Of::Account(upstream.name.clone(), account.name.clone());
            let id = ids.account(&upstream.name, &account.name)?;
            accounts.insert(id.0, planning.limit(of, Whose::Account, bounds));
        }
    }
    let routes = settings.routes.iter().map(|route| planning.route(route, settings, ids));
    let routes = routes.collect::<Result<_, BuildError>>()?;
    let Planning { named, bounds, .. } = planning;
    let limits = Arc::new(Limits { clients, routes, accounts, decisions });
    Ok(Planned { limits, named, bounds })
}

struct Planning<'a> {
    clock: &'a Clock,
    before: &'a Named,
    named: Named,
    bounds: Vec<(Arc<Limit>, Bounds)>,
}

impl Planning<'_> {
    fn route(
        &mut self,
        route: &settings::Route,
        settings: &Settings,
        ids: &Ids,
    ) -> Result<ByNumber, BuildError> {
        let mut by_account = ByNumber::default();
        let Some(limit) = route.limits.as_ref().filter(|limit| bounds_something(limit)) else {
            return Ok(by_account);
        };
        let upstream = settings.upstream(&route.upstream);
        for account in upstream.into_iter().flat_map(|upstream| &upstream.accounts) {
            let name = (route.upstream.clone(), account.name.clone());
            let of = Of::Route(route.host.clone(), route.path.clone(), name);
            let id = ids.account(&route.upstream, &account.name)?;
            by_account.insert(id.0, self.limit(of, Whose::Route, bounds(limit)));
        }
        Ok(by_account)
    }

    fn limit(&mut self, of: Of, whose: Whose, bounds: Bounds) -> Arc<Limit> {
        let limit = match self.before.limits.get(&of) {
            Some(known) => {
                self.bounds.push((Arc::clone(known), bounds));
                Arc::clone(known)
            }
            None => {
                let (decisions, clock) = (&self.named.decisions, self.clock.clone());
                Limit::new(whose, bounds, decisions, clock, Handle::current())
            }
        };
        self.named.limits.insert(of, Arc::clone(&limit));
        limit
    }
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
