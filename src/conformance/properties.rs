//! What must hold whatever an upstream answers to whatever a recipe asks of it.

// What does not hold ends the test.
#![allow(clippy::panic)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::StatusCode;

use crate::diagnosis::Document;
use crate::fields::Fields;
use crate::forward::inject::Injector;
use crate::forward::throttle;
use crate::forward::verdict::{self, Verdict};
use crate::login::{Attempt, Material, Next, StepAnswer, render, roll};
use crate::properties::{Draws, head};
use crate::recipe::condition::{Answer, Body, Condition};
use crate::recipe::explain::is_plain_name;
use crate::recipe::template::Values;
use crate::recipe::{Addressee, EndpointRule, FieldKind, Recipe, Step, built_in};
use crate::secret::{Search, SecretText};
use crate::shield;

const PASSWORD: &str = "Tr0ub4dor&3/canary";
/// No code that is made of it is looked for: six digits are anywhere.
const SEED: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

/// A shorter value may stand in a message by chance.
const TOLD_BYTES_MIN: usize = 16;

/// What is sent for one step of a recipe that is built in: a handful of the longest values, each of
/// which may become three times as long in a form.
const SENT_BYTES_MAX: usize = 1024 * 1024;

/// A session's whole life at an upstream that answers as it likes: no panic, no more requests than
/// the recipe has steps, nothing without a bound, no secret in a message. The bytes up to the first
/// zero are the name of a recipe that is built in, or a recipe; the others are the answers, each a
/// line with the status, fields up to an empty line, and a line with the body.
pub fn upstreams(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    let (text, answers) = data.split_at(end);
    let Ok(text) = std::str::from_utf8(text) else { return };
    let (document, is_built_in) = match built_in(text.trim()) {
        Ok(document) => (Ok(document), true),
        Err(_) => (Document::parse("recipe.toml", text), false),
    };
    let Ok(document) = document else { return };
    let Ok(shape) = Recipe::shape(&document) else { return };
    let needed = shape.parameters.into_iter().filter(|(_, is_needed)| *is_needed);
    let parameters: BTreeMap<_, _> = needed.map(|(name, _)| (name, "a".to_owned())).collect();
    let Ok(recipe) = Recipe::load(&document, &parameters) else { return };
    let answers = Draws::new(answers.get(1..).unwrap_or_default());
    Life {
        written: format!("{recipe:?}"),
        recipe: Arc::new(recipe),
        is_built_in,
        answers,
        told: String::new(),
        now: SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000),
    }
    .lives();
}

struct Life<'d> {
    recipe: Arc<Recipe>,
    /// What the recipe says itself is no secret.
    written: String,
    is_built_in: bool,
    answers: Draws<'d>,
    /// All that could get into a message.
    told: String,
    now: SystemTime,
}

