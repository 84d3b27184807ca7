//! The broker: gives sessions, takes reports of dead ones, and ends them all when Doorward stops.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::account::{Guard, State, class_name};
use super::gate::Gate;
use super::ledger::Ledger;
use super::members::Members;
use super::prolong::Lapsed;
use super::restart::{self, Kept};
use super::schedule::Schedule;
use super::standing::Standing;
use super::store::{Expiry, Joined, Store};
use super::tenure::Refresh;
use super::{
    Account, AccountId, Aliveness, Doubt, Evidence, Generation, Held, LogoutReport, Mechanism,
    Scope, Session, SessionKey, Unavailable, Upstream, flight, probe, renew, retire, roll, upkeep,
};
use crate::clock::{Clock, Moment};
use crate::fields::Fields;
use crate::telemetry::{About, Event, Reporter, Stage, Trigger};

/// Keys that one request asks with while the account's secret changes under it.
const KEYS_MAX: u32 = 3;

/// How long the parts of a session's life may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A login, all its steps.
    pub login_timeout: Duration,
    /// One session's logout.
    pub logout_timeout: Duration,
    /// How long a replaced session waits for the requests that carry it.
    pub drain_timeout: Duration,
    /// After this time without a client's request a session is logged out.
    pub session_idle: Duration,
    /// The most sessions at a time, of all accounts.
    pub sessions_max: usize,
    /// From the beginning of one login of an account to the next, at least.
    pub login_distance: Duration,
}

/// A session of an earlier run that turns out dead is followed by a login; no more can come.
const JOINS_MAX: usize = 2;

/// Gives sessions. Clones are the same broker.
#[derive(Clone, Debug)]
pub struct Broker(pub(super) Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) members: Members,
    pub(super) ledger: Ledger,
    /// What could not be logged out.
    pub(super) left_over: retire::LeftOver,
    pub(super) schedule: Schedule,
    pub(super) lapsed: Lapsed,
    pub(super) store: Store,
    pub(super) clock: Clock,
    pub(super) reporter: Reporter,
    limits: ArcSwap<Limits>,
    /// The control side: logins never run on a data core.
    pub(super) control: Handle,
    pub(super) tasks: TaskTracker,
    pub(super) stopping: CancellationToken,
    pub(super) logouts_at_stop: retire::Tally,
    generations: AtomicU64,
    pub(super) without: Option<Mechanism>,
}

/// What a broker is made of.
#[derive(Debug)]
pub struct Parts {
    /// The upstreams.
    pub upstreams: Vec<Arc<Upstream>>,
    /// The clock.
    pub clock: Clock,
    /// Where events are reported.
    pub reporter: Reporter,
    /// How long things may take.
    pub limits: Limits,
    /// The runtime of the control side.
    pub control: Handle,
    /// A mechanism that is switched off, to prove that its test notices.
    pub without: Option<Mechanism>,
    /// What an earlier run has left, and where this one leaves what is to be kept.
    pub kept: Kept,
}

impl Broker {
    /// A broker that knows what an earlier run has left. Its sessions are asked after in the
    /// background: who needs one waits for that.
    pub fn new(parts: Parts) -> Self {
        let restore = parts.kept.sorted();
        let ledger = restore.ledger().clone();
        let members = Members::new(restore);
        members.set(&parts.upstreams, &parts.clock, parts.limits.login_distance);
        let entries = members.take_entries();
        let inner = Arc::new(Inner {
            members,
            ledger,
            left_over: retire::LeftOver::default(),
            schedule: Schedule::default(),
            lapsed: Lapsed::default(),
            store: Store::default(),
            clock: parts.clock,
            reporter: parts.reporter,
            limits: ArcSwap::from_pointee(parts.limits),
            control: parts.control,
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
            logouts_at_stop: retire::Tally::default(),
            generations: AtomicU64::new(0),
            without: parts.without,
        });
        inner.tasks.spawn_on(upkeep::run(Arc::clone(&inner)), &inner.control);
        restart::begin(&inner, entries);
        Self(inner)
    }

