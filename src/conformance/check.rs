//! Runs a recipe through all that a conformance file tells of.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderValue, Method, header};

use super::Difference;
use super::written::{Conformance, Endpoint, Exchange, Failed, Meaning, Reply, Request, Treatment};
use super::{compare, limits};
use crate::fields::Fields;
use crate::forward::inject::Injector;
use crate::forward::verdict::{self, Verdict};
use crate::login::{self, Attempt, Because, Material, Next, render, roll};
use crate::recipe::condition::{Answer, Truth};
use crate::recipe::template::Values;
use crate::recipe::{Addressee, EndpointRule, Recipe, ReplayPolicy, Step};
use crate::route::{Canonical, Reading};
use crate::secret::{Search, SecretText};
use crate::shield;

/// The time of a run: the same each time.
pub(super) const BEGIN: Duration = Duration::from_secs(1_700_000_000);

/// A step waits at most so often for its code.
const WAITS_MAX: usize = 4;

/// What a client's token of a local login is here: files write it as recipes do.
const CLIENT_TOKEN: &str = "{{client_token}}";

/// How long a client's token of a local login lives here.
const CLIENT_TOKEN_LIVES: Duration = Duration::from_secs(3600);

/// All that is different.
pub(super) fn run(
    recipe: &Arc<Recipe>,
    of_logins: &[Arc<Recipe>],
    file: &Conformance,
) -> Vec<Difference> {
    let mut run = Run { recipe, file, differences: Vec::new(), now: UNIX_EPOCH + BEGIN };
    let session = run.login();
    for (index, (login, of_login)) in file.logins.iter().zip(of_logins).enumerate() {
        let at = format!("logins[{index}]");
        let mut account = file.account.clone();
        account.extend(login.account.clone());
        let attempt = Attempt::new(Arc::clone(of_login), values(&account), "");
        run.recipe = of_login;
        if let Some(other) = run.steps(&format!("{at}.steps"), &login.steps, attempt) {
            run.carried(&format!("{at}.session"), &login.session, &other);
        }
        run.recipe = recipe;
    }
    run.refused();
    run.answers();
    if let Some(session) = &session {
        run.with_session(session);
    }
    run.endpoints();
    let reading = |to: &str| read(recipe, to)?.ok();
    let others = [
        limits::fields(recipe, file),
        limits::life(recipe, file),
        limits::throttled(recipe, file),
        limits::client_logins(recipe, file, &reading),
        limits::dropped(recipe, file),
    ];
    others.into_iter().flatten().for_each(|(at, what)| run.differs(at, what));
    run.differences
}

pub(super) struct Run<'r> {
    pub(super) recipe: &'r Arc<Recipe>,
    pub(super) file: &'r Conformance,
    differences: Vec<Difference>,
    pub(super) now: SystemTime,
}

fn values(account: &BTreeMap<String, String>) -> Values {
    let mut values = Values::default();
    for (name, value) in account.iter().filter(|(_, value)| !value.is_empty()) {
        values.set(name.clone(), SecretText::from(value.clone()));
    }
    values
}

