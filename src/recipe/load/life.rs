//! How a session lives on: its end, its idle time, what later answers change, its refresh.

use std::time::Duration;

use super::Loader;
use crate::recipe::{Base, Purpose, SessionRules, SitePattern, Step, Take, TakeFrom, written};

/// A session is renewed at least this long before a known end, unless the recipe says otherwise.
pub(crate) const REFRESH_AHEAD: Duration = Duration::from_secs(30);

impl<'a> Loader<'a> {
    /// Loads the session's rules. What later answers bring may be read by everything that follows;
    /// no login step could read it, because it is not there yet.
    pub(super) fn session(&mut self, recipe: &'a written::Recipe) -> SessionRules {
        let session = &recipe.session;
        if let Some(expires) = &session.expires {
            self.read.insert(expires.value.clone());
            if !self.scope.values.contains(&expires.value.as_str()) {
                self.fault(
                    "/session/expires/value",
                    format!("no step takes a value called `{}`", expires.value),
                );
            }
        }
        let base = session.base_url.as_ref().map(|base| self.base(recipe, base));
        let roll = session.roll.iter();
        let roll = roll.filter_map(|(name, rolled)| self.rolled(recipe, name, rolled)).collect();
        let idle = self.duration("/session/idle", session.idle.as_deref());
        SessionRules {
            cookies: session.cookies,
            expires: session.expires.as_ref().map(|end| (end.value.clone(), end.unit)),
            max_age: self.duration("/session/max_age", session.max_age.as_deref()),
            idle,
            keep_alive: self.keep_alive(recipe, idle),
            refresh_ahead: self
                .duration("/session/refresh_ahead", session.refresh_ahead.as_deref())
                .unwrap_or(REFRESH_AHEAD),
            sessions_max: session.sessions_max,
            roll,
            base,
        }
    }

    fn base(&mut self, recipe: &written::Recipe, base: &written::BaseUrl) -> Base {
        const AT: &str = "/session/base_url";
        let session = &recipe.session;
        self.read.insert(base.value.clone());
        if !recipe.login.steps.iter().any(|step| step.take.contains_key(&base.value)) {
            let message = format!("no step of the login takes a value called `{}`", base.value);
            self.fault(&format!("{AT}/value"), message);
        }
        if session.roll.contains_key(&base.value) {
            self.fault(&format!("{AT}/value"), "later answers cannot send requests elsewhere");
        }
        if session.cookies != written::Cookies::None {
            self.fault(AT, "cookies belong to the host that set them: `cookies` must be `none`");
        }
        let mut allow = Vec::new();
        for (index, text) in base.allow.iter().enumerate() {
            let at = format!("{AT}/allow/{index}");
            let template = self.template(&at, text);
            match template.literal().map(SitePattern::parse) {
                // A parameter that the operator has yet to set.
                Some(Err(_)) if template.literal() == Some("") && text.starts_with("{{") => {}
                Some(Ok(pattern)) => allow.push(pattern),
                Some(Err(message)) => self.fault(&at, message),
                None => self.fault(&at, "only the recipe and its parameters say what is allowed"),
            }
        }
        Base { value: base.value.clone(), allow }
    }

    fn keep_alive(&mut self, recipe: &written::Recipe, idle: Option<Duration>) -> Option<Duration> {
        const AT: &str = "/session/keep_alive";
        let keep_alive = self.duration(AT, recipe.session.keep_alive.as_deref())?;
        if recipe.probe.is_none() {
            self.fault(AT, "there is no `[probe]` to keep a session alive with");
        }
        match (idle, &recipe.session.idle) {
            (Some(idle), _) if keep_alive <= idle => {
                self.fault(AT, "a time that is not longer than `idle` keeps nothing alive");
            }
            (None, None) => self.fault(AT, "without `idle` no session dies of idleness"),
            _ => {}
        }
        Some(keep_alive)
    }

    fn rolled(
        &mut self,
        recipe: &'a written::Recipe,
        name: &'a str,
        rolled: &written::Rolled,
    ) -> Option<Take> {
        let at = format!("/session/roll/{name}");
        let given = [&rolled.header, &rolled.cookie, &rolled.cookie_matches];
        if given.iter().filter(|place| place.is_some()).count() != 1 {
            let message = "later answers bring a value in exactly one of `header`, `cookie`, \
                           `cookie_matches`";
            self.fault(&at, message);
            return None;
        }
        let from = match &rolled.header {
            Some(header) => TakeFrom::Header(self.header_name(&format!("{at}/header"), header)?),
            None => {
                let cookie = self.cookie_name(&at, &rolled.cookie, &rolled.cookie_matches);
                TakeFrom::Cookie(cookie?)
            }
        };
        let part = self.part(&at, rolled.part.as_deref());
        if self.is_taken(name) || recipe.account.contains_key(name) {
            self.fault(&at, "this name is taken by another value");
        }
        self.scope.values.push(name);
        Some(Take { name: name.to_owned(), from, part, claim: None, optional: true })
    }

    /// Loads what brings single values anew; a rule must say when.
    pub(super) fn renew(&mut self, recipe: &'a written::Recipe) -> Vec<Step> {
        let is_asked = |verdict: &written::Verdict| verdict.then == written::VerdictIs::Renew;
        let Some(renew) = &recipe.renew else { return Vec::new() };
        if !recipe.verdict.iter().any(is_asked) {
            self.fault("/renew", "no rule says when: a verdict needs `then = \"renew\"`");
        }
        if renew.steps.iter().all(|step| step.take.is_empty()) {
            self.fault("/renew", "a renewal takes at least one value");
        }
        self.steps(Purpose::Renew, &renew.steps)
    }

    pub(super) fn refresh(&mut self, recipe: &'a written::Recipe) -> Vec<Step> {
        recipe
            .refresh
            .as_ref()
            .map_or_else(Vec::new, |refresh| self.attempt_steps(Purpose::Refresh, &refresh.steps))
    }

    /// A logout is sent whole, and what it is answered only confirms it.
    pub(super) fn logout_is_sent_whole(&mut self, recipe: &written::Recipe) {
        for (index, step) in recipe.logout.steps.iter().enumerate() {
            if step.when.is_some() {
                let message = "all steps of a logout are sent: none depends on an answer";
                self.fault(&format!("/logout/steps/{index}/when"), message);
            }
            if let Some(name) = step.take.keys().next() {
                let message = "nothing is taken from the answers to a logout: take it at the login";
                self.fault(&format!("/logout/steps/{index}/take/{name}"), message);
            }
        }
    }
}
