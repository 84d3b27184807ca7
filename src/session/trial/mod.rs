//! A login tried out: login, probe, logout, once each, every step told as it happens. Values are
//! told by length and fingerprint only.

mod report;

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, header};

use super::cause::{Cause, describe, judges_the_secret};
use super::counted::Counted;
use super::{Exchange, ExchangeError, Place, Upstream};
use crate::clock::Clock;
use crate::fields::Fields;
use crate::forward::inject::{Injector, Unusable};
use crate::forward::throttle;
use crate::login::{Attempt, Material, Next, Request, StepAnswer, render};
use crate::recipe::condition::{Condition, Truth};
use crate::recipe::template::{Template, Values};
use crate::recipe::{Addressee, Step, StepBody};
use crate::recording::{Exchanged, Phase};
use crate::secret::TotpStep;
use crate::upstream::SendError;
pub use crate::upstream::with_causes;
pub use report::{
    CarriedReport, CookieReport, EndReport, Ending, Incomplete, Notice, RuleReport, Sending,
    StepReport, TakenReport, TrialReport, ValueReport, Waiting,
};

/// Tries one account of an upstream, once: exactly one login is sent. Whoever calls has admitted it
/// by the account's guard, and tells the guard what came of it.
pub struct Trial<'a> {
    /// The upstream.
    pub upstream: &'a Upstream,
    /// Which of its accounts.
    pub account: usize,
    /// The clock.
    pub clock: &'a Clock,
    /// The attempt that it spends.
    pub counted: &'a Counted<'a>,
    /// How long the steps of a login, a probe and a logout may take, each.
    pub timeout: Duration,
}

/// What happens while a trial runs.
#[derive(Debug)]
pub enum Progress<'p> {
    /// A request is sent now.
    Sending(&'p Sending),
    /// Nothing is sent for a while.
    Waiting(Waiting),
    /// A step is over.
    Step(&'p StepReport),
    /// There is a session.
    Session(&'p EndReport, &'p [CarriedReport]),
}

/// Who watches a trial.
pub type Watch<'w> = &'w mut dyn FnMut(Progress<'_>);

impl Trial<'_> {
    /// Logs in, probes, logs out. A session that was given is logged out whatever the probe says.
    /// Not cancel safe: a session may be left open.
    pub async fn run(&self, watch: Watch<'_>) -> TrialReport {
        let run = Run {
            trial: self,
            watch,
            steps: Vec::new(),
            exchanged: Vec::new(),
            code_used: None,
            place: None,
        };
        run.run().await
    }
}

struct Run<'a, 'w> {
    trial: &'a Trial<'a>,
    watch: Watch<'w>,
    steps: Vec<StepReport>,
    exchanged: Vec<Exchanged>,
    code_used: Option<TotpStep>,
    /// Where the session's requests go, if that is not the upstream's own place.
    place: Option<Arc<Place>>,
}

/// What is left after a logout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// Nothing, as far as is known.
    Nothing,
    /// A session that nobody closes.
    Open,
    /// A session that the next start closes.
    ToTheNextStart,
}

impl Left {
    fn is_open(self) -> bool {
        self != Self::Nothing
    }

    fn is_closed_at_start(self) -> bool {
        self == Self::ToTheNextStart
    }
}

