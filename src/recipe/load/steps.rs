//! The requests of a login, a refresh, a probe and a logout: in order, reachable, with one body each.

use std::collections::BTreeSet;

use http::Method;
use regex::Regex;

use super::Loader;
use crate::recipe::condition::{Condition, Part, StatusSet};
use crate::recipe::template::{BUILT_IN, Template};
use crate::recipe::{
    Addressee, CookieName, EXEC, Probe, Purpose, Signed, Site, Step, StepBody, Take, TakeFrom,
    written,
};
use crate::secret::Algorithm;

impl<'a> Loader<'a> {
    /// Loads the steps of a login or a refresh, which may send one-time codes: each of them is sent
    /// once. Whatever else a recipe sends may be sent any number of times.
    pub(super) fn attempt_steps(
        &mut self,
        purpose: Purpose,
        steps: &'a [written::Step],
    ) -> Vec<Step> {
        self.codes = Some(BTreeSet::new());
        let loaded = self.steps(purpose, steps);
        self.codes = None;
        loaded
    }

    /// Loads steps in order; what a step takes, the following templates may read.
    pub(super) fn steps(&mut self, purpose: Purpose, steps: &'a [written::Step]) -> Vec<Step> {
        let mut loaded: Vec<Step> = Vec::new();
        for (index, step) in steps.iter().enumerate() {
            let at = format!("/{purpose}/steps/{index}");
            let step = self.step(&at, purpose, step);
            if let (Some(when), Some(before)) = (&step.when, loaded.last()) {
                self.reachable(&at, when, &before.expect);
            } else if step.when.is_some() {
                self.fault(&format!("{at}/when"), "the first step has no answer before it");
            }
            loaded.push(step);
        }
        loaded
    }

    pub(super) fn reachable(&mut self, at: &str, when: &Condition, before: &Condition) {
        if let (Some(asked), Some(passed)) = (when.statuses(), before.statuses())
            && !asked.iter().any(|one| passed.iter().any(|two| one.meets(*two)))
        {
            self.fault(
                &format!("{at}/when"),
                "this step is never reached: the step before only succeeds with other statuses",
            );
        }
    }

    pub(super) fn step(&mut self, at: &str, purpose: Purpose, step: &'a written::Step) -> Step {
        if let Some(exec) = &step.exec {
            self.only_exec(at, step);
            return self.asking(at, purpose, step, exec);
        }
        // What is signed, the step itself may read.
        let signed = step.sign.iter();
        let signed = signed
            .map(|(name, sign)| {
                let at = format!("{at}/sign/{name}");
                if self.is_taken(name) || self.scope.values.contains(&name.as_str()) {
                    self.fault(&at, "this name is taken by another value");
                }
                self.signed(&at, name, sign)
            })
            .collect();
        self.scope.values.extend(step.sign.keys().map(String::as_str));
        let body = self.body(at, step);
        let (method, path) = match (&step.method, &step.path) {
            (Some(method), Some(path)) => (method.as_str(), path.as_str()),
            _ => {
                self.fault(at, "a step has `method` and `path`, or `exec`");
                ("GET", "/")
            }
        };
        let path = self.path_template(&format!("{at}/path"), path);
        let basic = step.basic.as_ref().map(|basic| {
            let user = self.template(&format!("{at}/basic/user"), &basic.user);
            (user, self.template(&format!("{at}/basic/password"), &basic.password))
        });
        let loaded = Step {
            to: self.addressee(&format!("{at}/origin"), step.origin.as_deref()),
            method: self.method(&format!("{at}/method"), method),
            path,
            query: self.templates(&format!("{at}/query"), &step.query),
            headers: self.header_templates(&format!("{at}/headers"), &step.headers),
            basic,
            body,
            signed,
            ..self.judged(at, step)
        };
        self.taken(at, step);
        loaded
    }

    /// What a step makes of its answer, whoever gives that; the rest is empty. The templates of what
    /// is sent are loaded before: their one-time codes are the step's.
    fn judged(&mut self, at: &str, step: &'a written::Step) -> Step {
        Step {
            name: step.name.clone(),
            to: Addressee::Upstream,
            method: Method::GET,
            path: Template::default(),
            query: Vec::new(),
            headers: Vec::new(),
            basic: None,
            body: StepBody::Empty,
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
            codes: self.codes.iter_mut().flat_map(std::mem::take).collect(),
            signed: Vec::new(),
        }
    }

