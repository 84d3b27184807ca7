//! One login, in a task of its own on the control side: no client can cancel it, all who need its
//! session wait for the same outcome, and its requests are never blindly repeated.

use std::convert::identity;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::header;
use tokio::sync::watch;

use super::account::{Failure, Guard};
use super::broker::Inner;
use super::cause::{Cause, judges_the_secret};
use super::credentials::Credentials;
use super::entry::{Record, Stage};
use super::jitter::Jitter;
use super::prolong::{Refreshed, Refreshing};
use super::slots::Slot;
use super::store::{Expiry, Flight, Outcome};
use super::tenure::Tenure;
use super::{
    Account, Exchange, Generation, HoldCause, Mechanism, Session, SessionKey, Unavailable,
    Upstream, gate, retire, room, upkeep,
};
use crate::clock::Moment;
use crate::forward::inject::{Injector, Unusable};
use crate::forward::throttle;
use crate::login::{Attempt, Material, Next};
use crate::recipe::{ExpiryUnit, FieldKind, Recipe, RefusalClass};
use crate::secret::Search;
use crate::state::Unwritable;
use crate::telemetry::{self, Event, Lost, Trigger};
use crate::upstream::Unreached;

/// Begins a login, if the account's guard admits one.
pub(super) fn begin(
    inner: &Arc<Inner>,
    key: SessionKey,
    trigger: Trigger,
) -> Result<Flight, Unavailable> {
    begin_after(std::future::ready(()), inner, key, trigger)
}

/// Begins a login that sends nothing before `ready` has ended.
pub(super) fn begin_after(
    ready: impl Future<Output = ()> + Send + 'static,
    inner: &Arc<Inner>,
    key: SessionKey,
    trigger: Trigger,
) -> Result<Flight, Unavailable> {
    if inner.stopping.is_cancelled() {
        return Err(Unavailable::Stopping);
    }
    let account = inner.account(&key);
    // Where the secret has changed since the key was made, whoever asks makes another key.
    let credentials = account.vault.of(key.fingerprint).ok_or(Unavailable::Timeout)?;
    match may_log_in(inner, &key) {
        // A refresh costs no attempt: pauses are for logins, but for that which is for the disk. A
        // refused secret ends all of it.
        Err(Unavailable::HeldBack { cause, .. })
            if !matches!(cause, HoldCause::StateUnwritable | HoldCause::Paused)
                && inner.can_refresh(&key, trigger) => {}
        checked => checked?,
    }
    let generation = inner.next_generation();
    let (sender, outcome) = watch::channel(None);
    let admitted = AtomicBool::new(false);
    let inner_too = Arc::clone(inner);
    let landing = Landing { inner: inner_too, account, key, generation, sender, admitted };
    let flight = async move {
        ready.await;
        if landing.inner.stopping.is_cancelled() {
            return landing.land(Err(Unavailable::Stopping));
        }
        fly(landing, trigger, &credentials).await;
    };
    inner.tasks.spawn_on(flight, &inner.control);
    Ok(Flight { generation, outcome, waiters: Arc::default() })
}

/// Whether a login could be sent now.
fn may_log_in(inner: &Inner, key: &SessionKey) -> Result<(), Unavailable> {
    if let Some(retry_after) = inner.upstream(key).pause.retry_after() {
        return Err(Unavailable::HeldBack { retry_after, cause: HoldCause::Paused });
    }
    let now = inner.clock.now();
    if let Some(retry_after) = inner.standing(key).displaced(now) {
        return Err(Unavailable::HeldBack { retry_after, cause: HoldCause::Displaced });
    }
    if inner.without != Some(Mechanism::LockOutGuard) {
        inner.with_guard(key, |guard| guard.check(key.fingerprint, now))?;
    }
    // Nothing is begun at an upstream that nobody tries to reach.
    match inner.upstream(key).origin.dialler.open_for() {
        Some(retry_after) => Err(Unavailable::Unreachable(Unreached::CircuitOpen { retry_after })),
        None => Ok(()),
    }
}

/// How a login ends. Cancel safe: the login goes on.
pub(super) async fn landed(mut flight: Flight) -> Outcome {
    match flight.outcome.wait_for(Option::is_some).await {
        Ok(outcome) => outcome.clone().unwrap_or(Err(Unavailable::Timeout)),
        Err(_) => Err(Unavailable::Timeout),
    }
}

/// Ends a flight exactly once, even if its task dies.
struct Landing {
    inner: Arc<Inner>,
    /// Known on, for as long as the flight lasts.
    account: Arc<Account>,
    key: SessionKey,
    generation: Generation,
    sender: watch::Sender<Option<Outcome>>,
    /// The guard has admitted its login and waits for its end.
    admitted: AtomicBool,
}

