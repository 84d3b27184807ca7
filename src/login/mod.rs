//! Runs the steps of a recipe, without I/O: recipe and credentials go in, requests come out;
//! answers go in, session material or a typed refusal comes out. Whoever owns the network drives
//! it.

mod base;
#[cfg(test)]
mod code_tests;
mod expiry;
mod extract;
pub mod helper;
mod jar;
#[cfg(any(test, fuzzing))]
pub(crate) mod properties;
#[cfg(test)]
mod refresh_tests;
pub mod render;
mod roll;

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use http::{Method, StatusCode};

use crate::fields::Fields;
use crate::recipe::condition::{Answer, Body, Truth};
use crate::recipe::template::Values;
use crate::recipe::{Addressee, Base, Cookies, Recipe, RefusalClass, Step, Take};
use crate::secret::{SecretText, SigningFault, Totp, TotpFault, TotpStep};
pub use base::base;
pub use jar::Jar;
pub use render::Request;
pub use roll::roll;

/// One login or refresh under way.
#[derive(Debug)]
pub struct Attempt {
    recipe: Arc<Recipe>,
    aim: Aim,
    values: Values,
    jar: Jar,
    /// The step whose answer is awaited.
    step: usize,
    /// The last time step whose one-time code was used, as far as is known.
    codes_used: Option<TotpStep>,
    /// The time step whose one-time code is in the request that was rendered last.
    code_used: Option<TotpStep>,
    /// The end of the session, and that of its longest life, where they stay.
    stays: Option<(Option<SystemTime>, Option<SystemTime>)>,
}

/// Which of a recipe's steps run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aim {
    Login,
    Refresh,
    Renew,
}

impl Aim {
    fn steps(self, recipe: &Recipe) -> &[Step] {
        match self {
            Self::Login => &recipe.login,
            Self::Refresh => &recipe.refresh,
            Self::Renew => &recipe.renew,
        }
    }
}

/// What a login gave.
#[derive(Clone, Debug)]
pub struct Material {
    /// Account fields and taken values, by name.
    pub values: Values,
    /// The session's cookies.
    pub cookies: Jar,
    /// When the vendor says that the session ends: what its answers told or, if that is earlier,
    /// `longest`.
    pub expires: Option<SystemTime>,
    /// The end of the longest life that the vendor documents.
    pub longest: Option<SystemTime>,
}

/// What to do next.
#[derive(Debug)]
pub enum Next {
    /// Send this and bring the answer.
    Send(Request),
    /// The one-time code of the present time step was used: [`Attempt::resume`] at this time.
    Wait {
        /// When an unused step begins; at most ten minutes from now.
        until: SystemTime,
    },
    /// The login is done.
    Done(Material),
    /// The upstream did not give a session.
    Refused(Refusal),
}

/// An answer to a step: the body decoded and bounded by whoever read it. `Debug` shows no value of
/// it.
pub struct StepAnswer {
    /// The status code.
    pub status: StatusCode,
    /// The header fields.
    pub headers: Fields,
    /// The decoded body.
    pub body: Body,
}

/// A login that gave no session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What the recipe says it means; nothing when no rule matched.
    pub class: Option<RefusalClass>,
    /// The step that failed.
    pub step: String,
    /// The status of its answer.
    pub status: StatusCode,
    /// Which part of the step failed.
    pub because: Because,
    /// What a login helper has said of it, without a value.
    pub said: Option<String>,
}

/// Which part of a step failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Because {
    /// The answer was not what the step expects.
    Unexpected,
    /// A value was not there. Its name.
    Missing(String),
    /// A value tells of a place that the recipe does not allow. Its name.
    Elsewhere(String),
    /// A value cannot be sent back, for example for a line break in it. Its name.
    Unusable(String),
    /// A field of the account makes no one-time codes; nothing was sent. Its name.
    NoCode(String, TotpFault),
    /// A token cannot be signed with the account's key; nothing was sent. Its name.
    Unsigned(String, SigningFault),
}

impl Attempt {
    /// Prepares a login with the fields of an account, at an upstream whose URL has the path
    /// `base_path`.
    pub fn new(recipe: Arc<Recipe>, account: Values, base_path: &str) -> Self {
        Self::with(recipe, Aim::Login, account, Jar::new(base_path))
    }