impl Run<'_, '_> {
    async fn run(mut self) -> TrialReport {
        let mut sent = false;
        let material = match self.log_in(&mut sent).await {
            Ok(material) => material,
            Err((cause, taken)) => {
                let failure = cause.failure(sent);
                let opened = taken.filter(|_| !judges_the_secret(failure));
                let left = match opened {
                    Some(opened) => self.log_out_half(&opened).await,
                    None => Left::Nothing,
                };
                let (left_open, closed_at_start) = (left.is_open(), left.is_closed_at_start());
                let report = self.report(ending(cause));
                let failure = Some(failure);
                return TrialReport { failure, left_open, closed_at_start, ..report };
            }
        };
        let trial = self.trial;
        let recipe = &trial.upstream.recipe;
        let wall = trial.clock.wall();
        let end = report::end(recipe, material.expires, wall);
        let usable = self.settle(&material).and_then(|()| Injector::new(recipe, &material, wall));
        let injector = match usable {
            Ok(injector) => injector,
            // The session is there and cannot be carried, so it cannot be logged out either.
            Err(unusable) => {
                let cause = Cause::from(unusable);
                let failure = Some(cause.failure(sent));
                let report = self.report(ending(cause));
                return TrialReport { failure, end: Some(end), left_open: true, ..report };
            }
        };
        let carried = report::carried(recipe, &material, &injector);
        (self.watch)(Progress::Session(&end, &carried));
        let recorded = trial.counted.opened(&material).await;
        let mut incomplete = recorded.err().map(|_| Incomplete::Unrecorded);
        if let (Some(probe), None) = (&recipe.probe, incomplete)
            && !self.step(Phase::Probe, 0, &probe.step, &material, &injector).await
        {
            incomplete = Some(Incomplete::Probe);
        }
        let left = self.log_out(&material, &injector).await;
        let (left_open, closed_at_start) = (left.is_open(), left.is_closed_at_start());
        if left_open && !recipe.logout.is_empty() {
            // A dead session has nothing left to close.
            incomplete = incomplete.or(Some(Incomplete::Logout));
        }
        let notice = self.without_session().await;
        let ending = incomplete.map_or(Ending::Good, Ending::Incomplete);
        let report = self.report(ending);
        TrialReport { end: Some(end), carried, notice, left_open, closed_at_start, ..report }
    }

    /// From here on requests go where those of this session may go.
    fn settle(&mut self, material: &Material) -> Result<(), Unusable> {
        let place = self.trial.upstream.place(&material.values);
        self.place = place.map_err(|_| Unusable::Field(header::HOST))?;
        Ok(())
    }

    /// Sends every logout step.
    async fn log_out(&mut self, material: &Material, injector: &Injector) -> Left {
        let counted = self.trial.counted;
        counted.closes(material).await;
        let logout = &self.trial.upstream.recipe.logout;
        let mut closed = !logout.is_empty();
        for (index, step) in logout.iter().enumerate() {
            closed &= self.step(Phase::Logout, index, step, material, injector).await;
        }
        match closed {
            true => Left::Nothing,
            false if counted.is_closed_at_start() => Left::ToTheNextStart,
            false => Left::Open,
        }
    }

    /// The same, of what the first steps of a login have given that did not end.
    async fn log_out_half(&mut self, opened: &Material) -> Left {
        let trial = self.trial;
        let usable = self.settle(opened);
        let wall = trial.clock.wall();
        match usable.and_then(|()| Injector::new(&trial.upstream.recipe, opened, wall)) {
            Ok(injector) => self.log_out(opened, &injector).await,
            // It cannot be carried, so it cannot be logged out either.
            Err(_) => Left::Open,
        }
    }

    fn report(self, ending: Ending) -> TrialReport {
        TrialReport {
            steps: self.steps,
            end: None,
            carried: Vec::new(),
            notice: Notice::NotAsked("there was no session"),
            left_open: false,
            closed_at_start: false,
            ending,
            failure: None,
            code_used: self.code_used,
            exchanged: self.exchanged,
        }
    }

    /// What a login gave; or why it gave nothing, with what its first steps have given.
    async fn log_in(&mut self, sent: &mut bool) -> Result<Material, (Cause, Option<Material>)> {
        let trial = self.trial;
        let recipe = &trial.upstream.recipe;
        let Some(account) = trial.upstream.accounts.get(trial.account) else {
            return Err((ExchangeError::BrokenOff.into(), None));
        };
        let base_path = &trial.upstream.origin.base_path;
        let values = account.credentials().values.clone();
        let mut attempt = Attempt::new(Arc::clone(recipe), values, base_path)
            .with_codes_used_until(trial.counted.codes_used());
        let result = self.attempt(&mut attempt, sent).await;
        result.map_err(|cause| (cause, attempt.taken()))
    }

