//! The loader: judges a written recipe as strictly as configuration, all faults at once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use http::{HeaderName, Method, StatusCode};
use regex::Regex;

use super::condition::{Condition, JsonTest, Part, StatusSet};
use super::pattern::{PathPattern, Pointer};
use super::template::{BUILT_IN, Scope, Template};
use super::{
    Budget, Endpoint, EndpointRule, Field, InjectInto, Injection, JsonTemplate, LocalAnswer, Probe,
    Recipe, Refusal, SessionRules, Shape, Spelling, Step, StepBody, Take, TakeFrom, Verdict,
    written,
};
use crate::diagnosis::{Document, Faults};

/// A session is renewed at least this long before a known end, unless the recipe says otherwise.
const REFRESH_AHEAD: Duration = Duration::from_secs(30);

/// The name by which templates read a recipe's placeholder.
const PLACEHOLDER: &str = "placeholder";

/// A compiled regular expression may take this much memory; recipes may come from strangers.
const REGEX_BYTES_MAX: usize = 1 << 20;

pub(super) fn shape(document: &Document) -> Result<Shape, Faults> {
    let faults = document.judge::<written::Recipe>();
    if !faults.is_empty() {
        return Err(faults);
    }
    let recipe: written::Recipe = document.deserialize()?;
    Ok(Shape {
        fields: recipe
            .account
            .into_iter()
            .map(|(name, field)| (name, Field { kind: field.kind, optional: field.optional }))
            .collect(),
        parameters: recipe
            .parameters
            .into_iter()
            .map(|(name, parameter)| (name, parameter.default.is_none()))
            .collect(),
    })
}

pub(super) fn load(
    document: &Document,
    parameters: &BTreeMap<String, String>,
) -> Result<Recipe, Faults> {
    let faults = document.judge::<written::Recipe>();
    if !faults.is_empty() {
        return Err(faults);
    }
    let recipe: written::Recipe = document.deserialize()?;
    let mut filled = BTreeMap::from([(PLACEHOLDER, recipe.placeholder.as_str())]);
    for (name, parameter) in &recipe.parameters {
        let default = parameter.default.as_deref().unwrap_or_default();
        filled.insert(name, parameters.get(name).map_or(default, String::as_str));
    }
    let mut loader = Loader {
        document,
        faults: Faults::default(),
        scope: Scope { parameters: filled, values: Vec::new() },
        read: BTreeSet::new(),
    };
    let loaded = loader.recipe(&recipe);
    loader.faults.or(loaded)
}

/// A duration as people write it: `90s`, `1h 30m`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let signed: jiff::SignedDuration = text
        .parse()
        .map_err(|_| format!("`{text}` is no duration; write for example `90s` or `1h30m`"))?;
    Duration::try_from(signed).map_err(|_| "a duration cannot be negative".to_owned())
}

struct Loader<'a> {
    document: &'a Document,
    faults: Faults,
    scope: Scope<'a>,
    /// The names of values that some template reads.
    read: BTreeSet<String>,
}

impl<'a> Loader<'a> {
    fn recipe(&mut self, recipe: &'a written::Recipe) -> Recipe {
        self.account(recipe);
        if recipe.placeholder.trim().is_empty() {
            self.fault("/placeholder", "the placeholder cannot be empty: clients check for it");
        }
        self.scope.values.extend(recipe.account.keys().map(String::as_str));
        let login = self.steps("/login/steps", &recipe.login.steps);
        if login.is_empty() {
            self.fault("/login/steps", "a login needs at least one step");
        }
        let refusals = self.refusals(&recipe.login.refusals);
        let session = self.session(recipe);
        let inject = self.injections(recipe);
        let verdicts = self.verdicts(recipe);
        let probe = recipe.probe.as_ref().map(|probe| self.probe(probe));
        let logout = self.steps("/logout/steps", &recipe.logout.steps);
        let spelling = self.spelling(&recipe.spelling);
        let endpoints = self.endpoints(recipe);
        let strip_headers = recipe.strip.headers.iter().enumerate();
        let strip_headers = strip_headers
            .filter_map(|(index, name)| self.header_name(&format!("/strip/headers/{index}"), name))
            .collect();
        self.unused(recipe);
        Recipe {
            name: recipe.name.clone(),
            title: recipe.title.clone(),
            placeholder: recipe.placeholder.clone(),
            fields: recipe
                .account
                .iter()
                .map(|(name, field)| {
                    (name.clone(), Field { kind: field.kind, optional: field.optional })
                })
                .collect(),
            login,
            refusals,
            session,
            inject,
            strip_headers,
            strip_query: recipe.strip.query.iter().map(|name| name.to_lowercase()).collect(),
            verdicts,
            probe,
            logout,
            endpoints,
            spelling,
            budget: self.budget(&recipe.budget),
        }
    }

