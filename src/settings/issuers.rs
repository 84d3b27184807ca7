//! Issuers of tokens, and whose tokens they are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Uri;

use super::addresses::{Origin, Scheme, UrlError};
use super::meaning::{Meaning, shown, under};
use super::written::{self, Claim};
use super::{Client, Tokens};
use crate::access::jwt::{
    ALGORITHMS, Algorithm, Expected, KEY_SET_BYTES_MAX, KeySet, KeySetError, Rule,
};
use crate::diagnosis::suggestion;

/// Clocks that are further apart are wrong; a token of five minutes would live twice as long.
const CLOCK_SKEW_MAX: Duration = Duration::from_secs(5 * 60);

/// Somebody whose tokens clients may show.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// Its name in the configuration.
    pub name: String,
    /// What `iss` says.
    pub issuer: String,
    /// One of these must be in `aud`.
    pub audience: Vec<String>,
    /// Where its keys are.
    pub keys: KeysAt,
    /// The signature algorithms that are allowed.
    pub algorithms: Vec<Algorithm>,
    /// What `typ` must say.
    pub required_type: Option<String>,
    /// How far its clock may be from ours.
    pub clock_skew: Duration,
    /// A PEM file of authorities to trust.
    pub ca_file: Option<PathBuf>,
}

/// Where the keys of an issuer are.
#[derive(Clone, Debug)]
pub enum KeysAt {
    /// Its metadata say so, below this place.
    Discovered(Location),
    /// There.
    Url(Location),
    /// In a file.
    File(PathBuf),
}

/// A URL to fetch something from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// Scheme, host and port.
    pub origin: Origin,
    /// Path and query.
    pub target: String,
}

impl Location {
    /// Reads a URL of `https`, or of `http` on this machine.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let uri: Uri = text.parse().map_err(|_| UrlError::NotAUrl.to_string())?;
        let without_query = text.split('?').next().unwrap_or_default();
        let (origin, _) = Origin::parse(without_query).map_err(|error| error.to_string())?;
        if origin.scheme == Scheme::Http && !origin.is_loopback() {
            return Err("`http` is only for this machine: who is on the way would choose the keys"
                .to_owned());
        }
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        Ok(Self { origin, target: target.to_owned() })
    }
}

