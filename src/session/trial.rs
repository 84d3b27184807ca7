//! A login tried out: login, probe, logout, once each, every step told. Values are told by length
//! and fingerprint only.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};

use super::account::class_name;
use super::{Exchange, ExchangeError, Transport, Upstream, UpstreamId};
use crate::clock::Clock;
use crate::forward::inject::{Injector, Unusable};
use crate::login::{Attempt, Because, Material, Next, Refusal, Request, StepAnswer, render};
use crate::recipe::condition::Truth;
use crate::recipe::{RefusalClass, Step};
use crate::secret::{Fingerprint, SecretText};

/// What was told of one step.
#[derive(Clone, Debug)]
pub struct StepReport {
    /// `login`, `probe` or `logout`, and the step's own name.
    pub phase: &'static str,
    /// The step's name in the recipe.
    pub step: String,
    /// The method.
    pub method: Method,
    /// The path, without query.
    pub path: String,
    /// The status of the answer, if there was one.
    pub status: Option<StatusCode>,
    /// How long it took.
    pub took: Duration,
    /// Whether it did what the recipe expects.
    pub ok: bool,
}

/// A value that the login gave.
#[derive(Clone, Debug)]
pub struct TakenReport {
    /// Its name; cookies as `cookie NAME`.
    pub name: String,
    /// Its length in characters.
    pub characters: usize,
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
}

/// How a trial ended.
#[derive(Clone, Debug)]
pub enum Ending {
    /// Login, probe and logout did what they should, as far as the recipe has them.
    Good,
    /// The upstream refused the login.
    Refused {
        /// What the recipe says that it means.
        class: Option<RefusalClass>,
        /// What was wrong, in words.
        why: String,
    },
    /// The upstream was not reached, or did not answer as HTTP servers do.
    Unreachable(String),
    /// The login succeeded, and a later step did not do what it should.
    Incomplete(&'static str),
}

/// Everything that a trial found.
#[derive(Clone, Debug)]
pub struct TrialReport {
    /// The steps, in order.
    pub steps: Vec<StepReport>,
    /// What the login gave.
    pub taken: Vec<TakenReport>,
    /// When the session ends, if the vendor tells it.
    pub lives: Option<Duration>,
    /// How it ended.
    pub ending: Ending,
}

/// Tries one account of an upstream, once: exactly one login is sent.
pub struct Trial<'a> {
    /// The upstream.
    pub upstream: &'a Upstream,
    /// Its place among the transport's pools.
    pub id: UpstreamId,
    /// Which of its accounts.
    pub account: usize,
    /// How to reach it.
    pub transport: &'a Transport,
    /// The clock.
    pub clock: &'a Clock,
    /// How long login, probe and logout may take, each.
    pub timeout: Duration,
}