    /// Prepares a refresh of the session that `material` describes, by the recipe's `refresh`
    /// steps; a recipe without any gives the material back. Its requests carry the session, with
    /// whatever earlier steps have changed of it, so the sender adds nothing. The result has what
    /// the steps took in place of what was there, the rest as it was, and an end judged anew.
    ///
    /// A refusal says nothing of the account's secret: the rules are those of the login, but what
    /// was refused is the old session.
    pub fn refresh(recipe: Arc<Recipe>, material: &Material, base_path: &str) -> Self {
        let Material { values, cookies, .. } = material.clone();
        Self::with(recipe, Aim::Refresh, values, cookies.below(base_path))
    }

    /// Prepares a renewal of single values of the session that `material` describes, by the recipe's
    /// `renew` steps. As a refresh, but the session ends when it would have ended.
    pub fn renewal(recipe: Arc<Recipe>, material: &Material, base_path: &str) -> Self {
        let Material { values, cookies, expires, longest } = material.clone();
        let attempt = Self::with(recipe, Aim::Renew, values, cookies.below(base_path));
        Self { stays: Some((expires, longest)), ..attempt }
    }

    fn with(recipe: Arc<Recipe>, aim: Aim, values: Values, jar: Jar) -> Self {
        let (codes_used, code_used) = (None, None);
        Self { recipe, aim, values, jar, step: 0, codes_used, code_used, stays: None }
    }

    /// No one-time code of the step `used`, or of one before it, is sent.
    pub fn with_codes_used_until(self, used: Option<TotpStep>) -> Self {
        Self { codes_used: used, ..self }
    }

    /// The time step whose one-time code is in the request that was rendered last. Whoever sends it
    /// notes the step first; if another attempt has used it meanwhile, the request is not sent:
    /// [`Attempt::code_was_used`].
    pub fn code_used(&self) -> Option<TotpStep> {
        self.code_used
    }

    /// Instead of a request that was not sent because its one-time code has been used.
    pub fn code_was_used(&mut self, used: TotpStep, now: SystemTime) -> Next {
        self.codes_used = Some(used);
        self.send(now)
    }

    /// Goes on after [`Next::Wait`].
    pub fn resume(&mut self, now: SystemTime) -> Next {
        self.send(now)
    }

    /// The name of the step whose answer is awaited.
    pub fn step_name(&self) -> &str {
        self.aim.steps(&self.recipe).get(self.step).map_or("", |step| step.name.as_str())
    }

    /// The place of the step whose answer is awaited, counted from 0.
    pub fn step_index(&self) -> usize {
        self.step
    }

    /// What the steps have taken so far: it may be all that a session consists of. Nothing as long
    /// as nothing was taken.
    pub fn taken(&self) -> Option<Material> {
        let is_taken = |name: &str| !self.recipe.fields.contains_key(name);
        if self.jar.is_empty() && !self.values.iter().any(|(name, _)| is_taken(name)) {
            return None;
        }
        let cookies = match self.recipe.session.cookies {
            Cookies::None => Jar::default(),
            Cookies::Login | Cookies::Rolling => self.jar.clone(),
        };
        Some(Material { values: self.values.clone(), cookies, expires: None, longest: None })
    }

    /// The first request. That of a login carries nothing of any earlier session.
    pub fn start(&mut self, now: SystemTime) -> Next {
        self.step = 0;
        self.send(now)
    }

    /// Takes the answer to the request that was sent last.
    pub fn answer(&mut self, answer: &StepAnswer, now: SystemTime) -> Next {
        let recipe = Arc::clone(&self.recipe);
        let steps = self.aim.steps(&recipe);
        let Some(step) = steps.get(self.step) else {
            return self.done(now);
        };
        let is_taken = self.take(step, answer, now).and_then(|()| self.stays_within(step));
        if let Err(because) = is_taken {
            return Next::Refused(self.refusal(step, answer, because));
        }
        if step.to == Addressee::Upstream {
            self.jar.store(&answer.headers, step.path.literal().unwrap_or("/"));
        }
        self.step += 1;
        while let Some(next) = steps.get(self.step) {
            let reached = next
                .when
                .as_ref()
                .is_none_or(|when| when.judge(&answer.seen_by(step)) == Truth::Yes);
            if reached {
                return self.send(now);
            }
            self.step += 1;
        }
        self.done(now)
    }

