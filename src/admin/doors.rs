//! Who is let in. At the Unix socket the file's mode and the peer's user decide. Over TCP a token, or
//! a cookie that a link was exchanged for; and no web page of another site, by whatever name it leads
//! a browser here.

use std::collections::VecDeque;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Uri, header};
use data_encoding::BASE64URL_NOPAD;

use super::problem::Problem;
use crate::clock::{Clock, Moment};

/// How long a link can be opened that somebody has just asked for: as long as it takes to copy it.
pub(super) const LINK_LIFE: Duration = Duration::from_secs(60);

/// How long a browser that opened one is let in.
const VISIT_LIFE: Duration = Duration::from_secs(12 * 3600);

/// Links and visits at a time; the oldest makes room.
const KEPT_MAX: usize = 16;

/// What a link's query begins with.
const LINK_PARAMETER: &str = "t=";

/// What our cookie's name begins with; the port follows, since cookies know no ports.
const COOKIE: &str = "doorward_admin_";

/// The token that callers must show.
pub struct Token([u8; 32]);

impl Token {
    /// The token with this text, of which only the digest is kept.
    pub fn new(text: &str) -> Self {
        Self(sha256(text))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Token")
    }
}

/// How a connection came in.
#[derive(Clone, Debug)]
pub(super) enum Arrival {
    /// At the Unix socket, by a process of this user.
    Unix {
        /// `uid:` and the number.
        who: Arc<str>,
    },
    /// Over TCP.
    Tcp,
}

/// The doors of one TCP port, and the Unix socket's.
#[derive(Debug)]
pub struct Doors {
    token: Option<Token>,
    /// In lower case.
    hosts: Vec<String>,
    port: u16,
    clock: Clock,
    links: Mutex<VecDeque<Pass>>,
    visits: Mutex<VecDeque<Pass>>,
}

/// Something that lets one in for a while, of which only the digest is kept.
#[derive(Debug)]
struct Pass {
    digest: [u8; 32],
    ends: Moment,
}

/// Why nobody can be given a link: the machine has no random bytes.
#[derive(Debug, thiserror::Error)]
#[error("the machine gives no random bytes")]
pub struct NoRandomness;

/// What becomes of a request at the door.
#[derive(Debug)]
pub(super) enum Admitted {
    /// It is let in, as this caller's.
    Caller(Arc<str>),
    /// It has opened a link: it is led to the page, with this cookie.
    Visitor {
        /// `Set-Cookie`.
        cookie: String,
    },
}

impl Doors {
    /// Those of a port, for callers with this token, if there is one, or with a link. Besides
    /// `localhost` and IP addresses it is called by `hosts`.
    pub fn new(token: Option<Token>, hosts: Vec<String>, port: u16, clock: Clock) -> Self {
        Self { token, hosts, port, clock, links: Mutex::default(), visits: Mutex::default() }
    }

    /// The path and query that open the page once, as long as `life` is not over.
    ///
    /// # Errors
    /// See [`NoRandomness`].
    pub fn link(&self, life: Duration) -> Result<String, NoRandomness> {
        let text = random_text()?;
        let now = self.clock.now();
        keep(&self.links, &text, now + life, now);
        Ok(format!("/?{LINK_PARAMETER}{text}"))
    }

    /// The names by which it is called, besides `localhost` and IP addresses.
    pub(super) fn hosts(&self) -> &[String] {
        &self.hosts
    }

    /// Lets a request in, or says why not.
    pub(super) fn admit(&self, head: &Parts, arrival: &Arrival) -> Result<Admitted, Problem> {
        if came_through_a_gateway(&head.headers) {
            return Err(Problem::through_a_gateway());
        }
        let admitted = match arrival {
            Arrival::Unix { who } => Admitted::Caller(Arc::clone(who)),
            Arrival::Tcp => self.admit_remote(head)?,
        };
        if !head.method.is_safe() && !is_json(&head.headers) {
            return Err(Problem::unsupported_media_type());
        }
        Ok(admitted)
    }

