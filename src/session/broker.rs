//! The broker: gives sessions, takes reports of dead ones, and ends them all when Doorward stops.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::HeaderMap;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::account::{Guard, State, class_name};
use super::gate::Gate;
use super::ledger::Ledger;
use super::prolong::Lapsed;
use super::restart::{self, Kept};
use super::schedule::Schedule;
use super::standing::Standing;
use super::store::{Expiry, Joined, Store};
use super::tenure::Refresh;
use super::{
    Account, AccountId, Aliveness, Doubt, Evidence, Generation, Held, LogoutReport, Mechanism,
    Scope, Session, SessionKey, Transport, Unavailable, Upstream, UpstreamId, flight, probe,
    retire, roll, upkeep,
};
use crate::clock::{Clock, Moment};
use crate::recipe::Recipe;
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
    pub(super) upstreams: Vec<Upstream>,
    /// One gate a login name of an upstream, by upstream and account.
    gates: Vec<Vec<Arc<Gate>>>,
    pub(super) ledger: Ledger,
    /// What could not be logged out.
    pub(super) left_over: retire::LeftOver,
    /// One standing a login name of an upstream, in the same order.
    standings: Vec<Vec<Arc<Standing>>>,
    pub(super) schedule: Schedule,
    pub(super) lapsed: Lapsed,
    pub(super) store: Store,
    pub(super) transport: Transport,
    pub(super) clock: Clock,
    pub(super) reporter: Reporter,
    pub(super) limits: Limits,
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
    /// The upstreams, by [`UpstreamId`].
    pub upstreams: Vec<Upstream>,
    /// How the control side talks to them.
    pub transport: Transport,
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
        let distance = parts.limits.login_distance;
        let gates = parts.upstreams.iter().map(|upstream| {
            by_login_name(upstream, |login_name| {
                Gate::new(restore.guard(upstream, login_name, distance, &parts.clock))
            })
        });
        let gates = gates.collect();
        let standings = parts.upstreams.iter().map(|upstream| {
            by_login_name(upstream, |_| Standing::new(upstream.recipe.session.sessions_max))
        });
        let (ledger, entries) = restore.into_parts();
        let inner = Arc::new(Inner {
            gates,
            ledger,
            left_over: retire::LeftOver::default(),
            standings: standings.collect(),
            schedule: Schedule::default(),
            lapsed: Lapsed::default(),
            upstreams: parts.upstreams,
            store: Store::default(),
            transport: parts.transport,
            clock: parts.clock,
            reporter: parts.reporter,
            limits: parts.limits,
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

    /// The upstream with this id.
    pub fn upstream(&self, id: UpstreamId) -> &Upstream {
        self.0.upstream(id)
    }

    /// An account's name in the configuration.
    pub fn account_name(&self, upstream: UpstreamId, account: AccountId) -> &Arc<str> {
        &self.0.account(upstream, account).name
    }

    /// The recipes of all upstreams, by [`UpstreamId`].
    pub fn recipes(&self) -> impl Iterator<Item = Arc<Recipe>> {
        self.0.upstreams.iter().map(|upstream| Arc::clone(&upstream.recipe))
    }

    /// The key of the session that a request carries now. Made for each sending: the account's
    /// secret may have changed since the last one.
    pub fn key(&self, upstream: UpstreamId, account: AccountId, scope: Scope) -> SessionKey {
        self.0.key(upstream, account, scope)
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
            let now = self.0.account(key.upstream, key.account).vault.fingerprint();
            if outcome.is_ok() || now == key.fingerprint {
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
        for _ in 0..JOINS_MAX {
            let begin = || flight::begin(inner, key, trigger);
            let mut flight = match inner.store.join(key, begin)? {
                Joined::Session(session) => return Ok(self.held(&session)),
                Joined::Flight(flight) => flight,
            };
            tokio::select! {
                outcome = flight.outcome.wait_for(Option::is_some) => match outcome {
                    Ok(outcome) => {
                        let session = outcome.clone().unwrap_or(Err(Unavailable::Timeout))?;
                        return Ok(self.held(&session));
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
        session: &Arc<Session>,
        headers: &HeaderMap,
        path: &str,
    ) -> Option<Arc<Session>> {
        roll::roll(&self.0, session, headers, path)
    }

    /// Asks the upstream whether `session` is alive, at most once for all who ask at the same time.
    pub async fn probe(&self, session: &Arc<Session>, doubt: Doubt, deadline: Moment) -> Aliveness {
        tokio::select! {
            known = probe::probe(&self.0, session, doubt) => known,
            () = self.0.clock.sleep_until(deadline) => Aliveness::Unknown,
        }
    }

    /// Whether the account may log in, as the lock-out guard sees it.
    pub fn account_state(&self, upstream: UpstreamId, account: AccountId) -> State {
        let key = self.key(upstream, account, Scope::Shared);
        self.0.gate(&key).with(|guard| guard.state().clone())
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

/// One value a login name, by account: accounts that share a login name share it.
fn by_login_name<T>(upstream: &Upstream, make: impl Fn(&str) -> T) -> Vec<Arc<T>> {
    let mut by_login_name = BTreeMap::new();
    let accounts = upstream.accounts.iter();
    accounts
        .map(|account| {
            let name = account.login_name.as_str();
            Arc::clone(by_login_name.entry(name).or_insert_with(|| Arc::new(make(name))))
        })
        .collect()
}

#[expect(clippy::indexing_slicing, reason = "ids are made from the same lists that they index")]
impl Inner {
    pub(super) fn upstream(&self, id: UpstreamId) -> &Upstream {
        &self.upstreams[usize::from(id.0)]
    }

    pub(super) fn account(&self, upstream: UpstreamId, account: AccountId) -> &Account {
        &self.upstream(upstream).accounts[usize::from(account.0)]
    }

    pub(super) fn gate(&self, key: &SessionKey) -> &Gate {
        &self.gates[usize::from(key.upstream.0)][usize::from(key.account.0)]
    }

    pub(super) fn standing(&self, key: &SessionKey) -> &Arc<Standing> {
        &self.standings[usize::from(key.upstream.0)][usize::from(key.account.0)]
    }
}

impl Inner {
    pub(super) fn key(&self, upstream: UpstreamId, account: AccountId, scope: Scope) -> SessionKey {
        let fingerprint = self.account(upstream, account).vault.fingerprint();
        let tenant = self.upstream(upstream).tenant;
        SessionKey { upstream, tenant, account, fingerprint, scope }
    }

    pub(super) fn upstream_and_account(&self, key: &SessionKey) -> (&Upstream, &Account) {
        (self.upstream(key.upstream), self.account(key.upstream, key.account))
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
        self.account(key.upstream, key.account).vault.of(key.fingerprint).is_some()
    }

    /// Tells what a failed login means for the account. A new secret that was refused is the
    /// rotation's to tell: the account goes on with the old one.
    pub(super) fn report_refusal(&self, key: &SessionKey, told: &Unavailable) {
        let vault = &self.account(key.upstream, key.account).vault;
        let cause = match told {
            Unavailable::Refused(class) => Some(class.map_or("unclassified", class_name)),
            _ => None,
        };
        if let Some(cause) = cause
            && vault.refused(key.fingerprint, cause)
        {
            self.report_rotation(key.upstream, key.account, Stage::Refused { cause });
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
        let (inner, key, record) = (Arc::clone(self), session.key, session.tenure.record);
        let forgetting = async move { inner.record_end(&key, record).await };
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
