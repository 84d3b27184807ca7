//! Cookies: the ASP.NET session and, with two servers behind a balancer, the one that was chosen.

use std::sync::atomic::{AtomicUsize, Ordering};

use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderValue};

use crate::emulator::mint::Mint;

/// The cookie of an ASP.NET session.
pub const SESSION_COOKIE: &str = "ASP.NET_SessionId";

/// The cookie of a balancer's choice, as M-Files Cloud names it.
pub const NODE_COOKIE: &str = "mfilesmsm";

/// How many servers stand behind the balancer.
const NODES: usize = 2;

/// Two servers; each is known to clients by a cookie value.
pub struct Nodes {
    values: [String; NODES],
    next: AtomicUsize,
}

impl Nodes {
    pub fn new(mint: &Mint) -> Self {
        Self { values: std::array::from_fn(|_| mint.guid()), next: AtomicUsize::new(0) }
    }

    /// The server that a client's cookie names.
    pub fn named(&self, value: &str) -> Option<usize> {
        self.values.iter().position(|known| known == value)
    }

    /// The server for a client without a cookie: in turn.
    pub fn in_turn(&self) -> usize {
        self.next.fetch_add(1, Ordering::Relaxed) % NODES
    }

    /// Another server than this one.
    pub fn other(node: usize) -> usize {
        (node + 1) % NODES
    }

    pub fn value(&self, node: usize) -> &str {
        self.values.get(node).map(String::as_str).unwrap_or_default()
    }
}

/// The first cookie of this name.
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(';')).find_map(|pair| {
        let (known, value) = pair.trim().split_once('=')?;
        (known == name).then_some(value)
    })
}

/// Adds a cookie to an answer.
pub fn set(headers: &mut HeaderMap, name: &str, value: &str, attributes: &str) {
    // Values are hexadecimal, so the line can always be a header.
    if let Ok(line) = HeaderValue::try_from(format!("{name}={value}; path=/{attributes}")) {
        headers.append(SET_COOKIE, line);
    }
}

/// The attributes of the session's cookies.
pub fn attributes(secure: bool) -> &'static str {
    if secure { "; secure; HttpOnly; SameSite=Lax" } else { "; HttpOnly; SameSite=Lax" }
}