    fn fault(&mut self, pointer: &str, message: impl Into<String>) {
        self.faults.push(self.document.fault(pointer, message));
    }

    fn account(&mut self, recipe: &written::Recipe) {
        let names = recipe
            .account
            .values()
            .filter(|field| field.kind == written::FieldKind::LoginName)
            .count();
        if names != 1 {
            self.fault("/account", "exactly one field of an account has `kind = \"login_name\"`");
        }
        for name in recipe.account.keys().chain(recipe.parameters.keys()) {
            if BUILT_IN.contains(&name.as_str()) || name == PLACEHOLDER {
                self.fault("/account", format!("`{name}` is the name of a built-in value"));
            }
        }
    }

    /// Loads steps in order; what a step takes, the following templates may read.
    fn steps(&mut self, at: &str, steps: &'a [written::Step]) -> Vec<Step> {
        let mut loaded: Vec<Step> = Vec::new();
        for (index, step) in steps.iter().enumerate() {
            let at = format!("{at}/{index}");
            let step = self.step(&at, step);
            if let (Some(when), Some(before)) = (&step.when, loaded.last()) {
                self.reachable(&at, when, &before.expect);
            } else if step.when.is_some() {
                self.fault(&format!("{at}/when"), "the first step has no answer before it");
            }
            loaded.push(step);
        }
        loaded
    }

    fn reachable(&mut self, at: &str, when: &Condition, before: &Condition) {
        if let (Some(asked), Some(passed)) = (when.statuses(), before.statuses())
            && !asked.iter().any(|one| passed.iter().any(|two| one.meets(*two)))
        {
            self.fault(
                &format!("{at}/when"),
                "this step is never reached: the step before only succeeds with other statuses",
            );
        }
    }

    fn step(&mut self, at: &str, step: &'a written::Step) -> Step {
        let bodies = [step.json.is_some(), step.form.is_some(), step.text.is_some()];
        if bodies.iter().filter(|given| **given).count() > 1 {
            self.fault(at, "a step has one body: `json`, `form` or `text`");
        }
        let body = match (&step.json, &step.form, &step.text) {
            (Some(json), ..) => StepBody::Json(self.json(&format!("{at}/json"), json)),
            (_, Some(form), _) => StepBody::Form(self.templates(&format!("{at}/form"), form)),
            (.., Some(text)) => StepBody::Text(self.template(&format!("{at}/text"), text)),
            _ => StepBody::Empty,
        };
        let path = self.path_template(&format!("{at}/path"), &step.path);
        let basic = step.basic.as_ref().map(|basic| {
            let user = self.template(&format!("{at}/basic/user"), &basic.user);
            (user, self.template(&format!("{at}/basic/password"), &basic.password))
        });
        let loaded = Step {
            name: step.name.clone(),
            method: self.method(&format!("{at}/method"), &step.method),
            path,
            query: self.templates(&format!("{at}/query"), &step.query),
            headers: self.header_templates(&format!("{at}/headers"), &step.headers),
            basic,
            body,
            when: step.when.as_ref().map(|when| self.condition(&format!("{at}/when"), when)),
            expect: match &step.expect {
                Some(expect) => self.condition(&format!("{at}/expect"), expect),
                None => Condition { parts: vec![Part::Status(vec![StatusSet::Class(2)])] },
            },
            take: step
                .take
                .iter()
                .filter_map(|(name, take)| self.take(&format!("{at}/take/{name}"), name, take))
                .collect(),
        };
        for name in step.take.keys() {
            if self.scope.parameters.contains_key(name.as_str())
                || BUILT_IN.contains(&name.as_str())
            {
                self.fault(&format!("{at}/take/{name}"), "this name is taken by another value");
            }
            self.scope.values.push(name);
        }
        loaded
    }