    /// What a step has taken, the following templates may read.
    fn taken(&mut self, at: &str, step: &'a written::Step) {
        for name in step.take.keys() {
            if self.is_taken(name) {
                self.fault(&format!("{at}/take/{name}"), "this name is taken by another value");
            }
            self.scope.values.push(name);
        }
    }

    /// To whom a step goes: no value of an account or an answer leads anywhere.
    fn addressee(&mut self, at: &str, origin: Option<&str>) -> Addressee {
        let Some(text) = origin else { return Addressee::Upstream };
        let template = self.template(at, text);
        let Some(literal) = template.literal() else {
            self.fault(at, "where a step goes, only the recipe and its parameters say");
            return Addressee::Upstream;
        };
        // A parameter that is not needed, or that the operator has yet to set.
        if literal.is_empty() && text.starts_with("{{") {
            return Addressee::Upstream;
        }
        match Site::parse(literal) {
            Ok(site) => Addressee::Site(site),
            Err(message) => {
                self.fault(at, message);
                Addressee::Upstream
            }
        }
    }

    /// A step that asks the login helper.
    fn asking(
        &mut self,
        at: &str,
        purpose: Purpose,
        step: &'a written::Step,
        exec: &'a serde_json::Value,
    ) -> Step {
        let body = StepBody::Json(self.json(&format!("{at}/exec"), exec));
        let asking = Step {
            to: Addressee::Helper(purpose),
            method: Method::from_bytes(EXEC.as_bytes()).unwrap_or_default(),
            path: Template::text_alone(purpose.as_str()),
            body,
            ..self.judged(at, step)
        };
        self.taken(at, step);
        asking
    }

    /// A helper gets nothing but values, and its answer has a body alone.
    fn only_exec(&mut self, at: &str, step: &written::Step) {
        let written::Step { method, path, origin, query, headers, basic, sign, .. } = step;
        let bodies = [step.json.is_some(), step.form.is_some(), step.multipart.is_some()];
        let texts = [method, path, origin, &step.xml, &step.text];
        let is_request = texts.iter().any(|text| text.is_some())
            || bodies.contains(&true)
            || !query.is_empty()
            || !headers.is_empty()
            || basic.is_some()
            || !sign.is_empty();
        if is_request {
            self.fault(at, "a step is a request or asks the login helper (`exec`), not both");
        }
        if !step.exec.as_ref().is_some_and(serde_json::Value::is_object) {
            self.fault(&format!("{at}/exec"), "a login helper is given an object of values");
        }
        for (name, take) in &step.take {
            if take.json.is_none() {
                let message = "the answer of a login helper is JSON: a value is taken by `json`";
                self.fault(&format!("{at}/take/{name}"), message);
            }
        }
    }

    fn signed(&mut self, at: &str, name: &str, sign: &'a written::Sign) -> Signed {
        for (key, json) in [("header", &sign.header), ("claims", &sign.claims)] {
            if !json.is_object() {
                self.fault(&format!("{at}/{key}"), "the parts of a token are objects");
            }
        }
        Signed {
            name: name.to_owned(),
            algorithm: match sign.algorithm {
                written::SignAlgorithm::HS256 => Algorithm::Hs256,
                written::SignAlgorithm::RS256 => Algorithm::Rs256,
                written::SignAlgorithm::ES256 => Algorithm::Es256,
            },
            key: self.template(&format!("{at}/key"), &sign.key),
            header: self.json(&format!("{at}/header"), &sign.header),
            claims: self.json(&format!("{at}/claims"), &sign.claims),
        }
    }

    fn body(&mut self, at: &str, step: &'a written::Step) -> StepBody {
        let mut bodies = Vec::new();
        if let Some(json) = &step.json {
            bodies.push(StepBody::Json(self.json(&format!("{at}/json"), json)));
        }
        if let Some(form) = &step.form {
            bodies.push(StepBody::Form(self.templates(&format!("{at}/form"), form)));
        }
        if let Some(form) = &step.multipart {
            bodies.push(StepBody::Multipart(self.templates(&format!("{at}/multipart"), form)));
        }
        if let Some(xml) = &step.xml {
            bodies.push(StepBody::Xml(self.template(&format!("{at}/xml"), xml)));
        }
        if let Some(text) = &step.text {
            bodies.push(StepBody::Text(self.template(&format!("{at}/text"), text)));
        }
        if bodies.len() > 1 {
            self.fault(at, "a step has one body: `json`, `form`, `multipart`, `xml` or `text`");
        }
        bodies.pop().unwrap_or(StepBody::Empty)
    }

