//! What an earlier run has left: budgets are taken over, sessions that are still alive are used on,
//! the others are closed. A login that was begun and never ended is counted as one whose answer was
//! lost, however far it had come.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{Semaphore, watch};

use super::account::Guard;
use super::broker::Inner;
use super::entry::{Entry, Record, Stage, origin_of};
use super::jitter::Jitter;
use super::ledger::{Ledger, budget_key};
use super::probe::{self, Aliveness};
use super::snapshot::shown;
use super::store::{Flight, Outcome};
use super::tenure::Tenure;
use super::{
    Doubt, Generation, Scope, Session, SessionKey, Upstream, flight, ledger, retire, roll, upkeep,
};
use crate::clock::Clock;
use crate::state::{Change, Content, RecordKey, Store, Table};
use crate::telemetry::{Event, Lost};

/// Questions and logouts at a time for what an earlier run has left.
const AT_ONCE: usize = 8;

/// For so long the ledger remembers what cannot be closed and nobody uses: no vendor keeps a session
/// longer then.
const REMEMBERED: Duration = Duration::from_secs(7 * 24 * 3600);

/// What an earlier run has left, and where this one leaves what is to be kept.
#[derive(Debug, Default)]
pub struct Kept {
    /// Where it is written.
    pub ledger: Ledger,
    /// What was read.
    pub records: Vec<(Table, RecordKey, Content)>,
    /// Something may have been forgotten: accounts without a record are tried with care.
    pub cautious: bool,
}

/// What was read, by what it is about.
pub(super) struct Restore {
    pub(super) ledger: Ledger,
    budgets: HashMap<RecordKey, Content>,
    entries: Vec<(RecordKey, Entry)>,
    cautious: bool,
}

/// Not with what it holds, which are sessions.
impl fmt::Debug for Restore {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Restore").finish_non_exhaustive()
    }
}

impl Kept {
    pub(super) fn sorted(self) -> Restore {
        let Self { ledger, records, cautious } = self;
        let (mut budgets, mut entries) = (HashMap::new(), Vec::new());
        for (table, key, content) in records {
            match table {
                Table::Accounts => _ = budgets.insert(key, content),
                // What cannot be understood stays where it is.
                Table::Sessions => entries.extend(Entry::parse(&content).map(|entry| (key, entry))),
            }
        }
        Restore { ledger, budgets, entries, cautious }
    }
}

impl Restore {
    /// The logins of this name that were begun and never ended.
    fn begun(
        &self,
        upstream: &Upstream,
        login_name: &str,
    ) -> impl Iterator<Item = &(RecordKey, Entry)> {
        self.entries.iter().filter(move |(_, entry)| {
            entry.stage == Stage::Begun
                && entry.upstream == *upstream.name
                && entry.login_name == login_name
        })
    }

    /// Lists the logins that were interrupted as lost, to be written with the [guard](Self::guard)
    /// that has counted them: then nobody counts them again.
    pub(super) fn interrupted(&self, upstream: &Upstream, login_name: &str) -> Vec<Change> {
        let lost = |(key, entry): &(RecordKey, Entry)| {
            Change::Replace(Table::Sessions, *key, entry.is_lost().written())
        };
        self.begun(upstream, login_name).map(lost).collect()
    }

    /// Where changes are written.
    pub(super) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The guard of a login name: as it was, and with the logins that were interrupted.
    pub(super) fn guard(
        &self,
        upstream: &Upstream,
        login_name: &str,
        distance: Duration,
        clock: &Clock,
    ) -> Guard {
        let (budget, now) = (upstream.recipe.budget, clock.now());
        let Some(store) = &self.ledger.store else { return Guard::new(budget, now) };
        let kept = self.budgets.get(&budget_key(store, &upstream.name, login_name));
        let mut guard = match kept {
            // A budget that cannot be understood may have been spent.
            Some(kept) => Guard::restored(kept, budget, distance, now, clock.wall())
                .unwrap_or_else(|| Guard::cautious(budget, now)),
            None if self.cautious => Guard::cautious(budget, now),
            None => Guard::new(budget, now),
        };
        for (number, _) in self.begun(upstream, login_name).enumerate() {
            guard.was_interrupted(now, Jitter::of(Generation(number as u64)));
        }
        guard
    }

