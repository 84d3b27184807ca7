//! Who calls and what they may do: the clients, what shows that a request is one's, and their
//! grants; what is asked of callers where there are no clients.

mod certificate;
mod clients;
pub mod grant;
pub mod identity;
pub mod jwt;
pub mod key;
mod open;
mod presented;
#[cfg(any(test, fuzzing))]
pub(crate) mod properties;
pub mod revoked;
mod seen;
pub mod token;
pub mod tombstones;

use std::ops::Deref;
use std::sync::Arc;
use std::time::SystemTime;

use http::HeaderName;

use crate::fields::Fields;
use crate::recipe::Recipe;
pub use certificate::CertificateError;
pub use clients::{Client, Clients, IssuedToken, LoggedIn};
use grant::Grants;
use identity::{Connected, Shown};
pub use presented::{CLIENT_ACCOUNT, CLIENT_KEY, Issued, KEY_PLACES, Withheld, holds_credential};
use revoked::Revocation;

/// Who may call at a listener.
#[derive(Clone, Debug)]
pub enum Access {
    /// Everybody on this machine. Browsers of other sites are refused.
    Open,
    /// These clients.
    Clients(Arc<Clients>),
}

/// A client that showed who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Which one it is, as long as Doorward runs.
    pub number: u32,
    /// Its name.
    pub name: Arc<str>,
    /// What it may do.
    pub grants: Grants,
}

/// A client that one request has shown.
#[derive(Clone, Debug)]
pub struct Proven {
    /// The client.
    pub caller: Arc<Caller>,
    /// Whether the key that showed it is revoked meanwhile; nothing where no key has.
    pub key: Option<Revocation>,
}

impl Deref for Proven {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.caller
    }
}

/// A request, as far as it shows who sends it.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    /// The name of its upstream.
    pub upstream: &'a str,
    /// The recipe of its upstream.
    pub recipe: &'a Recipe,
    /// Its fields.
    pub headers: &'a Fields,
    /// Its query, as it was sent.
    pub query: Option<&'a str>,
    /// Who has made its connection.
    pub connected: &'a Connected,
    /// The operator's own fields for keys.
    pub key_headers: &'a [HeaderName],
    /// The host that it asks for.
    pub host: &'a str,
    /// How the origin of its listener's own pages begins, where that is known.
    pub pages: Option<&'static str>,
    /// Whether a route names that host; it matters in open mode alone.
    pub is_routed: bool,
}

/// Why a caller may not call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// No key.
    #[error("no client key")]
    Missing,
    /// A key that is damaged or that nobody has.
    #[error("the client key is not valid")]
    Invalid,
    /// A key whose time is over.
    #[error("the client key has expired")]
    Expired,
    /// A key that was revoked.
    #[error("the client key is revoked")]
    Revoked,
    /// A token that was not given out here, or not for this upstream, or for a key that is gone or
    /// revoked.
    #[error("the client token is not valid")]
    TokenInvalid,
    /// A token whose time is over.
    #[error("the client token has expired")]
    TokenExpired,
    /// A token of a trusted issuer that is not valid.
    #[error("the token is not valid: {0}")]
    IssuerTokenInvalid(jwt::Flaw),
    /// A token whose time is over.
    #[error("the token has expired")]
    IssuerTokenExpired,
    /// A valid token that no client has.
    #[error("the token is no client's")]
    TokenUnknown,
    /// A valid token that several clients have.
    #[error("the token is that of several clients")]
    TokenAmbiguous,
    /// A token that can be judged when its issuer's keys have been fetched: see [`Access::fetched`].
    #[error("the keys of the token's issuer have to be fetched first")]
    KeysWanted(jwt::Wanted),
    /// A token that cannot be judged: its issuer's keys could not be fetched.
    #[error("the keys of the token's issuer cannot be fetched")]
    IssuerUnavailable,
    /// The certificate's time has ended while its connection lived.
    #[error("the client's certificate has expired")]
    CertificateExpired,
    /// What the request and its connection show is of different clients.
    #[error("proofs of different clients")]
    Conflicting,
    /// In open mode: a host that does not mean this machine, as in DNS rebinding.
    #[error("the host is not this machine")]
    ForeignHost,
    /// In open mode: a page of another site.
    #[error("a request from a page of another site")]
    CrossOrigin,
}

impl Access {
    /// Who calls; nothing in open mode. `wall` is the time.
    ///
    /// # Errors
    /// See [`Denied`]. Any value that looks like a key of ours must be a good one, wherever it
    /// stands.
    pub fn authenticate(
        &self,
        asking: &Asking<'_>,
        wall: impl Fn() -> SystemTime,
    ) -> Result<Option<Proven>, Denied> {
        match self {
            Self::Open => open::judge(asking).map(|()| None),
            Self::Clients(clients) => clients.authenticate(asking, wall).map(Some),
        }
    }