    /// Whether a name stands for something that no answer may change.
    pub(super) fn is_taken(&self, name: &str) -> bool {
        self.scope.parameters.contains_key(name) || BUILT_IN.contains(&name)
    }

    pub(super) fn take(&mut self, at: &str, name: &str, take: &written::Take) -> Option<Take> {
        const PLACES: &str = "a value is taken from exactly one of `json`, `header`, `cookie`, \
                              `cookie_matches`, `cookie_age`, `text`, `input`";
        let written::Take { json, header, cookie, cookie_matches, cookie_age, text, input, .. } =
            take;
        let given = [json, header, cookie, cookie_matches, cookie_age, text, input];
        if given.iter().filter(|place| place.is_some()).count() != 1 {
            self.fault(at, PLACES);
            return None;
        }
        let part = self.part(at, take.part.as_deref());
        if take.claim.is_some() && take.part.is_some() {
            self.fault(at, "a value is a `part` or a `claim` of what stands there");
        }
        let mut from = None;
        if let Some(pointer) = json {
            from = self.pointer(&format!("{at}/json"), pointer).map(TakeFrom::Json);
        } else if let Some(header) = header {
            from = self.header_name(&format!("{at}/header"), header).map(TakeFrom::Header);
        } else if let Some(text) = text {
            from = self.one_group(&format!("{at}/text"), text).map(TakeFrom::Text);
        } else if let Some(input) = input {
            from = Some(TakeFrom::Input(input.clone()));
        } else if let Some(cookie) = cookie_age {
            from = Some(TakeFrom::CookieAge(cookie.clone()));
        } else if let Some(cookie) = self.cookie_name(at, cookie, cookie_matches) {
            from = Some(TakeFrom::Cookie(cookie));
        }
        let (name, claim) = (name.to_owned(), take.claim.clone());
        Some(Take { name, from: from?, part, claim, optional: take.optional })
    }

    pub(super) fn part(&mut self, at: &str, part: Option<&str>) -> Option<Regex> {
        self.one_group(&format!("{at}/part"), part?)
    }

    fn one_group(&mut self, at: &str, text: &str) -> Option<Regex> {
        let regex = self.regex(at, text)?;
        if regex.captures_len() != 2 {
            self.fault(at, "the expression needs exactly one group");
        }
        Some(regex)
    }

    /// The cookie that is meant; nothing where none is, or no expression.
    pub(super) fn cookie_name(
        &mut self,
        at: &str,
        is: &Option<String>,
        matches: &Option<String>,
    ) -> Option<CookieName> {
        match (is, matches) {
            (Some(name), None) => Some(CookieName::Is(name.clone())),
            (None, Some(text)) => {
                self.regex(&format!("{at}/cookie_matches"), text).map(CookieName::Matches)
            }
            _ => None,
        }
    }

    pub(super) fn probe(&mut self, probe: &'a written::Probe) -> Probe {
        let body = match (&probe.json, &probe.form) {
            (Some(json), None) => StepBody::Json(self.json("/probe/json", json)),
            (None, Some(form)) => StepBody::Form(self.templates("/probe/form", form)),
            (None, None) => StepBody::Empty,
            (Some(_), Some(_)) => {
                self.fault("/probe", "a probe has one body: `json` or `form`");
                StepBody::Empty
            }
        };
        Probe {
            step: Step {
                name: "probe".to_owned(),
                to: Addressee::Upstream,
                method: self.method("/probe/method", &probe.method),
                path: self.path_template("/probe/path", &probe.path),
                query: self.templates("/probe/query", &probe.query),
                headers: self.header_templates("/probe/headers", &probe.headers),
                basic: None,
                body,
                when: None,
                expect: self.condition("/probe/alive", &probe.alive),
                take: Vec::new(),
                codes: Vec::new(),
                signed: Vec::new(),
            },
        }
    }
}