impl Landing {
    /// Tells the guard how its login has ended.
    fn end<T>(&self, act: impl FnOnce(&mut Guard) -> T) -> T {
        self.admitted.store(false, Ordering::Relaxed);
        self.inner.gate(&self.key).end(act)
    }

    fn land(&self, outcome: Outcome) {
        let session = outcome.as_ref().ok().map(Arc::clone);
        let tenure = session.as_ref().map(|session| session.tenure.first);
        let unused = self.inner.store.land(self.key, self.generation, session);
        // A version that was prolonged lives on in the next one. What is not needed any more has
        // its own tokens, even if the version before was logged out meanwhile.
        match unused {
            Some(unused) if unused.generation == self.generation => {
                retire::close_anew(&self.inner, unused);
            }
            Some(unused) if Some(unused.tenure.first) == tenure => {}
            Some(unused) => _ = retire::retire(&self.inner, unused),
            None => {}
        }
        self.sender.send_replace(Some(self.outlived(outcome)));
    }
}

impl Landing {
    /// The state is tried again after a growing pause. Returns what those who wait are told.
    fn hold_unwritable(&self) -> Unavailable {
        let (cause, now) = (HoldCause::StateUnwritable, self.inner.clock.now());
        let jitter = Jitter::of(self.generation);
        self.inner.with_guard(&self.key, |guard| guard.hold(cause, now, jitter))
    }

    /// A session of a secret that is not used any more goes at once; those who waited for it make
    /// another key.
    fn outlived(&self, outcome: Outcome) -> Outcome {
        if outcome.is_err() || self.inner.knows(&self.key) {
            return outcome;
        }
        let is_it = |session: &Session| session.generation == self.generation;
        if let Expiry::Ended(session) = self.inner.store.expire(self.key, is_it, identity) {
            retire::retire(&self.inner, session);
        }
        Err(Unavailable::Timeout)
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        if self.sender.borrow().is_none() {
            // The task died before the end. The attempt was counted when it began.
            if self.admitted.load(Ordering::Relaxed) {
                let (now, jitter) = (self.inner.clock.now(), Jitter::of(self.generation));
                let fingerprint = self.key.fingerprint;
                self.end(|guard| guard.failed(Failure::AnswerLost, fingerprint, now, jitter));
            }
            self.land(Err(Unavailable::Timeout));
        }
    }
}

async fn fly(landing: Landing, trigger: Trigger, credentials: &Credentials) {
    let inner = &landing.inner;
    let (key, jitter) = (landing.key, Jitter::of(landing.generation));
    // An operator who asks for a login wants none of what the old one gave.
    if trigger != Trigger::Manual
        && let Some(refreshing) = Refreshing::claim(inner, &key)
    {
        match refreshing.run(inner, landing.generation).await {
            Refreshed::Next(session) => {
                landing.land(Ok(Arc::clone(&session)));
                refreshing.landed(inner, landing.generation);
                upkeep::begin(inner, &session);
                return;
            }
            // A login could not be recorded either.
            Refreshed::Unrecorded => return landing.land(Err(landing.hold_unwritable())),
            Refreshed::Unreached(unreached) => {
                return landing.land(Err(Unavailable::Unreachable(unreached)));
            }
            Refreshed::Nothing => {}
        }
    }
    // A refresh needs no leave of the guard, and may have been all that this flight was for.
    if let Err(unavailable) = may_log_in(inner, &key) {
        return landing.land(Err(unavailable));
    }
    // Where there is room for no other, the session that is renewed ends first.
    if inner.standing(&key).slots.are_taken()
        && let Some(renewed) = inner.store.end_renewed(key, landing.generation)
    {
        retire::retire(inner, renewed);
    }
    let slot = tokio::select! {
        biased;
        () = inner.stopping.cancelled() => return landing.land(Err(Unavailable::Stopping)),
        slot = room::make(inner, &key) => slot,
        () = inner.clock.sleep(inner.limits().login_timeout) => {
            // Other sessions of the account have their room: nobody else is held back.
            let (retry_after, cause) = (room::FIRST_USE_WITHIN, HoldCause::SessionsFull);
            return landing.land(Err(Unavailable::HeldBack { retry_after, cause }));
        }
    };
    if inner.without != Some(Mechanism::LockOutGuard)
        && let Err(unavailable) = gate::pass(inner, &key).await
    {
        landing.land(Err(unavailable));
        return;
    }
    landing.admitted.store(true, Ordering::Relaxed);

    let started = inner.clock.now();
    let mut login = Login::new(inner, &key, credentials);
    let result = login.run(inner, key).await;
    let (record, mut slot) = (login.record, slot);
    let result = result.and_then(|material| {
        let tenure = Tenure::begin(
            Arc::clone(&landing.account),
            landing.generation,
            inner.clock.now(),
            slot.take(),
            record,
        );
        session(inner, key, landing.generation, material, Arc::new(tenure)).map_err(Cause::from)
    });
    let result = match result {
        Ok(session) => keep(&landing, session).await,
        Err(cause) => Err(cause),
    };
    let took = inner.clock.now().saturating_since(started);
    inner.report_login(&key, trigger, &result, landing.generation, took);
    match result {
        Ok(session) => {
            landing.land(Ok(Arc::clone(&session)));
            upkeep::begin(inner, &session);
        }
        Err(Cause::NotKept(told)) => landing.land(Err(told)),
        Err(cause) => {
            let (now, failure) = (inner.clock.now(), cause.failure(login.sent));
            let told = landing.end(|guard| guard.failed(failure, key.fingerprint, now, jitter));
            inner.report_refusal(&key, &told);
            settle(&landing, login, failure, slot).await;
            landing.land(Err(told));
        }
    }
}

