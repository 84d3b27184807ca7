//! What a call must show before it is served: a live token, a stack's key.

use axum::extract::FromRequestParts;
use http::HeaderMap;
use http::request::Parts;

use super::refusal::Refusal;
use super::stacks::{STACKS, StackFacts};
use super::{Contentstack, Shared};
use crate::emulator::house::lock;

/// What a request carries to prove its session.
pub enum Presented<'a> {
    Nothing,
    Authtoken(&'a str),
    /// A management token or OAuth; neither is given out here.
    Authorization,
}

/// A live session.
pub struct Session {
    pub token: String,
    pub email: String,
}

/// The stack that a call is about.
#[derive(Clone, Copy)]
pub struct Stack(pub &'static StackFacts);

pub fn presented(headers: &HeaderMap) -> Presented<'_> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match (text("authtoken"), text("authorization")) {
        ("", "") => Presented::Nothing,
        ("", _) => Presented::Authorization,
        (token, _) => Presented::Authtoken(token),
    }
}

impl FromRequestParts<Shared> for Session {
    type Rejection = Refusal;

    async fn from_request_parts(head: &mut Parts, site: &Shared) -> Result<Self, Refusal> {
        site.session(&head.headers).ok_or_else(Refusal::not_logged_in)
    }
}

impl FromRequestParts<Shared> for Stack {
    type Rejection = Refusal;

    async fn from_request_parts(head: &mut Parts, site: &Shared) -> Result<Self, Refusal> {
        let switches = site.switches_now();
        let Some(key) = api_key(&head.headers) else {
            return Err(Refusal::api_key_missing());
        };
        let known = STACKS.iter().find(|stack| stack.api_key == key);
        let stack = known.ok_or_else(|| Refusal::api_key_unknown(&switches))?;
        if switches.deny_environment {
            return Err(Refusal::denied_environment());
        }
        Ok(Stack(stack))
    }
}

impl Contentstack {
    pub fn session(&self, headers: &HeaderMap) -> Option<Session> {
        let Presented::Authtoken(token) = presented(headers) else { return None };
        let ttl = lock(&self.switches).token_ttl();
        let tokens = lock(&self.tokens);
        let email = tokens.owner(token, self.house.clock.now(), ttl)?;
        Some(Session { token: token.to_owned(), email: email.to_owned() })
    }
}

pub fn api_key(headers: &HeaderMap) -> Option<&str> {
    let key = headers.get("api_key").and_then(|value| value.to_str().ok())?;
    (!key.is_empty()).then_some(key)
}
