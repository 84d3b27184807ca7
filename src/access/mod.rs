//! Who calls and what they may do: client keys and their digests, grants, and what is asked of callers
//! where there are no keys.

pub mod grant;
pub mod key;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use data_encoding::BASE64;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use zeroize::Zeroizing;

use crate::recipe::{InjectInto, Recipe};
use crate::route;
use grant::Grants;
use key::{ClientKey, KEY_PREFIX, KeyError, KnownKey};

/// The field of our own in which a client may present its key.
pub const CLIENT_KEY: HeaderName = HeaderName::from_static("doorward-key");

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Fields in which clients present keys, besides `Authorization` and the vendor's own.
const KEY_FIELDS: [HeaderName; 2] = [CLIENT_KEY, X_API_KEY];

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Who may call at a listener.
#[derive(Clone, Debug)]
pub enum Access {
    /// Everybody on this machine. Browsers of other sites are refused.
    Open,
    /// Holders of a client key.
    Keys(Arc<Keyring>),
}

/// The digests of all client keys, by the id that a key begins with.
#[derive(Debug, Default)]
pub struct Keyring(HashMap<String, (Vec<KnownKey>, Arc<Caller>)>);

/// A client that showed its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Its place among the clients.
    pub number: u16,
    /// Its name.
    pub name: Arc<str>,
    /// What it may do.
    pub grants: Grants,
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
    /// Keys of different clients.
    #[error("keys of different clients")]
    Conflicting,
    /// In open mode: a host that does not mean this machine, as in DNS rebinding.
    #[error("the host is not this machine")]
    ForeignHost,
    /// In open mode: a page of another site.
    #[error("a request from a page of another site")]
    CrossOrigin,
}