/// Makes a new session durable before anybody uses it.
async fn keep(landing: &Landing, session: Arc<Session>) -> Result<Arc<Session>, Cause> {
    let (inner, key) = (&landing.inner, landing.key);
    landing.end(|guard| guard.succeeded(key.fingerprint));
    landing.account.vault.proved(key.fingerprint);
    if inner.record_given(&session).await.is_ok() {
        return Ok(session);
    }
    retire::close(inner, &session).await;
    Err(Cause::NotKept(landing.hold_unwritable()))
}

/// Records how a login has failed, and closes what it had opened.
async fn settle(landing: &Landing, login: Login, failure: Failure, slot: Option<Slot>) {
    let (inner, key, generation) = (&landing.inner, landing.key, landing.generation);
    let opened = login.attempt.taken().filter(|_| !judges_the_secret(failure));
    let account = Arc::clone(&landing.account);
    let tenure = Tenure::begin(account, generation, inner.clock.now(), slot, login.record);
    let opened =
        opened.and_then(|taken| session(inner, key, generation, taken, Arc::new(tenure)).ok());
    match opened {
        // The record goes with what it is about.
        Some(opened) => _ = retire::retire(inner, opened),
        None if failure == Failure::AnswerLost => {
            inner.report_lost(&key, Lost::Login);
            // Where it cannot be written it is counted once more at the next start.
            _ = inner.record_stage(&key, login.record, Stage::AnswerLost).await;
        }
        None => inner.record_end(&key, login.record).await,
    }
    if let Failure::Refused { class: Some(RefusalClass::SlotsFull), .. } = failure {
        let inner = Arc::clone(inner);
        let control = inner.control.clone();
        let account = Arc::clone(&landing.account);
        let making_room = async move {
            // Known on, for as long as it is asked about.
            let _account = account;
            if retire::make_room(&inner, &key).await {
                let now = inner.clock.now();
                inner.gate(&key).with(|guard| guard.made_room(now, Jitter::of(generation)));
            }
        };
        landing.inner.tasks.spawn_on(making_room, &control);
    }
}

/// A login under way.
struct Login {
    upstream: Arc<Upstream>,
    attempt: Attempt,
    record: Option<Record>,
    /// Its attempt is on the disk, if it has to be.
    recorded: bool,
    /// An answer has come: something was sent.
    sent: bool,
}

impl Login {
    fn new(inner: &Inner, key: &SessionKey, credentials: &Credentials) -> Self {
        let (upstream, _) = inner.upstream_and_account(key);
        let (recipe, base_path) = (Arc::clone(&upstream.recipe), &upstream.origin.base_path);
        let attempt = Attempt::new(recipe, credentials.values.clone(), base_path)
            .with_codes_used_until(inner.with_guard(key, |guard| guard.code_used()));
        Self { upstream, attempt, record: None, recorded: false, sent: false }
    }