    fn take(&mut self, at: &str, name: &str, take: &written::Take) -> Option<Take> {
        let from = match (&take.json, &take.header, &take.cookie, &take.text) {
            (Some(json), None, None, None) => {
                TakeFrom::Json(self.pointer(&format!("{at}/json"), json)?)
            }
            (None, Some(header), None, None) => {
                TakeFrom::Header(self.header_name(&format!("{at}/header"), header)?)
            }
            (None, None, Some(cookie), None) => TakeFrom::Cookie(cookie.clone()),
            (None, None, None, Some(text)) => {
                let regex = self.regex(&format!("{at}/text"), text)?;
                if regex.captures_len() != 2 {
                    self.fault(&format!("{at}/text"), "the expression needs exactly one group");
                }
                TakeFrom::Text(regex)
            }
            _ => {
                self.fault(
                    at,
                    "a value is taken from exactly one of `json`, `header`, `cookie`, `text`",
                );
                return None;
            }
        };
        Some(Take { name: name.to_owned(), from, optional: take.optional })
    }

    fn refusals(&mut self, refusals: &[written::Refusal]) -> Vec<Refusal> {
        let mut loaded: Vec<Refusal> = Vec::new();
        for (index, refusal) in refusals.iter().enumerate() {
            let at = format!("/login/refusals/{index}/when");
            self.after_catch_all(&at, loaded.last().map(|rule| &rule.when));
            loaded.push(Refusal { when: self.condition(&at, &refusal.when), class: refusal.class });
        }
        loaded
    }

    fn after_catch_all(&mut self, at: &str, before: Option<&Condition>) {
        if before.is_some_and(Condition::is_empty) {
            self.fault(at, "this rule is never reached: the one before it always matches");
        }
    }

    fn session(&mut self, recipe: &'a written::Recipe) -> SessionRules {
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
        SessionRules {
            cookies: session.cookies,
            expires: session.expires.as_ref().map(|end| (end.value.clone(), end.unit)),
            max_age: self.duration("/session/max_age", session.max_age.as_deref()),
            idle: self.duration("/session/idle", session.idle.as_deref()),
            refresh_ahead: self
                .duration("/session/refresh_ahead", session.refresh_ahead.as_deref())
                .unwrap_or(REFRESH_AHEAD),
        }
    }

    fn injections(&mut self, recipe: &'a written::Recipe) -> Vec<Injection> {
        if recipe.inject.is_empty() {
            self.fault("/inject", "without an injection the session would never be used");
        }
        let mut loaded = Vec::new();
        for (index, inject) in recipe.inject.iter().enumerate() {
            let at = format!("/inject/{index}");
            let into = match (&inject.header, &inject.query, inject.cookies, &inject.value) {
                (Some(header), None, false, Some(value)) => {
                    self.header_name(&format!("{at}/header"), header).map(|name| {
                        InjectInto::Header(name, self.template(&format!("{at}/value"), value))
                    })
                }
                (None, Some(query), false, Some(value)) => Some(InjectInto::Query(
                    query.clone(),
                    self.template(&format!("{at}/value"), value),
                )),
                (None, None, true, None) => {
                    if recipe.session.cookies == written::Cookies::None {
                        self.fault(&at, "`[session] cookies` is `none`: there is nothing to send");
                    }
                    Some(InjectInto::Cookies)
                }
                _ => {
                    self.fault(
                        &at,
                        "an injection is `header` with `value`, `query` with `value`, or `cookies = true`",
                    );
                    None
                }
            };
            loaded.extend(into.map(|into| Injection {
                into,
                methods: inject.methods,
                overwrite: inject.overwrite,
            }));
        }
        loaded
    }

