//! The requests of a login, a refresh, a probe and a logout: in order, reachable, with one body each.

use std::collections::BTreeSet;

use regex::Regex;

use super::Loader;
use crate::recipe::condition::{Condition, Part, StatusSet};
use crate::recipe::template::BUILT_IN;
use crate::recipe::{CookieName, Probe, Signed, Step, StepBody, Take, TakeFrom, written};
use crate::secret::Algorithm;

impl<'a> Loader<'a> {
    /// Loads the steps of a login or a refresh, which may send one-time codes: each of them is sent
    /// once. Whatever else a recipe sends may be sent any number of times.
    pub(super) fn attempt_steps(&mut self, at: &str, steps: &'a [written::Step]) -> Vec<Step> {
        self.codes = Some(BTreeSet::new());
        let loaded = self.steps(at, steps);
        self.codes = None;
        loaded
    }

    /// Loads steps in order; what a step takes, the following templates may read.
    pub(super) fn steps(&mut self, at: &str, steps: &'a [written::Step]) -> Vec<Step> {
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

    pub(super) fn step(&mut self, at: &str, step: &'a written::Step) -> Step {
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
            codes: self.codes.iter_mut().flat_map(std::mem::take).collect(),
            signed,
        };
        for name in step.take.keys() {
            if self.is_taken(name) {
                self.fault(&format!("{at}/take/{name}"), "this name is taken by another value");
            }
            self.scope.values.push(name);
        }
        loaded
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