impl Meaning<'_> {
    pub(super) fn issuers(&mut self, written: BTreeMap<String, written::Issuer>) -> Vec<Issuer> {
        let mut issuers: Vec<Issuer> = Vec::new();
        for (name, issuer) in written {
            let at = under("/issuers", &name);
            self.name(&at, &name);
            let Some(issuer) = self.issuer(&at, name, issuer) else { continue };
            if let Some(other) = issuers.iter().find(|other| other.issuer == issuer.issuer) {
                let message = format!("`{}` has the same issuer", other.name);
                let fault = self.layers.fault(&under(&at, "issuer"), message);
                self.faults.push(fault.help("one table with all its audiences does for both"));
            }
            issuers.push(issuer);
        }
        issuers
    }

    fn issuer(&mut self, at: &str, name: String, written: written::Issuer) -> Option<Issuer> {
        for (index, text) in written.audience.iter().flatten().enumerate() {
            if text.is_empty() {
                let at = under(&under(at, "audience"), &index.to_string());
                self.fault(&at, "an audience is not empty");
            }
        }
        let algorithms = self.algorithms(&under(at, "algorithms"), &written.algorithms);
        let clock_skew = self.pause(&under(at, "clock_skew"), &written.clock_skew);
        if clock_skew > CLOCK_SKEW_MAX {
            self.fault(&under(at, "clock_skew"), "clocks may be at most 5m apart");
        }
        let ca_file = written.ca_file.as_ref().and_then(|path| self.file(at, "ca_file", path));
        if written.required_type.as_deref() == Some("") {
            self.fault(&under(at, "required_type"), "a type is not empty");
        }
        let keys = self.keys_at(at, &written, &algorithms)?;
        Some(Issuer {
            name,
            issuer: written.issuer?,
            audience: written.audience?,
            keys,
            algorithms,
            required_type: written.required_type,
            clock_skew,
            ca_file,
        })
    }

    fn algorithms(&mut self, at: &str, written: &[String]) -> Vec<Algorithm> {
        let mut algorithms = Vec::new();
        for (index, name) in written.iter().enumerate() {
            if let Some(algorithm) = Algorithm::named(name) {
                algorithms.push(algorithm);
                continue;
            }
            let at = under(at, &index.to_string());
            let fault =
                self.layers.fault(&at, format!("`{name}` is no algorithm that can be used"));
            let names = ALGORITHMS.map(Algorithm::name);
            self.faults.push(match name.to_ascii_uppercase().as_str() {
                "NONE" => fault.help("a token that nobody signed proves nothing"),
                "HS256" | "HS384" | "HS512" => fault.help(
                    "with HMAC whoever can verify a token can make one; let the issuer sign with a \
                     private key",
                ),
                _ => fault.did_you_mean(suggestion(name, names)),
            });
        }
        algorithms
    }

    fn keys_at(
        &mut self,
        at: &str,
        written: &written::Issuer,
        algorithms: &[Algorithm],
    ) -> Option<KeysAt> {
        match (&written.jwks_url, &written.jwks_file) {
            (Some(_), Some(_)) => {
                let message = "only one of `jwks_url` and `jwks_file` can be given";
                let fault = self.layers.key_fault(&under(at, "jwks_file"), message);
                self.faults.push(fault);
                None
            }
            (Some(url), None) => self.location(&under(at, "jwks_url"), url, None).map(KeysAt::Url),
            (None, Some(file)) => {
                let path = self.file(at, "jwks_file", file)?;
                if let Err(why) = key_set(&path, algorithms) {
                    self.fault(&under(at, "jwks_file"), format!("{}: {why}", shown(&path)));
                }
                Some(KeysAt::File(path))
            }
            (None, None) => {
                let help = "give `jwks_url` or `jwks_file`, if its keys are not found below it";
                let issuer = written.issuer.as_deref()?;
                self.location(&under(at, "issuer"), issuer, Some(help)).map(KeysAt::Discovered)
            }
        }
    }

    fn location(&mut self, at: &str, url: &str, help: Option<&str>) -> Option<Location> {
        match Location::parse(url) {
            Ok(location) => Some(location),
            Err(why) => {
                let fault = self.layers.fault(at, why);
                self.faults.push(help.into_iter().fold(fault, |fault, help| fault.help(help)));
                None
            }
        }
    }

    fn file(&mut self, at: &str, key: &str, text: &str) -> Option<PathBuf> {
        let at = under(at, key);
        let path = self.path(&at, text);
        if !path.is_file() {
            self.fault(&at, format!("there is no file `{}`", shown(&path)));
            return None;
        }
        Some(path)
    }

    /// The tokens of a client.
    pub(super) fn tokens(
        &mut self,
        at: &str,
        written: Vec<written::Tokens>,
        issuers: &[Issuer],
        others: &[Client],
    ) -> Vec<Tokens> {
        let mut all = Vec::new();
        for (index, tokens) in written.into_iter().enumerate() {
            let at = under(&under(at, "tokens"), &index.to_string());
            let claims = under(&at, "claims");
            if tokens.claims.as_ref().is_some_and(BTreeMap::is_empty) {
                self.fault(&claims, "without a claim this would be every token of the issuer");
            }
            let rule = self.rule(&claims, tokens.claims.unwrap_or_default());
            let Some(issuer) = tokens.issuer else { continue };
            if issuers.iter().all(|known| known.name != issuer) && self.layers.sure("/issuers") {
                let fault = self
                    .layers
                    .fault(&under(&at, "issuer"), format!("there is no issuer `{issuer}`"));
                let names: Vec<&str> = issuers.iter().map(|known| known.name.as_str()).collect();
                self.faults.push(fault.did_you_mean(suggestion(&issuer, names)));
            }
            let Some(rule) = rule else { continue };
            let clashes = |known: &Tokens| {
                known.issuer == issuer && (known.rule.covers(&rule) || rule.covers(&known.rule))
            };
            if let Some(other) = others.iter().find(|other| other.tokens.iter().any(clashes)) {
                let message = format!("tokens of one client here are those of `{}` too", other.id);
                let fault = self.layers.fault(&under(&at, "claims"), message);
                self.faults.push(fault.help("ask for a claim in which they differ"));
            }
            all.push(Tokens { issuer, rule });
        }
        all
    }

    fn rule(&mut self, at: &str, written: BTreeMap<String, Claim>) -> Option<Rule> {
        let mut claims = Vec::new();
        let mut is_whole = !written.is_empty();
        for (name, claim) in written {
            let expected = match claim {
                Claim::Truth(truth) => Ok(Expected::Truth(truth)),
                Claim::Number(number) => Ok(Expected::Number(number)),
                Claim::Text(text) => Expected::parse(&text),
            };
            match expected {
                Ok(expected) => claims.push((name, expected)),
                Err(why) => {
                    is_whole = false;
                    self.fault(&under(at, &name), why.to_string());
                }
            }
        }
        is_whole.then(|| Rule::new(claims))
    }
}

/// The key set in a file.
fn key_set(path: &Path, algorithms: &[Algorithm]) -> Result<KeySet, String> {
    let length = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if length > KEY_SET_BYTES_MAX as u64 {
        return Err(KeySetError::TooLong.to_string());
    }
    let text = std::fs::read(path).map_err(|error| error.to_string())?;
    KeySet::parse(&text, algorithms).map_err(|error| error.to_string())
}