impl Trial<'_> {
    /// Logs in, probes, logs out. A session that was given is logged out whatever the probe says.
    pub async fn run(&self) -> TrialReport {
        let mut report =
            TrialReport { steps: Vec::new(), taken: Vec::new(), lives: None, ending: Ending::Good };
        let material = match self.log_in(&mut report).await {
            Ok(material) => material,
            Err(ending) => return TrialReport { ending, ..report },
        };
        let wall = self.clock.wall();
        report.lives = material.expires.map(|end| end.duration_since(wall).unwrap_or_default());
        report.taken = self.taken(&material);
        let injector = match Injector::new(&self.upstream.recipe, &material, wall) {
            Ok(injector) => injector,
            Err(unusable) => return TrialReport { ending: unusable.into(), ..report },
        };
        if let Some(probe) = &self.upstream.recipe.probe
            && !self.step("probe", &probe.step, &material, &injector, &mut report).await
        {
            report.ending = Ending::Incomplete("the probe does not find the new session alive");
        }
        for step in &self.upstream.recipe.logout {
            if !self.step("logout", step, &material, &injector, &mut report).await {
                report.ending = Ending::Incomplete("the upstream did not confirm the logout");
            }
        }
        report
    }

    async fn log_in(&self, report: &mut TrialReport) -> Result<Material, Ending> {
        let recipe = &self.upstream.recipe;
        let Some(account) = self.upstream.accounts.get(self.account) else {
            return Err(Ending::Unreachable("there is no such account".to_owned()));
        };
        let base_path = &self.upstream.origin.base_path;
        let mut attempt =
            Attempt::new(Arc::clone(recipe), account.credentials().values.clone(), base_path);
        let mut next = attempt.start(self.clock.wall());
        loop {
            match next {
                Next::Done(material) => return Ok(material),
                Next::Refused(refusal) => {
                    if let Some(last) = report.steps.last_mut() {
                        last.ok = false;
                    }
                    return Err(refused(&refusal));
                }
                Next::Send(request) => {
                    let name = attempt.step_name().to_owned();
                    let answer = self.send("login", name, request, None, report).await?;
                    next = attempt.answer(&answer, self.clock.wall());
                }
            }
        }
    }

    async fn step(
        &self,
        phase: &'static str,
        step: &Step,
        material: &Material,
        injector: &Injector,
        report: &mut TrialReport,
    ) -> bool {
        let Ok(request) = render::request(step, &material.values, self.clock.wall()) else {
            return false;
        };
        let answer = self.send(phase, step.name.clone(), request, Some(injector), report).await;
        let ok = answer.is_ok_and(|answer| step.expect.judge(&answer.seen_by(step)) == Truth::Yes);
        if let Some(last) = report.steps.last_mut() {
            last.ok = ok;
        }
        ok
    }

    async fn send(
        &self,
        phase: &'static str,
        step: String,
        request: Request,
        session: Option<&Injector>,
        report: &mut TrialReport,
    ) -> Result<StepAnswer, Ending> {
        let started = self.clock.now();
        let (method, path) = (request.method.clone(), path_of(&request));
        let exchange = Exchange { request, session };
        let answer = tokio::select! {
            answer = self.transport.exchange(self.id, exchange) => answer,
            () = self.clock.sleep(self.timeout) => {
                Err(ExchangeError::Send(crate::upstream::SendError::Timeout))
            }
        };
        report.steps.push(StepReport {
            phase,
            step,
            method,
            path,
            status: answer.as_ref().ok().map(|answer| answer.status),
            took: self.clock.now().saturating_since(started),
            ok: answer.is_ok(),
        });
        answer.map_err(|error| Ending::Unreachable(chain(&error)))
    }

    fn taken(&self, material: &Material) -> Vec<TakenReport> {
        let report = |name: String, value: &SecretText| TakenReport {
            name,
            characters: value.characters(),
            fingerprint: Fingerprint::of([value]),
        };
        let fields = &self.upstream.recipe.fields;
        let values = material.values.iter().filter(|(name, _)| !fields.contains_key(*name));
        let values = values.map(|(name, value)| report(name.to_owned(), value));
        let cookies = material.cookies.iter();
        values.chain(cookies.map(|(name, value)| report(format!("cookie {name}"), value))).collect()
    }
}

fn path_of(request: &Request) -> String {
    request.target.split('?').next().unwrap_or_default().to_owned()
}

fn refused(refusal: &Refusal) -> Ending {
    let Refusal { class, step, status, because } = refusal;
    let status = status.as_u16();
    let class_word = class.map_or("no rule of the recipe matched", class_name);
    let why = match because {
        Because::Unexpected => format!("`{step}` was answered with {status} ({class_word})"),
        Because::Missing(value) => {
            format!("`{step}` was answered with {status}, without `{value}` ({class_word})")
        }
        Because::Unusable(value) => format!("the value for `{value}` cannot be sent"),
    };
    Ending::Refused { class: *class, why }
}

impl From<Unusable> for Ending {
    fn from(unusable: Unusable) -> Self {
        Self::Refused { class: None, why: unusable.to_string() }
    }
}

/// An error with its causes. None of them holds a value of a request.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
