//! Clients that show a JSON Web Token of an issuer that the operator trusts, instead of a key (RFC
//! 7519, verified as RFC 8725 asks). Nothing here fetches anything: [`Published`] says what keys an
//! issuer has.
//!
//! Verified with aws-lc-rs itself: what a library for tokens adds to that (a clock of its own, lists
//! of issuers, members that stand twice) is what must not be here.

mod algorithm;
mod json;
mod keys;
#[cfg(any(test, fuzzing))]
pub(super) mod properties;
mod published;
mod rule;
mod seen;
mod token;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{Caller, Denied};
pub use algorithm::{ALGORITHMS, Algorithm, RSA_BITS_MIN};
pub use keys::{KEY_SET_BYTES_MAX, KEYS_MAX, KeySet, KeySetError};
use published::Missing;
pub use published::Published;
pub use rule::{Expected, ExpectedError, Rule};
pub use seen::SEEN_MAX;
use seen::{Good, Print, Seen};
pub(super) use token::has_the_form;
pub use token::{Flaw, TOKEN_BYTES_MAX};
use token::{Time, Token};

/// A token that was found good is judged anew after so long, whatever its end.
pub const SEEN_TIME_MAX: Duration = Duration::from_secs(5 * 60);

/// Somebody whose tokens are believed.
#[derive(Debug)]
pub struct Issuer {
    /// What `iss` says, byte for byte.
    pub issuer: String,
    /// One of these must be in `aud`.
    pub audience: Vec<String>,
    /// The signature algorithms that are allowed.
    pub algorithms: Vec<Algorithm>,
    /// What `typ` must say; nothing: any type of token for an API.
    pub required_type: Option<String>,
    /// How far its clock may be from ours.
    pub clock_skew: Duration,
    /// Its keys.
    pub keys: Arc<Published>,
}

/// Keys that have to be fetched before a request can be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The number of the issuer.
    issuer: u16,
    attempts: u64,
}

/// All issuers, and what tokens are whose.
#[derive(Debug, Default)]
pub(super) struct Issuers {
    issuers: Vec<Trusted>,
    seen: Seen,
}

#[derive(Debug)]
struct Trusted {
    number: u16,
    issuer: Issuer,
    rules: Vec<(Rule, Arc<Caller>)>,
}

impl Issuers {
    pub(super) fn new(
        issuers: impl IntoIterator<Item = (Issuer, Vec<(Rule, Arc<Caller>)>)>,
    ) -> Self {
        let issuers = issuers.into_iter().zip(0..);
        let issuers = issuers.map(|((issuer, rules), number)| Trusted { number, issuer, rules });
        Self { issuers: issuers.collect(), seen: Seen::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.issuers.is_empty()
    }

    /// The client whose token this is; nothing where it is no token of an issuer that is known.
    pub(super) fn holder(
        &self,
        text: &str,
        wall: impl FnOnce() -> SystemTime,
    ) -> Result<Option<&Arc<Caller>>, Denied> {
        if text.bytes().filter(|byte| *byte == b'.').count() != 2 {
            return Ok(None);
        }
        let (print, wall) = (Print::of(text), wall());
        if let Some(caller) = self.find(print, wall) {
            return Ok(Some(caller));
        }
        if !has_the_form(text) {
            return Ok(None);
        }
        let Some(name) = token::issuer(text) else { return Ok(None) };
        let Some(trusted) = self.issuers.iter().find(|one| one.issuer.issuer == name) else {
            return Ok(None);
        };
        let (rule, keys, until) = trusted.judge(text, wall)?;
        self.seen.note(print, Good { issuer: trusted.number, rule, keys, until });
        Ok(trusted.caller(rule))
    }

    /// The client whose token was found good before, with the keys of today.
    fn find(&self, print: Print, wall: SystemTime) -> Option<&Arc<Caller>> {
        let good = self.seen.find(print)?;
        let trusted = self.issuers.get(usize::from(good.issuer))?;
        let is_still = wall < good.until && trusted.issuer.keys.version() == good.keys;
        if is_still { trusted.caller(good.rule) } else { None }
    }

    /// Waits until keys that were wanted have been fetched, or could not be. Cancel safe.
    pub(super) async fn fetched(&self, wanted: Wanted) {
        if let Some(trusted) = self.issuers.get(usize::from(wanted.issuer)) {
            trusted.issuer.keys.attempted(wanted.attempts).await;
        }
    }
}

impl Trusted {
    fn caller(&self, rule: usize) -> Option<&Arc<Caller>> {
        self.rules.get(rule).map(|(_, caller)| caller)
    }

    /// The rule whose token it is, the version of the keys, and until when that holds.
    fn judge(&self, text: &str, wall: SystemTime) -> Result<(usize, u64, SystemTime), Denied> {
        let flawed = Denied::IssuerTokenInvalid;
        let token = Token::parse(text).map_err(flawed)?;
        if token.is_critical() {
            return Err(flawed(Flaw::Critical));
        }
        let allowed = |one: &Algorithm| self.issuer.algorithms.contains(one);
        let algorithm = token.algorithm().and_then(Algorithm::named).filter(allowed);
        let algorithm = algorithm.ok_or(flawed(Flaw::Algorithm))?;
        let id = token.key_id().map_err(flawed)?;
        let known = self.issuer.keys.known();
        let mut fitting = known.keys.iter().flat_map(|keys| keys.fitting(id, algorithm)).peekable();
        if fitting.peek().is_none() {
            // For a token that no key could make good nobody is asked.
            self.judge_claims(&token, wall)?;
            return Err(self.without_key(known.missing, known.keys.is_some()));
        }
        if !fitting.any(|key| key.has_signed(token.signed, &token.signature)) {
            return Err(flawed(Flaw::Signature));
        }
        let until = self.judge_claims(&token, wall)?;
        let mut matching = self.rules.iter().enumerate();
        let mut next = || matching.find(|(_, (rule, _))| rule.matches(token.claims()));
        let (number, (_, caller)) = next().ok_or(Denied::TokenUnknown)?;
        while let Some((_, (_, other))) = next() {
            if !Arc::ptr_eq(caller, other) {
                return Err(Denied::TokenAmbiguous);
            }
        }
        Ok((number, known.version, until.min(wall + SEEN_TIME_MAX)))
    }

    fn judge_claims(&self, token: &Token<'_>, wall: SystemTime) -> Result<SystemTime, Denied> {
        let Issuer { audience, required_type, clock_skew, .. } = &self.issuer;
        let flawed = |flaw| Err(Denied::IssuerTokenInvalid(flaw));
        if !token.is_of_type(required_type.as_deref()) {
            return flawed(Flaw::Type);
        }
        if token.claims().contains_key("cnf") {
            return flawed(Flaw::Bound);
        }
        if !token.is_for(audience) {
            return flawed(Flaw::Audience);
        }
        match token.time(wall, *clock_skew).map_err(Denied::IssuerTokenInvalid)? {
            Time::GoodUntil(until) => Ok(until),
            Time::Over => Err(Denied::IssuerTokenExpired),
        }
    }

    /// Asks for the issuer's keys, where that may bring a key that is not there.
    fn without_key(&self, missing: Missing, are_there: bool) -> Denied {
        match missing {
            Missing::Wait(attempts) => {
                self.issuer.keys.ask();
                Denied::KeysWanted(Wanted { issuer: self.number, attempts })
            }
            Missing::Final if are_there => Denied::IssuerTokenInvalid(Flaw::Key),
            Missing::Final | Missing::Unknown => Denied::IssuerUnavailable,
        }
    }
}