    /// The key of an account's session now; see [`SessionKey::now`]. The account must be known.
    pub fn key(&self, account: AccountId, scope: Scope) -> SessionKey {
        self.0.key(account, scope)
    }

    /// A session that is not known to be dead: the one there is, or that of the login under way, or
    /// that of a new login. Cancel safe: a login goes on without its callers.
    ///
    /// # Errors
    /// See [`Unavailable`]. At `deadline` the wait ends, the login does not.
    pub async fn session(
        &self,
        mut key: SessionKey,
        trigger: Trigger,
        deadline: Moment,
    ) -> Result<Held, Unavailable> {
        for _ in 1..KEYS_MAX {
            let outcome = self.session_of(key, trigger, deadline).await;
            if outcome.is_ok() {
                return outcome;
            }
            let now = self.0.account(&key).vault.fingerprint();
            if now == key.fingerprint {
                return outcome;
            }
            key.fingerprint = now;
        }
        self.session_of(key, trigger, deadline).await
    }

    async fn session_of(
        &self,
        key: SessionKey,
        trigger: Trigger,
        deadline: Moment,
    ) -> Result<Held, Unavailable> {
        let inner = &self.0;
        match inner.live(&key) {
            Some(held) => Ok(held),
            // Boxed: few requests need the room.
            None => Box::pin(self.awaited(key, trigger, deadline)).await,
        }
    }

    /// The session that a flight brings, or one that is there meanwhile.
    async fn awaited(
        &self,
        key: SessionKey,
        trigger: Trigger,
        deadline: Moment,
    ) -> Result<Held, Unavailable> {
        let inner = &self.0;
        let member = inner.members.of(key.account);
        let _waits = member.standing.waiting.begin();
        for _ in 0..JOINS_MAX {
            let begin = || flight::begin(inner, key, trigger);
            let mut flight = match inner.store.join(key, begin)? {
                Joined::Session(session) => return Ok(self.held(&session)),
                Joined::Flight(flight) => flight,
            };
            let _waiter = flight.waiter();
            tokio::select! {
                outcome = flight.outcome.wait_for(Option::is_some) => match outcome {
                    Ok(outcome) => {
                        let session = outcome.clone().unwrap_or(Err(Unavailable::Timeout))?;
                        return Ok(Held { awaited: true, ..self.held(&session) });
                    }
                    // A session of an earlier run was asked after, and is not alive.
                    Err(_) => continue,
                },
                () = inner.clock.sleep_until(deadline) => return Err(Unavailable::Timeout),
            }
        }
        Err(Unavailable::Timeout)
    }

    /// The current session of a key, or this one: what has ended meanwhile is used all the same, and
    /// its end is found out by the answer.
    fn held(&self, session: &Arc<Session>) -> Held {
        self.0.live(&session.key).unwrap_or_else(|| Held::of(session))
    }

    /// Reports that the upstream called `session` dead. A report about any but the current
    /// generation changes nothing: a late answer never ends a newer session.
    pub fn expire(&self, session: &Session, evidence: Evidence) {
        self.0.expire(session, evidence);
    }

    /// Takes note that a client's request was answered now as by a living session.
    pub fn was_used(&self, session: &Session, now: Moment) {
        if session.tenure.was_used(now) {
            self.0.standing(&session.key).slots.used_first();
        }
    }

    /// Takes what an answer to a request for `path` below the upstream's URL changes of the living
    /// session that the request carried. Returns the next version of the session, whose values must
    /// not leave either; nothing when the answer changes nothing, as most do.
    pub fn roll(
        &self,
        upstream: &Upstream,
        session: &Arc<Session>,
        headers: &Fields,
        path: &str,
    ) -> Option<Arc<Session>> {
        roll::roll(&self.0, upstream, session, headers, path)
    }

    /// Asks the upstream whether `session` is alive, at most once for all who ask at the same time.
    pub async fn probe(&self, session: &Arc<Session>, doubt: Doubt, deadline: Moment) -> Aliveness {
        tokio::select! {
            known = probe::probe(&self.0, session, doubt) => known,
            () = self.0.clock.sleep_until(deadline) => Aliveness::Unknown,
        }
    }