    fn verdicts(&mut self, recipe: &written::Recipe) -> Vec<Verdict> {
        let mut loaded: Vec<Verdict> = Vec::new();
        for (index, verdict) in recipe.verdict.iter().enumerate() {
            let at = format!("/verdict/{index}");
            self.after_catch_all(&format!("{at}/when"), loaded.last().map(|rule| &rule.when));
            if verdict.then == written::VerdictIs::Probe && recipe.probe.is_none() {
                self.fault(&format!("{at}/then"), "there is no `[probe]` to ask");
            }
            loaded.push(Verdict {
                when: self.condition(&format!("{at}/when"), &verdict.when),
                then: verdict.then,
                replay: verdict.replay,
            });
        }
        if !loaded.iter().any(|rule| {
            matches!(rule.then, written::VerdictIs::Expired | written::VerdictIs::Probe)
        }) {
            self.fault("/verdict", "no rule says when a session is expired");
        }
        loaded
    }

    fn probe(&mut self, probe: &'a written::Probe) -> Probe {
        Probe {
            step: Step {
                name: "probe".to_owned(),
                method: self.method("/probe/method", &probe.method),
                path: self.path_template("/probe/path", &probe.path),
                query: Vec::new(),
                headers: self.header_templates("/probe/headers", &probe.headers),
                basic: None,
                body: StepBody::Empty,
                when: None,
                expect: self.condition("/probe/alive", &probe.alive),
                take: Vec::new(),
            },
        }
    }

    fn endpoints(&mut self, recipe: &'a written::Recipe) -> Vec<Endpoint> {
        // An answer given here must never hold a value of the session or the account.
        let values = std::mem::take(&mut self.scope.values);
        let endpoints = recipe.endpoints.iter().enumerate();
        let loaded =
            endpoints.filter_map(|(index, endpoint)| self.endpoint(recipe, index, endpoint));
        let loaded = loaded.collect();
        self.scope.values = values;
        loaded
    }

    fn endpoint(
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
            (Some(answer), None, []) => EndpointRule::Answer(self.answer(&at, answer)?),
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
        Some(Endpoint { methods: self.methods(&at, &endpoint.methods), paths, rule })
    }

    fn answer(&mut self, at: &str, answer: &'a written::Answer) -> Option<LocalAnswer> {
        let at = format!("{at}/answer");
        let body = match (&answer.json, &answer.text) {
            (Some(json), None) => StepBody::Json(self.json(&format!("{at}/json"), json)),
            (None, Some(text)) => StepBody::Text(self.template(&format!("{at}/text"), text)),
            (None, None) => StepBody::Empty,
            (Some(_), Some(_)) => {
                self.fault(&at, "an answer has one body: `json` or `text`");
                return None;
            }
        };
        let Ok(status) = StatusCode::from_u16(answer.status) else {
            self.fault(&format!("{at}/status"), "a status code is between 100 and 999");
            return None;
        };
        let headers = self.header_templates(&format!("{at}/headers"), &answer.headers);
        Some(LocalAnswer { status, headers, body })
    }

