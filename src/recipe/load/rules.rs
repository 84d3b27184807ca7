//! What is decided by rules: refusals, injections, verdicts, endpoints, spellings, the budget.

use std::time::Duration;

use http::HeaderName;

use super::Loader;
use crate::recipe::condition::Condition;
use crate::recipe::element::ElementPath;
use crate::recipe::{
    Budget, Endpoint, EndpointRule, InjectInto, InjectMethods, Injection, PathQuery, Place,
    Refusal, Spelling, Unless, Verdict, written,
};

/// What an injection is.
const INJECTION: &str = "an injection is `header`, `query`, `cookie`, `json`, `form` or `xml` with \
                         `value`, or `cookies = true`";

/// The longest that a spent budget is waited for: nobody means to wait longer.
const WINDOW_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

impl<'a> Loader<'a> {
    pub(super) fn refusals(&mut self, refusals: &[written::Refusal]) -> Vec<Refusal> {
        let mut loaded: Vec<Refusal> = Vec::new();
        for (index, refusal) in refusals.iter().enumerate() {
            let at = format!("/login/refusals/{index}/when");
            self.after_catch_all(&at, loaded.last().map(|rule| &rule.when));
            loaded.push(Refusal {
                when: self.condition(&at, &refusal.when),
                class: refusal.class,
                place: self.place("login.refusals", index, &at),
            });
        }
        loaded
    }

    fn place(&self, table: &str, index: usize, at: &str) -> Place {
        Place { rule: format!("{table}[{index}]"), line: self.document.key_line(at) }
    }

    pub(super) fn after_catch_all(&mut self, at: &str, before: Option<&Condition>) {
        if before.is_some_and(Condition::is_empty) {
            self.fault(at, "this rule is never reached: the one before it always matches");
        }
    }

    pub(super) fn injections(&mut self, recipe: &'a written::Recipe) -> Vec<Injection> {
        if recipe.inject.is_empty() {
            self.fault("/inject", "without an injection the session would never be used");
        }
        let mut loaded = Vec::new();
        for (index, inject) in recipe.inject.iter().enumerate() {
            let at = format!("/inject/{index}");
            let methods = self.inject_methods(&at, &inject.methods);
            if inject.unless.is_some() && inject.json.is_none() {
                let message = "only what goes into JSON bodies can stay out of some of them";
                self.fault(&format!("{at}/unless"), message);
            }
            let into = self.injection(&at, recipe, inject);
            let overwrite = inject.overwrite;
            loaded.extend(into.map(|into| Injection { into, methods, overwrite }));
        }
        loaded
    }

    fn injection(
        &mut self,
        at: &str,
        recipe: &written::Recipe,
        inject: &'a written::Inject,
    ) -> Option<InjectInto> {
        let written::Inject { header, query, cookie, cookies, json, form, xml, value, .. } = inject;
        if json.is_some() || form.is_some() || xml.is_some() {
            return self.body_injection(at, inject);
        }
        match (header, query, cookie, cookies, value) {
            (Some(header), None, None, false, Some(value)) => {
                let name = self.header_name(&format!("{at}/header"), header)?;
                Some(InjectInto::Header(name, self.template(&format!("{at}/value"), value)))
            }
            (None, Some(query), None, false, Some(value)) => {
                let template = self.template(&format!("{at}/value"), value);
                Some(InjectInto::Query(query.clone(), template))
            }
            (None, None, Some(cookie), false, Some(value)) => {
                let name = self.template(&format!("{at}/cookie"), cookie);
                let name = name.literal().unwrap_or_default().to_owned();
                // RFC 6265 section 4.1.1: a token, as the name of a header field is.
                if HeaderName::try_from(&name).is_err() {
                    let message = format!("`{cookie}` cannot be the name of a cookie");
                    self.fault(&format!("{at}/cookie"), message);
                }
                let template = self.template(&format!("{at}/value"), value);
                Some(InjectInto::Cookie(name, template))
            }
            (None, None, None, true, None) => {
                if recipe.session.cookies == written::Cookies::None {
                    self.fault(at, "`[session] cookies` is `none`: there is nothing to send");
                }
                Some(InjectInto::Cookies)
            }
            _ => {
                self.fault(at, INJECTION);
                None
            }
        }
    }

    fn body_injection(&mut self, at: &str, inject: &'a written::Inject) -> Option<InjectInto> {
        let written::Inject { header, query, cookie, cookies, json, form, xml, value, .. } = inject;
        let is_alone = header.is_none() && query.is_none() && cookie.is_none() && !cookies;
        let (true, Some(value)) = (is_alone, value) else {
            self.fault(at, INJECTION);
            return None;
        };
        let template = self.template(&format!("{at}/value"), value);
        match (json, form, xml) {
            (Some(json), None, None) => {
                let pointer = self.pointer(&format!("{at}/json"), json)?;
                if pointer.tokens().is_empty() || pointer.tokens().iter().any(|name| name == "*") {
                    let message = "a value is put into one member: `/name`, or `/name/name`";
                    self.fault(&format!("{at}/json"), message);
                }
                let unless = inject.unless.as_ref();
                let unless = unless.and_then(|unless| self.unless(&format!("{at}/unless"), unless));
                Some(InjectInto::Json(pointer, template, unless))
            }
            (None, Some(form), None) => Some(InjectInto::Form(form.clone(), template)),
            (None, None, Some(xml)) => match ElementPath::parse(xml) {
                Ok(way) => Some(InjectInto::Xml(way, template)),
                Err(message) => {
                    self.fault(&format!("{at}/xml"), message);
                    None
                }
            },
            _ => {
                self.fault(at, INJECTION);
                None
            }
        }
    }

