//! Which upstream, account and client has which id. While Doorward runs an id means one thing: what
//! stays the same over a reload keeps its own, and with it sessions, budgets and limits; what changes
//! gets a new one, so that nothing of the old reaches the new.

use std::collections::BTreeMap;

use super::BuildError;
use crate::secret::Fingerprint;
use crate::session::{AccountId, ClientNumber, UpstreamId};
use crate::settings::Settings;

/// The ids of one configuration.
#[derive(Clone, Debug, Default)]
pub(super) struct Ids {
    upstreams: BTreeMap<String, Named<UpstreamId>>,
    /// By upstream and account.
    accounts: BTreeMap<(String, String), Named<AccountId>>,
    clients: BTreeMap<String, ClientNumber>,
    last: Last,
}

/// An id, and what it stands for.
#[derive(Clone, Copy, Debug)]
struct Named<Id> {
    id: Id,
    meaning: Fingerprint,
}

/// How many ids of each kind were given. So many are never needed.
#[derive(Clone, Copy, Debug, Default)]
struct Last {
    upstream: u32,
    account: u32,
    client: u32,
}

impl Ids {
    /// No ids yet, for a configuration that comes after this one: it gives none of these to anything
    /// else.
    pub(super) fn after(&self) -> Self {
        Self { last: self.last, ..Self::default() }
    }

    /// Ids for whoever only tells the names of a configuration apart.
    pub(super) fn by_name(settings: &Settings) -> Self {
        let (none, meaning) = (Self::default(), Fingerprint::of([]));
        let mut ids = none.after();
        for upstream in &settings.upstreams {
            ids.give_upstream(&none, &upstream.name, meaning);
            for account in &upstream.accounts {
                ids.give_account(&none, (&upstream.name, &account.name), meaning);
            }
        }
        for client in &settings.clients {
            ids.give_client(&none, client.id.as_str());
        }
        ids
    }

    /// The id of an upstream: the one that it had `before`, if it means the same.
    pub(super) fn give_upstream(
        &mut self,
        before: &Self,
        name: &str,
        meaning: Fingerprint,
    ) -> UpstreamId {
        let known = before.upstreams.get(name).filter(|known| known.meaning == meaning);
        let id = known.map_or_else(|| UpstreamId(next(&mut self.last.upstream)), |known| known.id);
        self.upstreams.insert(name.to_owned(), Named { id, meaning });
        id
    }

    /// The id of an account of an upstream: the one that it had `before`, if it means the same.
    pub(super) fn give_account(
        &mut self,
        before: &Self,
        (upstream, account): (&str, &str),
        meaning: Fingerprint,
    ) -> AccountId {
        let name = (upstream.to_owned(), account.to_owned());
        let known = before.accounts.get(&name).filter(|known| known.meaning == meaning);
        let id = known.map_or_else(|| AccountId(next(&mut self.last.account)), |known| known.id);
        self.accounts.insert(name, Named { id, meaning });
        id
    }

    /// The number of a client: the one that it had `before`.
    pub(super) fn give_client(&mut self, before: &Self, name: &str) -> ClientNumber {
        let known = before.clients.get(name).copied();
        let number = known.unwrap_or_else(|| ClientNumber(next(&mut self.last.client)));
        self.clients.insert(name.to_owned(), number);
        number
    }

    /// The id of an upstream.
    ///
    /// # Errors
    /// When there is none of this name, which settings should have judged.
    pub(super) fn upstream(&self, name: &str) -> Result<UpstreamId, BuildError> {
        let known = self.upstreams.get(name).map(|known| known.id);
        known.ok_or_else(|| BuildError::Inconsistent(format!("no upstream {name}")))
    }

    /// The id of an account of an upstream.
    ///
    /// # Errors
    /// When there is none of this name, which settings should have judged.
    pub(super) fn account(&self, upstream: &str, account: &str) -> Result<AccountId, BuildError> {
        let name = (upstream.to_owned(), account.to_owned());
        let known = self.accounts.get(&name).map(|known| known.id);
        known.ok_or_else(|| BuildError::Inconsistent(format!("no account {upstream}.{account}")))
    }

    /// The number of a client.
    ///
    /// # Errors
    /// When there is none of this name, which settings should have judged.
    pub(super) fn client(&self, name: &str) -> Result<ClientNumber, BuildError> {
        let known = self.clients.get(name).copied();
        known.ok_or_else(|| BuildError::Inconsistent(format!("no client {name}")))
    }

    /// The clients that were there `before` and are not any more.
    pub(super) fn clients_gone(&self, before: &Self) -> Vec<ClientNumber> {
        let gone = before.clients.iter().filter(|(name, _)| !self.clients.contains_key(*name));
        gone.map(|(_, number)| *number).collect()
    }
}

fn next(last: &mut u32) -> u32 {
    *last = last.saturating_add(1);
    *last
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::SecretText;

    fn meaning(text: &str) -> Fingerprint {
        Fingerprint::of([&SecretText::from(text.to_owned())])
    }

    /// Fails when something that has changed keeps an id, when something that has not loses its own,
    /// or when an id is given twice.
    #[test]
    fn an_id_means_one_thing() {
        let nothing = Ids::default();
        let mut first = nothing.after();
        let cms = first.give_upstream(&nothing, "cms", meaning("here"));
        let bi = first.give_upstream(&nothing, "bi", meaning("there"));
        let bot = first.give_account(&nothing, ("cms", "bot"), meaning("bot"));
        let ci = first.give_client(&nothing, "ci");
        let mut second = first.after();
        assert_eq!(second.give_upstream(&first, "cms", meaning("here")), cms);
        assert_ne!(second.give_upstream(&first, "bi", meaning("elsewhere")), bi);
        assert_eq!(second.give_account(&first, ("cms", "bot"), meaning("bot")), bot);
        assert_ne!(second.give_account(&first, ("cms", "other"), meaning("bot")), bot);
        assert_eq!(second.clients_gone(&first), [ci]);
        // What comes back has been away.
        let mut third = second.after();
        assert_ne!(third.give_client(&second, "ci"), ci);
        let ids = [bi, second.upstream("bi").unwrap()];
        assert!(!ids.contains(&third.give_upstream(&second, "bi", meaning("there"))));
    }
}
