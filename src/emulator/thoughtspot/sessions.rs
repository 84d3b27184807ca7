//! Sessions with cookies, bearer tokens, and which of them a request brings.

use std::collections::BTreeMap;

use http::HeaderMap;
use http::header::{AUTHORIZATION, COOKIE};

use super::switches::Switches;
use crate::clock::Moment;
use crate::emulator::mint::Mint;

/// The cookie that names a session.
pub const SESSION_COOKIE: &str = "JSESSIONID";
/// The cookie that names the browser.
pub const CLIENT_COOKIE: &str = "clientId";
/// A load balancer's cookie.
pub const AFFINITY_COOKIE: &str = "AWSALB";

/// So many sessions and tokens are kept; the oldest gives way.
const KEPT_MAX: usize = 20_000;

/// So many earlier names of a session are known at once.
const EARLIER_MAX: usize = 16;

/// The length of a bearer token.
const TOKEN_CHARACTERS: usize = 96;

/// Everything that a request may prove itself with.
#[derive(Debug, Default)]
pub struct Sessions {
    next: u64,
    sessions: BTreeMap<u64, Session>,
    tokens: BTreeMap<u64, Token>,
}

#[derive(Debug)]
struct Session {
    owner: Owner,
    cookie: String,
    /// Names from before rotations, and until when they are good.
    earlier: Vec<(String, Moment)>,
    client: String,
    affinity: Option<String>,
    /// What `session/info` calls `authToken`: a bearer that lives as long as the session.
    token: String,
    remembered: bool,
    last_used: Moment,
    answers: u32,
}

/// A bearer token.
#[derive(Clone, Debug)]
pub struct Token {
    pub owner: Owner,
    pub value: String,
    pub scope: Scope,
    /// Milliseconds since 1970.
    pub created: u64,
    /// Milliseconds since 1970.
    pub expires: u64,
    /// `expires` on the line of the clock that decides.
    pub until: Moment,
}

/// What a token is good for.
#[derive(Clone, Debug)]
pub enum Scope {
    Full,
    /// One object.
    Object(String),
}

/// Whose session or token it is, and where it leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub login: String,
    pub org: u32,
}

/// Which session or token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    Session(u64),
    Token(u64),
}

/// The credentials on a request, as they stand there.
#[derive(Debug, Default)]
pub struct Presented {
    pub bearer: Option<String>,
    session: Option<String>,
    client: Option<String>,
    affinity: Option<String>,
}

impl Presented {
    pub fn on(headers: &HeaderMap) -> Self {
        let mut presented = Self::default();
        let authorization = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        if let Some((scheme, token)) = authorization.and_then(|value| value.split_once(' '))
            && scheme.eq_ignore_ascii_case("bearer")
        {
            presented.bearer = Some(token.trim().to_owned());
        }
        for line in headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok()) {
            for (name, value) in line.split(';').filter_map(|pair| pair.trim().split_once('=')) {
                let place = match name {
                    SESSION_COOKIE => &mut presented.session,
                    CLIENT_COOKIE => &mut presented.client,
                    AFFINITY_COOKIE => &mut presented.affinity,
                    _ => continue,
                };
                *place = Some(value.to_owned());
            }
        }
        presented
    }

    /// Every value, to tell the dead from the foreign.
    pub fn values(&self) -> impl Iterator<Item = &str> {
        [&self.bearer, &self.session, &self.client].into_iter().flatten().map(String::as_str)
    }
}

impl Sessions {
    /// Opens a session; the cookies to set are [`Sessions::cookies`].
    pub fn open(
        &mut self,
        owner: Owner,
        remembered: bool,
        affinity: bool,
        mint: &Mint,
        now: Moment,
    ) -> u64 {
        let session = Session {
            owner,
            cookie: mint.guid(),
            earlier: Vec::new(),
            client: mint.guid(),
            affinity: affinity.then(|| mint.sealed(TOKEN_CHARACTERS)),
            token: mint.sealed(TOKEN_CHARACTERS),
            remembered,
            last_used: now,
            answers: 0,
        };
        let key = self.take_number();
        insert_bounded(&mut self.sessions, key, session);
        key
    }

    /// Adds a token; `until` and the milliseconds say the same.
    pub fn grant(&mut self, token: Token) {
        let key = self.take_number();
        insert_bounded(&mut self.tokens, key, token);
    }

    pub fn token_value(mint: &Mint) -> String {
        mint.sealed(TOKEN_CHARACTERS)
    }

    /// The live session or token on a request. A bearer decides alone.
    pub fn live(&self, presented: &Presented, switches: &Switches, now: Moment) -> Option<Key> {
        if let Some(bearer) = &presented.bearer {
            return self.by_bearer(bearer, switches, now);
        }
        let cookie = presented.session.as_deref()?;
        let (key, session) = self.sessions.iter().find(|(_, session)| session.is(cookie, now))?;
        let complete = (!switches.client_id_needed
            || presented.client.as_ref() == Some(&session.client))
            && (session.affinity.is_none() || presented.affinity == session.affinity);
        (complete && session.fresh(switches, now)).then_some(Key::Session(*key))
    }