    async fn attempt(&mut self, attempt: &mut Attempt, sent: &mut bool) -> Result<Material, Cause> {
        let trial = self.trial;
        let recipe = &trial.upstream.recipe;
        let mut next = attempt.start(trial.clock.wall());
        let mut retry_after = None;
        loop {
            match next {
                Next::Done(material) => return Ok(material),
                Next::Refused(refusal) => return Err(Cause::Refused(refusal, retry_after)),
                Next::Wait { until } => {
                    let left = until.duration_since(trial.clock.wall()).unwrap_or_default();
                    let until = "the next one-time code: the one of now has been sent before";
                    (self.watch)(Progress::Waiting(Waiting { lasts: left, until }));
                    trial.clock.sleep(left).await;
                    next = attempt.resume(trial.clock.wall());
                }
                Next::Send(request) => {
                    if let Some(step) = attempt.code_used()
                        && self.code_used != Some(step)
                    {
                        let recorded = trial.counted.sends_code(step).await;
                        recorded.map_err(|_| Cause::Unrecorded)?;
                        self.code_used = Some(step);
                    }
                    let index = attempt.step_index();
                    let Some(step) = recipe.login.get(index) else {
                        return Err(ExchangeError::Target.into());
                    };
                    let answer = self.send(Phase::Login, index, step, request, None).await?;
                    *sent = true;
                    retry_after = throttle::retry_after(&answer.headers, trial.clock.wall());
                    next = attempt.answer(&answer, trial.clock.wall());
                    self.told(step, answer, |report, answer| {
                        report.taken = report::taken(step, answer, trial.clock.wall());
                        report.cookies = report::cookies(recipe, &answer.headers);
                        if let Next::Refused(_) = &next {
                            report.ok = false;
                            report.rule = RuleReport::of_refusal(recipe, step, answer);
                        }
                    });
                }
            }
        }
    }

    /// One step with the session. Returns whether it did what it should.
    async fn step(
        &mut self,
        phase: Phase,
        index: usize,
        step: &Step,
        material: &Material,
        injector: &Injector,
    ) -> bool {
        let recipe = &self.trial.upstream.recipe;
        let Ok(request) = render::request(step, &material.values, self.trial.clock.wall()) else {
            return false;
        };
        match self.send(phase, index, step, request, Some(injector)).await {
            Ok(answer) => self.told(step, answer, |report, answer| {
                // A session that the upstream calls dead has nothing left to close.
                if phase == Phase::Logout && !report.ok && step.to == Addressee::Upstream {
                    report.rule = RuleReport::of_verdict(recipe, step, answer).0;
                    report.ok = report.rule.says() == Some("expired");
                }
            }),
            Err(_) => false,
        }
    }

    /// The probe without any credential: it costs no attempt, and the verdict rules should call its
    /// answer a dead session.
    async fn without_session(&mut self) -> Notice {
        let trial = self.trial;
        let recipe = &trial.upstream.recipe;
        let Some(probe) = &recipe.probe else {
            return Notice::NotAsked("the recipe has no probe");
        };
        let wall = trial.clock.wall();
        let Some(step) = without_values(&probe.step) else {
            return Notice::NotAsked("the probe cannot be sent without a session");
        };
        let (Ok(request), Ok(injector)) =
            (render::request(&step, &Values::default(), wall), Injector::without_session(recipe))
        else {
            return Notice::NotAsked("the probe cannot be sent without a session");
        };
        let sent = self.send(Phase::WithoutSession, 0, &probe.step, request, Some(&injector));
        let Ok(answer) = sent.await else { return Notice::Unknown };
        let (rule, notice) = RuleReport::of_verdict(recipe, &probe.step, &answer);
        let noticed = notice == Notice::Noticed;
        self.told(&probe.step, answer, |report, _| {
            (report.ok, report.rule) = (noticed, rule);
            report.expected.clear();
        });
        notice
    }