    fn admit_remote(&self, head: &Parts) -> Result<Admitted, Problem> {
        let host = self.host(&head.headers, &head.uri).ok_or_else(Problem::misdirected_host)?;
        if self.is_cross_origin(&head.headers, host) {
            return Err(Problem::cross_origin());
        }
        if let Some(token) = bearer(&head.headers) {
            let is_ours = |ours: &Token| is_equal(&ours.0, &sha256(token));
            return match self.token.as_ref().is_some_and(is_ours) {
                true => Ok(Admitted::Caller(Arc::from("token"))),
                false => Err(Problem::unauthorized()),
            };
        }
        if let Some(text) = opened(head) {
            // Taken out before anything else: it is good once, whatever comes of it.
            if take(&self.links, text, self.clock.now()) {
                return self.visit();
            }
            return Err(Problem::unauthorized());
        }
        let is_visit = |text: &str| holds(&self.visits, text, self.clock.now());
        match cookies(&head.headers, &self.cookie_name()).any(is_visit) {
            true => Ok(Admitted::Caller(Arc::from("link"))),
            false => Err(Problem::unauthorized()),
        }
    }

    /// The host that a request names, if it is one of ours. A browser that a page leads here by a
    /// name of its own (DNS rebinding) names that one; an IP address is nobody's name.
    fn host<'h>(&self, headers: &'h HeaderMap, target: &'h Uri) -> Option<&'h str> {
        let mut named = headers.get_all(header::HOST).iter();
        let (host, another) = (named.next()?.to_str().ok()?, named.next());
        let is_agreed = target.authority().is_none_or(|authority| authority.as_str() == host);
        if another.is_some() || !is_agreed {
            return None;
        }
        let uri: Uri = host.parse().ok()?;
        let name = uri.host()?.to_ascii_lowercase();
        let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        let is_ours = name == "localhost" || address.is_ok() || self.hosts.contains(&name);
        is_ours.then_some(host)
    }

    /// Whether a page of another site has a browser send it. Browsers say so themselves; `Origin` has
    /// to be that of our pages at the host that the request names (RFC 6454 section 5). What is here
    /// is no TLS; at a name that was given, something in front may speak it.
    fn is_cross_origin(&self, headers: &HeaderMap, host: &str) -> bool {
        let fetched_from = headers.get("sec-fetch-site").map(|site| site.as_bytes());
        if fetched_from.is_some_and(|site| !matches!(site, b"same-origin" | b"none")) {
            return true;
        }
        let host = host.to_ascii_lowercase();
        let name = host.rsplit_once(':').map_or(&*host, |(name, _)| name);
        let is_given = self.hosts.iter().any(|given| given == name);
        headers.get_all(header::ORIGIN).iter().any(|origin| {
            let parts = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
            let Some((scheme, authority)) = parts else { return true };
            let default_port = match scheme {
                "http" => ":80",
                "https" if is_given => ":443",
                _ => return true,
            };
            let authority = authority.to_ascii_lowercase();
            let without = |authority| str::strip_suffix(authority, default_port);
            without(&authority).unwrap_or(&authority) != without(&host).unwrap_or(&host)
        })
    }

    fn visit(&self) -> Result<Admitted, Problem> {
        let text = random_text().map_err(|error| Problem::bad_request(error.to_string()))?;
        let now = self.clock.now();
        keep(&self.visits, &text, now + VISIT_LIFE, now);
        let name = self.cookie_name();
        let seconds = VISIT_LIFE.as_secs();
        let cookie = format!("{name}={text}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict");
        Ok(Admitted::Visitor { cookie })
    }

    fn cookie_name(&self) -> String {
        format!("{COOKIE}{}", self.port)
    }
}

fn random_text() -> Result<String, NoRandomness> {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes).map_err(|_| NoRandomness)?;
    Ok(BASE64URL_NOPAD.encode(&bytes))
}

fn sha256(text: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (byte, hashed) in bytes.iter_mut().zip(digest(&SHA256, text.as_bytes()).as_ref()) {
        *byte = *hashed;
    }
    bytes
}

fn is_equal(one: &[u8; 32], other: &[u8; 32]) -> bool {
    verify_slices_are_equal(one, other).is_ok()
}

fn keep(passes: &Mutex<VecDeque<Pass>>, text: &str, ends: Moment, now: Moment) {
    let mut passes = lock(passes);
    passes.retain(|pass| pass.ends > now);
    if passes.len() == KEPT_MAX {
        passes.pop_front();
    }
    passes.push_back(Pass { digest: sha256(text), ends });
}