    pub fn by_bearer(&self, bearer: &str, switches: &Switches, now: Moment) -> Option<Key> {
        let token = self.tokens.iter().find(|(_, token)| token.value == bearer);
        if let Some((key, token)) = token {
            return (now < token.until).then_some(Key::Token(*key));
        }
        let session = self.sessions.iter().find(|(_, session)| session.token == bearer);
        session
            .filter(|(_, session)| session.fresh(switches, now))
            .map(|(key, _)| Key::Session(*key))
    }

    pub fn owner(&self, key: Key) -> Option<Owner> {
        match key {
            Key::Session(key) => self.sessions.get(&key).map(|session| session.owner.clone()),
            Key::Token(key) => self.tokens.get(&key).map(|token| token.owner.clone()),
        }
    }

    pub fn token(&self, key: Key) -> Option<Token> {
        match key {
            Key::Token(key) => self.tokens.get(&key).cloned(),
            Key::Session(_) => None,
        }
    }

    /// The bearer that `session/info` shows.
    pub fn shown_token(&self, key: Key) -> Option<String> {
        match key {
            Key::Session(key) => self.sessions.get(&key).map(|session| session.token.clone()),
            Key::Token(key) => self.tokens.get(&key).map(|token| token.value.clone()),
        }
    }

    /// Moves a session, or what a token reaches, to another org.
    pub fn move_to(&mut self, key: Key, org: u32) {
        let owner = match key {
            Key::Session(key) => self.sessions.get_mut(&key).map(|session| &mut session.owner),
            Key::Token(key) => self.tokens.get_mut(&key).map(|token| &mut token.owner),
        };
        if let Some(owner) = owner {
            owner.org = org;
        }
    }

    /// Notes a call: the idle time starts anew. Says whether the answer is to rotate the cookie.
    pub fn used(&mut self, key: Key, rotate_every: u32, now: Moment) -> bool {
        let Key::Session(key) = key else { return false };
        let Some(session) = self.sessions.get_mut(&key) else { return false };
        session.last_used = now;
        session.answers = session.answers.wrapping_add(1);
        rotate_every > 0 && session.answers % rotate_every == 0
    }

    /// Gives a session a new name; the present one is good until `grace`.
    pub fn rotate(&mut self, key: Key, grace: Moment, mint: &Mint) {
        let Key::Session(key) = key else { return };
        let Some(session) = self.sessions.get_mut(&key) else { return };
        let earlier = std::mem::replace(&mut session.cookie, mint.guid());
        session.earlier.push((earlier, grace));
        if session.earlier.len() > EARLIER_MAX {
            session.earlier.remove(0);
        }
    }

    /// What a session's login sets: name, value and attributes of each cookie.
    pub fn cookies(&self, session: u64) -> Vec<String> {
        let Some(session) = self.sessions.get(&session) else { return Vec::new() };
        let mut cookies = vec![
            format!("{SESSION_COOKIE}={}; Path=/; HttpOnly", session.cookie),
            format!("{CLIENT_COOKIE}={}; Path=/; Secure; HttpOnly", session.client),
        ];
        if let Some(affinity) = &session.affinity {
            cookies.push(format!("{AFFINITY_COOKIE}={affinity}; Path=/"));
        }
        cookies
    }

    /// Ends what a predicate picks; returns how many of it were live.
    pub fn end(
        &mut self,
        switches: &Switches,
        now: Moment,
        picked: impl Fn(&Owner, Key) -> bool,
    ) -> usize {
        let mut ended = 0;
        self.sessions.retain(|key, session| {
            let picked = picked(&session.owner, Key::Session(*key));
            ended += usize::from(picked && session.fresh(switches, now));
            !picked
        });
        self.tokens.retain(|key, token| {
            let picked = picked(&token.owner, Key::Token(*key));
            ended += usize::from(picked && now < token.until);
            !picked
        });
        ended
    }

    /// Whatever goes by this cookie value or token.
    pub fn called(&self, value: &str, now: Moment) -> Option<Key> {
        let session = self.sessions.iter().find(|(_, session)| {
            session.is(value, now) || session.client == value || session.token == value
        });
        let token = || self.tokens.iter().find(|(_, token)| token.value == value);
        session
            .map(|(key, _)| Key::Session(*key))
            .or_else(|| token().map(|(key, _)| Key::Token(*key)))
    }

    /// How many would be accepted now.
    pub fn live_count(&self, switches: &Switches, now: Moment) -> usize {
        let sessions = self.sessions.values().filter(|session| session.fresh(switches, now));
        sessions.count() + self.tokens.values().filter(|token| now < token.until).count()
    }

    fn take_number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

impl Session {
    fn is(&self, cookie: &str, now: Moment) -> bool {
        self.cookie == cookie
            || self.earlier.iter().any(|(earlier, until)| earlier == cookie && now < *until)
    }

    fn fresh(&self, switches: &Switches, now: Moment) -> bool {
        now < self.last_used + switches.idle(self.remembered)
    }
}

fn insert_bounded<T>(kept: &mut BTreeMap<u64, T>, key: u64, value: T) {
    kept.insert(key, value);
    if kept.len() > KEPT_MAX {
        kept.pop_first();
    }
}
