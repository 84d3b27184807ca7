//! What a recipe reads of answers: all that a recording of them has to tell, and nothing else.

use std::collections::BTreeMap;

use http::HeaderName;
use serde_json::Value;

use super::condition::{Answer, Condition, JsonTest, Part, Truth};
use super::{Recipe, RefusalClass, Step, TakeFrom};

impl Recipe {
    /// Whether each test of a text, by its words, holds for a whole answer.
    pub fn text_tests(&self, answer: &Answer<'_>) -> BTreeMap<String, bool> {
        let mut tests = BTreeMap::new();
        self.each_part(&mut |part| {
            if part.reads_text() {
                tests.insert(part.words(), part.judge(answer) == Truth::Yes);
            }
        });
        tests
    }

    /// Whether a rule compares the value at `tokens` with values of its own.
    pub fn compares(&self, tokens: &[String]) -> bool {
        let mut compares = false;
        self.each_comparison(&mut |at, _| compares |= at == tokens);
        compares
    }

    /// Whether a rule compares the value at `tokens` with this one.
    pub fn compares_with(&self, tokens: &[String], value: &Value) -> bool {
        let mut found = false;
        self.each_comparison(&mut |at, values| found |= at == tokens && values.contains(value));
        found
    }

    /// Whether a pointer of the recipe goes through `name`.
    pub fn names_member(&self, name: &str) -> bool {
        let mut found = false;
        self.each_pointer(&mut |tokens| found |= tokens.iter().any(|token| token == name));
        found
    }

    /// Whether a pointer of the recipe goes to what is below `tokens`.
    pub fn points_below(&self, tokens: &[String]) -> bool {
        let mut found = false;
        self.each_pointer(&mut |at| found |= at.len() > tokens.len() && at.starts_with(tokens));
        found
    }

    /// Whether the recipe reads this header field of answers.
    pub fn reads_header(&self, field: &HeaderName) -> bool {
        let mut found = false;
        self.each_part(&mut |part| {
            found |= matches!(part, Part::Header { name, .. } if name == field);
        });
        let taken =
            |take: &super::Take| matches!(&take.from, TakeFrom::Header(name) if name == field);
        found || self.steps().any(|step| step.take.iter().any(taken))
    }

    /// Whether the recipe names this cookie.
    pub fn names_cookie(&self, cookie: &str) -> bool {
        let mut found = false;
        self.each_part(&mut |part| {
            found |= matches!(part, Part::SetCookie { name, .. } if name.fits(cookie));
        });
        let taken = |take: &super::Take| match &take.from {
            TakeFrom::Cookie(name) => name.fits(cookie),
            TakeFrom::CookieAge(name) => name == cookie,
            _ => false,
        };
        found || self.steps().any(|step| step.take.iter().any(taken))
    }

    /// The expressions by which values are taken from texts.
    pub fn text_takes(&self) -> impl Iterator<Item = &regex::Regex> {
        self.steps().flat_map(|step| &step.take).filter_map(|take| match &take.from {
            TakeFrom::Text(regex) => Some(regex),
            _ => None,
        })
    }

    /// The names of the inputs that values are taken from.
    pub fn input_takes(&self) -> impl Iterator<Item = &str> {
        self.steps().flat_map(|step| &step.take).filter_map(|take| match &take.from {
            TakeFrom::Input(name) => Some(name.as_str()),
            _ => None,
        })
    }

    fn steps(&self) -> impl Iterator<Item = &Step> {
        let probe = self.probe.iter().map(|probe| &probe.step);
        let renewing = self.refresh.iter().chain(&self.renew);
        self.login.iter().chain(renewing).chain(&self.logout).chain(probe)
    }

    fn each_part(&self, call: &mut dyn FnMut(&Part)) {
        for step in self.steps() {
            step.expect.each_part(call);
            step.when.iter().for_each(|when| when.each_part(call));
        }
        self.refusals.iter().for_each(|rule| rule.when.each_part(call));
        self.verdicts.iter().for_each(|rule| rule.when.each_part(call));
    }

    fn each_pointer(&self, call: &mut dyn FnMut(&[String])) {
        self.each_part(&mut |part| {
            if let Part::Json { at, .. } = part {
                call(at.tokens());
            }
        });
        for take in self.steps().flat_map(|step| &step.take) {
            if let TakeFrom::Json(at) = &take.from {
                call(at.tokens());
            }
        }
    }

    fn each_comparison(&self, call: &mut dyn FnMut(&[String], &[Value])) {
        self.each_part(&mut |part| {
            if let Part::Json { at, test: JsonTest::OneOf(values) } = part {
                call(at.tokens(), values);
            }
        });
    }
}

impl Condition {
    /// Calls `call` with every part, those within others as well.
    fn each_part(&self, call: &mut dyn FnMut(&Part)) {
        for part in &self.parts {
            call(part);
            match part {
                Part::All(conditions) | Part::Any(conditions) => {
                    conditions.iter().for_each(|condition| condition.each_part(call));
                }
                Part::Not(condition) => condition.each_part(call),
                _ => {}
            }
        }
    }
}

impl RefusalClass {
    /// The word, as recipes write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadSecret => "bad_secret",
            Self::Locked => "locked",
            Self::SecondFactor => "second_factor",
            Self::NotAllowed => "not_allowed",
            Self::SlotsFull => "slots_full",
            Self::Throttled => "throttled",
            Self::UpstreamBroken => "upstream_broken",
        }
    }
}