impl Run<'_> {
    pub(super) fn differs(&mut self, at: impl Into<String>, what: impl Into<String>) {
        self.differences.push(Difference { at: at.into(), line: None, what: what.into() });
    }

    fn login(&mut self) -> Option<Material> {
        let unknown = self.file.account.keys().find(|name| !self.recipe.fields.contains_key(*name));
        if let Some(name) = unknown {
            self.differs("account", format!("the recipe has no account field `{name}`"));
        }
        let attempt = Attempt::new(Arc::clone(self.recipe), values(&self.file.account), "");
        let session = self.steps("login", &self.file.login, attempt)?;
        self.carried("session", &self.file.session, &session);
        Some(session)
    }

    /// Gives the answers to the steps; what they come to, if that is a session.
    fn steps(&mut self, at: &str, steps: &[Exchange], mut attempt: Attempt) -> Option<Material> {
        let mut now = self.now;
        let mut next = pass_time(attempt.start(now), &mut attempt, &mut now);
        for (index, exchange) in steps.iter().enumerate() {
            let at = format!("{at}[{index}]");
            let Next::Send(request) = &next else {
                self.differs(at, format!("nothing is sent: {}", told(&next)));
                return None;
            };
            for what in compare::request(&exchange.sends, request) {
                self.differs(at.clone(), format!("`{}` {what}", attempt.step_name()));
            }
            next = attempt.answer(&exchange.answer.played(), now);
            next = pass_time(next, &mut attempt, &mut now);
        }
        match next {
            Next::Done(material) => Some(material),
            next => {
                let (last, is) = (steps.len().saturating_sub(1), told(&next));
                self.differs(format!("{at}[{last}]"), format!("no session follows: {is}"));
                None
            }
        }
    }

    fn refused(&mut self) {
        for (index, refused) in self.file.refused.iter().enumerate() {
            let at = format!("refused[{index}]");
            let account = values(&self.file.account);
            let mut attempt = Attempt::new(Arc::clone(self.recipe), account, "");
            let mut now = self.now;
            let mut next = pass_time(attempt.start(now), &mut attempt, &mut now);
            for exchange in &self.file.login {
                if attempt.step_name() == refused.at || !matches!(next, Next::Send(_)) {
                    break;
                }
                next = attempt.answer(&exchange.answer.played(), now);
                next = pass_time(next, &mut attempt, &mut now);
            }
            if attempt.step_name() != refused.at {
                self.differs(at, format!("no step is called `{}`", refused.at));
                continue;
            }
            match attempt.answer(&refused.answer.played(), now) {
                Next::Refused(refusal) if refusal.class == refused.class => {
                    let failed = match refusal.because {
                        Because::Unexpected => Failed::Unexpected,
                        _ => Failed::Missing,
                    };
                    if refused.because.is_some_and(|because| because != failed) {
                        self.differs(at, "fails in another part of the step");
                    }
                }
                Next::Refused(refusal) => {
                    let class = refusal.class.map_or("no rule matches", |class| class.as_str());
                    self.differs(at, format!("means something else: {class}"));
                }
                next => self.differs(at, format!("is not refused: {}", told(&next))),
            }
        }
    }

    fn answers(&mut self) {
        for (index, answered) in self.file.answers.iter().enumerate() {
            let at = format!("answers[{index}]");
            let Some(reading) = self.reading(&at, &answered.to) else { continue };
            let answer = answered.answer.played();
            let mut seen = Answer {
                method: &reading.method,
                path: &reading.path,
                status: answer.status,
                headers: &answer.headers,
                body: None,
            };
            let mut verdict = verdict::judge(self.recipe, &seen);
            if verdict == Verdict::NeedsBody {
                if answered.by_head {
                    self.differs(at.clone(), "the body is looked at");
                }
                seen.body = Some(&answer.body);
                verdict = verdict::judge(self.recipe, &seen);
            }
            let (means, replay) = match verdict {
                Verdict::Alive | Verdict::NeedsBody => (Meaning::Alive, ReplayPolicy::default()),
                Verdict::Expired(replay) => (Meaning::Expired, replay),
                Verdict::Stale(replay) => (Meaning::Renew, replay),
                Verdict::Ambiguous(replay) => (Meaning::Probe, replay),
                Verdict::Unavailable => (Meaning::Unavailable, ReplayPolicy::default()),
            };
            if means != answered.means {
                self.differs(at, format!("means something else: {means:?}").to_lowercase());
            } else if replay != answered.replay {
                self.differs(at, format!("is sent again otherwise: {replay:?}").to_lowercase());
            }
        }
    }

    fn with_session(&mut self, session: &Material) {
        let (recipe, file) = (Arc::clone(self.recipe), self.file);
        let Ok(injector) = Injector::new(&recipe, session, self.now) else { return };
        match (&recipe.probe, file.probe.as_slice()) {
            (None, []) => {}
            (None, _) => self.differs("probe", "the recipe has no probe"),
            (Some(_), []) => self.differs("login", "the file tells nothing of the probe"),
            (Some(probe), answers) => {
                for (index, probed) in answers.iter().enumerate() {
                    let at = format!("probe[{index}]");
                    self.sent(&at, &probe.step, probed.sends.as_ref(), session, &injector);
                    let answer = probed.answer.played();
                    let alive = probe.step.expect.judge(&answer.seen_by(&probe.step));
                    if (alive == Truth::Yes) != probed.alive {
                        self.differs(at, "says something else of the session");
                    }
                }
            }
        }
        if recipe.refresh.is_empty() != file.refresh.is_empty() {
            self.differs("refresh", "the recipe and the file do not agree on a refresh");
        } else if !file.refresh.is_empty() {
            let attempt = Attempt::refresh(Arc::clone(&recipe), session, "");
            if let (Some(next), Some(expected)) =
                (self.steps("refresh", &file.refresh, attempt), &file.refreshed)
            {
                self.carried("refreshed", expected, &next);
                let again = Attempt::refresh(Arc::clone(&recipe), &next, "");
                if !file.refresh_again.is_empty() {
                    self.steps("refresh_again", &file.refresh_again, again);
                }
            }
        }
        if recipe.renew.is_empty() != file.renew.is_empty() {
            self.differs("renew", "the recipe and the file do not agree on a renewal");
        } else if !file.renew.is_empty() {
            let attempt = Attempt::renewal(Arc::clone(&recipe), session, "");
            if let (Some(next), Some(expected)) =
                (self.steps("renew", &file.renew, attempt), &file.renewed)
            {
                self.carried("renewed", expected, &next);
            }
        }
        if let Some(rolled) = &file.rolled {
            let answer = rolled.answer.played();
            match roll(&recipe, session, &answer.headers, "/", self.now) {
                Some(next) => self.carried("rolled.session", &rolled.session, &next),
                None => self.differs("rolled", "changes nothing"),
            }
        } else if let Some(headers) = other_cookies(session)
            && roll(&recipe, session, &headers, "/", self.now).is_some()
        {
            self.differs("session", "later answers change it, and nothing is told of that");
        }
        self.logout(&recipe, session, &injector);
    }

    fn logout(&mut self, recipe: &Recipe, session: &Material, injector: &Injector) {
        if recipe.logout.len() != self.file.logout.len() {
            let steps = recipe.logout.len();
            return self.differs("logout", format!("the recipe's logout has {steps} steps"));
        }
        let confirms = |step: &Step, reply: &Reply| {
            let answer = reply.played();
            let seen = answer.seen_by(step);
            // A session that the upstream calls dead has nothing left to close.
            step.expect.judge(&seen) == Truth::Yes
                || step.to == Addressee::Upstream
                    && matches!(verdict::judge(recipe, &seen), Verdict::Expired(_))
        };
        for (index, (step, exchange)) in recipe.logout.iter().zip(&self.file.logout).enumerate() {
            let at = format!("logout[{index}]");
            self.sent(&at, step, Some(&exchange.sends), session, injector);
            if !confirms(step, &exchange.answer) {
                self.differs(at, "is not confirmed");
            }
        }
        for (index, reply) in self.file.unconfirmed.iter().enumerate() {
            if recipe.logout.last().is_some_and(|step| confirms(step, reply)) {
                self.differs(format!("unconfirmed[{index}]"), "is confirmed");
            }
        }
    }

    /// Compares a step that carries the session with what the file tells of it.
    fn sent(
        &mut self,
        at: &str,
        step: &Step,
        expected: Option<&Request>,
        session: &Material,
        injector: &Injector,
    ) {
        let Some(expected) = expected else { return };
        match render::request(step, &session.values, self.now) {
            Err(value) => self.differs(at, format!("cannot be sent for `{value}`")),
            Ok(mut request) => {
                carry(&mut request, injector);
                for what in compare::request(expected, &request) {
                    self.differs(at, format!("`{}` {what}", step.name));
                }
            }
        }
    }

    /// What the upstream reads a client's request as; nothing where that is refused.
    fn reading(&mut self, at: &str, to: &str) -> Option<Reading> {
        match read(self.recipe, to) {
            Some(Ok(reading)) => Some(reading),
            Some(Err(())) => {
                self.differs(at, "the request has more than one reading");
                None
            }
            None => {
                self.differs(at, format!("`{to}` is no method and path"));
                None
            }
        }
    }

    fn endpoints(&mut self) {
        for (index, endpoint) in self.file.endpoints.iter().enumerate() {
            let at = format!("endpoints[{index}]");
            let reading = read(self.recipe, &endpoint.to);
            let Some(reading) = reading else {
                self.differs(at, format!("`{}` is no method and path", endpoint.to));
                continue;
            };
            let rule = reading.as_ref().map(|reading| shield::rule(self.recipe, reading));
            let treatment = match rule {
                Err(()) => Treatment::Refused,
                Ok(None) => Treatment::Forwarded,
                Ok(Some(EndpointRule::Closed(_))) => Treatment::Closed,
                Ok(Some(EndpointRule::Mask(_))) => Treatment::Masked,
                Ok(Some(EndpointRule::Answer(answer))) => match answer.login {
                    Some(_) => Treatment::Login,
                    None => Treatment::Answered,
                },
            };
            if treatment != endpoint.is {
                let shown = format!("{treatment:?}").to_lowercase();
                self.differs(at, format!("is something else: {shown}"));
            } else if let Ok(Some(rule)) = rule {
                self.shown(&at, endpoint, rule);
            }
        }
    }

    fn shown(&mut self, at: &str, endpoint: &Endpoint, rule: &EndpointRule) {
        let recipe = Arc::clone(self.recipe);
        match rule {
            EndpointRule::Closed(_) => {}
            EndpointRule::Mask(pointers) => {
                let (Some(answer), Some(shows)) = (&endpoint.answer, &endpoint.shows) else {
                    return self.differs(at, "`answer` and `shows` tell what is masked");
                };
                let masked =
                    shield::mask(&answer.body(), pointers, &Search::default(), &recipe.placeholder);
                let masked = masked.ok().and_then(|body| serde_json::from_slice(&body).ok());
                let wanted = shows.json.clone().unwrap_or_default();
                if !masked.is_some_and(|masked| compare::is_json(&wanted, &masked)) {
                    self.differs(at, "other values are masked");
                }
            }
            EndpointRule::Answer(answer) => {
                let Some(shows) = &endpoint.shows else {
                    return self.differs(at, "`shows` tells what is answered");
                };
                let client = match &answer.login {
                    Some(_) => {
                        let ends = self.now + CLIENT_TOKEN_LIVES;
                        Values::of_client_login(CLIENT_TOKEN.to_owned(), ends)
                    }
                    None => Values::default(),
                };
                let given = shield::local_answer(answer, &client, self.now);
                if given.status().as_u16() != shows.status {
                    self.differs(at, format!("is answered with {}", given.status().as_u16()));
                }
                let expected = shows.played();
                let values = |headers: &Fields| -> Vec<String> {
                    let text = |value| String::from_utf8_lossy(value).into_owned();
                    let fields = headers.iter();
                    fields.map(|(name, value)| format!("{name}: {}", text(value))).collect()
                };
                let sent = Fields::from(given.headers().clone());
                let (wanted, sent) = (values(&expected.headers), values(&sent));
                let same = wanted.len() == sent.len()
                    && wanted
                        .iter()
                        .all(|wanted| sent.iter().any(|sent| compare::is_text(wanted, sent)));
                if !same {
                    self.differs(at, "is answered with other header fields");
                }
                let same = match (&shows.json, given.body()) {
                    (Some(json), body) => {
                        serde_json::from_slice(body).is_ok_and(|body| compare::is_json(json, &body))
                    }
                    (None, body) => {
                        let wanted = shows.text.as_deref().unwrap_or_default();
                        compare::is_text(wanted, &String::from_utf8_lossy(body))
                    }
                };
                if !same {
                    self.differs(at, "is answered with another body");
                }
            }
        }
    }
}