    fn send(&mut self, now: SystemTime) -> Next {
        let recipe = Arc::clone(&self.recipe);
        let Some(step) = self.aim.steps(&recipe).get(self.step) else {
            return self.done(now);
        };
        match self.code(step, now) {
            Ok(None) => {}
            Ok(Some(until)) => return Next::Wait { until },
            Err(because) => {
                let class = Some(RefusalClass::SecondFactor);
                return Next::Refused(Refusal { class, ..Refusal::unsent(step, because) });
            }
        }
        for signed in &step.signed {
            match render::token(signed, &self.values, now) {
                Ok(token) => self.values.set(signed.name.clone(), token),
                Err(fault) => {
                    let because = Because::Unsigned(signed.name.clone(), fault);
                    // The key is the account's secret, and no good.
                    let class = Some(RefusalClass::BadSecret);
                    return Next::Refused(Refusal { class, ..Refusal::unsent(step, because) });
                }
            }
        }
        match render::request(step, &self.values, now) {
            // Nothing of a session goes to anybody but its upstream, unless the step says so.
            Ok(request) if request.to != Addressee::Upstream => Next::Send(request),
            Ok(mut request) => {
                let injected = match self.aim {
                    Aim::Login => Vec::new(),
                    Aim::Refresh | Aim::Renew => {
                        render::cookies(&recipe, &self.values, &request.method, now)
                    }
                };
                let others = injected.iter().map(|(name, value)| (*name, value));
                self.jar.send(&mut request, &others.collect::<Vec<_>>());
                if self.aim != Aim::Login
                    && let Err(value) = render::carry(&recipe, &self.values, &mut request, now)
                {
                    return Next::Refused(Refusal::unsent(step, Because::Unusable(value)));
                }
                Next::Send(request)
            }
            Err(value) => Next::Refused(Refusal::unsent(step, Because::Unusable(value))),
        }
    }

    /// Notes that the step's one-time codes are used, or tells until when that must not be.
    fn code(&mut self, step: &Step, now: SystemTime) -> Result<Option<SystemTime>, Because> {
        self.code_used = None;
        let mut used = None;
        for field in &step.codes {
            let secret = self.values.text(field);
            if secret.is_empty() {
                continue;
            }
            let totp =
                Totp::parse(secret).map_err(|fault| Because::NoCode(field.clone(), fault))?;
            if let Some(until) = totp.wait(self.codes_used, now) {
                return Ok(Some(until));
            }
            used = used.max(Some(totp.step_at(now)));
        }
        self.code_used = used;
        self.codes_used = used.or(self.codes_used);
        Ok(None)
    }

    fn take(&mut self, step: &Step, answer: &StepAnswer, now: SystemTime) -> Result<(), Because> {
        let is_refused = matches!(step.to, Addressee::Helper(_)) && helper::refuses(answer);
        if is_refused || step.expect.judge(&answer.seen_by(step)) != Truth::Yes {
            return Err(Because::Unexpected);
        }
        for take in &step.take {
            match extract::value(take, answer, now) {
                Some(value) => self.values.set(take.name.clone(), SecretText::from(value)),
                None if take.optional => {}
                None => return Err(Because::Missing(take.name.clone())),
            }
        }
        Ok(())
    }

    /// Whether a step has taken no place that requests may not go to.
    fn stays_within(&self, step: &Step) -> Result<(), Because> {
        let tells_base = |base: &Base| step.take.iter().any(|take| take.name == base.value);
        match self.recipe.session.base.as_ref().is_some_and(tells_base) {
            true => base(&self.recipe, &self.values).map(|_| ()).map_err(Because::Elsewhere),
            false => Ok(()),
        }
    }

    fn refusal(&self, step: &Step, answer: &StepAnswer, because: Because) -> Refusal {
        let matching = self
            .recipe
            .refusals
            .iter()
            .find(|refusal| refusal.when.judge(&answer.seen_by(step)) == Truth::Yes);
        let (of_helper, said) = match step.to {
            Addressee::Upstream | Addressee::Site(_) => (None, None),
            Addressee::Helper(_) => (helper::class(answer), helper::said(&answer.headers)),
        };
        Refusal {
            class: matching.map(|refusal| refusal.class).or(of_helper),
            step: step.name.clone(),
            status: answer.status,
            because,
            said,
        }
    }

