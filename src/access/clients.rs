//! All clients, and what shows that a request is one's.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use foldhash::fast::RandomState;

use super::grant::Grants;
use super::identity::{self, Connected, Identities, SubjectAltName, UnixOwner};
use super::jwt::{Issuer, Issuers, Rule};
use super::key::{ClientKey, Digest, KeyError, KeyPrint, KnownKey};
use super::presented::Stands;
use super::revoked::{Revocation, Revocations};
use super::seen::{Coder, Seen};
use super::token::{self, Claims, Tokens};
use super::{Asking, Caller, Denied, Proven, open, presented};
use crate::secret::SecretText;

/// What is known of a client.
#[derive(Debug, Default)]
pub struct Client<'a> {
    /// Its number; no two have the same.
    pub number: u32,
    /// Its name; no two are the same.
    pub name: &'a str,
    /// Its keys.
    pub keys: Vec<KnownKey>,
    /// The names in its certificates; no two clients share one.
    pub certificates: Vec<SubjectAltName>,
    /// Whose processes are the client at a Unix socket; no two clients share one.
    pub unix: Vec<UnixOwner>,
    /// What it may do.
    pub grants: Grants,
}

/// All clients, by the name that a key begins with, and by what connections show.
#[derive(Debug)]
pub struct Clients {
    by_name: HashMap<String, Known, RandomState>,
    identities: Identities,
    tokens: Tokens,
    pub(super) issuers: Issuers,
    /// Nothing where each key that comes has to be digested.
    coder: Option<Coder>,
}

/// A client with its keys.
#[derive(Debug)]
struct Known {
    keys: Vec<Kept>,
    caller: Arc<Caller>,
}

/// A key of a client.
#[derive(Debug)]
struct Kept {
    key: KnownKey,
    revocation: Revocation,
    seen: Seen,
}

/// A client that has logged in.
#[derive(Debug)]
pub struct LoggedIn {
    /// The client.
    pub caller: Arc<Caller>,
    /// What it shows from now on; nothing where its connection or a token of an issuer alone shows
    /// it, which goes on to do so.
    pub token: Option<IssuedToken>,
}

/// A token for a client.
#[derive(Debug)]
pub struct IssuedToken {
    /// The token.
    pub text: SecretText,
    /// When it ends.
    pub ends: SystemTime,
}