    /// Brings the values of `session` anew that its recipe's renewal brings, at most once for all who
    /// ask at the same time. Whether the request is worth sending again.
    pub async fn renew(&self, session: &Arc<Session>, deadline: Moment) -> bool {
        tokio::select! {
            renewed = renew::renew(&self.0, session) => renewed,
            () = self.0.clock.sleep_until(deadline) => false,
        }
    }

    /// Whether the account may log in, as the lock-out guard sees it.
    pub fn account_state(&self, account: AccountId) -> State {
        self.0.members.of(account).gate.with(|guard| guard.state().clone())
    }

    /// Whether a mechanism is switched off.
    pub fn is_without(&self, mechanism: Mechanism) -> bool {
        self.0.without == Some(mechanism)
    }

    /// Writes what is waiting to be written and lets the state go. Nothing is recorded afterwards.
    pub async fn close_state(&self) {
        if let Some(store) = &self.0.ledger.store {
            store.close().await;
        }
    }

    /// How many sessions may be used.
    pub fn live_sessions(&self) -> usize {
        self.0.store.live()
    }

    /// Begins no login any more, waits for those under way, and logs out every session within
    /// `within`.
    pub async fn stop(&self, within: Duration) -> LogoutReport {
        retire::stop(&self.0, within).await
    }
}

impl Inner {
    pub(super) fn upstream(&self, key: &SessionKey) -> Arc<Upstream> {
        Arc::clone(&self.members.of(key.account).upstream)
    }

    pub(super) fn account(&self, key: &SessionKey) -> Arc<Account> {
        Arc::clone(&self.members.of(key.account).account)
    }

    pub(super) fn gate(&self, key: &SessionKey) -> Arc<Gate> {
        Arc::clone(&self.members.of(key.account).gate)
    }

    pub(super) fn standing(&self, key: &SessionKey) -> Arc<Standing> {
        Arc::clone(&self.members.of(key.account).standing)
    }

    /// How long things may take now.
    pub(super) fn limits(&self) -> Limits {
        **self.limits.load()
    }

    /// How long things may take from now on.
    pub(super) fn set_limits(&self, limits: Limits) {
        self.limits.store(Arc::new(limits));
    }

    pub(super) fn key(&self, account: AccountId, scope: Scope) -> SessionKey {
        let member = self.members.of(account);
        SessionKey::now(&member.upstream, &member.account, scope)
    }

    pub(super) fn upstream_and_account(&self, key: &SessionKey) -> (Arc<Upstream>, Arc<Account>) {
        let member = self.members.of(key.account);
        (Arc::clone(&member.upstream), Arc::clone(&member.account))
    }

    /// Runs `act` on the guard of a key's account.
    pub(super) fn with_guard<T>(&self, key: &SessionKey, act: impl FnOnce(&mut Guard) -> T) -> T {
        self.gate(key).with(act)
    }

