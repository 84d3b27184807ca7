//! The requests of a login, a refresh, a probe and a logout: in order, reachable, with one body each.

use std::collections::BTreeSet;

use super::Loader;
use crate::recipe::condition::{Condition, Part, StatusSet};
use crate::recipe::template::BUILT_IN;
use crate::recipe::{Probe, Step, StepBody, Take, TakeFrom, written};

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
            codes: self.codes.iter_mut().flat_map(std::mem::take).collect(),
        };
        for name in step.take.keys() {
            if self.is_taken(name) {
                self.fault(&format!("{at}/take/{name}"), "this name is taken by another value");
            }
            self.scope.values.push(name);
        }
        loaded
    }

    /// Whether a name stands for something that no answer may change.
    pub(super) fn is_taken(&self, name: &str) -> bool {
        self.scope.parameters.contains_key(name) || BUILT_IN.contains(&name)
    }

    pub(super) fn take(&mut self, at: &str, name: &str, take: &written::Take) -> Option<Take> {
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

    pub(super) fn probe(&mut self, probe: &'a written::Probe) -> Probe {
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
                codes: Vec::new(),
            },
        }
    }
}
