//! Fetches the key set of an issuer: from a URL, from the one that its metadata tell, or from a
//! file.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use serde_json::Value;

use crate::access::jwt::{Algorithm, KEY_SET_BYTES_MAX, KeySet, KeySetError};
use crate::app::outgoing;
use crate::clock::Clock;
use crate::fields::{self, Fields};
use crate::settings::{KeysAt, Location, Scheme};
use crate::upstream::origin::Tls;
use crate::upstream::{Origin, Pool, RequestHead, SendError, Wait, with_causes};

/// How long fetching may take with all its requests.
const FETCH_TIME_MAX: Duration = Duration::from_secs(10);

/// How long a key set is taken for new where its answer does not say; the bounds of what it may say.
const AGE_DEFAULT: Duration = Duration::from_secs(60 * 60);
const AGE_MIN: Duration = Duration::from_secs(5 * 60);
const AGE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// How often a file is read.
const FILE_AGE: Duration = Duration::from_secs(60);

/// Where metadata are, below the issuer (OpenID Connect Discovery 1.0 section 4), and between its
/// host and its path (RFC 8414 section 3.1).
const OPENID: &str = "/.well-known/openid-configuration";
const OAUTH: &str = "/.well-known/oauth-authorization-server";

/// Whose keys are fetched, and from where.
#[derive(Debug)]
pub(super) struct Source {
    /// What `iss` says, which metadata must repeat.
    pub(super) issuer: String,
    pub(super) keys: KeysAt,
    pub(super) algorithms: Vec<Algorithm>,
    /// TLS towards it, for whatever host, where it is known to be needed.
    pub(super) tls: Option<Tls>,
    /// The authorities to trust.
    pub(super) ca_file: Option<PathBuf>,
}

/// Keys that were fetched.
pub(super) struct Fetched {
    pub(super) keys: KeySet,
    /// How long they are taken for new.
    pub(super) age: Duration,
}

/// Why keys could not be fetched.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("{url}: no answer within {} s", FETCH_TIME_MAX.as_secs())]
    Timeout { url: String },
    #[error("{url}: {}", with_causes(.source))]
    Send { url: String, source: SendError },
    #[error("{url}: the answer has status {status}{}", redirected(*.status))]
    Status { url: String, status: StatusCode },
    #[error("{url}: the answer broke off")]
    BrokenOff { url: String },
    #[error("{url}: the answer is longer than {KEY_SET_BYTES_MAX} bytes")]
    TooLong { url: String },
    #[error("{url}: no metadata of an issuer (a JSON object with `issuer` and `jwks_uri`)")]
    NoMetadata { url: String },
    #[error("{url}: these are the metadata of another issuer")]
    OtherIssuer { url: String },
    #[error("{url}: its `jwks_uri` cannot be used: {why}")]
    KeysUri { url: String, why: String },
    #[error("{place}: {source}")]
    Keys { place: String, source: KeySetError },
    #[error("{path}: it cannot be read: {source}")]
    File { path: String, source: io::Error },
}

fn redirected(status: StatusCode) -> &'static str {
    if status.is_redirection() { "; redirects are not followed" } else { "" }
}

impl Source {
    /// Fetches the keys.
    pub(super) async fn fetch(&self, clock: &Clock) -> Result<Fetched, FetchError> {
        let url = match &self.keys {
            KeysAt::File(path) => return self.read(path).await,
            KeysAt::Url(url) | KeysAt::Discovered(url) => shown(url),
        };
        tokio::select! {
            fetched = self.fetch_from_afar() => fetched,
            () = clock.sleep(FETCH_TIME_MAX) => Err(FetchError::Timeout { url }),
        }
    }

    async fn fetch_from_afar(&self) -> Result<Fetched, FetchError> {
        let discovered;
        let location = match &self.keys {
            KeysAt::Discovered(issuer) => {
                discovered = self.discover(issuer).await?;
                &discovered
            }
            KeysAt::Url(url) => url,
            KeysAt::File(path) => return self.read(path).await,
        };
        let (headers, text) = self.get(location).await?;
        let keys = KeySet::parse(&text, &self.algorithms);
        let keys = keys.map_err(|source| FetchError::Keys { place: shown(location), source })?;
        Ok(Fetched { keys, age: age(&headers) })
    }

    async fn read(&self, path: &Path) -> Result<Fetched, FetchError> {
        let place = path.display().to_string();
        let unreadable = |source| FetchError::File { path: place.clone(), source };
        let unusable = |source| FetchError::Keys { place: place.clone(), source };
        if tokio::fs::metadata(path).await.map_err(unreadable)?.len() > KEY_SET_BYTES_MAX as u64 {
            return Err(unusable(KeySetError::TooLong));
        }
        let text = tokio::fs::read(path).await.map_err(unreadable)?;
        let keys = KeySet::parse(&text, &self.algorithms).map_err(unusable)?;
        Ok(Fetched { keys, age: FILE_AGE })
    }

