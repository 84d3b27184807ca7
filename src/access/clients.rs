//! All clients, and what shows that a request is one's.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use super::grant::Grants;
use super::key::{ClientKey, KeyError, KnownKey};
use super::{Asking, Caller, Denied, presented};

/// What is known of a client.
#[derive(Debug)]
pub struct Client<'a> {
    /// Its name; no two are the same.
    pub name: &'a str,
    /// Its keys.
    pub keys: Vec<KnownKey>,
    /// What it may do.
    pub grants: Grants,
}

/// All clients, by the name that a key begins with.
#[derive(Debug, Default)]
pub struct Clients(HashMap<String, (Vec<KnownKey>, Arc<Caller>)>);

impl Clients {
    /// Keeps all of them.
    pub fn new<'a>(clients: impl IntoIterator<Item = Client<'a>>) -> Self {
        let clients = clients.into_iter().zip(0..).map(|(client, number)| {
            let Client { name, keys, grants } = client;
            let caller = Caller { number, name: Arc::from(name), grants };
            (name.to_owned(), (keys, Arc::new(caller)))
        });
        Self(clients.collect())
    }

    /// The client of this name.
    pub fn named(&self, name: &str) -> Option<&Arc<Caller>> {
        self.0.get(name).map(|(_, caller)| caller)
    }

    /// The client whose request it is. All that it shows must be of one client.
    pub(super) fn authenticate(
        &self,
        asking: &Asking<'_>,
        wall: impl Fn() -> SystemTime,
    ) -> Result<&Arc<Caller>, Denied> {
        let mut caller: Option<&Arc<Caller>> = None;
        presented::each(asking.recipe, asking.headers, |text| {
            let Some(client) = self.holder(text, &wall)? else { return Ok(()) };
            if caller.is_some_and(|caller| !Arc::ptr_eq(caller, client)) {
                return Err(Denied::Conflicting);
            }
            caller = Some(client);
            Ok(())
        })?;
        caller.ok_or(Denied::Missing)
    }

    /// The client whose key this is; nothing where it is no key of ours at all.
    fn holder(
        &self,
        text: &str,
        wall: impl FnOnce() -> SystemTime,
    ) -> Result<Option<&Arc<Caller>>, Denied> {
        let (id, digest) = match ClientKey::presented(text) {
            Ok(presented) => presented,
            Err(KeyError::NotAKey) => return Ok(None),
            Err(KeyError::Damaged) => return Err(Denied::Invalid),
        };
        let (keys, caller) = self.0.get(id).ok_or(Denied::Invalid)?;
        let known = keys.iter().find(|known| known.digest == digest).ok_or(Denied::Invalid)?;
        match known.expires {
            Some(end) if end <= wall() => Err(Denied::Expired),
            _ => Ok(Some(caller)),
        }
    }
}