impl Clients {
    /// Keeps all of them, with the keys among theirs that are revoked, or will be.
    pub fn new<'a>(
        clients: impl IntoIterator<Item = Client<'a>>,
        tokens: Tokens,
        revocations: &Revocations,
    ) -> Self {
        let (mut by_name, mut identities) = (HashMap::default(), Identities::default());
        for client in clients {
            let Client { number, name, keys, certificates, unix, grants } = client;
            let caller = Arc::new(Caller { number, name: Arc::from(name), grants });
            identities.add(&caller, certificates, unix);
            let kept = |key: KnownKey| {
                let revocation = revocations.of(&key.digest);
                Kept { key, revocation, seen: Seen::default() }
            };
            let keys = keys.into_iter().map(kept).collect();
            by_name.insert(name.to_owned(), Known { keys, caller });
        }
        Self { by_name, identities, tokens, issuers: Issuers::default(), coder: Coder::new() }
    }

    /// The same, with issuers and, for each, which of its tokens are those of which client. What is
    /// for a client that is not there counts for nothing.
    #[must_use]
    pub fn trusting<'a>(
        mut self,
        issuers: impl IntoIterator<Item = (Issuer, Vec<(Rule, &'a str)>)>,
    ) -> Self {
        let issuers = issuers.into_iter().map(|(issuer, rules)| {
            let rules = rules.into_iter();
            let of = |(rule, name)| Some((rule, Arc::clone(self.named(name)?)));
            (issuer, rules.filter_map(of).collect())
        });
        self.issuers = Issuers::new(issuers.collect::<Vec<_>>());
        self
    }

    /// The client of this name.
    pub fn named(&self, name: &str) -> Option<&Arc<Caller>> {
        self.by_name.get(name).map(|known| &known.caller)
    }

    /// Who has made a connection.
    pub(super) fn recognise(&self, shown: &identity::Shown) -> Connected {
        self.identities.recognise(shown)
    }

    /// The client whose request it is. All that it and its connection show must be of one client.
    pub(super) fn authenticate(
        &self,
        asking: &Asking<'_>,
        wall: impl Fn() -> SystemTime,
    ) -> Result<Proven, Denied> {
        let mut shown = Shown::by_connection(asking, &wall)?;
        presented::each(asking, |text, stands| shown.add(self, asking, text, stands, &wall))?;
        shown.add_issued(&self.issuers, asking, &wall)?;
        let (caller, proof) = shown.decided(asking)?;
        let key = proof.map(|proof| proof.revocation.clone());
        Ok(Proven { caller: Arc::clone(caller), key })
    }

    /// Gives a client a token that shows its key in the body of a login, which may have more than
    /// one place for it, or in a field. A token in a field is what an earlier login left: beside a
    /// key in the body it counts for nothing. Who shows no key but a token is given one with the
    /// same end; who shows neither, but itself by its connection, gets none and needs none.
    ///
    /// # Errors
    /// See [`Denied`].
    pub fn log_in<'t>(
        &self,
        asking: &Asking<'_>,
        passwords: impl IntoIterator<Item = &'t str>,
        wall: impl Fn() -> SystemTime,
    ) -> Result<LoggedIn, Denied> {
        let mut shown = Shown::by_connection(asking, &wall)?;
        for text in passwords {
            shown.add(self, asking, text, Stands::Field, &wall)?;
        }
        let replaces = shown.key.is_some();
        presented::each(asking, |text, stands| match replaces && token::is_like_one(text) {
            true => Ok(()),
            false => shown.add(self, asking, text, stands, &wall),
        })?;
        shown.add_issued(&self.issuers, asking, &wall)?;
        let (caller, proof) = shown.decided(asking)?;
        let token = proof.map(|Proof { key, ends, .. }| {
            let ends = match ends {
                Ends::Token(ends) => ends,
                Ends::Key(ends) => self.tokens.end(wall(), ends),
            };
            let claims = Claims { client: &caller.name, key, ends };
            IssuedToken { text: self.tokens.issue(&claims, asking.upstream), ends }
        });
        Ok(LoggedIn { caller: Arc::clone(caller), token })
    }

    /// The client whose key this is; nothing where it is no key of ours at all.
    fn by_key(
        &self,
        text: &str,
        wall: impl FnOnce() -> SystemTime,
    ) -> Result<Option<Proof<'_>>, Denied> {
        let id = match ClientKey::presented(text) {
            Ok(id) => id,
            Err(KeyError::NotAKey) => return Ok(None),
            Err(KeyError::Damaged) => return Err(Denied::Invalid),
        };
        let Known { keys, caller } = self.by_name.get(id).ok_or(Denied::Invalid)?;
        let code = self.coder.as_ref().map(|coder| coder.code(text));
        let seen = code.and_then(|code| keys.iter().find(|kept| kept.seen.has(code)));
        let by_digest = || {
            let digest = Digest::of(text);
            let kept = keys.iter().find(|kept| kept.key.digest == digest)?;
            code.into_iter().for_each(|code| kept.seen.note(code));
            Some(kept)
        };
        let Kept { key, revocation, .. } = seen.or_else(by_digest).ok_or(Denied::Invalid)?;
        if revocation.is_revoked() {
            return Err(Denied::Revoked);
        }
        let (ends, expires) = (Ends::Key(key.expires), key.expires);
        let key = KeyPrint::from(&key.digest);
        match expires {
            Some(end) if end <= wall() => Err(Denied::Expired),
            _ => Ok(Some(Proof { caller, key, revocation, ends })),
        }
    }

    /// The client whose token this is, as long as the key is good that it was given for.
    fn by_token(
        &self,
        text: &str,
        upstream: &str,
        wall: impl FnOnce() -> SystemTime,
    ) -> Result<Proof<'_>, Denied> {
        let found = self.tokens.read(text, upstream, |Claims { client, key, ends }| {
            let Known { keys, caller } = self.by_name.get(client)?;
            let is_meant = |kept: &&Kept| KeyPrint::from(&kept.key.digest) == key;
            let Kept { key: known, revocation, .. } = keys.iter().find(is_meant)?;
            if revocation.is_revoked() {
                return None;
            }
            let now = wall();
            let ended = ends <= now || known.expires.is_some_and(|end| end <= now);
            Some((Proof { caller, key, revocation, ends: Ends::Token(ends) }, ended))
        });
        match found {
            Ok(Some((proof, false))) => Ok(proof),
            Ok(Some((_, true))) => Err(Denied::TokenExpired),
            Ok(None) | Err(_) => Err(Denied::TokenInvalid),
        }
    }
}