impl Keyring {
    /// Keeps every client with the digests of its keys. Names do not repeat.
    pub fn new<'a>(clients: impl IntoIterator<Item = (&'a str, Vec<KnownKey>, Grants)>) -> Self {
        let clients = clients.into_iter().zip(0..).map(|((name, keys, grants), number)| {
            let caller = Caller { number, name: Arc::from(name), grants };
            (name.to_owned(), (keys, Arc::new(caller)))
        });
        Self(clients.collect())
    }

    /// The client of this name.
    pub fn named(&self, name: &str) -> Option<&Arc<Caller>> {
        self.0.get(name).map(|(_, caller)| caller)
    }

    /// The client whose key this is; nothing where it is no key of ours at all.
    fn client(
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

impl Access {
    /// Who calls; nothing in open mode. `host` is what the client asked for, `is_routed` whether a
    /// route names it, `wall` the time.
    ///
    /// # Errors
    /// See [`Denied`]. Any value that looks like a key of ours must be a good one, wherever it
    /// stands.
    pub fn authenticate(
        &self,
        recipe: &Recipe,
        headers: &HeaderMap,
        host: &str,
        is_routed: bool,
        wall: impl Fn() -> SystemTime,
    ) -> Result<Option<Arc<Caller>>, Denied> {
        match self {
            Self::Open => {
                if !is_routed && !route::is_loopback_name(host) {
                    return Err(Denied::ForeignHost);
                }
                if is_cross_origin(headers, host) {
                    return Err(Denied::CrossOrigin);
                }
                Ok(None)
            }
            Self::Keys(keyring) => {
                let mut caller: Option<&Arc<Caller>> = None;
                for text in presented(recipe, headers) {
                    let Some(client) = keyring.client(&text, &wall)? else { continue };
                    if caller.is_some_and(|caller| !Arc::ptr_eq(caller, client)) {
                        return Err(Denied::Conflicting);
                    }
                    caller = Some(client);
                }
                caller.cloned().map(Some).ok_or(Denied::Missing)
            }
        }
    }
}

/// The field in which a client names the account that it wants to use, where a route leaves that
/// to it. It never travels on.
pub const CLIENT_ACCOUNT: HeaderName = HeaderName::from_static("doorward-account");

/// Drops every field that holds a key of ours: a client that shows it in an odd place must not
/// show it to the upstream.
pub fn strip(headers: &mut HeaderMap) {
    let holds_key = |value: &HeaderValue| {
        let text = value.as_bytes();
        let mut words = text.split(|byte| !byte.is_ascii_alphanumeric() && !b"-_".contains(byte));
        words.any(|word| word.starts_with(KEY_PREFIX.as_bytes()))
    };
    let ours = |name: &HeaderName| *name == CLIENT_KEY || *name == CLIENT_ACCOUNT;
    let fields = headers.iter().filter(|(name, value)| ours(name) || holds_key(value));
    let names: Vec<HeaderName> = fields.map(|(name, _)| name.clone()).collect();
    for name in names {
        headers.remove(name);
    }
}

/// Every value that could be a client key: bearer tokens, Basic passwords, fields for keys, the
/// vendor's own fields.
fn presented(recipe: &Recipe, headers: &HeaderMap) -> Vec<Zeroizing<String>> {
    let mut texts = Vec::new();
    for value in headers.get_all(header::AUTHORIZATION) {
        let Ok(text) = value.to_str() else { continue };
        let (scheme, rest) = text.split_once(' ').unwrap_or(("", text));
        if scheme.eq_ignore_ascii_case("basic") {
            texts.extend(basic_password(rest));
        } else {
            texts.push(Zeroizing::new(rest.trim().to_owned()));
        }
    }
    let vendor = recipe.inject.iter().filter_map(|injection| match &injection.into {
        InjectInto::Header(name, _) => Some(name),
        _ => None,
    });
    for name in KEY_FIELDS.iter().chain(vendor).chain(&recipe.strip_headers) {
        if *name == header::AUTHORIZATION {
            continue;
        }
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        texts.extend(values.map(|text| Zeroizing::new(text.trim().to_owned())));
    }
    texts
}

fn basic_password(encoded: &str) -> Option<Zeroizing<String>> {
    let pair = Zeroizing::new(BASE64.decode(encoded.trim().as_bytes()).ok()?);
    let (_, password) = std::str::from_utf8(&pair).ok()?.split_once(':')?;
    Some(Zeroizing::new(password.to_owned()))
}

/// Whether a browser sends this for a page of another origin (Fetch Metadata; RFC 6454 section 7).
fn is_cross_origin(headers: &HeaderMap, host: &str) -> bool {
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    if text(&SEC_FETCH_SITE).is_some_and(|site| matches!(site, "cross-site" | "same-site")) {
        return true;
    }
    match text(&header::ORIGIN) {
        None => headers.contains_key(header::ORIGIN),
        Some(origin) => {
            let authority = origin.split_once("://").map_or(origin, |(_, authority)| authority);
            !authority.eq_ignore_ascii_case(host)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn recipe() -> Recipe {
        let document = crate::recipe::built_in("contentstack").unwrap();
        Recipe::load(&document, &BTreeMap::new()).unwrap()
    }

    fn key(name: &str) -> ClientKey {
        ClientKey::generate(name.parse().unwrap()).unwrap()
    }

    fn known(key: &ClientKey) -> KnownKey {
        KnownKey { digest: key.digest(), expires: None }
    }

    fn headers(fields: &[(&str, String)]) -> HeaderMap {
        let fields = fields
            .iter()
            .map(|(name, value)| (HeaderName::try_from(*name).unwrap(), value.parse().unwrap()));
        fields.collect()
    }

    #[test]
    fn a_key_is_found_wherever_clients_put_it() {
        let alice = key("alice");
        let access = Access::Keys(Arc::new(Keyring::new([(
            "alice",
            vec![known(&alice)],
            Grants::default(),
        )])));
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
            let headers = headers(&[(name, value)]);
            let caller =
                access.authenticate(&recipe(), &headers, "cms.example", false, SystemTime::now);
            assert_eq!(&*caller.unwrap().unwrap().name, "alice", "{name}");
        }
    }

    #[test]
    fn keys_that_are_missing_damaged_foreign_or_conflicting_are_denied() {
        let (alice, bob) = (key("alice"), key("bob"));
        let access = Access::Keys(Arc::new(Keyring::new([
            ("alice", vec![known(&alice)], Grants::default()),
            ("bob", vec![known(&bob)], Grants::default()),
        ])));
        let denied = |fields: &[(&str, String)]| {
            access
                .authenticate(&recipe(), &headers(fields), "cms.example", false, SystemTime::now)
                .unwrap_err()
        };
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

    #[test]
    fn a_key_is_never_sent_on_under_any_name() {
        let key = key("alice").expose().to_owned();
        let mut headers = headers(&[
            ("x-requested-by", key.clone()),
            ("x-api-key", format!(" {key}")),
            ("x-anything", key),
            ("doorward-key", "no key".to_owned()),
            ("accept", "*/*".to_owned()),
        ]);
        // What HTTP/2 lets through is not trimmed by anybody.
        headers.append("x-vault", HeaderValue::from_static("\tdoorward_x"));
        strip(&mut headers);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["accept"]);
    }

    #[test]
    fn open_mode_refuses_foreign_hosts_and_pages_of_other_sites() {
        let open = |host: &str, is_routed, fields: &[(&str, &str)]| {
            let fields: Vec<_> =
                fields.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
            Access::Open.authenticate(
                &recipe(),
                &headers(&fields),
                host,
                is_routed,
                SystemTime::now,
            )
        };
        assert_eq!(open("127.0.0.1:8080", false, &[]), Ok(None));
        assert_eq!(open("cms.example", true, &[]), Ok(None));
        assert_eq!(open("evil.example", false, &[]), Err(Denied::ForeignHost));
        let cross = [("origin", "https://evil.example")];
        assert_eq!(open("localhost", false, &cross), Err(Denied::CrossOrigin));
        assert_eq!(open("localhost", false, &[("origin", "null")]), Err(Denied::CrossOrigin));
        let fetch = [("sec-fetch-site", "cross-site")];
        assert_eq!(open("localhost", false, &fetch), Err(Denied::CrossOrigin));
        assert_eq!(open("localhost:80", false, &[("origin", "http://localhost:80")]), Ok(None));
        assert_eq!(open("localhost", false, &[("sec-fetch-site", "none")]), Ok(None));
    }
}