    /// Where the issuer's metadata say that its keys are.
    async fn discover(&self, issuer: &Location) -> Result<Location, FetchError> {
        let path = issuer.target.split('?').next().unwrap_or_default().trim_end_matches('/');
        let below = |target| Location { origin: issuer.origin.clone(), target };
        let openid = below(format!("{path}{OPENID}"));
        let (url, answer) = match self.get(&openid).await {
            Err(FetchError::Status { status: StatusCode::NOT_FOUND, .. }) => {
                let oauth = below(format!("{OAUTH}{path}"));
                (shown(&oauth), self.get(&oauth).await?)
            }
            answer => (shown(&openid), answer?),
        };
        let metadata: Value = serde_json::from_slice(&answer.1).unwrap_or_default();
        let text = |name: &str| metadata.get(name).and_then(Value::as_str);
        let (Some(named), Some(keys)) = (text("issuer"), text("jwks_uri")) else {
            return Err(FetchError::NoMetadata { url });
        };
        // OpenID Connect Discovery 1.0 section 4.3, RFC 8414 section 3.3.
        if named != self.issuer {
            return Err(FetchError::OtherIssuer { url });
        }
        let keys = match Location::parse(keys) {
            Ok(keys) => keys,
            Err(why) => return Err(FetchError::KeysUri { url, why }),
        };
        // Whoever is believed over TLS does not send us to what runs on this machine.
        if keys.origin.scheme == Scheme::Http && issuer.origin.scheme == Scheme::Https {
            let why = "it is in the clear, and the issuer is not".to_owned();
            return Err(FetchError::KeysUri { url, why });
        }
        Ok(keys)
    }

    /// One GET, on a connection of its own.
    async fn get(&self, from: &Location) -> Result<(Fields, Bytes), FetchError> {
        let unusable = || FetchError::KeysUri { url: shown(from), why: "no URL".to_owned() };
        let target = PathAndQuery::try_from(from.target.as_str()).map_err(|_| unusable())?;
        let mut headers = HeaderMap::new();
        for (name, value) in [
            (header::ACCEPT, "application/jwk-set+json, application/json"),
            (header::ACCEPT_ENCODING, "identity"),
            (header::USER_AGENT, concat!("doorward/", env!("CARGO_PKG_VERSION"))),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let pool = Pool::new(Arc::new(self.origin(from).ok_or_else(unusable)?));
        let head = RequestHead::new(&Method::GET, &target, &headers);
        // All of a fetch has one time.
        let wait = Wait::for_the_caller();
        let answer = pool.send(&head, Full::new(Bytes::new()), &wait).await;
        let answer = answer.map_err(|source| FetchError::Send { url: shown(from), source })?;
        if answer.status != StatusCode::OK {
            return Err(FetchError::Status { url: shown(from), status: answer.status });
        }
        let body = Limited::new(answer.body, KEY_SET_BYTES_MAX).collect().await;
        let body = body.map_err(|error| match error.is::<LengthLimitError>() {
            true => FetchError::TooLong { url: shown(from) },
            false => FetchError::BrokenOff { url: shown(from) },
        })?;
        Ok((answer.headers, body.to_bytes()))
    }

    fn origin(&self, of: &Location) -> Option<Origin> {
        let tls = match (of.origin.scheme, &self.tls) {
            (Scheme::Http, _) => None,
            (Scheme::Https, Some(tls)) => Some(tls.clone()),
            (Scheme::Https, None) => {
                Some(outgoing::client(&of.origin.host, self.ca_file.as_deref()).ok()?)
            }
        };
        // Each connection takes one request.
        outgoing::origin(&of.origin, tls, FETCH_TIME_MAX)
    }
}

fn shown(location: &Location) -> String {
    format!("{}{}", location.origin, location.target)
}

/// How long an answer says that it is new (RFC 9111 section 5.2.2), within bounds.
fn age(headers: &Fields) -> Duration {
    let texts = headers.get_all(header::CACHE_CONTROL).filter_map(fields::text);
    let mut age = AGE_DEFAULT;
    for directive in texts.flat_map(|text| text.split(',')).map(str::trim) {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        match name.trim().to_ascii_lowercase().as_str() {
            "no-store" | "no-cache" => return AGE_MIN,
            "max-age" => {
                let seconds = value.trim().trim_matches('"').parse();
                age = Duration::from_secs(seconds.unwrap_or_default());
            }
            _ => {}
        }
    }
    age.clamp(AGE_MIN, AGE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_how_long_it_is_new_within_bounds() {
        let age = |values: &[&str]| {
            let fields = values
                .iter()
                .map(|value| (header::CACHE_CONTROL, HeaderValue::from_str(value).unwrap()));
            super::age(&fields.collect()).as_secs()
        };
        assert_eq!(age(&[]), 3600);
        assert_eq!(age(&["public, max-age=7200"]), 7200);
        assert_eq!(age(&["public", "Max-Age = \"600\""]), 600);
        assert_eq!(age(&["max-age=0"]), 300);
        assert_eq!(age(&["max-age=31536000"]), 86_400);
        assert_eq!(age(&["max-age=7200, no-cache"]), 300);
        assert_eq!(age(&["max-age=soon"]), 300);
    }
}