/// What shows that a request is a client's: a key, or a token that was given for one.
#[derive(Clone, Copy)]
struct Proof<'c> {
    caller: &'c Arc<Caller>,
    key: KeyPrint,
    revocation: &'c Revocation,
    ends: Ends,
}

/// When a proof ends.
#[derive(Clone, Copy)]
enum Ends {
    Key(Option<SystemTime>),
    Token(SystemTime),
}

/// All that a request and its connection show. A token of a login that is not good, beside a good
/// key, a token of an issuer or on a client's own connection, is what the client kept of an earlier
/// login, and is no reason to refuse it.
struct Shown<'c> {
    connected: Option<&'c Arc<Caller>>,
    /// By a token of an issuer.
    issued: Option<&'c Arc<Caller>>,
    key: Option<Proof<'c>>,
    token: Option<Proof<'c>>,
    refused: Option<Denied>,
    /// Why a cookie's token is not good. A client sends cookies by itself, those of other upstreams
    /// and gateways of the host among them: beside anything good they count for nothing.
    cookie: Option<Denied>,
}

impl<'c> Shown<'c> {
    /// What its connection shows.
    fn by_connection(
        asking: &Asking<'c>,
        wall: impl FnOnce() -> SystemTime,
    ) -> Result<Self, Denied> {
        let connected = asking.connected.caller(wall)?;
        Ok(Self { connected, issued: None, key: None, token: None, refused: None, cookie: None })
    }

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
        let found = match found {
            // A browser sends cookies for pages of other sites, too.
            Ok(Some(_)) if stands == Stands::Cookie && is_cross_origin(asking) => {
                Err(Denied::CrossOrigin)
            }
            found => found,
        };
        let proof = match found {
            Ok(None) => return Ok(()),
            Ok(Some(proof)) => proof,
            Err(denied) if stands == Stands::Cookie => {
                self.cookie.get_or_insert(denied);
                return Ok(());
            }
            Err(denied) if is_token => {
                self.refused.get_or_insert(denied);
                return Ok(());
            }
            Err(denied) => return Err(denied),
        };
        self.agree_with(proof.caller)?;
        let place = if is_token { &mut self.token } else { &mut self.key };
        place.get_or_insert(proof);
        Ok(())
    }

    /// Adds the tokens of issuers.
    fn add_issued(
        &mut self,
        issuers: &'c Issuers,
        asking: &Asking<'_>,
        wall: impl Fn() -> SystemTime,
    ) -> Result<(), Denied> {
        if issuers.is_empty() {
            return Ok(());
        }
        for text in presented::bearers(asking.headers) {
            if let Some(caller) = issuers.holder(text, &wall)? {
                self.agree_with(caller)?;
                self.issued = Some(caller);
            }
        }
        Ok(())
    }

    fn agree_with(&self, caller: &Arc<Caller>) -> Result<(), Denied> {
        let shown = self.key.iter().chain(&self.token).map(|proof| proof.caller);
        let mut others = shown.chain(self.connected).chain(self.issued);
        match others.any(|other| !Arc::ptr_eq(other, caller)) {
            true => Err(Denied::Conflicting),
            false => Ok(()),
        }
    }

    /// Whose request it is, and by what, where it is not its connection alone.
    fn decided(self, asking: &Asking<'_>) -> Result<(&'c Arc<Caller>, Option<Proof<'c>>), Denied> {
        let Self { connected, issued, key, token, refused, cookie } = self;
        let proof = match (key, connected.or(issued), refused) {
            (Some(key), _, _) => Some(key),
            (None, None, Some(denied)) => return Err(denied),
            (None, _, _) => token,
        };
        match (proof, issued.or(connected)) {
            (Some(proof), _) => Ok((proof.caller, Some(proof))),
            // A browser shows its certificate for pages of other sites, too.
            (None, Some(_)) if issued.is_none() && is_cross_origin(asking) => {
                Err(Denied::CrossOrigin)
            }
            (None, Some(caller)) => Ok((caller, None)),
            (None, None) => Err(cookie.unwrap_or(Denied::Missing)),
        }
    }
}

fn is_cross_origin(asking: &Asking<'_>) -> bool {
    open::is_cross_origin(asking)
}
