//! Users, sessions, the tokens and cookies that stand for them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, SystemTime};

use super::authentication::Authentication;
use super::vaults::Vault;
use crate::clock::Moment;
use crate::emulator::user::{Kind, User};

/// So many sessions are remembered; after that the oldest is forgotten and its tokens are dead.
const SESSIONS_MAX: usize = 50_000;

/// So many cookies are remembered, logged in or not; after that the oldest is forgotten.
const COOKIES_MAX: usize = 50_000;

/// So many tokens are remembered; after that the oldest is forgotten.
const TOKENS_MAX: usize = 50_000;

/// One login: tokens and cookies that share its number end with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionNumber(u64);

#[derive(Default)]
pub struct Books {
    made: u64,
    users: BTreeMap<String, User>,
    sessions: BTreeMap<SessionNumber, Session>,
    tokens: Aging<Token>,
    cookies: Aging<Cookie>,
}

/// The credentials of a login, right or wrong: the vendor's token is nothing but these, sealed.
struct Session {
    login: String,
    password: String,
    id: Option<String>,
    ended: bool,
}

#[derive(Clone)]
pub struct Token {
    pub session: SessionNumber,
    pub vault: Option<&'static Vault>,
    pub born: Moment,
    pub expiration: Option<SystemTime>,
    pub read_only: bool,
    pub url: Option<String>,
    pub method: Option<String>,
    /// Which of two servers gave it.
    pub node: usize,
}

/// An ASP.NET session.
#[derive(Clone)]
pub struct Cookie {
    pub session: Option<SessionNumber>,
    pub vault: Option<&'static Vault>,
    pub used: Moment,
}

/// The time now, and how long things live.
pub struct Times {
    pub now: Moment,
    pub wall: SystemTime,
    pub idle_timeout: Duration,
    pub token_ttl: Option<Duration>,
}

impl Books {
    pub fn add_user(&mut self, user: User) {
        self.users.insert(user.login.to_lowercase(), user);
    }

    /// Whether this is the password of a user who may log in with one.
    pub fn is_right(&self, login: &str, password: &str) -> bool {
        let user = self.users.get(&login.to_lowercase());
        user.is_some_and(|user| matches!(user.kind, Kind::Normal) && user.password == password)
    }

    /// Opens a session, or joins the one that has its `SessionID` and credentials.
    pub fn open(&mut self, with: &Authentication) -> SessionNumber {
        let id = with.session_id.clone().filter(|id| !id.is_empty());
        let joins = |session: &Session| {
            !session.ended && session.id == id && session.is_of(&with.username, &with.password)
        };
        let known = self.sessions.iter().find(|(_, session)| id.is_some() && joins(session));
        if let Some((number, _)) = known {
            return *number;
        }
        self.made += 1;
        let number = SessionNumber(self.made);
        let (login, password) = (with.username.clone(), with.password.clone());
        self.sessions.insert(number, Session { login, password, id, ended: false });
        if self.sessions.len() > SESSIONS_MAX {
            self.sessions.pop_first();
        }
        number
    }

    pub fn add_token(&mut self, value: String, token: Token) {
        self.tokens.add(value, token, TOKENS_MAX);
    }

    pub fn add_cookie(&mut self, value: String, cookie: Cookie) {
        self.cookies.add(value, cookie, COOKIES_MAX);
    }

    /// A token that would be accepted by the server that gave it.
    pub fn token(&self, value: &str, times: &Times) -> Option<&Token> {
        let token = self.tokens.of(value)?;
        (token.is_fresh(times) && self.is_good(token.session)).then_some(token)
    }

    /// A cookie that is not idle for too long, logged in or not.
    pub fn cookie(&self, value: &str, times: &Times) -> Option<&Cookie> {
        self.cookies.of(value).filter(|cookie| cookie.is_fresh(times))
    }

    /// A cookie's session, if it is logged in.
    pub fn logged_in(&self, cookie: &Cookie) -> Option<SessionNumber> {
        cookie.session.filter(|session| self.is_good(*session))
    }

    /// Whether this cookie was ever logged in.
    pub fn was_logged_in(&self, cookie: &str) -> bool {
        self.cookies.of(cookie).is_some_and(|cookie| cookie.session.is_some())
    }

    pub fn touch(&mut self, cookie: &str, now: Moment) {
        if let Some(cookie) = self.cookies.of_mut(cookie) {
            cookie.used = now;
        }
    }

