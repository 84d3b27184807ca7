//! One login, in a task of its own on the control side: no client can cancel it, all who need its
//! session wait for the same outcome, and its requests are never blindly repeated.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use http::{HeaderMap, header};
use tokio::sync::watch;

use super::account::Failure;
use super::broker::Inner;
use super::credentials::Credentials;
use super::store::{Expiry, Flight, Outcome};
use super::tenure::Tenure;
use super::{
    Exchange, Generation, HoldCause, Mechanism, Session, SessionKey, Unavailable, retire, room,
    upkeep,
};
use crate::forward::inject::{Injector, Unusable};
use crate::login::{Attempt, Because, Material, Next, Refusal};
use crate::recipe::{FieldKind, Recipe};
use crate::secret::SecretText;
use crate::telemetry::{self, Event, Trigger};

/// Shorter values are not searched for: they would be found where they do not stand.
const SEARCHED_BYTES_MIN: usize = 16;

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
    let now = inner.clock.now();
    if let Some(retry_after) = inner.standing(&key).displaced(now) {
        return Err(Unavailable::HeldBack { retry_after, cause: HoldCause::Displaced });
    }
    let vault = &inner.account(key.upstream, key.account).vault;
    // Where the secret has changed since the key was made, whoever asks makes another key.
    let credentials = vault.of(key.fingerprint).ok_or(Unavailable::Timeout)?;
    if inner.without != Some(Mechanism::LockOutGuard) {
        inner.with_guard(&key, |guard| guard.admit(key.fingerprint, inner.clock.now()))?;
    }
    let generation = inner.next_generation();
    let (sender, outcome) = watch::channel(None);
    let landing = Landing { inner: Arc::clone(inner), key, generation, sender };
    let flight = async move {
        ready.await;
        if landing.inner.stopping.is_cancelled() {
            return landing.land(Err(Unavailable::Stopping));
        }
        fly(landing, trigger, &credentials).await;
    };
    inner.tasks.spawn_on(flight, &inner.control);
    Ok(Flight { generation, outcome })
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
    key: SessionKey,
    generation: Generation,
    sender: watch::Sender<Option<Outcome>>,
}

impl Landing {
    fn land(&self, outcome: Outcome) {
        let session = outcome.as_ref().ok().map(Arc::clone);
        if let Some(unused) = self.inner.store.land(self.key, self.generation, session) {
            retire::retire(&self.inner, unused);
        }
        self.sender.send_replace(Some(self.outlived(outcome)));
    }
}

impl Landing {
    /// A session of a secret that is not used any more goes at once; those who waited for it make
    /// another key.
    fn outlived(&self, outcome: Outcome) -> Outcome {
        if outcome.is_err() || self.inner.knows(&self.key) {
            return outcome;
        }
        let is_it = |session: &Session| session.generation == self.generation;
        if let Expiry::Ended(session) = self.inner.store.expire(self.key, is_it) {
            retire::retire(&self.inner, session);
        }
        Err(Unavailable::Timeout)
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        if self.sender.borrow().is_none() {
            // The task died before the end. The attempt was counted when it began.
            self.land(Err(Unavailable::Timeout));
        }
    }
}

async fn fly(landing: Landing, trigger: Trigger, credentials: &Credentials) {
    let inner = &landing.inner;
    let (key, started) = (landing.key, inner.clock.now());
    let mut sent = false;
    let slot = tokio::select! {
        slot = room::make(inner, &key) => Ok(slot),
        () = inner.clock.sleep(inner.limits.login_timeout) => Err(Cause::NoRoom),
    };
    let result = match slot {
        Ok(slot) => {
            let given = log_in(inner, key, credentials, &mut sent).await;
            given.map(|material| (material, slot))
        }
        Err(no_room) => Err(no_room),
    };
    let result = result.and_then(|(material, slot)| {
        let tenure = Arc::new(Tenure::begin(landing.generation, inner.clock.now(), slot));
        Ok(session(inner, key, landing.generation, material, tenure)?)
    });
    let took = inner.clock.now().saturating_since(started);
    inner.report_login(&key, trigger, &result, landing.generation, took);
    match result {
        Ok(session) => {
            inner.with_guard(&key, super::account::Guard::succeeded);
            inner.account(key.upstream, key.account).vault.proved(key.fingerprint);
            landing.land(Ok(Arc::clone(&session)));
            upkeep::begin(inner, &session);
        }
        Err(cause) => {
            let now = inner.clock.now();
            let failure = cause.failure(sent);
            let told = inner.with_guard(&key, |guard| guard.failed(failure, key.fingerprint, now));
            inner.report_refusal(&key, &told);
            landing.land(Err(told));
        }
    }
}

