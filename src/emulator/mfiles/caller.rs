//! Who calls: by token, by name and password, or by a logged-in cookie.

use http::{HeaderMap, Method};

use super::MFiles;
use super::address::Address;
use super::books::{Books, Cookie, SessionNumber, Times, Token};
use super::cookies::{NODE_COOKIE, Nodes, SESSION_COOKIE, cookie};
use super::refusal::Refusal;
use super::vaults::Vault;
use super::visit::Visit;
use crate::emulator::house::lock;
use crate::emulator::record::Credential;
use crate::emulator::site::{Call, Judged};

/// Somebody who is logged in to the application.
pub struct Caller {
    pub login: String,
    pub proof: Proof,
    pub vault: Option<&'static Vault>,
    /// A token that allows reading only.
    pub read_only: bool,
}

/// What the caller showed.
pub enum Proof {
    Token(SessionNumber),
    Cookie(SessionNumber, String),
    Password(String),
}

/// What a request carries. A header wins over the query, a token over a name, both over a cookie.
enum Presented<'a> {
    Token(&'a str),
    Password(&'a str, &'a str),
    Cookie(&'a str),
    Nothing,
}

impl MFiles {
    pub fn times(&self) -> Times {
        let switches = self.switches_now();
        Times {
            now: self.house.clock.now(),
            wall: self.house.clock.wall(),
            idle_timeout: switches.idle_timeout(),
            token_ttl: switches.token_ttl(),
        }
    }

    pub fn caller(&self, visit: &Visit, address: &Address) -> Result<Caller, Refusal> {
        let times = self.times();
        let books = lock(&self.books);
        let mut caller = match presented(&visit.headers, address) {
            Presented::Token(value) => {
                let token = books.token(value, &times).ok_or(Refusal::LoginFailed)?;
                self.check_node(visit, token)?;
                by_token(&books, token, address)?
            }
            Presented::Password(login, password) => {
                if !books.is_right(login, password) {
                    return Err(Refusal::LoginFailed);
                }
                let (login, proof) = (login.to_owned(), Proof::Password(password.to_owned()));
                Caller { login, proof, vault: None, read_only: false }
            }
            Presented::Cookie(value) => {
                let cookie = books.cookie(value, &times).ok_or(Refusal::LoginFailed)?;
                by_cookie(&books, value, cookie)?
            }
            Presented::Nothing => return Err(Refusal::LoginFailed),
        };
        // A vault in the token cannot be changed from outside; one that was chosen can.
        let chosen = chosen_vault(&visit.headers, address);
        caller.vault = match caller.proof {
            Proof::Token(_) => caller.vault.or(chosen),
            Proof::Cookie(..) | Proof::Password(_) => chosen.or(caller.vault),
        };
        Ok(caller)
    }

    /// The server at which a request arrives: without a cookie of the balancer always one that
    /// did not give the token, so that a forgotten cookie shows every time.
    fn check_node(&self, visit: &Visit, token: &Token) -> Result<(), Refusal> {
        if !visit.two_nodes || self.node_of(visit) == Some(token.node) {
            return Ok(());
        }
        Err(Refusal::OtherNode)
    }

    pub fn node_of(&self, visit: &Visit) -> Option<usize> {
        self.nodes.named(cookie(&visit.headers, NODE_COOKIE)?)
    }

    /// The server that answers a request without a cookie of the balancer.
    pub fn chosen_node(&self, visit: &Visit) -> usize {
        let books = lock(&self.books);
        let address = visit.address.as_ref().ok();
        let presented = address.map(|address| presented(&visit.headers, address));
        let token = match presented {
            Some(Presented::Token(value)) => books.token(value, &self.times()),
            _ => None,
        };
        token.map_or_else(|| self.nodes.in_turn(), |token| Nodes::other(token.node))
    }

    pub fn judge_visit(&self, visit: &Visit) -> Judged {
        let Ok(address) = &visit.address else {
            return Judged { call: Call::Open, credential: Credential::None };
        };
        Judged { call: call(address), credential: self.credential(visit, address) }
    }

    fn credential(&self, visit: &Visit, address: &Address) -> Credential {
        let presented = presented(&visit.headers, address);
        if matches!(presented, Presented::Nothing | Presented::Token("")) {
            return Credential::None;
        }
        if self.caller(visit, address).is_ok() {
            return Credential::Live;
        }
        let books = lock(&self.books);
        match presented {
            Presented::Token(value) if self.house.mint.knows(value) => Credential::Dead,
            Presented::Cookie(value) if books.was_logged_in(value) => Credential::Dead,
            // Everybody gets such a cookie; it proves nothing.
            Presented::Cookie(value) if self.house.mint.knows(value) => Credential::None,
            _ => Credential::Foreign,
        }
    }
}

fn call(address: &Address) -> Call {
    let resource: Vec<&str> = address.resource.iter().map(String::as_str).collect();
    match (&address.method, resource.as_slice()) {
        (&Method::POST, ["server", "authenticationtokens"]) | (&Method::PUT, ["session"]) => {
            Call::Login
        }
        (_, ["server", "status" | "publickey" | "authenticationprotocols"]) => Call::Open,
        _ => Call::Guarded,
    }
}

fn by_token(books: &Books, token: &Token, address: &Address) -> Result<Caller, Refusal> {
    let path = address.raw.split('?').next().unwrap_or_default();
    let allows_url = token.url.as_deref().is_none_or(|url| {
        // Clients write the whole address; only its path is compared.
        let after_host = url.split_once("://").map_or(url, |(_, rest)| {
            rest.find('/').and_then(|slash| rest.get(slash..)).unwrap_or("/")
        });
        after_host.eq_ignore_ascii_case(path)
    });
    let allows_method = token
        .method
        .as_deref()
        .is_none_or(|method| method.eq_ignore_ascii_case(address.method.as_str()));
    if !allows_url || !allows_method {
        return Err(Refusal::LoginFailed);
    }
    Ok(Caller {
        login: books.login_of(token.session),
        proof: Proof::Token(token.session),
        vault: token.vault,
        read_only: token.read_only,
    })
}

fn by_cookie(books: &Books, value: &str, cookie: &Cookie) -> Result<Caller, Refusal> {
    let session = books.logged_in(cookie).ok_or(Refusal::LoginFailed)?;
    Ok(Caller {
        login: books.login_of(session),
        proof: Proof::Cookie(session, value.to_owned()),
        vault: cookie.vault,
        read_only: false,
    })
}

fn presented<'a>(headers: &'a HeaderMap, address: &'a Address) -> Presented<'a> {
    let either = |header: &str, query: &str| text(headers, header).or_else(|| address.value(query));
    if let Some(token) = either("x-authentication", "auth") {
        return Presented::Token(token);
    }
    if let Some(login) = either("x-username", "username") {
        return Presented::Password(login, either("x-password", "password").unwrap_or_default());
    }
    match cookie(headers, SESSION_COOKIE) {
        Some(value) => Presented::Cookie(value),
        None => Presented::Nothing,
    }
}

fn chosen_vault(headers: &HeaderMap, address: &Address) -> Option<&'static Vault> {
    let chosen = text(headers, "x-vault").or_else(|| address.value("vault"));
    Vault::by_guid(chosen.or_else(|| text(headers, "x-active-vault"))?)
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    // Header values may hold UTF-8: passwords do.
    headers.get(name).and_then(|value| std::str::from_utf8(value.as_bytes()).ok())
}