    pub(super) fn next_generation(&self) -> Generation {
        Generation(self.generations.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Whether a flight of `key` can begin with a refresh, as far as can be told without a look into
    /// the store.
    pub(super) fn can_refresh(&self, key: &SessionKey, trigger: Trigger) -> bool {
        let (upstream, _) = self.upstream_and_account(key);
        !upstream.recipe.refresh.is_empty()
            && (trigger == Trigger::Refresh || self.lapsed.holds(key))
    }

    fn newest_generation(&self) -> Generation {
        Generation(self.generations.load(Ordering::Relaxed))
    }

    pub(super) fn about(&self, session: &Session) -> About {
        let (upstream, account) = self.upstream_and_account(&session.key);
        About {
            upstream: Arc::clone(&upstream.name),
            account: Arc::clone(&account.name),
            generation: session.generation.0,
        }
    }

    /// Whether the secrets of this key are in use or tried out.
    pub(super) fn knows(&self, key: &SessionKey) -> bool {
        self.account(key).vault.of(key.fingerprint).is_some()
    }

    /// Tells what a failed login means for the account. A new secret that was refused is the
    /// rotation's to tell: the account goes on with the old one.
    pub(super) fn report_refusal(&self, key: &SessionKey, told: &Unavailable) {
        let account = self.account(key);
        let vault = &account.vault;
        let cause = match told {
            Unavailable::Refused(class) => Some(class.map_or("unclassified", class_name)),
            _ => None,
        };
        if let Some(cause) = cause
            && vault.refused(key.fingerprint, cause)
        {
            self.report_rotation(key.account, Stage::Refused { cause });
        } else if vault.fingerprint() == key.fingerprint {
            self.report_quarantine(key);
        }
    }

    fn report_quarantine(&self, key: &SessionKey) {
        let state = self.with_guard(key, |guard| guard.state().clone());
        if let State::Quarantined { cause, .. } = state {
            let (upstream, account) = self.upstream_and_account(key);
            self.reporter.report(Event::Quarantined {
                upstream: Arc::clone(&upstream.name),
                account: Arc::clone(&account.name),
                cause: cause.map_or("unclassified", class_name),
            });
        }
    }

    /// The current session, unless its known end has come.
    fn live(self: &Arc<Self>, key: &SessionKey) -> Option<Held> {
        let held = self.store.hold(key)?;
        match held.session.expires {
            Some(expires) if self.clock.now() >= expires => {
                self.end_at_known_time(&held.session);
                None
            }
            _ => Some(held),
        }
    }

    /// Ends a session whose known end has come.
    pub(super) fn end_at_known_time(self: &Arc<Self>, session: &Session) {
        let is_dead = |current: &Session| current.generation == session.generation;
        // Who finds the key without a session finds what can be prolonged.
        let leave = |ended| self.lapsed.put(self, ended);
        if let Expiry::Ended(ended) = self.store.expire(session.key, is_dead, leave) {
            self.reporter.report(Event::Expired(self.about(session)));
            let Some(ended) = ended else { return };
            ended.tenure.end();
            retire::bury(self, ended, Evidence::Certain);
        }
    }

    /// Takes a dead session out of the ledger, in the background: found there at the next start, it
    /// would be asked after first.
    pub(super) fn forget(self: &Arc<Self>, session: &Session) {
        if session.tenure.record.is_none() {
            return;
        }
        let (inner, key, tenure) = (Arc::clone(self), session.key, Arc::clone(&session.tenure));
        let forgetting = async move { inner.record_end(&key, tenure.record).await };
        self.tasks.spawn_on(forgetting, &self.control);
    }

    /// Ends a session that its upstream calls dead, if it is the current one.
    pub(super) fn expire(self: &Arc<Self>, session: &Session, evidence: Evidence) {
        let guarded = self.without != Some(Mechanism::GenerationGuard);
        let is_dead = |current: &Session| !guarded || current.generation == session.generation;
        let leave = |ended: Arc<Session>| {
            // Our own refresh ends what it replaces.
            let is_ours = ended.tenure.refresh() == Refresh::UnderWay;
            (is_ours, Arc::clone(&ended), self.lapsed.put(self, ended))
        };
        let expiry = self.store.expire(session.key, is_dead, leave);
        let Expiry::Ended((is_ours, ended, unwanted)) = expiry else {
            self.reporter.report(Event::LateExpiry(self.about(session)));
            return;
        };
        self.reporter.report(Event::Expired(self.about(session)));
        let now = self.clock.now();
        if !is_ours
            && let Some(pause) =
                self.standing(&session.key).died(&ended, self.newest_generation(), now)
        {
            self.reporter.report(Event::Displaced { about: self.about(session), pause });
        }
        let Some(ended) = unwanted else { return };
        ended.tenure.end();
        // Without a probe nobody was asked.
        let (upstream, _) = self.upstream_and_account(&session.key);
        let evidence = upstream.recipe.probe.as_ref().map_or(Evidence::Verdict, |_| evidence);
        retire::bury(self, ended, evidence);
    }
}