    /// Sends one request. What came of it is the last report, until it is [told](Self::told).
    async fn send(
        &mut self,
        phase: Phase,
        index: usize,
        step: &Step,
        request: Request,
        session: Option<&Injector>,
    ) -> Result<StepAnswer, Cause> {
        let trial = self.trial;
        let sent = Sending {
            phase,
            step: step.name.clone(),
            method: request.method.clone(),
            path: match &step.to {
                Addressee::Upstream => {
                    format!("{}{}", trial.upstream.origin.base_path, path_of(step))
                }
                Addressee::Site(site) => format!("{site}{}", path_of(step)),
                Addressee::Helper(purpose) => purpose.to_string(),
            },
            site: match &step.to {
                Addressee::Site(site) => Some(site.clone()),
                Addressee::Upstream | Addressee::Helper(_) => None,
            },
        };
        (self.watch)(Progress::Sending(&sent));
        let header_names = header_names(&request, session);
        let started = trial.clock.now();
        let place = self.place.clone();
        let exchange = Exchange { request, session, place: place.as_deref() };
        let time_is_up = trial.clock.sleep(trial.timeout);
        let answer = trial.upstream.transport.exchange(exchange, time_is_up).await;
        self.exchanged.push(Exchanged { phase, step: index, header_names, answer: None });
        let report = StepReport {
            sent,
            status: answer.as_ref().ok().map(|answer| answer.status),
            content_type: answer.as_ref().ok().and_then(|answer| media_type(&answer.headers)),
            error: answer.as_ref().err().map(|error| with_causes(error)),
            took: trial.clock.now().saturating_since(started),
            ok: false,
            expected: Vec::new(),
            taken: Vec::new(),
            cookies: Vec::new(),
            rule: RuleReport::NotAsked,
        };
        if answer.is_err() {
            (self.watch)(Progress::Step(&report));
        }
        self.steps.push(report);
        answer.map_err(Cause::from)
    }

    /// Fills in the last report, tells it and keeps its answer. Returns whether the step did what
    /// it should.
    fn told(
        &mut self,
        step: &Step,
        answer: StepAnswer,
        fill: impl FnOnce(&mut StepReport, &StepAnswer),
    ) -> bool {
        let mut ok = false;
        if let Some(report) = self.steps.last_mut() {
            let seen = answer.seen_by(step);
            report.ok = step.expect.judge(&seen) == Truth::Yes;
            report.expected = step.expect.explain(&seen);
            fill(report, &answer);
            ok = report.ok;
            (self.watch)(Progress::Step(report));
        }
        if let Some(exchanged) = self.exchanged.last_mut() {
            exchanged.answer = Some(answer);
        }
        ok
    }
}

/// The step without all that a session or an account gives; nothing when it would be another
/// request, or one that changes something.
fn without_values(step: &Step) -> Option<Step> {
    let plain = |template: &Template| template.literal().is_some();
    if !step.method.is_safe() || !plain(&step.path) || !matches!(step.body, StepBody::Empty) {
        return None;
    }
    let query = step.query.iter().filter(|(_, template)| plain(template));
    let headers = step.headers.iter().filter(|(_, template)| plain(template));
    Some(Step {
        name: step.name.clone(),
        to: step.to.clone(),
        method: step.method.clone(),
        path: step.path.clone(),
        query: query.cloned().collect(),
        headers: headers.cloned().collect(),
        basic: None,
        body: StepBody::Empty,
        when: None,
        expect: Condition::default(),
        take: Vec::new(),
        codes: Vec::new(),
        signed: Vec::new(),
    })
}

/// The path as the recipe writes it: a value in it may be a secret.
fn path_of(step: &Step) -> String {
    step.path.shown().split('?').next().unwrap_or_default().to_owned()
}

fn header_names(request: &Request, session: Option<&Injector>) -> Vec<HeaderName> {
    let mut headers = request.headers.clone();
    if let Some(injector) = session.filter(|_| request.to == Addressee::Upstream) {
        let path = request.target.split('?').next().unwrap_or("/");
        injector.apply(&request.method, path, &mut headers);
    }
    headers.keys().cloned().collect()
}

fn media_type(headers: &Fields) -> Option<String> {
    let text = headers.text(header::CONTENT_TYPE)?;
    Some(text.split(';').next().unwrap_or_default().trim().to_lowercase())
}

fn ending(cause: Cause) -> Ending {
    match cause {
        Cause::Refused(refusal, _) => {
            let why = describe(&refusal);
            Ending::Refused { class: refusal.class, why }
        }
        Cause::Exchange(error) => Ending::Unreachable(error),
        // Each step of a trial has its own deadline, and its session needs nobody's room.
        Cause::Stopped | Cause::NotKept(_) => Ending::Unreachable(SendError::Timeout.into()),
        // A one-time code that cannot be recorded as sent is not sent.
        Cause::Unrecorded => Ending::Incomplete(Incomplete::Unrecorded),
        Cause::Unusable(unusable) => Ending::Refused { class: None, why: unusable.to_string() },
    }
}