    /// Who has made a connection that shows this. Asked for each of its requests: the clients may be
    /// others than when it was made.
    pub fn recognise(&self, shown: &Shown) -> Connected {
        match self {
            Self::Open => Connected::default(),
            Self::Clients(clients) => clients.recognise(shown),
        }
    }

    /// Waits until the keys that a request wanted have been fetched, or could not be. Cancel safe.
    pub async fn fetched(&self, wanted: jwt::Wanted) {
        if let Self::Clients(clients) = self {
            clients.issuers.fetched(wanted).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::LazyLock;
    use std::time::Duration;

    use data_encoding::BASE64;
    use http::HeaderName;

    use super::*;
    use key::{ClientKey, KnownKey};
    use revoked::Revocations;
    use token::Tokens;

    pub(super) fn recipe() -> Recipe {
        let document = crate::recipe::built_in("contentstack").unwrap();
        Recipe::load(&document, &BTreeMap::new()).unwrap()
    }

    pub(super) fn key(name: &str) -> ClientKey {
        ClientKey::generate(name.parse().unwrap()).unwrap()
    }

    fn clients<const N: usize>(keys: [(&str, &ClientKey); N]) -> Access {
        let known = |key: &ClientKey| KnownKey { digest: key.digest(), expires: None };
        let clients = keys.iter().map(|(name, key)| Client {
            name,
            keys: vec![known(key)],
            ..Client::default()
        });
        Access::Clients(Arc::new(unrevoked(clients)))
    }

    /// Clients whose keys are all good.
    pub(super) fn unrevoked<'a>(clients: impl IntoIterator<Item = Client<'a>>) -> Clients {
        Clients::new(clients, tokens(), &Revocations::default())
    }

    pub(super) fn tokens() -> Tokens {
        Tokens::of_this_process(Duration::from_secs(3600)).unwrap()
    }

    pub(super) fn headers(fields: &[(&str, String)]) -> Fields {
        let fields = fields
            .iter()
            .map(|(name, value)| (HeaderName::try_from(*name).unwrap(), value.parse().unwrap()));
        fields.collect()
    }

    pub(super) fn asking<'a>(recipe: &'a Recipe, headers: &'a Fields) -> Asking<'a> {
        static NOBODY: LazyLock<Connected> = LazyLock::new(Connected::default);
        Asking {
            upstream: "cms",
            recipe,
            headers,
            query: None,
            connected: &NOBODY,
            key_headers: &[],
            host: "cms.example",
            pages: Some("http"),
            is_routed: false,
        }
    }

    fn caller(access: &Access, fields: &[(&str, String)]) -> Result<Option<Proven>, Denied> {
        let (recipe, headers) = (recipe(), headers(fields));
        access.authenticate(&asking(&recipe, &headers), SystemTime::now)
    }

    #[test]
    fn a_key_is_found_wherever_clients_put_it() {
        let alice = key("alice");
        let access = clients([("alice", &alice)]);
        let text = alice.expose();
        let basic = format!("Basic {}", BASE64.encode(format!("x:{text}").as_bytes()));
        for (name, value) in [
            ("authorization", format!("Bearer {text}")),
            ("authorization", text.to_owned()),
            ("authorization", basic),
            ("x-api-key", text.to_owned()),
            ("doorward-key", text.to_owned()),
            ("authtoken", text.to_owned()),
        ] {
            let caller = caller(&access, &[(name, value)]);
            assert_eq!(&*caller.unwrap().unwrap().name, "alice", "{name}");
        }
    }

    #[test]
    fn keys_that_are_missing_damaged_foreign_or_conflicting_are_denied() {
        let (alice, bob) = (key("alice"), key("bob"));
        let access = clients([("alice", &alice), ("bob", &bob)]);
        let denied = |fields: &[(&str, String)]| caller(&access, fields).unwrap_err();
        let good = alice.expose().to_owned();
        let cut = good[..good.len() - 1].to_owned();
        let foreign = key("alice").expose().to_owned();
        assert_eq!(denied(&[]), Denied::Missing);
        assert_eq!(denied(&[("authtoken", "blt-placeholder".to_owned())]), Denied::Missing);
        assert_eq!(denied(&[("x-api-key", cut.clone())]), Denied::Invalid);
        assert_eq!(denied(&[("x-api-key", foreign)]), Denied::Invalid);
        assert_eq!(denied(&[("x-api-key", good.clone()), ("authtoken", cut)]), Denied::Invalid);
        let both = [("x-api-key", good), ("authtoken", bob.expose().to_owned())];
        assert_eq!(denied(&both), Denied::Conflicting);
    }
}