    /// Where it is written.
    pub(super) fn store(&self) -> Option<&Store> {
        self.ledger.store.as_ref()
    }

    /// The guard of a login name has taken its budget over: what was read of it is out of date soon.
    pub(super) fn was_taken_over(&mut self, upstream: &Upstream, login_name: &str) {
        if let Some(store) = &self.ledger.store {
            self.budgets.remove(&budget_key(store, &upstream.name, login_name));
        }
    }

    /// The logins and sessions, once their attempts are counted.
    pub(super) fn take_entries(&mut self) -> Vec<(RecordKey, Entry)> {
        std::mem::take(&mut self.entries)
    }
}

/// What becomes of a record.
enum Fate {
    /// It is asked after and used on, or closed.
    Adopt,
    /// It is logged out.
    Close,
    /// Its answer was lost.
    Lost,
    /// Nobody can do anything about it now.
    Leave,
    /// Its upstream has forgotten it.
    Forget,
}

/// Takes care of all that was left. Those who need a session that is being asked after wait for
/// that as for a login.
pub(super) fn begin(inner: &Arc<Inner>, entries: Vec<(RecordKey, Entry)>) {
    let mut found = Vec::new();
    for (record, entry) in entries {
        match locate(inner, &entry) {
            Some(key) => found.push((key, record, entry)),
            None => leave(inner, record, entry),
        }
    }
    // The newest of several is the one that was in use.
    found.sort_by_key(|(_, _, entry)| std::cmp::Reverse(entry.begun));
    let at_once = Arc::new(Semaphore::new(AT_ONCE));
    let mut adopted: Vec<(SessionKey, Entry)> = Vec::new();
    for (key, record, entry) in found {
        let (place, record) = (record, entry.record(record));
        let mut fate = fate(inner, &key, &entry);
        // Some upstreams give the session that there is to whoever logs in: to log the older one out
        // would end the one that is used on.
        let same = |(used, other): &(SessionKey, Entry)| {
            used.upstream == key.upstream && other.is_same_session(&entry)
        };
        if matches!(fate, Fate::Adopt | Fate::Close) && adopted.iter().any(same) {
            fate = Fate::Forget;
        }
        if entry.stage == Stage::Refreshing {
            inner.report_lost(&key, Lost::Refresh);
        }
        match fate {
            Fate::Adopt => {
                adopt(inner, key, record, &entry, &at_once);
                adopted.push((key, entry));
            }
            Fate::Close => close(inner, key, record, &entry, &at_once),
            Fate::Lost => lose(inner, key, record),
            Fate::Leave => leave(inner, place, entry),
            Fate::Forget => {
                let task = Arc::clone(inner);
                let forgetting = async move { task.record_end(&key, Some(record)).await };
                inner.tasks.spawn_on(forgetting, &inner.control);
            }
        }
    }
}

/// Whose session it was; nothing where its account is not configured any more.
fn locate(inner: &Inner, entry: &Entry) -> Option<SessionKey> {
    let mut members = inner.members.all();
    members.retain(|one| {
        *one.upstream.name == *entry.upstream && one.account.login_name == entry.login_name
    });
    let named = members.iter().find(|one| *one.account.name == *entry.account);
    let is_cut_off = entry.stage == Stage::Begun;
    // A login that was cut off is counted for whoever has its login name.
    let member = named.or_else(|| members.first().filter(|_| is_cut_off))?;
    Some(SessionKey {
        upstream: member.upstream.id,
        tenant: member.upstream.tenant,
        account: member.account.id,
        fingerprint: entry.fingerprint()?,
        scope: entry.scope()?,
    })
}