fn take(passes: &Mutex<VecDeque<Pass>>, text: &str, now: Moment) -> bool {
    let (mut passes, digest) = (lock(passes), sha256(text));
    let before = passes.len();
    passes.retain(|pass| pass.ends > now);
    let expired = before - passes.len();
    passes.retain(|pass| !is_equal(&pass.digest, &digest));
    passes.len() + expired < before
}

fn holds(passes: &Mutex<VecDeque<Pass>>, text: &str, now: Moment) -> bool {
    let digest = sha256(text);
    lock(passes).iter().any(|pass| pass.ends > now && is_equal(&pass.digest, &digest))
}

/// Nothing panics under these locks: what they hold is whole.
fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a Doorward has forwarded it, this one or another: each names itself in `Via`.
fn came_through_a_gateway(headers: &HeaderMap) -> bool {
    // As bytes: nothing that somebody else has written into the same field hides it.
    let fields = headers.get_all(header::VIA).iter();
    let mut entries = fields.flat_map(|via| via.as_bytes().split(|byte| *byte == b','));
    entries.any(|entry| {
        let words = entry.split(u8::is_ascii_whitespace);
        let received_by = words.filter(|word| !word.is_empty()).nth(1);
        received_by.is_some_and(|name| name.starts_with(b"doorward"))
    })
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The secret of a link that is opened.
fn opened(head: &Parts) -> Option<&str> {
    let is_link = head.method == Method::GET && head.uri.path() == "/";
    head.uri.query().filter(|_| is_link)?.strip_prefix(LINK_PARAMETER)
}

fn cookies<'h>(headers: &'h HeaderMap, name: &'h str) -> impl Iterator<Item = &'h str> {
    let fields = headers.get_all(header::COOKIE).iter().filter_map(|field| field.to_str().ok());
    let pairs = fields.flat_map(|field| field.split(';')).filter_map(|pair| pair.split_once('='));
    pairs.filter(move |(key, _)| key.trim() == name).map(|(_, value)| value.trim())
}

/// A form of another site cannot send this without asking first (CORS).
fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next());
    kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use axum::http::Request;

    use super::*;

    fn doors(clock: &Clock) -> Doors {
        let token = Token::new("a token of thirty-two characters");
        Doors::new(Some(token), vec!["doorward.internal".to_owned()], 8081, clock.clone())
    }

    fn admitted(doors: &Doors, fields: &[(&str, &str)], target: &str) -> Result<String, String> {
        let mut request = Request::get(target);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        match doors.admit(&head, &Arrival::Tcp) {
            Ok(Admitted::Caller(who)) => Ok(who.to_string()),
            Ok(Admitted::Visitor { cookie }) => Ok(cookie),
            Err(problem) => Err(format!("{problem:?}")),
        }
    }

    const GOOD: (&str, &str) = ("authorization", "Bearer a token of thirty-two characters");

    /// Fails when a name that somebody else can give is taken for ours.
    #[test]
    fn only_our_names_are_answered() {
        let doors = doors(&Clock::manual(SystemTime::UNIX_EPOCH));
        for host in [
            "localhost",
            "LOCALHOST:8081",
            "127.0.0.1:8081",
            "[::1]:8081",
            "10.0.0.7",
            "doorward.internal:8081",
        ] {
            assert_eq!(admitted(&doors, &[("host", host), GOOD], "/x").as_deref(), Ok("token"));
        }
        for host in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:8081", ""] {
            let refused = admitted(&doors, &[("host", host), GOOD], "/x").unwrap_err();
            assert!(refused.contains("misdirected_host"), "{host}: {refused}");
        }
        assert!(admitted(&doors, &[GOOD], "/x").is_err(), "no host at all");
        let two = [("host", "localhost"), ("host", "evil.example"), GOOD];
        assert!(admitted(&doors, &two, "/x").is_err());
    }

    /// Fails when a page of another site is answered.
    #[test]
    fn pages_of_other_sites_are_refused() {
        let doors = doors(&Clock::manual(SystemTime::UNIX_EPOCH));
        let with = |field| admitted(&doors, &[("host", "localhost:8081"), GOOD, field], "/x");
        assert!(with(("origin", "http://localhost:8081")).is_ok());
        assert!(with(("sec-fetch-site", "same-origin")).is_ok());
        for field in [
            ("origin", "http://localhost:8080"),
            ("origin", "http://evil.example"),
            ("origin", "https://localhost:8081"),
            ("origin", "capacitor://localhost:8081"),
            ("origin", "null"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            assert!(with(field).unwrap_err().contains("cross_origin"), "{field:?}");
        }
        let at = |host, origin| {
            admitted(&doors, &[("host", host), GOOD, ("origin", origin)], "/x").is_ok()
        };
        // Where TLS may end in front of us, either is ours, with its own port.
        assert!(at("doorward.internal", "https://Doorward.internal"));
        assert!(at("doorward.internal", "http://doorward.internal"));
        assert!(at("doorward.internal:443", "https://doorward.internal"));
        assert!(at("LOCALHOST:80", "http://localhost"));
        for (host, origin) in [
            ("localhost", "https://localhost"),
            ("10.0.0.7", "https://10.0.0.7"),
            ("localhost:443", "http://localhost"),
            ("doorward.internal", "https://doorward.internal:80"),
            ("doorward.internal", "ftp://doorward.internal"),
        ] {
            assert!(!at(host, origin), "{origin} at {host}");
        }
    }

    /// Fails when a link can be opened twice, or after its time, or lets in whoever has none.
    #[test]
    fn a_link_opens_the_page_once() {
        let clock = Clock::manual(SystemTime::UNIX_EPOCH);
        let doors = doors(&clock);
        let host = ("host", "localhost:8081");
        let link = doors.link(LINK_LIFE).unwrap();
        assert!(admitted(&doors, &[host], "/?t=no_link").is_err());
        let cookie = admitted(&doors, &[host], &link).unwrap();
        assert!(cookie.contains("; HttpOnly; SameSite=Strict"), "{cookie}");
        assert!(admitted(&doors, &[host], &link).is_err(), "a second time");
        let pair = cookie.split(';').next().unwrap().to_owned();
        let visit = |pair: &str| admitted(&doors, &[host, ("cookie", pair)], "/x");
        assert_eq!(visit(&pair).as_deref(), Ok("link"));
        assert_eq!(visit(&format!("other=1; {pair}")).as_deref(), Ok("link"));
        assert!(visit(&pair[..pair.len() - 1]).is_err());
        assert!(visit("doorward_admin_8081=").is_err());
        let late = doors.link(LINK_LIFE).unwrap();
        clock.advance(LINK_LIFE);
        assert!(admitted(&doors, &[host], &late).is_err(), "after its time");
        clock.advance(VISIT_LIFE);
        assert!(visit(&pair).is_err(), "after its time");
    }

    /// Fails when clients of a gateway whose upstream is the admin API become operators.
    #[test]
    fn what_a_gateway_has_forwarded_is_refused_with_the_token_too() {
        let doors = doors(&Clock::manual(SystemTime::UNIX_EPOCH));
        let by = |via| admitted(&doors, &[("host", "localhost"), GOOD, ("via", via)], "/x");
        for via in ["1.1 doorward-0123abcd", "2 squid, 1.1 doorward-0123abcd", "1.1 doorward"] {
            assert!(by(via).unwrap_err().contains("through_a_gateway"), "{via}");
        }
        assert_eq!(by("1.1 nginx").as_deref(), Ok("token"));
        let mut request = Request::get("/x").header("host", "localhost").header(GOOD.0, GOOD.1);
        let joined =
            header::HeaderValue::from_bytes(b"1.1 caf\xe9, 1.1 doorward-0123abcd").unwrap();
        request = request.header("via", joined);
        let (head, ()) = request.body(()).unwrap().into_parts();
        assert!(doors.admit(&head, &Arrival::Tcp).is_err(), "beside what is no text");
    }

    #[test]
    fn only_the_token_itself_lets_in() {
        let doors = doors(&Clock::manual(SystemTime::UNIX_EPOCH));
        let with = |value| {
            admitted(&doors, &[("host", "localhost"), ("authorization", value)], "/x").is_ok()
        };
        assert!(with("bearer a token of thirty-two characters"));
        for wrong in [
            "Bearer",
            "Bearer ",
            "Bearer a token of thirty-two character",
            "Basic a token of thirty-two characters",
        ] {
            assert!(!with(wrong), "{wrong}");
        }
        let none = Doors::new(None, Vec::new(), 1, Clock::manual(SystemTime::UNIX_EPOCH));
        assert!(
            admitted(&none, &[("host", "localhost"), ("authorization", "Bearer ")], "/").is_err()
        );
    }
}