    pub fn log_cookie_in(
        &mut self,
        cookie: &str,
        session: SessionNumber,
        vault: Option<&'static Vault>,
    ) {
        if let Some(cookie) = self.cookies.of_mut(cookie) {
            (cookie.session, cookie.vault) = (Some(session), vault);
        }
    }

    pub fn choose_vault(&mut self, cookie: &str, vault: &'static Vault) {
        if let Some(cookie) = self.cookies.of_mut(cookie) {
            cookie.vault = Some(vault);
        }
    }

    pub fn login_of(&self, session: SessionNumber) -> String {
        self.sessions.get(&session).map(|session| session.login.clone()).unwrap_or_default()
    }

    /// Whether a session has the id without which nobody can log it out.
    pub fn has_id(&self, session: SessionNumber) -> bool {
        self.sessions.get(&session).is_some_and(|session| session.id.is_some())
    }

    pub fn end_session(&mut self, session: SessionNumber) {
        if let Some(session) = self.sessions.get_mut(&session) {
            session.ended = true;
        }
    }

    /// Every session that some token or cookie would open.
    pub fn live(&self, times: &Times) -> BTreeSet<SessionNumber> {
        let tokens = self.tokens.all().filter(|token| token.is_fresh(times));
        let cookies = self.cookies.all().filter(|cookie| cookie.is_fresh(times));
        let named = tokens.map(|token| token.session);
        let named = named.chain(cookies.filter_map(|cookie| cookie.session));
        named.filter(|session| self.is_good(*session)).collect()
    }

    pub fn end_all(&mut self, times: &Times) -> usize {
        let live = self.live(times);
        live.iter().for_each(|session| self.end_session(*session));
        live.len()
    }

    /// Ends the session of a token or cookie.
    pub fn end(&mut self, credential: &str, times: &Times) -> bool {
        let session = self.session_of(credential).filter(|one| self.live(times).contains(one));
        session.map(|session| self.end_session(session)).is_some()
    }

    /// Ends the other sessions of the user that this token or cookie belongs to.
    pub fn end_others(&mut self, credential: &str, times: &Times) -> usize {
        let Some(kept) = self.session_of(credential) else { return 0 };
        let login = self.login_of(kept);
        let mut others = self.live(times);
        others.retain(|other| *other != kept && self.login_of(*other) == login);
        others.iter().for_each(|session| self.end_session(*session));
        others.len()
    }

    fn session_of(&self, credential: &str) -> Option<SessionNumber> {
        let token = self.tokens.of(credential).map(|token| token.session);
        token.or_else(|| self.cookies.of(credential).and_then(|cookie| cookie.session))
    }

    fn is_good(&self, session: SessionNumber) -> bool {
        let session = self.sessions.get(&session).filter(|session| !session.ended);
        session.is_some_and(|session| self.is_right(&session.login, &session.password))
    }
}

impl Session {
    fn is_of(&self, login: &str, password: &str) -> bool {
        self.login.eq_ignore_ascii_case(login) && self.password == password
    }
}

impl Token {
    fn is_fresh(&self, times: &Times) -> bool {
        match (self.expiration, times.token_ttl) {
            (Some(expiration), _) => times.wall < expiration,
            (None, Some(ttl)) => times.now.saturating_since(self.born) < ttl,
            (None, None) => true,
        }
    }
}

impl Cookie {
    fn is_fresh(&self, times: &Times) -> bool {
        times.now.saturating_since(self.used) < times.idle_timeout
    }
}

/// Values by name, the oldest forgotten first.
struct Aging<T> {
    added: u64,
    values: HashMap<String, T>,
    order: BTreeMap<u64, String>,
}

impl<T> Default for Aging<T> {
    fn default() -> Self {
        Self { added: 0, values: HashMap::new(), order: BTreeMap::new() }
    }
}

impl<T> Aging<T> {
    fn add(&mut self, name: String, value: T, most: usize) {
        self.added += 1;
        self.order.insert(self.added, name.clone());
        self.values.insert(name, value);
        if self.order.len() > most
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.values.remove(&oldest);
        }
    }

    fn of(&self, name: &str) -> Option<&T> {
        self.values.get(name)
    }

    fn of_mut(&mut self, name: &str) -> Option<&mut T> {
        self.values.get_mut(name)
    }

    fn all(&self) -> impl Iterator<Item = &T> {
        self.values.values()
    }
}