    fn done(&mut self, now: SystemTime) -> Next {
        let rules = &self.recipe.session;
        let longest = rules.max_age.and_then(|age| now.checked_add(age));
        let jar = std::mem::take(&mut self.jar);
        let cookies = match rules.cookies {
            Cookies::None => Jar::default(),
            Cookies::Login | Cookies::Rolling => jar,
        };
        let (expires, longest) = self
            .stays
            .unwrap_or_else(|| (expiry::judge(rules, &self.values, longest, now), longest));
        Next::Done(Material { expires, values: std::mem::take(&mut self.values), cookies, longest })
    }
}

impl Refusal {
    /// Nothing was sent.
    fn unsent(step: &Step, because: Because) -> Self {
        let (step, status) = (step.name.clone(), StatusCode::OK);
        Self { class: None, step, status, because, said: None }
    }
}

impl fmt::Debug for StepAnswer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("StepAnswer")
            .field("status", &self.status)
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}

impl StepAnswer {
    /// The value that `take` means, at `now`; nothing when it is missing, empty or too long.
    pub fn value(&self, take: &Take, now: SystemTime) -> Option<SecretText> {
        extract::value(take, self, now).map(SecretText::from)
    }

    /// This answer as conditions see it.
    pub fn seen_by<'a>(&'a self, step: &'a Step) -> Answer<'a> {
        Answer {
            method: method_of(step),
            path: step.path.literal().unwrap_or("/"),
            status: self.status,
            headers: &self.headers,
            body: Some(&self.body),
        }
    }
}

fn method_of(step: &Step) -> &Method {
    &step.method
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use http::header;

    use super::*;

    #[test]
    fn an_end_that_has_passed_already_is_no_end() {
        const RECIPE: &str = r#"
            name = "clock"
            title = "A server whose clock is late"
            account.username = { kind = "login_name" }
            session.expires = { value = "end", unit = "epoch_seconds" }
            inject = [{ header = "authtoken", value = "{{token}}" }]
            verdict = [{ when = { status = [401] }, then = "expired" }]
            [[login.steps]]
            name = "log in"
            method = "POST"
            path = "/login"
            json = { user = "{{username}}" }
            take = { token = { json = "/token" }, end = { json = "/end" } }
        "#;
        let document = crate::diagnosis::Document::parse("recipe.toml", RECIPE).unwrap();
        let recipe = Arc::new(Recipe::load(&document, &BTreeMap::new()).unwrap());
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let end = |told: u64| {
            let mut attempt = Attempt::new(Arc::clone(&recipe), Values::default(), "");
            attempt.start(now);
            let answer = StepAnswer {
                status: StatusCode::OK,
                headers: Fields::new(),
                body: Body::new(format!(r#"{{"token":"t","end":{told}}}"#).into_bytes()),
            };
            match attempt.answer(&answer, now) {
                Next::Done(material) => material.expires,
                _ => panic!("not done"),
            }
        };
        assert_eq!(end(1300), Some(now + Duration::from_secs(300)));
        assert_eq!(end(1000), None);
        assert_eq!(end(900), None);
    }

    #[test]
    fn nothing_that_is_sent_or_answered_is_shown() {
        let recipe =
            Recipe::load(&crate::recipe::built_in("contentstack").unwrap(), &BTreeMap::new());
        let mut values = Values::default();
        values.set("password", SecretText::from("canary-1".to_owned()));
        let mut attempt = Attempt::new(Arc::new(recipe.unwrap()), values, "");
        let sent = attempt.start(SystemTime::UNIX_EPOCH);
        let answer = StepAnswer {
            status: StatusCode::OK,
            headers: Fields::from_iter([(header::SET_COOKIE, "a=canary-2".parse().unwrap())]),
            body: Body::new(br#"{"user":{"authtoken":"canary-3"}}"#.to_vec()),
        };
        assert!(answer.body.json().is_some());
        let shown = format!("{sent:?} {answer:?}");
        for canary in ["canary-1", "canary-2", "canary-3", "99, 97, 110"] {
            assert!(!shown.contains(canary), "{shown}");
        }
        // An upstream speaks for no helper.
        let headers = Fields::from_iter([(helper::SAID, "canary-1".parse().unwrap())]);
        let refused = StepAnswer { status: StatusCode::UNAUTHORIZED, headers, ..answer };
        let refused = attempt.answer(&refused, SystemTime::UNIX_EPOCH);
        assert!(matches!(refused, Next::Refused(Refusal { said: None, .. })), "{refused:?}");
    }
}