    /// Sends one step after the other, within the time for a login.
    async fn run(&mut self, inner: &Inner, key: SessionKey) -> Result<Material, Cause> {
        let mut deadline = inner.clock.now() + inner.limits().login_timeout;
        let mut next = self.attempt.start(inner.clock.wall());
        let mut retry_after = None;
        loop {
            match next {
                Next::Send(request) => {
                    let use_code = |step| inner.with_guard(&key, |guard| guard.use_code(step));
                    if let Some(Err(used)) = self.attempt.code_used().map(use_code) {
                        next = self.attempt.code_was_used(used, inner.clock.wall());
                        continue;
                    }
                    self.record(inner, &key).await.map_err(|_| Cause::Unrecorded)?;
                    let exchange = Exchange { request, session: None, place: None };
                    let time_is_up = inner.clock.sleep_until(deadline);
                    let answer = self.upstream.transport.exchange(exchange, time_is_up);
                    let answer = answer.await?;
                    self.sent = true;
                    retry_after = throttle::retry_after(&answer.headers, inner.clock.wall());
                    next = self.attempt.answer(&answer, inner.clock.wall());
                }
                Next::Wait { until } => {
                    // The upstream is not asked meanwhile: its time for the login does not run.
                    let left = until.duration_since(inner.clock.wall()).unwrap_or_default();
                    tokio::select! {
                        () = inner.clock.sleep(left) => {}
                        () = inner.stopping.cancelled() => return Err(Cause::Stopped),
                    }
                    deadline = deadline + left;
                    next = self.attempt.resume(inner.clock.wall());
                }
                Next::Done(material) => return Ok(material),
                Next::Refused(refusal) => return Err(Cause::Refused(refusal, retry_after)),
            }
        }
    }

    /// Before a request is sent: the attempt is on the disk, with the one-time code that the
    /// request uses up. What earlier answers have given is not: no start would use it, because only
    /// the last answer proves that it was made of the right secret.
    async fn record(&mut self, inner: &Inner, key: &SessionKey) -> Result<(), Unwritable> {
        if !self.recorded {
            self.record = inner.record_begin(key).await?;
            self.recorded = true;
            return Ok(());
        }
        if self.attempt.code_used().is_some() {
            inner.record_stage(key, self.record, Stage::Begun).await?;
        }
        Ok(())
    }
}

/// A session of what a login or a refresh gave now.
pub(super) fn session(
    inner: &Inner,
    key: SessionKey,
    generation: Generation,
    material: Material,
    tenure: Arc<Tenure>,
) -> Result<Arc<Session>, Unusable> {
    let now = inner.clock.now();
    let session = version(inner, key, generation, material, tenure, now, None)?;
    session.tenure.goes_on_as(&session);
    Ok(session)
}

/// The same, of a session whose life began at `began`, and which may have a version before it.
pub(super) fn version(
    inner: &Inner,
    key: SessionKey,
    generation: Generation,
    material: Material,
    tenure: Arc<Tenure>,
    began: Moment,
    before: Option<&Session>,
) -> Result<Arc<Session>, Unusable> {
    let (upstream, _) = inner.upstream_and_account(&key);
    let wall = inner.clock.wall();
    let injector = Injector::new(&upstream.recipe, &material, wall)?;
    let place = upstream.place(&material.values).map_err(|_| Unusable::Field(header::HOST))?;
    let before = before.map(|before| &*before.material);
    let guarded = guarded(&upstream.recipe, &material, before);
    let left = material.expires.map(|end| end.duration_since(wall).unwrap_or_default());
    Ok(Arc::new(Session {
        key,
        generation,
        injector: Arc::new(injector),
        material: Arc::new(material),
        began,
        expires: left.map(|left| inner.clock.now() + left),
        tenure,
        guarded: Arc::new(guarded),
        place,
    }))
}

/// The search for everything secret, in all its forms. An answer may show what the request before it
/// has replaced, and mostly that is good for a while.
fn guarded(recipe: &Recipe, material: &Material, before: Option<&Material>) -> Search {
    // The end of a session is no secret, and other things may end at the same moment; a token that
    // tells its end is one.
    let is_end = |name: &str| {
        let end = recipe.session.expires.as_ref();
        end.is_some_and(|(end, unit)| end == name && *unit != ExpiryUnit::Jwt)
    };
    let is_field =
        |name: &str| recipe.fields.get(name).is_some_and(|field| field.kind != FieldKind::Secret);
    // Where a session lives is in links to everything there.
    let is_place = |name: &str| recipe.session.base.as_ref().is_some_and(|base| base.value == name);
    let is_secret = |name: &str| !is_end(name) && !is_field(name) && !is_place(name);
    let values = [Some(material), before].into_iter().flatten().flat_map(|material| {
        let values = material.values.iter().filter(|(name, _)| is_secret(name));
        values.chain(material.cookies.iter()).map(|(_, value)| value)
    });
    Search::new(values)
}

impl Inner {
    fn report_login(
        &self,
        key: &SessionKey,
        trigger: Trigger,
        result: &Result<Arc<Session>, Cause>,
        generation: Generation,
        took: Duration,
    ) {
        let (upstream, account) = self.upstream_and_account(key);
        self.reporter.report(Event::Login(telemetry::Login {
            upstream: Arc::clone(&upstream.name),
            account: Arc::clone(&account.name),
            trigger,
            outcome: result.as_ref().map(|_| generation.0).map_err(ToString::to_string),
            word: result.as_ref().map_or_else(Cause::word, |_| telemetry::Login::SUCCESS),
            took,
        }));
    }
}
