//! Authtokens: no expiry of their own, so many a user, the oldest dies for a new one.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Moment;

/// Every token that has not been ended, oldest first.
#[derive(Default)]
pub struct Tokens(VecDeque<Token>);

struct Token {
    value: String,
    email: String,
    born: Moment,
}

impl Tokens {
    /// Gives a user a token; beyond `cap` the user's oldest end.
    pub fn add(&mut self, value: String, email: &str, born: Moment, cap: usize) {
        let email = email.to_lowercase();
        self.0.push_back(Token { value, email: email.clone(), born });
        let held = self.0.iter().filter(|token| token.email == email).count();
        for _ in cap.max(1)..held {
            if let Some(oldest) = self.0.iter().position(|token| token.email == email) {
                self.0.remove(oldest);
            }
        }
    }

    /// Whose live token this is.
    pub fn owner(&self, value: &str, now: Moment, ttl: Option<Duration>) -> Option<&str> {
        let token = self.0.iter().find(|token| token.value == value)?;
        token.is_live(now, ttl).then_some(token.email.as_str())
    }

    pub fn live(&self, now: Moment, ttl: Option<Duration>) -> u64 {
        self.0.iter().filter(|token| token.is_live(now, ttl)).count() as u64
    }

    pub fn end(&mut self, value: &str) -> bool {
        self.end_where(|token| token.value == value) > 0
    }

    pub fn end_all(&mut self) -> usize {
        self.end_where(|_| true)
    }

    pub fn end_all_of(&mut self, email: &str) -> usize {
        let email = email.to_lowercase();
        self.end_where(|token| token.email == email)
    }

    /// Ends the other tokens of the user that this token belongs to.
    pub fn end_others(&mut self, kept: &str) -> usize {
        let owner = self.0.iter().find(|token| token.value == kept);
        let Some(email) = owner.map(|token| token.email.clone()) else { return 0 };
        self.end_where(|token| token.email == email && token.value != kept)
    }

    fn end_where(&mut self, ends: impl Fn(&Token) -> bool) -> usize {
        let before = self.0.len();
        self.0.retain(|token| !ends(token));
        before - self.0.len()
    }
}

impl Token {
    fn is_live(&self, now: Moment, ttl: Option<Duration>) -> bool {
        ttl.is_none_or(|ttl| now.saturating_since(self.born) < ttl)
    }
}
