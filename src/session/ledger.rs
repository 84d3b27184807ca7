//! The ledger: what is left of each budget, and what is open at upstreams, durable before it
//! counts. An attempt is recorded before its first byte is sent, a token before its first use, an
//! end before the logout is sent; what a crash leaves in the ledger is closed at the next start.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::broker::Inner;
use super::snapshot::{milliseconds, read, shown};
use super::{Account, ClientNumber, Mechanism, Scope, Session, SessionKey, Upstream};
use crate::login::{Jar, Material};
use crate::recipe::template::Values;
use crate::secret::{Fingerprint, SecretText};
use crate::state::{Change, Content, RecordKey, Store, Table, Unwritable};
use crate::telemetry::Event;

/// What happens when the ledger cannot be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// No login is sent whose attempt could not be recorded.
    #[default]
    Block,
    /// Logins go on.
    Continue,
}

/// What becomes of the sessions when Doorward stops.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AtStop {
    /// They are logged out.
    #[default]
    LogOut,
    /// They stay open for the next start.
    Keep,
}

/// Where the ledger is written; nowhere, where no state is kept.
#[derive(Debug, Default)]
pub struct Ledger {
    /// The store.
    pub store: Option<Store>,
    /// What happens when it cannot be written.
    pub on_failure: OnFailure,
    /// What becomes of the sessions at stop.
    pub at_stop: AtStop,
}

/// How far a session has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Stage {
    /// A login is about to be sent. Found at a start, its answer was lost.
    Begun,
    /// Some of its steps have given something.
    Partial,
    /// It is open.
    Open,
    /// Its logout is about to be sent: it is not used any more.
    Closing,
    /// Its login was sent and the answer never came: it may be open, and nobody can close it.
    AnswerLost,
}

/// One record of the ledger.
#[derive(Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) stage: Stage,
    pub(super) upstream: String,
    /// Where the upstream was: what it gave is sent nowhere else.
    pub(super) origin: String,
    /// What else the session depends on: the recipe with its parameters.
    pub(super) recipe: String,
    pub(super) account: String,
    pub(super) login_name: String,
    fingerprint: String,
    scope: String,
    /// When the login began, in milliseconds since 1970.
    pub(super) begun: u64,
    expires: Option<u64>,
    longest: Option<u64>,
    /// What was taken. The account's own fields are never written.
    values: Vec<(String, String)>,
    cookies: Vec<(String, String, String)>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        use zeroize::Zeroize;
        self.values.iter_mut().for_each(|(_, value)| value.zeroize());
        self.cookies.iter_mut().for_each(|(_, value, _)| value.zeroize());
    }
}

impl Entry {
    /// A record that was read; nothing when it cannot be understood.
    pub(super) fn parse(content: &[u8]) -> Option<Self> {
        serde_json::from_slice(content).ok()
    }

    fn written(&self) -> Content {
        // Strings and numbers can always be written. Room from the start: a vector that grows
        // leaves copies behind.
        let length = self.values.iter().map(|(_, value)| value.len() * 2).sum::<usize>()
            + self.cookies.iter().map(|(_, value, _)| value.len() * 2).sum::<usize>();
        let mut content = Zeroizing::new(Vec::with_capacity(length + 4096));
        _ = serde_json::to_writer(&mut *content, self);
        content
    }

    pub(super) fn fingerprint(&self) -> Option<Fingerprint> {
        read(&self.fingerprint)
    }

    pub(super) fn scope(&self) -> Option<Scope> {
        scope_named(&self.scope)
    }

    /// Whether both have the same token and cookies.
    pub(super) fn is_same_session(&self, other: &Self) -> bool {
        self.values == other.values && self.cookies == other.cookies
    }

    /// When its login began.
    pub(super) fn begun_at(&self) -> SystemTime {
        time(self.begun)
    }

    /// Whether its known end has come.
    pub(super) fn has_ended(&self, wall: SystemTime) -> bool {
        self.expires.is_some_and(|end| time(end) <= wall)
    }