fn fate(inner: &Inner, key: &SessionKey, entry: &Entry) -> Fate {
    let (upstream, account) = inner.upstream_and_account(key);
    let wall = inner.clock.wall();
    // Where it can be refreshed, something outlives the end of its token.
    let has_ended = entry.has_ended(wall);
    if has_ended && upstream.recipe.refresh.is_empty() {
        return Fate::Forget;
    }
    let is_current = key.scope == Scope::Shared
        && account.credentials().fingerprint == key.fingerprint
        && entry.recipe == shown(upstream.recipe_print)
        && upstream.recipe.probe.is_some();
    match entry.stage {
        Stage::Begun => Fate::Lost,
        Stage::AnswerLost => Fate::Leave,
        // What one place gave is sent to no other.
        _ if entry.origin != origin_of(&upstream) => Fate::Leave,
        Stage::Open | Stage::Refreshing | Stage::Spent if is_current && !has_ended => Fate::Adopt,
        Stage::Closing if is_forgotten(entry, wall) => Fate::Forget,
        Stage::Open | Stage::Refreshing | Stage::Spent | Stage::Closing => Fate::Close,
    }
}

fn is_forgotten(entry: &Entry, wall: SystemTime) -> bool {
    entry.unused_for(wall).is_some_and(|unused| unused > REMEMBERED)
}

/// Leaves a record where it is until it is forgotten. What was in use before begins its time now.
fn leave(inner: &Arc<Inner>, record: RecordKey, mut entry: Entry) {
    let Some(store) = inner.ledger.store.clone() else { return };
    let wall = inner.clock.wall();
    let change = if is_forgotten(&entry, wall) {
        Change::Delete(Table::Sessions, record)
    } else if entry.unused_for(wall).is_none() {
        entry.is_left(wall);
        Change::Replace(Table::Sessions, record, entry.written())
    } else {
        return;
    };
    // Where it cannot be written, the next start does the same.
    let leaving = async move { _ = store.write(vec![change]).await };
    inner.tasks.spawn_on(leaving, &inner.control);
}

fn session(
    inner: &Inner,
    key: SessionKey,
    generation: Generation,
    record: Record,
    entry: &Entry,
) -> Option<Arc<Session>> {
    let (upstream, account) = inner.upstream_and_account(&key);
    let material = entry.material(&account.credentials().values, &upstream.origin.base_path);
    let slot = inner.standing(&key).slots.take_now();
    let age = inner.clock.wall().duration_since(record.begun).unwrap_or_default();
    let tenure = Tenure::begin(account, generation, inner.clock.now() - age, slot, Some(record));
    if entry.was_refresh_sent() && tenure.claim_refresh() {
        tenure.was_not_refreshed();
    }
    flight::session(inner, key, generation, material, Arc::new(tenure)).ok()
}

fn adopt(
    inner: &Arc<Inner>,
    key: SessionKey,
    record: Record,
    entry: &Entry,
    at_once: &Arc<Semaphore>,
) {
    let generation = inner.next_generation();
    let Some(session) = session(inner, key, generation, record, entry) else {
        return close(inner, key, record, entry, at_once);
    };
    let (sender, outcome) = watch::channel(None);
    let (mut is_first, flight) = (false, Flight { generation, outcome, waiters: Arc::default() });
    let (task, sender) = (Arc::clone(inner), Some(sender));
    let landing = Landing { inner: task, key, generation, sender };
    let joined = inner.store.join(key, || {
        is_first = true;
        Ok(flight)
    });
    if joined.is_err() || !is_first {
        return close_session(inner, session, at_once);
    }
    let (task, at_once) = (Arc::clone(inner), Arc::clone(at_once));
    // Its record says otherwise of it than what it is from now on.
    let is_changed = entry.stage != Stage::Open || entry.unused_for(inner.clock.wall()).is_some();
    let can_be_refreshed = !inner.upstream(&key).recipe.refresh.is_empty();
    let adopting = async move {
        let inner = task;
        // The semaphore is never closed.
        let permit = at_once.acquire().await;
        let aliveness = tokio::select! {
            aliveness = probe::probe(&inner, &session, Doubt::Contradicted) => aliveness,
            () = inner.stopping.cancelled() => Aliveness::Unknown,
        };
        drop(permit);
        let alive = (aliveness == Aliveness::Alive).then(|| roll::newest(&inner, &session));
        if let Some(alive) = &alive {
            inner.reporter.report(Event::Adopted(inner.about(alive)));
            // Clients of the earlier run have used it: it may be let go like any other.
            if alive.tenure.was_used(inner.clock.now()) {
                inner.standing(&key).slots.used_first();
            }
        }
        if let Some(unused) = landing.land(alive.clone()) {
            // Doorward is stopping.
            retire::retire(&inner, unused);
            return;
        }
        if let Some(alive) = alive {
            upkeep::begin(&inner, &alive);
            if is_changed || alive.generation != generation {
                ledger::record_soon(&inner, &alive);
            }
            return;
        }
        match aliveness {
            // What it is refreshed with may be good, and is given back by the logout.
            Aliveness::Dead if !can_be_refreshed => {
                session.tenure.end();
                inner.record_end(&key, Some(record)).await;
            }
            Aliveness::Alive | Aliveness::Unknown if inner.keeps_sessions_now() => {}
            Aliveness::Dead | Aliveness::Alive | Aliveness::Unknown => {
                close_now(&inner, &session).await
            }
        }
    };
    inner.tasks.spawn_on(adopting, &inner.control);
}

