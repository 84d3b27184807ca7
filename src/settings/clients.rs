//! Clients: who may call, and what shows who they are.

use std::collections::BTreeMap;
use std::time::SystemTime;

use jiff::Timestamp;

use super::meaning::{Meaning, under};
use super::routes::Upstreams;
use super::written::{self, ExpiringKey, Key};
use super::{Client, Issuer};
use crate::access::key::{ClientId, Digest, DigestError, KnownKey};

impl Meaning<'_> {
    pub(super) fn clients(
        &mut self,
        written: BTreeMap<String, written::Client>,
        upstreams: &Upstreams,
        issuers: &[Issuer],
    ) -> Vec<Client> {
        let mut clients: Vec<Client> = Vec::new();
        for (name, client) in written {
            let at = under("/clients", &name);
            let has_way = client.keys.is_some()
                || client.tokens.is_some()
                || client.certificates.is_some()
                || client.unix.is_some();
            if !has_way && !self.layers.broken(&at) {
                let message = format!("nothing shows that somebody is client `{name}`");
                let fault = self.layers.key_fault(&at, message);
                self.faults.push(fault.help(
                    "add `keys` (`doorward key new NAME`), `tokens`, `certificates` or `unix`",
                ));
            }
            let keys = self.keys(&at, client.keys.unwrap_or_default(), &clients);
            let tokens = client.tokens.unwrap_or_default();
            let tokens = self.tokens(&at, tokens, issuers, &clients);
            let certificates = self.certificates(&at, client.certificates, &clients);
            let unix = self.unix(&at, client.unix, &clients);
            let grants = self.grants(&at, client.grants.unwrap_or_default(), upstreams);
            let limits = client.limits.map(|limit| self.limit(&under(&at, "limits"), limit));
            match name.parse::<ClientId>() {
                Ok(id) => {
                    clients.push(Client { id, keys, tokens, certificates, unix, grants, limits })
                }
                Err(error) => {
                    let fault = self.layers.key_fault(&at, "this name cannot be used");
                    self.faults.push(fault.help(error.to_string()));
                }
            }
        }
        clients
    }

    fn keys(&mut self, at: &str, written: Vec<Key>, others: &[Client]) -> Vec<KnownKey> {
        let mut keys: Vec<KnownKey> = Vec::new();
        for (index, key) in written.into_iter().enumerate() {
            let at = under(&under(at, "keys"), &index.to_string());
            let (digest_at, digest, expires) = match key {
                Key::Digest(digest) => (at, Some(digest), None),
                Key::Expiring(ExpiringKey { digest, expires }) => {
                    // The schema has told what is missing.
                    let expires =
                        expires.and_then(|text| self.expires(&under(&at, "expires"), &text));
                    (under(&at, "digest"), digest, expires)
                }
            };
            let digest = digest.and_then(|text| self.digest(&digest_at, &text, &keys, others));
            if let Some(digest) = digest {
                keys.push(KnownKey { digest, expires });
            }
        }
        keys
    }

    fn expires(&mut self, at: &str, text: &str) -> Option<SystemTime> {
        match text.parse::<Timestamp>() {
            Ok(time) => Some(time.into()),
            Err(_) => {
                let fault = self.layers.fault(at, "this is no time with an offset (RFC 3339)");
                self.faults.push(fault.help("for example \"2027-01-31T00:00:00Z\""));
                None
            }
        }
    }

    fn digest(
        &mut self,
        at: &str,
        text: &str,
        own: &[KnownKey],
        others: &[Client],
    ) -> Option<Digest> {
        let error = match text.parse::<Digest>() {
            Ok(digest) => {
                let has = |keys: &[KnownKey]| keys.iter().any(|key| key.digest == digest);
                if has(own) {
                    self.fault(at, "this digest stands here twice");
                    return None;
                }
                if let Some(other) = others.iter().find(|other| has(&other.keys)) {
                    self.fault(at, format!("client `{}` has the same key", other.id));
                }
                return Some(digest);
            }
            Err(error) => error,
        };
        let fault = self.layers.secret_fault(at, error.to_string());
        let fault = match error {
            DigestError::Key => fault.help("this key is no secret any more: make a new one"),
            DigestError::Malformed => fault,
        };
        self.faults.push(fault.help("`doorward key new NAME` prints the line that belongs here"));
        None
    }
}
