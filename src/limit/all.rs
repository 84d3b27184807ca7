//! All limits of a gateway, and the order in which a request asks for its places.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::{Decisions, Kind, Limit, Permit, Refused, Who, Whose};
use crate::clock::Moment;

/// The limits of all clients, routes and accounts.
#[derive(Debug, Default)]
pub struct Limits {
    /// By client, of those that have one of their own.
    pub clients: ByNumber,
    /// By route, for each account of its upstream; nothing where a route has none.
    pub routes: Vec<ByNumber>,
    /// By account. Every account has one: its upstream may ask for a pause.
    pub accounts: ByNumber,
    /// What they have decided, and what those had that were there before them.
    pub decisions: Arc<Decisions>,
}

/// Limits by the number of whose they are.
pub type ByNumber = HashMap<u32, Arc<Limit>, RandomState>;

/// What a request needs places for.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Its client, by its number; nothing where there are no keys.
    pub client: Option<u32>,
    /// Its route, by its number.
    pub route: u16,
    /// The account whose session it carries, by its number.
    pub account: u32,
    /// What it does.
    pub kind: Kind,
}

/// The places of a request that may go, given back when they are dropped.
#[derive(Debug)]
pub struct Permits {
    /// When the request had all of them.
    pub at: Moment,
    // The one that most others wait for is given back first.
    _account: Permit,
    _route: Option<Permit>,
    _client: Option<Permit>,
}

impl Limits {
    /// The limit of one account, by its number.
    pub fn account(&self, account: u32) -> Option<&Arc<Limit>> {
        self.accounts.get(&account)
    }

    /// The limit of one client, by its number, if it has one of its own.
    pub fn of_client(&self, client: u32) -> Option<&Arc<Limit>> {
        self.clients.get(&client)
    }

    fn client(&self, place: Place) -> Option<&Arc<Limit>> {
        self.clients.get(&place.client?)
    }

    fn route(&self, place: Place) -> Option<&Arc<Limit>> {
        self.routes.get(usize::from(place.route))?.get(&place.account)
    }

    /// Lets a request go that asks at `now`, once it has a place at its client's, its route's and its
    /// account's limit.
    /// Nothing where there is no such account. Cancel safe: a request that leaves gives up what it
    /// has.
    ///
    /// The order is client, route, account, from what fewest share to what most share. A request
    /// that waits holds only places before that in the order, so no two wait for each other. And it
    /// starves nobody: a client's place keeps only that client's own requests out; a route's limit
    /// counts for each account alone, so its place keeps out only requests that ask the same account
    /// next (where that counts kinds apart, also those of the kind that need not wait). The account
    /// comes last because its tokens are worth the most: one that was taken earlier would be lost
    /// while the request waits elsewhere, or would come late, together with others, and be too much
    /// for the upstream.
    ///
    /// # Errors
    /// See [`Limit::admit`].
    pub async fn admit(
        &self,
        place: Place,
        now: Moment,
        deadline: Moment,
    ) -> Result<Option<Permits>, Refused> {
        let Some(account) = self.account(place.account) else { return Ok(None) };
        let asked = (place.client.unwrap_or(u32::MAX), place.kind);
        let (_client, now) = place_at(self.client(place), asked, now, deadline).await?;
        let (_route, now) = place_at(self.route(place), asked, now, deadline).await?;
        let (_account, at) = account.admit(asked, now, deadline).await?;
        Ok(Some(Permits { at, _account, _route, _client }))
    }

    /// How many requests wait for their turn at limits of clients, of routes and of accounts.
    pub fn waiting_at(&self) -> [(Whose, usize); Whose::ALL.len()] {
        Whose::ALL.map(|whose| {
            let limits: &mut dyn Iterator<Item = &Arc<Limit>> = match whose {
                Whose::Client => &mut self.clients.values(),
                Whose::Route => &mut self.routes.iter().flat_map(ByNumber::values),
                Whose::Account => &mut self.accounts.values(),
            };
            (whose, limits.map(|limit| limit.waiting()).sum())
        })
    }

    /// How many requests wait for their turn.
    pub fn waiting(&self) -> usize {
        self.waiting_at().into_iter().map(|(_, waiting)| waiting).sum()
    }
}

/// A place at a limit, if there is one, and when the request had it.
async fn place_at(
    limit: Option<&Arc<Limit>>,
    asked: (Who, Kind),
    now: Moment,
    deadline: Moment,
) -> Result<(Option<Permit>, Moment), Refused> {
    let Some(limit) = limit else { return Ok((None, now)) };
    let (permit, at) = limit.admit(asked, now, deadline).await?;
    Ok((Some(permit), at))
}

impl Whose {
    /// The word in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Route => "route",
            Self::Account => "account",
        }
    }
}