fn read(recipe: &Recipe, to: &str) -> Option<Result<Reading, ()>> {
    let (method, target) = to.split_once(' ')?;
    let method = Method::try_from(method).ok()?;
    let (path, query) =
        target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let canonical = Canonical::of(path);
    if canonical.ambiguity(recipe.spelling.encoded_slash).is_some() {
        return Some(Err(()));
    }
    Some(Reading::of(&method, &canonical.path, query, &recipe.spelling).map_err(|_| ()))
}

/// Puts a session into a request of the control side.
fn carry(request: &mut login::Request, injector: &Injector) {
    if request.to != Addressee::Upstream {
        return;
    }
    let path = request.target.split('?').next().unwrap_or("/").to_owned();
    injector.complete(&request.method, &path, &mut request.headers);
    for pair in injector.query(&request.method) {
        request.target.push(if request.target.contains('?') { '&' } else { '?' });
        request.target.push_str(pair);
    }
}

/// An answer that sets each cookie of the session anew; nothing where it has none.
fn other_cookies(session: &Material) -> Option<Fields> {
    let fields = session.cookies.iter().filter_map(|(name, _)| {
        Some((header::SET_COOKIE, HeaderValue::try_from(format!("{name}=other; Path=/")).ok()?))
    });
    let headers: Fields = fields.collect();
    (!headers.is_empty()).then_some(headers)
}

/// Goes on where a login waits for the next one-time code.
fn pass_time(mut next: Next, attempt: &mut Attempt, now: &mut SystemTime) -> Next {
    for _ in 0..WAITS_MAX {
        let Next::Wait { until } = next else { break };
        *now = until;
        next = attempt.resume(until);
    }
    next
}

fn told(next: &Next) -> String {
    match next {
        Next::Send(_) => "one more request is sent".to_owned(),
        Next::Wait { .. } => "a code is waited for".to_owned(),
        Next::Done(_) => "there is a session already".to_owned(),
        Next::Refused(refusal) => {
            let class = refusal.class.map_or("no rule matches", |class| class.as_str());
            format!("`{}` is refused ({class}; {:?})", refusal.step, refusal.because)
        }
    }
}