    fn unless(&mut self, at: &str, unless: &written::Unless) -> Option<Unless> {
        if unless.one_of.is_empty() {
            self.fault(at, "without a value in `one_of` this never holds");
        }
        let pointer = self.pointer(&format!("{at}/at"), &unless.at)?;
        Some(Unless { at: pointer, one_of: unless.one_of.clone() })
    }

    fn inject_methods(&mut self, at: &str, methods: &written::InjectMethods) -> InjectMethods {
        match methods {
            written::InjectMethods::Kind(written::MethodKind::Any) => InjectMethods::Any,
            written::InjectMethods::Kind(written::MethodKind::Unsafe) => InjectMethods::Unsafe,
            written::InjectMethods::Listed(names) => {
                if names.is_empty() {
                    let message = "without a method this goes into no request";
                    self.fault(&format!("{at}/methods"), message);
                }
                InjectMethods::Listed(self.methods(at, names))
            }
        }
    }

    pub(super) fn verdicts(&mut self, recipe: &written::Recipe) -> Vec<Verdict> {
        let mut loaded: Vec<Verdict> = Vec::new();
        for (index, verdict) in recipe.verdict.iter().enumerate() {
            let at = format!("/verdict/{index}");
            self.after_catch_all(&format!("{at}/when"), loaded.last().map(|rule| &rule.when));
            if verdict.then == written::VerdictIs::Probe && recipe.probe.is_none() {
                self.fault(&format!("{at}/then"), "there is no `[probe]` to ask");
            }
            if verdict.then == written::VerdictIs::Renew && recipe.renew.is_none() {
                self.fault(&format!("{at}/then"), "there are no `[[renew.steps]]` to send");
            }
            loaded.push(Verdict {
                when: self.condition(&format!("{at}/when"), &verdict.when),
                then: verdict.then,
                replay: verdict.replay,
                place: self.place("verdict", index, &format!("{at}/when")),
            });
        }
        if !loaded.iter().any(|rule| {
            matches!(rule.then, written::VerdictIs::Expired | written::VerdictIs::Probe)
        }) {
            self.fault("/verdict", "no rule says when a session is expired");
        }
        loaded
    }

    pub(super) fn endpoints(&mut self, recipe: &'a written::Recipe) -> Vec<Endpoint> {
        // An answer given here must never hold a value of the session or the account.
        let values = std::mem::take(&mut self.scope.values);
        let endpoints = recipe.endpoints.iter().enumerate();
        let loaded =
            endpoints.filter_map(|(index, endpoint)| self.endpoint(recipe, index, endpoint));
        let loaded = loaded.collect();
        self.scope.values = values;
        loaded
    }

    pub(super) fn endpoint(
        &mut self,
        recipe: &'a written::Recipe,
        index: usize,
        endpoint: &'a written::Endpoint,
    ) -> Option<Endpoint> {
        let at = format!("/endpoints/{index}");
        let mut paths = Vec::new();
        for (index, path) in endpoint.paths.iter().enumerate() {
            let at = format!("{at}/paths/{index}");
            let path = self.template(&at, path);
            paths.extend(self.pattern(
                &at,
                path.literal().unwrap_or_default(),
                recipe.spelling.case_insensitive,
            ));
        }
        let rule = match (&endpoint.answer, &endpoint.closed, endpoint.mask.as_slice()) {
            (Some(answer), None, []) => {
                EndpointRule::Answer(self.local_answer(&at, answer, endpoint.login.as_ref())?)
            }
            (None, Some(why), []) => EndpointRule::Closed(why.clone()),
            (None, None, [_, ..]) => {
                let pointers = endpoint.mask.iter().enumerate();
                EndpointRule::Mask(
                    pointers
                        .filter_map(|(index, text)| {
                            self.pointer(&format!("{at}/mask/{index}"), text)
                        })
                        .collect(),
                )
            }
            _ => {
                self.fault(&at, "an endpoint has exactly one of `answer`, `closed`, `mask`");
                return None;
            }
        };
        if endpoint.login.is_some() && endpoint.answer.is_none() {
            self.fault(&format!("{at}/login"), "`login` says what an `answer` is for: give one");
        }
        Some(Endpoint { methods: self.methods(&at, &endpoint.methods), paths, rule })
    }

    fn path_query(&mut self, real: &'a written::PathQuery) -> PathQuery {
        let values = std::mem::take(&mut self.scope.values);
        let below = real.below.as_ref().map(|below| {
            let below = self.template("/spelling/path_query/below", below);
            below.literal().unwrap_or_default().to_owned()
        });
        self.scope.values = values;
        PathQuery { segment: real.segment.to_lowercase(), query: real.query.clone(), below }
    }

    pub(super) fn spelling(&mut self, spelling: &'a written::Spelling) -> Spelling {
        Spelling {
            case_insensitive: spelling.case_insensitive,
            suffixes: spelling.suffixes.iter().map(|suffix| suffix.to_lowercase()).collect(),
            method_query: spelling.method_query.clone(),
            path_query: spelling.path_query.as_ref().map(|real| self.path_query(real)),
            encoded_slash: spelling.encoded_slash,
            underscore_headers: spelling
                .underscore_headers
                .iter()
                .enumerate()
                .filter_map(|(index, name)| {
                    self.header_name(&format!("/spelling/underscore_headers/{index}"), name)
                })
                .collect(),
        }
    }

    pub(super) fn budget(&mut self, budget: &written::Budget) -> Budget {
        if budget.attempts == 0 {
            self.fault("/budget/attempts", "with no attempt there is never a session");
        }
        let window = self.duration("/budget/window", Some(&budget.window)).unwrap_or_default();
        if window > WINDOW_MAX {
            self.fault("/budget/window", "attempts come back within 30 days at the latest");
        }
        Budget { attempts: budget.attempts, window }
    }
}