    fn spelling(&mut self, spelling: &written::Spelling) -> Spelling {
        Spelling {
            case_insensitive: spelling.case_insensitive,
            suffixes: spelling.suffixes.iter().map(|suffix| suffix.to_lowercase()).collect(),
            method_query: spelling.method_query.clone(),
            path_query: spelling
                .path_query
                .as_ref()
                .map(|real| (real.segment.to_lowercase(), real.query.clone())),
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

    fn budget(&mut self, budget: &written::Budget) -> Budget {
        if budget.attempts == 0 {
            self.fault("/budget/attempts", "with no attempt there is never a session");
        }
        Budget {
            attempts: budget.attempts,
            window: self.duration("/budget/window", Some(&budget.window)).unwrap_or_default(),
        }
    }

    /// Names that nothing reads are mistakes, most often a misspelling elsewhere.
    fn unused(&mut self, recipe: &written::Recipe) {
        let text = format!("{recipe:?}");
        for name in recipe.parameters.keys() {
            if !text.contains(&format!("{{{{{name}")) && !text.contains(&format!("{{{{ {name}")) {
                self.faults.push(self.document.key_fault(
                    &format!("/parameters/{name}"),
                    format!("nothing reads the parameter `{name}`"),
                ));
            }
        }
        for (index, step) in recipe.login.steps.iter().enumerate() {
            for name in step.take.keys().filter(|name| !self.read.contains(*name)) {
                self.faults.push(self.document.key_fault(
                    &format!("/login/steps/{index}/take/{name}"),
                    format!("nothing reads the value `{name}`"),
                ));
            }
        }
        for name in recipe.account.keys().filter(|name| !self.read.contains(*name)) {
            self.faults.push(self.document.key_fault(
                &format!("/account/{name}"),
                format!("nothing reads the field `{name}`"),
            ));
        }
    }

    fn condition(&mut self, at: &str, condition: &written::Condition) -> Condition {
        let mut parts = Vec::new();
        if !condition.status.is_empty() {
            let sets = condition.status.iter().enumerate();
            parts.push(Part::Status(
                sets.filter_map(|(index, set)| self.status(&format!("{at}/status/{index}"), set))
                    .collect(),
            ));
        }
        for (index, test) in condition.header.iter().enumerate() {
            let at = format!("{at}/header/{index}");
            let matches =
                test.matches.as_ref().map(|text| self.regex(&format!("{at}/matches"), text));
            if let Some(name) = self.header_name(&format!("{at}/name"), &test.name) {
                parts.push(Part::Header { name, matches: matches.flatten() });
            }
        }
        for (index, test) in condition.json.iter().enumerate() {
            parts.extend(self.json_test(&format!("{at}/json/{index}"), test));
        }
        if let Some(body) = &condition.body {
            parts.extend(self.regex(&format!("{at}/body"), body).map(Part::Body));
        }
        for test in &condition.set_cookie {
            parts.push(Part::SetCookie { name: test.name.clone(), is: test.is });
        }
        if !condition.methods.is_empty() {
            parts.push(Part::Methods(self.methods(at, &condition.methods)));
        }
        if !condition.paths.is_empty() {
            let mut patterns = Vec::new();
            for (index, path) in condition.paths.iter().enumerate() {
                patterns.extend(self.pattern(&format!("{at}/paths/{index}"), path, true));
            }
            parts.push(Part::Paths(patterns));
        }
        if !condition.all.is_empty() {
            parts.push(Part::All(self.conditions(&format!("{at}/all"), &condition.all)));
        }
        if !condition.any.is_empty() {
            parts.push(Part::Any(self.conditions(&format!("{at}/any"), &condition.any)));
        }
        if let Some(not) = &condition.not {
            parts.push(Part::Not(self.condition(&format!("{at}/not"), not)));
        }
        Condition { parts }
    }

    fn conditions(&mut self, at: &str, conditions: &[written::Condition]) -> Vec<Condition> {
        let conditions = conditions.iter().enumerate();
        conditions.map(|(index, each)| self.condition(&format!("{at}/{index}"), each)).collect()
    }

    fn json_test(&mut self, at: &str, test: &written::JsonTest) -> Option<Part> {
        let pointer = self.pointer(&format!("{at}/at"), &test.at)?;
        let test = match (&test.equals, &test.one_of, test.exists, &test.matches) {
            (Some(value), None, None, None) => JsonTest::OneOf(vec![value.clone()]),
            (None, Some(values), None, None) => JsonTest::OneOf(values.clone()),
            (None, None, Some(exists), None) => JsonTest::Exists(exists),
            (None, None, None, Some(text)) => {
                JsonTest::Matches(self.regex(&format!("{at}/matches"), text)?)
            }
            _ => {
                self.fault(at, "a test has exactly one of `equals`, `one_of`, `exists`, `matches`");
                return None;
            }
        };
        Some(Part::Json { at: pointer, test })
    }

    fn status(&mut self, at: &str, status: &written::Status) -> Option<StatusSet> {
        let set = match status {
            written::Status::Code(code) => StatusCode::from_u16(*code).ok().map(StatusSet::Code),
            written::Status::Class(text) => match text.as_bytes() {
                [digit @ b'1'..=b'5', b'x', b'x'] => {
                    Some(StatusSet::Class(u16::from(digit - b'0')))
                }
                _ => None,
            },
        };
        if set.is_none() {
            self.fault(at, "a status is a code (`401`) or a class (`\"4xx\"`)");
        }
        set
    }

    fn json(&mut self, at: &str, json: &'a serde_json::Value) -> JsonTemplate {
        match json {
            serde_json::Value::String(text) if text.contains("{{") => {
                JsonTemplate::Template(self.template(at, text))
            }
            serde_json::Value::Array(items) => {
                let items = items.iter().enumerate();
                JsonTemplate::Array(
                    items.map(|(index, item)| self.json(&format!("{at}/{index}"), item)).collect(),
                )
            }
            serde_json::Value::Object(members) => JsonTemplate::Object(
                members
                    .iter()
                    .map(|(name, value)| (name.clone(), self.json(&format!("{at}/{name}"), value)))
                    .collect(),
            ),
            fixed => JsonTemplate::Fixed(fixed.clone()),
        }
    }

    fn template(&mut self, at: &str, text: &str) -> Template {
        match Template::parse(text, &self.scope) {
            Ok(template) => {
                self.read.extend(template.reads().map(str::to_owned));
                template
            }
            Err(message) => {
                self.fault(at, message);
                Template::default()
            }
        }
    }

    fn path_template(&mut self, at: &str, text: &str) -> Template {
        let starts_with_value = text.starts_with("{{");
        let template = self.template(at, text);
        let path = template.literal();
        if path.is_some_and(|path| !path.starts_with('/'))
            && !(starts_with_value && path == Some(""))
        {
            self.fault(at, "a path starts with `/`");
        }
        template
    }

    fn templates(&mut self, at: &str, texts: &BTreeMap<String, String>) -> Vec<(String, Template)> {
        let texts = texts.iter();
        texts
            .map(|(name, text)| (name.clone(), self.template(&format!("{at}/{name}"), text)))
            .collect()
    }

    fn header_templates(
        &mut self,
        at: &str,
        texts: &BTreeMap<String, String>,
    ) -> Vec<(HeaderName, Template)> {
        let mut loaded = Vec::new();
        for (name, text) in texts {
            let at = format!("{at}/{name}");
            let template = self.template(&at, text);
            loaded.extend(self.header_name(&at, name).map(|name| (name, template)));
        }
        loaded
    }

    fn header_name(&mut self, at: &str, name: &str) -> Option<HeaderName> {
        let parsed = HeaderName::try_from(name).ok();
        if parsed.is_none() {
            self.fault(at, format!("`{name}` cannot be the name of a header field"));
        }
        parsed
    }

    fn method(&mut self, at: &str, name: &str) -> Method {
        match Method::from_bytes(name.as_bytes()) {
            Ok(method) if name.bytes().all(|byte| byte.is_ascii_uppercase()) => method,
            _ => {
                self.fault(at, format!("`{name}` is no method; methods are written `GET`, `POST`"));
                Method::GET
            }
        }
    }

    fn methods(&mut self, at: &str, names: &[String]) -> Vec<Method> {
        let names = names.iter().enumerate();
        names.map(|(index, name)| self.method(&format!("{at}/methods/{index}"), name)).collect()
    }

    fn pattern(&mut self, at: &str, text: &str, ignore_case: bool) -> Option<PathPattern> {
        PathPattern::parse(text, ignore_case).map_err(|message| self.fault(at, message)).ok()
    }

    fn pointer(&mut self, at: &str, text: &str) -> Option<Pointer> {
        Pointer::parse(text).map_err(|message| self.fault(at, message)).ok()
    }

    fn regex(&mut self, at: &str, text: &str) -> Option<Regex> {
        let built = regex::RegexBuilder::new(text).size_limit(REGEX_BYTES_MAX).build();
        built
            .map_err(|error| self.fault(at, format!("this is no regular expression: {error}")))
            .ok()
    }

    fn duration(&mut self, at: &str, text: Option<&str>) -> Option<Duration> {
        duration(text?).map_err(|message| self.fault(at, message)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{BUILT_IN as RECIPES, built_in};
    use super::*;

    fn faults(change: impl Fn(&str) -> String) -> String {
        let (_, text) = RECIPES.iter().find(|(name, _)| *name == "contentstack").unwrap();
        let changed = change(text);
        assert_ne!(changed, *text, "the change changes nothing");
        let document = Document::parse("recipe.toml", changed).unwrap();
        load(&document, &BTreeMap::new()).unwrap_err().to_string()
    }

    fn replaced(old: &str, new: &str) -> String {
        faults(|text| text.replacen(old, new, 1))
    }

    #[test]
    fn every_built_in_recipe_loads() {
        assert!(!RECIPES.is_empty());
        for (name, _) in RECIPES {
            let document = built_in(name).unwrap();
            let recipe = load(&document, &BTreeMap::new())
                .unwrap_or_else(|faults| panic!("{name}:\n{faults}"));
            assert_eq!(recipe.name, *name);
        }
        assert!(built_in("contenstack").unwrap_err().to_string().contains("did you mean"));
    }

    #[test]
    fn a_parameter_of_the_operator_replaces_its_default() {
        let document = built_in("contentstack").unwrap();
        let parameters = BTreeMap::from([("prefix".to_owned(), "/v9".to_owned())]);
        let recipe = load(&document, &parameters).unwrap();
        assert_eq!(recipe.login[0].path.literal(), Some("/v9/user-session"));
    }

    #[test]
    fn a_recipe_is_judged_as_strictly_as_configuration() {
        for (old, new, expected) in [
            ("[[inject]]\nheader", "[[inject]]\nheadr", "did you mean `header`"),
            ("/user/authtoken\", exists", "user.authtoken\", exists", "`/user/authtoken`"),
            ("value = \"{{token}}\"", "value = \"{{tokn}}\"", "did you mean `token`"),
            ("then = \"expired\"", "then = \"expird\"", "expired"),
            ("(?i)locked|temporarily", "(locked", "no regular expression"),
            ("status = [429]", "status = [\"429x\"]", "a status is a code"),
            ("method = \"POST\"", "method = \"Post\"", "no method"),
            ("attempts = 3", "attempts = 0", "never a session"),
            ("window = \"2h\"", "window = \"2\"", "no duration"),
            (
                "closed = \"this would send",
                "mask = [\"/a\"]\nclosed = \"this would send",
                "exactly one of",
            ),
            (
                "username = { kind = \"login_name\"",
                "username = { kind = \"plain\"",
                "exactly one field",
            ),
            (
                "take.token = { json",
                "take.unread = { text = \"x(y)\" }\ntake.token = { json",
                "nothing reads the value `unread`",
            ),
            (
                "prefix = {",
                "prefx = { default = \"\" }\nprefix = {",
                "nothing reads the parameter `prefx`",
            ),
            ("\"{{prefix}}/user-session\"\njson", "\"user-session\"\njson", "starts with `/`"),
        ] {
            let faults = replaced(old, new);
            assert!(faults.contains(expected), "{new}: {faults}");
            assert!(faults.contains("recipe.toml:"), "{faults}");
        }
    }

    #[test]
    fn what_can_never_be_reached_is_a_fault() {
        let catch_all =
            "[[verdict]]\nwhen = {}\nthen = \"alive\"\n\n[[verdict]]\nwhen = { status = [401], any";
        let faults = replaced("[[verdict]]\nwhen = { status = [401], any", catch_all);
        assert!(faults.contains("never reached: the one before it always matches"), "{faults}");

        let step = "[[login.steps]]\nname = \"second\"\nmethod = \"GET\"\npath = \"/x\"\nwhen = { status = [499] }\n\n[[login.refusals]]";
        let faults = replaced("[[login.refusals]]", step);
        assert!(faults.contains("this step is never reached"), "{faults}");
    }

    #[test]
    fn a_local_answer_cannot_hold_a_value_of_the_session() {
        let faults = replaced("{{placeholder}}", "{{token}}");
        assert!(faults.contains("no value is called `token` here"), "{faults}");
    }
}