    /// How old it is; nothing when the clock was set back since.
    pub(super) fn age(&self, wall: SystemTime) -> Duration {
        wall.duration_since(time(self.begun)).unwrap_or_default()
    }

    /// What the session consists of, with the account's own fields as they are now.
    pub(super) fn material(&self, account: &Values, base_path: &str) -> Material {
        let mut values = account.clone();
        for (name, value) in &self.values {
            values.set(name.clone(), SecretText::from(value.clone()));
        }
        let cookies = self.cookies.iter().cloned();
        Material {
            values,
            cookies: Jar::kept(base_path, cookies),
            expires: self.expires.map(time),
            longest: self.longest.map(time),
        }
    }
}

fn time(milliseconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(milliseconds)
}

/// A client's number is good for one run only: whose session it was is not written, and nobody gets
/// it again.
const NOBODY: Scope = Scope::Client(ClientNumber(u16::MAX));

fn scope_name(scope: Scope) -> &'static str {
    match scope {
        Scope::Shared => "shared",
        Scope::Client(_) => "client",
    }
}

fn scope_named(name: &str) -> Option<Scope> {
    [Scope::Shared, NOBODY].into_iter().find(|scope| scope_name(*scope) == name)
}

/// Tells one set of rules from another. An upgrade of Doorward may change it; then sessions are
/// logged out instead of used.
pub(super) fn recipe_print(upstream: &Upstream) -> String {
    let rules = SecretText::from(format!("{:?}", upstream.recipe));
    shown(Fingerprint::of([&rules]))
}

/// Where an upstream is.
pub(super) fn origin_of(upstream: &Upstream) -> String {
    let origin = &upstream.origin;
    let scheme = if origin.tls.is_some() { "https" } else { "http" };
    format!("{scheme}://{}:{}{}", origin.host, origin.port, origin.base_path)
}

/// A record as it is written.
pub(super) fn entry(
    upstream: &Upstream,
    account: &Account,
    fingerprint: Fingerprint,
    scope: Scope,
    record: Record,
    stage: Stage,
    material: Option<&Material>,
) -> Content {
    let fields = &upstream.recipe.fields;
    let values = material.iter().flat_map(|material| material.values.iter());
    let values = values.filter(|(name, _)| !fields.contains_key(*name));
    let cookies = material.iter().flat_map(|material| material.cookies.parts());
    let entry = Entry {
        stage,
        upstream: upstream.name.to_string(),
        origin: origin_of(upstream),
        recipe: recipe_print(upstream),
        account: account.name.to_string(),
        login_name: account.login_name.clone(),
        fingerprint: shown(fingerprint),
        scope: scope_name(scope).to_owned(),
        begun: milliseconds(record.begun),
        expires: material.and_then(|material| material.expires).map(milliseconds),
        longest: material.and_then(|material| material.longest).map(milliseconds),
        values: values.map(|(name, value)| (name.to_owned(), value.expose().to_owned())).collect(),
        cookies: cookies
            .map(|(name, value, path)| {
                (name.to_owned(), value.expose().to_owned(), path.to_owned())
            })
            .collect(),
    };
    entry.written()
}

/// The record of one login and the session that it gives.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    pub(super) key: RecordKey,
    pub(super) begun: SystemTime,
}

/// Records what a session has become, in the background. Of many changes that come faster than they
/// can be written, the last one counts.
pub(super) fn record_soon(inner: &Arc<Inner>, session: &Session) {
    let tenure = Arc::clone(&session.tenure);
    if tenure.record.is_none() || !tenure.claim_recording() {
        return;
    }
    let (task, key) = (Arc::clone(inner), session.key);
    let recording = async move {
        // What changes from here on is recorded by another task.
        tenure.give_recording_back();
        let current = task.store.session(&key);
        if let Some(current) = current.filter(|current| Arc::ptr_eq(&current.tenure, &tenure)) {
            task.record_change(&current).await;
        }
    };
    inner.tasks.spawn_on(recording, &inner.control);
}

