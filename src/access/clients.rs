//! All clients, and what shows that a request is one's.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use super::grant::Grants;
use super::key::{ClientKey, KeyError, KeyPrint, KnownKey};
use super::presented::Stands;
use super::token::{self, Claims, Tokens};
use super::{Asking, Caller, Denied, open, presented};
use crate::secret::SecretText;

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
#[derive(Debug)]
pub struct Clients {
    known: HashMap<String, (Vec<KnownKey>, Arc<Caller>)>,
    tokens: Tokens,
}

/// A client that has logged in.
#[derive(Debug)]
pub struct LoggedIn {
    /// The client.
    pub caller: Arc<Caller>,
    /// What it shows from now on.
    pub token: SecretText,
    /// When the token ends.
    pub ends: SystemTime,
}

impl Clients {
    /// Keeps all of them.
    pub fn new<'a>(clients: impl IntoIterator<Item = Client<'a>>, tokens: Tokens) -> Self {
        let clients = clients.into_iter().zip(0..).map(|(client, number)| {
            let Client { name, keys, grants } = client;
            let caller = Caller { number, name: Arc::from(name), grants };
            (name.to_owned(), (keys, Arc::new(caller)))
        });
        Self { known: clients.collect(), tokens }
    }

    /// The client of this name.
    pub fn named(&self, name: &str) -> Option<&Arc<Caller>> {
        self.known.get(name).map(|(_, caller)| caller)
    }

    /// The client whose request it is. All that it shows must be of one client.
    pub(super) fn authenticate(
        &self,
        asking: &Asking<'_>,
        wall: impl Fn() -> SystemTime,
    ) -> Result<&Arc<Caller>, Denied> {
        let mut shown = Shown::default();
        presented::each(asking, |text, stands| shown.add(self, asking, text, stands, &wall))?;
        shown.decided().map(|proof| proof.caller)
    }

    /// Gives a client a token that shows its key in the body of a login, which may have more than
    /// one place for it, or in a field. A token in a field is what an earlier login left: beside a
    /// key in the body it counts for nothing. Who shows no key but a token is given one with the
    /// same end.
    ///
    /// # Errors
    /// See [`Denied`].
    pub fn log_in<'t>(
        &self,
        asking: &Asking<'_>,
        passwords: impl IntoIterator<Item = &'t str>,
        wall: impl Fn() -> SystemTime,
    ) -> Result<LoggedIn, Denied> {
        let mut shown = Shown::default();
        for text in passwords {
            shown.add(self, asking, text, Stands::Field, &wall)?;
        }
        let replaces = shown.key.is_some();
        presented::each(asking, |text, stands| match replaces && token::is_like_one(text) {
            true => Ok(()),
            false => shown.add(self, asking, text, stands, &wall),
        })?;
        let Proof { caller, key, ends } = shown.decided()?;
        let ends = match ends {
            Ends::Token(ends) => ends,
            Ends::Key(ends) => self.tokens.end(wall(), ends),
        };
        let claims = Claims { client: &caller.name, key, ends };
        let token = self.tokens.issue(&claims, asking.upstream);
        Ok(LoggedIn { caller: Arc::clone(caller), token, ends })
    }

    /// The client whose key this is; nothing where it is no key of ours at all.
    fn by_key(
        &self,
        text: &str,
        wall: impl FnOnce() -> SystemTime,
    ) -> Result<Option<Proof<'_>>, Denied> {
        let (id, digest) = match ClientKey::presented(text) {
            Ok(presented) => presented,
            Err(KeyError::NotAKey) => return Ok(None),
            Err(KeyError::Damaged) => return Err(Denied::Invalid),
        };
        let (keys, caller) = self.known.get(id).ok_or(Denied::Invalid)?;
        let known = keys.iter().find(|known| known.digest == digest).ok_or(Denied::Invalid)?;
        match known.expires {
            Some(end) if end <= wall() => Err(Denied::Expired),
            ends => Ok(Some(Proof { caller, key: KeyPrint::from(&digest), ends: Ends::Key(ends) })),
        }
    }

    /// The client whose token this is, as long as the key is good that it was given for.
    fn by_token(
        &self,
        text: &str,
        upstream: &str,
        wall: impl FnOnce() -> SystemTime,
    ) -> Result<Proof<'_>, Denied> {
        let found = self.tokens.read(text, upstream, |claims| {
            let (keys, caller) = self.known.get(claims.client)?;
            let is_meant = |known: &&KnownKey| KeyPrint::from(&known.digest) == claims.key;
            let known = keys.iter().find(is_meant)?;
            let is_over = |now: SystemTime| known.expires.is_some_and(|end| end <= now);
            let now = wall();
            let ended = claims.ends <= now || is_over(now);
            Some((Proof { caller, key: claims.key, ends: Ends::Token(claims.ends) }, ended))
        });
        match found {
            Ok(Some((proof, false))) => Ok(proof),
            Ok(Some((_, true))) => Err(Denied::TokenExpired),
            Ok(None) | Err(_) => Err(Denied::TokenInvalid),
        }
    }
}

/// What shows that a request is a client's.
#[derive(Clone, Copy)]
struct Proof<'c> {
    caller: &'c Arc<Caller>,
    key: KeyPrint,
    ends: Ends,
}

/// When a proof ends.
#[derive(Clone, Copy)]
enum Ends {
    Key(Option<SystemTime>),
    Token(SystemTime),
}

/// All that a request shows. A token that is not good, beside a good key, is what a client kept of
/// an earlier login, and is no reason to refuse it.
#[derive(Default)]
struct Shown<'c> {
    key: Option<Proof<'c>>,
    token: Option<Proof<'c>>,
    refused: Option<Denied>,
}

impl<'c> Shown<'c> {
    fn add(
        &mut self,
        clients: &'c Clients,
        asking: &Asking<'_>,
        text: &str,
        stands: Stands,
        wall: impl FnOnce() -> SystemTime,
    ) -> Result<(), Denied> {
        let is_token = token::is_like_one(text);
        let found = match is_token {
            true => clients.by_token(text, asking.upstream, wall).map(Some),
            false => clients.by_key(text, wall),
        };
        let proof = match found {
            Ok(None) => return Ok(()),
            Ok(Some(proof)) => proof,
            Err(denied) if is_token => {
                self.refused.get_or_insert(denied);
                return Ok(());
            }
            Err(denied) => return Err(denied),
        };
        // A browser sends cookies for pages of other sites, too.
        if stands == Stands::Cookie && open::is_cross_origin(asking.headers, asking.host) {
            return Err(Denied::CrossOrigin);
        }
        let mut others = self.key.iter().chain(&self.token);
        if others.any(|other| !Arc::ptr_eq(other.caller, proof.caller)) {
            return Err(Denied::Conflicting);
        }
        let place = if is_token { &mut self.token } else { &mut self.key };
        place.get_or_insert(proof);
        Ok(())
    }

    fn decided(self) -> Result<Proof<'c>, Denied> {
        match (self.key, self.refused, self.token) {
            (Some(key), _, _) => Ok(key),
            (None, Some(denied), _) => Err(denied),
            (None, None, Some(token)) => Ok(token),
            (None, None, None) => Err(Denied::Missing),
        }
    }
}