/// Ends the asking after a session exactly once, even if its task dies.
struct Landing {
    inner: Arc<Inner>,
    key: SessionKey,
    generation: Generation,
    /// Nothing as soon as it has landed.
    sender: Option<watch::Sender<Option<Outcome>>>,
}

impl Landing {
    /// Lands with a session that is alive, or with nothing: then who waits is not told anything, and
    /// asks for a login. Returns a session that nobody has waited for.
    fn land(mut self, alive: Option<Arc<Session>>) -> Option<Arc<Session>> {
        let unused = self.inner.store.land(self.key, self.generation, alive.clone());
        if let Some(sender) = self.sender.take()
            && let (Some(alive), None) = (alive, &unused)
        {
            sender.send_replace(Some(Ok(alive)));
        }
        unused
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        if self.sender.is_some() {
            // With nothing to land there is nothing that nobody has waited for.
            _ = self.inner.store.land(self.key, self.generation, None);
        }
    }
}

fn close(
    inner: &Arc<Inner>,
    key: SessionKey,
    record: Record,
    entry: &Entry,
    at_once: &Arc<Semaphore>,
) {
    match session(inner, key, inner.next_generation(), record, entry) {
        Some(session) => close_session(inner, session, at_once),
        // Its logout cannot be made out of what is known.
        None => {
            report(inner, &key, false);
            let task = Arc::clone(inner);
            let forgetting = async move { task.record_end(&key, Some(record)).await };
            inner.tasks.spawn_on(forgetting, &inner.control);
        }
    }
}

fn close_session(inner: &Arc<Inner>, session: Arc<Session>, at_once: &Arc<Semaphore>) {
    let (task, at_once) = (Arc::clone(inner), Arc::clone(at_once));
    let closing = async move {
        let _permit = at_once.acquire().await;
        close_now(&task, &session).await;
    };
    inner.tasks.spawn_on(closing, &inner.control);
}

async fn close_now(inner: &Arc<Inner>, session: &Arc<Session>) {
    let closed = retire::close(inner, session).await;
    report(inner, &session.key, closed);
}

fn report(inner: &Inner, key: &SessionKey, closed: bool) {
    let (upstream, account) = inner.upstream_and_account(key);
    let (upstream, account) = (upstream.name.clone(), account.name.clone());
    inner.reporter.report(Event::LeftOpen { upstream, account, closed });
}

fn lose(inner: &Arc<Inner>, key: SessionKey, record: Record) {
    inner.report_lost(&key, Lost::Login);
    let task = Arc::clone(inner);
    let losing = async move {
        // Where it cannot be written it is counted once more at the next start.
        _ = task.record_stage(&key, Some(record), Stage::AnswerLost).await;
    };
    inner.tasks.spawn_on(losing, &inner.control);
}