/// Why a login gave no session.
#[derive(Debug, thiserror::Error)]
pub(super) enum Cause {
    #[error("{}", describe(.0))]
    Refused(Refusal, Option<Duration>),
    #[error(transparent)]
    Exchange(#[from] super::ExchangeError),
    #[error("the login did not end in time")]
    TimedOut,
    #[error("the account's sessions are all in use")]
    NoRoom,
    #[error("doorward stopped before the time of the next one-time code")]
    Stopped,
    #[error(transparent)]
    Unusable(#[from] Unusable),
}

fn describe(refusal: &Refusal) -> String {
    let Refusal { class, step, status, because } = refusal;
    let class = class.map_or("unclassified", super::account::class_name);
    let status = status.as_u16();
    match because {
        Because::Unexpected => format!("refused ({class}) at `{step}`: status {status}"),
        Because::Missing(value) => {
            format!("refused ({class}) at `{step}`: status {status} without `{value}`")
        }
        Because::Unusable(value) => format!("the value for `{value}` cannot be sent at `{step}`"),
        Because::NoCode(field, fault) => format!("`{field}` makes no one-time codes: {fault}"),
    }
}

impl Cause {
    pub(super) fn failure(&self, sent: bool) -> Failure {
        match self {
            Self::Refused(refusal, retry_after) => {
                Failure::Refused { class: refusal.class, retry_after: *retry_after }
            }
            Self::NoRoom => Failure::NoRoom,
            Self::Stopped if !sent => Failure::Withdrawn,
            Self::Exchange(error) if error.nothing_was_sent() && !sent => Failure::Unreachable,
            Self::Exchange(super::ExchangeError::Send(_) | super::ExchangeError::BrokenOff)
            | Self::TimedOut
            | Self::Stopped => Failure::AnswerLost,
            Self::Exchange(_) | Self::Unusable(_) => {
                Failure::Refused { class: None, retry_after: None }
            }
        }
    }
}

async fn log_in(
    inner: &Inner,
    key: SessionKey,
    credentials: &Credentials,
    sent: &mut bool,
) -> Result<Material, Cause> {
    let (upstream, _) = inner.upstream_and_account(&key);
    let base_path = &upstream.origin.base_path;
    let account = credentials.values.clone();
    let mut attempt = Attempt::new(Arc::clone(&upstream.recipe), account, base_path)
        .with_codes_used_until(inner.with_guard(&key, |guard| guard.code_used()));
    let mut deadline = inner.clock.now() + inner.limits.login_timeout;
    let mut next = attempt.start(inner.clock.wall());
    let mut retry_after = None;
    loop {
        match next {
            Next::Send(request) => {
                let use_code = |step| inner.with_guard(&key, |guard| guard.use_code(step));
                if let Some(Err(used)) = attempt.code_used().map(use_code) {
                    next = attempt.code_was_used(used, inner.clock.wall());
                    continue;
                }
                let exchange = Exchange { request, session: None };
                let answer = tokio::select! {
                    answer = inner.transport.exchange(key.upstream, exchange) => answer?,
                    () = inner.clock.sleep_until(deadline) => return Err(Cause::TimedOut),
                };
                *sent = true;
                retry_after = seconds(&answer.headers);
                next = attempt.answer(&answer, inner.clock.wall());
            }
            Next::Wait { until } => {
                // The upstream is not asked meanwhile: its time for the login does not run.
                let left = until.duration_since(inner.clock.wall()).unwrap_or_default();
                tokio::select! {
                    () = inner.clock.sleep(left) => {}
                    () = inner.stopping.cancelled() => return Err(Cause::Stopped),
                }
                deadline = deadline + left;
                next = attempt.resume(inner.clock.wall());
            }
            Next::Done(material) => return Ok(material),
            Next::Refused(refusal) => return Err(Cause::Refused(refusal, retry_after)),
        }
    }
}

/// `Retry-After` in seconds (RFC 9110 section 10.2.3); its date form is left to the recipe's own
/// pause.
pub(super) fn seconds(headers: &HeaderMap) -> Option<Duration> {
    headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

/// A session, or a version of one, of what a login or a later answer gave.
pub(super) fn session(
    inner: &Inner,
    key: SessionKey,
    generation: Generation,
    material: Material,
    tenure: Arc<Tenure>,
) -> Result<Arc<Session>, Unusable> {
    let (upstream, _) = inner.upstream_and_account(&key);
    let wall = inner.clock.wall();
    let injector = Injector::new(&upstream.recipe, &material, wall)?;
    let guarded = guarded(&upstream.recipe, &material);
    let life = material.expires.map(|end| end.duration_since(wall).unwrap_or_default());
    Ok(Arc::new(Session {
        key,
        generation,
        injector,
        material,
        expires: life.map(|life| inner.clock.now() + life),
        tenure,
        probed: Mutex::default(),
        guarded,
        contradicted: OnceLock::new(),
    }))
}

/// Everything secret that is long enough to be found only where it really stands, in all its forms.
fn guarded(recipe: &Recipe, material: &Material) -> Vec<SecretText> {
    let is_secret =
        |name: &str| recipe.fields.get(name).is_none_or(|field| field.kind == FieldKind::Secret);
    let values = material.values.iter().filter(|(name, _)| is_secret(name));
    let values = values.chain(material.cookies.iter()).map(|(_, value)| value);
    let values = values.filter(|value| value.expose().len() >= SEARCHED_BYTES_MIN);
    values.flat_map(SecretText::forms).collect()
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
            took,
        }));
    }
}