impl Inner {
    /// Records that a login is about to be sent, and what that leaves of the budget.
    ///
    /// # Errors
    /// When it is not on the disk, and logins have to be.
    pub(super) async fn record_begin(
        &self,
        key: &SessionKey,
    ) -> Result<Option<Record>, Unwritable> {
        if self.ledger.store.is_none() {
            return Ok(None);
        }
        let record = Record { key: RecordKey::unique(), begun: self.clock.wall() };
        let content = self.entry(key, record, Stage::Begun, None);
        let change = Change::Put(Table::Sessions, record.key, content);
        self.allowed(self.record(key, vec![change]).await, key)?;
        Ok(Some(record))
    }

    /// Records what a login or its session has come to, with what is left of the budget.
    ///
    /// # Errors
    /// When it is not on the disk, and has to be.
    pub(super) async fn record_stage(
        &self,
        key: &SessionKey,
        record: Option<Record>,
        stage: Stage,
        material: Option<&Material>,
    ) -> Result<(), Unwritable> {
        let Some(record) = record else { return Ok(()) };
        let content = self.entry(key, record, stage, material);
        let change = Change::Replace(Table::Sessions, record.key, content);
        self.allowed(self.record(key, vec![change]).await, key)
    }

    /// Deletes a record: the upstream holds nothing of it any more.
    pub(super) async fn record_end(&self, key: &SessionKey, record: Option<Record>) {
        let Some(record) = record else { return };
        let change = Change::Delete(Table::Sessions, record.key);
        // Where it cannot be written it is asked after once more at the next start.
        _ = self.allowed(self.record(key, vec![change]).await, key);
    }

    /// Records what a session has become since its login. Where it has been closed meanwhile this
    /// changes nothing.
    pub(super) async fn record_change(&self, session: &Session) {
        let record = session.tenure.record;
        let material = Some(&*session.material);
        _ = self.record_stage(&session.key, record, Stage::Open, material).await;
    }

    /// Writes changes together with what is left of an account's budget, in the order in which the
    /// budget changes.
    async fn record(&self, key: &SessionKey, mut changes: Vec<Change>) -> Result<(), Unwritable> {
        let Some(store) = &self.ledger.store else { return Ok(()) };
        let (upstream, account) = self.upstream_and_account(key);
        let name = budget_key(store, &upstream.name, &account.login_name);
        let place = store.place().await?;
        let pending = self.gate(key).with(|guard| {
            let snapshot = guard.snapshot(self.clock.now(), self.clock.wall());
            changes.push(Change::Put(Table::Accounts, name, snapshot));
            place.write(changes)
        });
        pending.done().await
    }

    fn allowed(&self, written: Result<(), Unwritable>, key: &SessionKey) -> Result<(), Unwritable> {
        let Err(unwritable) = written else { return Ok(()) };
        let (upstream, account) = self.upstream_and_account(key);
        self.reporter.report(Event::StateUnwritable {
            upstream: upstream.name.clone(),
            account: account.name.clone(),
            why: unwritable.to_string(),
        });
        match self.ledger.on_failure {
            OnFailure::Block => Err(unwritable),
            OnFailure::Continue => Ok(()),
        }
    }

    fn entry(
        &self,
        key: &SessionKey,
        record: Record,
        stage: Stage,
        material: Option<&Material>,
    ) -> Content {
        let (upstream, account) = self.upstream_and_account(key);
        entry(upstream, account, key.fingerprint, key.scope, record, stage, material)
    }

    /// Whether Doorward is stopping and leaves sessions open.
    pub(super) fn keeps_sessions_now(&self) -> bool {
        self.stopping.is_cancelled() && self.keeps_sessions()
    }

    /// Whether sessions stay open when Doorward stops.
    pub(super) fn keeps_sessions(&self) -> bool {
        self.ledger.store.is_some()
            && self.ledger.at_stop == AtStop::Keep
            && self.without != Some(Mechanism::Logout)
    }
}

/// Under which key an account's budget is kept: by its login name, never by its secret.
pub(super) fn budget_key(store: &Store, upstream: &str, login_name: &str) -> RecordKey {
    store.key_of(&["account", upstream, login_name])
}