impl Life<'_> {
    fn lives(mut self) {
        let mut account = Values::default();
        for (name, field) in &self.recipe.fields {
            let code = self.recipe.code_fields().any(|code| code == name);
            let value = match field.kind {
                FieldKind::Secret if code => SEED,
                FieldKind::Secret => PASSWORD,
                FieldKind::LoginName | FieldKind::Plain => "ann",
            };
            if !field.optional || self.answers.byte() & 1 == 1 {
                account.set(name.clone(), SecretText::from(value.to_owned()));
            }
        }
        let attempt = Attempt::new(Arc::clone(&self.recipe), account, "/base");
        let steps = self.recipe.login.len();
        let material = self.steps(attempt, steps);
        if let Some(material) = material {
            self.session(&material);
            self.tells_nothing_of(&material);
            if !self.recipe.refresh.is_empty() {
                let attempt = Attempt::refresh(Arc::clone(&self.recipe), &material, "/base");
                let steps = self.recipe.refresh.len();
                if let Some(next) = self.steps(attempt, steps) {
                    self.session(&next);
                    self.tells_nothing_of(&next);
                }
            }
        }
        self.endpoints();
        for secret in [PASSWORD, SEED] {
            assert!(!self.told.contains(secret), "{}", self.told);
        }
    }

    /// Runs a login or a refresh; what it gives.
    fn steps(&mut self, mut attempt: Attempt, steps_max: usize) -> Option<Material> {
        let mut next = attempt.start(self.now);
        let mut sent = 0;
        loop {
            self.tell(&format!("{next:?} {attempt:?}"));
            match next {
                Next::Wait { until } => {
                    assert!(until > self.now && until <= self.now + Duration::from_secs(600));
                    next = attempt.resume(until);
                }
                Next::Refused(_) => return None,
                Next::Done(material) => return Some(material),
                Next::Send(request) => {
                    sent += 1;
                    assert!(sent <= steps_max, "more than its steps");
                    self.is_bounded(&request);
                    let index = attempt.step_index();
                    let answer = self.answer();
                    self.explained(index, &answer);
                    next = attempt.answer(&answer, self.now);
                }
            }
        }
    }

    fn answer(&mut self) -> StepAnswer {
        let status = self.answers.text().parse().unwrap_or(StatusCode::OK);
        let headers = head(&mut self.answers);
        let body = self.answers.line().to_vec();
        StepAnswer { status, headers, body: Body::new(body) }
    }

    fn tell(&mut self, text: &str) {
        self.told.push_str(text);
        self.told.push('\n');
    }

    fn is_bounded(&self, request: &crate::login::Request) {
        let bytes = request.target.len() + request.body.len();
        assert!(!self.is_built_in || bytes <= SENT_BYTES_MAX, "{bytes} bytes are sent");
        if let Addressee::Helper(_) = request.to {
            return;
        }
        assert!(request.target.starts_with('/'), "{:?}", request.target);
        assert!(request.target.bytes().all(|byte| byte.is_ascii_graphic()), "{:?}", request.target);
    }

    /// What a trial would show of the answer.
    fn explained(&mut self, index: usize, answer: &StepAnswer) {
        let recipe = Arc::clone(&self.recipe);
        for step in recipe.login.get(index).into_iter().chain(recipe.refresh.get(index)) {
            let seen = answer.seen_by(step);
            self.findings(&step.expect, &seen);
            recipe.refusals.iter().for_each(|refusal| self.findings(&refusal.when, &seen));
        }
    }

    fn findings(&mut self, condition: &Condition, seen: &Answer<'_>) {
        _ = condition.judge(seen);
        for finding in condition.explain(seen) {
            self.tell(&finding.found);
        }
    }

    /// What later answers do to a session, and what is sent for it.
    fn session(&mut self, material: &Material) {
        let recipe = Arc::clone(&self.recipe);
        self.tell(&format!("{material:?}"));
        assert!(material.expires.is_none_or(|end| end > self.now), "it has ended already");
        let injector = Injector::new(&recipe, material, self.now);
        self.tell(&format!("{injector:?}"));
        let answer = self.answer();
        let mut seen = Answer {
            method: &http::Method::POST,
            path: "/x/y",
            status: answer.status,
            headers: &answer.headers,
            body: None,
        };
        let by_head = verdict::judge(&recipe, &seen);
        seen.body = Some(&answer.body);
        let whole = verdict::judge(&recipe, &seen);
        assert!(whole != Verdict::NeedsBody, "a whole answer is not judged");
        assert!(by_head == Verdict::NeedsBody || by_head == whole, "{by_head:?} and {whole:?}");
        recipe.verdicts.iter().for_each(|rule| self.findings(&rule.when, &seen));
        _ = throttle::pause(&recipe.throttle, &answer.headers, self.now);
        _ = throttle::left(&recipe.throttle, &answer.headers, || self.now);
        if let Some(rolled) = roll(&recipe, material, &answer.headers, "/x", self.now) {
            self.tell(&format!("{rolled:?}"));
            assert!(roll(&recipe, &rolled, &Fields::new(), "/x", self.now).is_none());
            self.tells_nothing_of(&rolled);
        }
        let probe = recipe.probe.as_ref().map(|probe| &probe.step);
        for step in probe.into_iter().chain(&recipe.logout) {
            self.sent(step, material);
        }
        self.masked(material, answer.body.bytes());
    }

    fn sent(&mut self, step: &Step, material: &Material) {
        match render::request(step, &material.values, self.now) {
            Ok(request) => self.is_bounded(&request),
            Err(field) => self.tell(&field),
        }
        let answer = self.answer();
        self.findings(&step.expect, &answer.seen_by(step));
    }

    /// What clients are shown of an answer in which the session may stand.
    fn masked(&mut self, material: &Material, body: &[u8]) {
        let recipe = Arc::clone(&self.recipe);
        let secrets: Vec<&SecretText> = material.values.iter().map(|(_, value)| value).collect();
        let search = Search::new(secrets.iter().copied());
        for endpoint in &recipe.endpoints {
            let EndpointRule::Mask(pointers) = &endpoint.rule else { continue };
            if let Ok(masked) = shield::mask(body, pointers, &search, &recipe.placeholder) {
                let bytes_max = (body.len() + 1) * (recipe.placeholder.len() * 6 + 8);
                assert!(masked.len() <= bytes_max, "{} bytes of {}", masked.len(), body.len());
            }
        }
    }

    /// What is answered in the upstream's place holds nothing of a session.
    fn endpoints(&mut self) {
        let recipe = Arc::clone(&self.recipe);
        for endpoint in &recipe.endpoints {
            let EndpointRule::Answer(answer) = &endpoint.rule else { continue };
            let client = match answer.login {
                Some(_) => Values::of_client_login("a client's own".to_owned(), self.now),
                None => Values::default(),
            };
            let given = shield::local_answer(answer, &client, self.now);
            self.tell(&format!("{given:?} {}", String::from_utf8_lossy(given.body())));
        }
    }

    /// Nothing that the upstream gave is in what was told so far. What the recipe says itself is no
    /// secret, and names of members may be shown.
    fn tells_nothing_of(&self, material: &Material) {
        let cookies = material.cookies.iter().map(|(_, value)| value);
        let account: Vec<&str> = self.recipe.fields.keys().map(String::as_str).collect();
        let values = material.values.iter().filter(|(name, _)| !account.contains(name));
        for value in values.map(|(_, value)| value).chain(cookies) {
            let text = value.expose();
            let is_told = text.len() < TOLD_BYTES_MIN
                || is_plain_name(text)
                || self.written.contains(text)
                || material
                    .cookies
                    .parts()
                    .any(|(name, _, path)| name.contains(text) || path.contains(text));
            assert!(is_told || !self.told.contains(text), "{text:?} in {}", self.told);
        }
    }
}
