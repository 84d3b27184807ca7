//! The ledger: what is left of each budget, and what is open at upstreams, durable before it
//! counts. An attempt is recorded before its first byte is sent, a token before its first use, an
//! end before the logout is sent; what a crash leaves in the ledger is closed at the next start.

use std::sync::Arc;

use super::broker::Inner;
use super::entry::{Owner, Record, Stage};
use super::tenure::Tenure;
use super::{Mechanism, Session, SessionKey};
use crate::login::Material;
use crate::state::{Change, Content, Pending, RecordKey, Store, Table, Unwritable};
use crate::telemetry::{Event, Lost};

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
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// The store.
    pub store: Option<Store>,
    /// What happens when it cannot be written.
    pub on_failure: OnFailure,
    /// What becomes of the sessions at stop.
    pub at_stop: AtStop,
}

/// What the record of a session holds: of which of its lives, and whether that is being closed.
#[derive(Debug, Default)]
pub(super) struct Recorded {
    life: u32,
    is_closing: bool,
}

impl Recorded {
    /// Takes a version of this life in place of what is recorded, and says how to write it. Nothing
    /// where what is recorded is newer: a life that is being closed is not opened again.
    fn take(&mut self, life: u32, stage: Stage) -> Option<Writing> {
        let is_closing = stage == Stage::Closing;
        if !is_closing && (life < self.life || (life == self.life && self.is_closing)) {
            return None;
        }
        // A new life has tokens of its own, even where the one before is closed and forgotten.
        let writing: Writing = if life > self.life { Change::Put } else { Change::Replace };
        *self = Self { life: life.max(self.life), is_closing };
        Some(writing)
    }
}

/// A change that writes a record.
type Writing = fn(Table, RecordKey, Content) -> Change;

/// Records what a session has become, in the background: by one task at a time, however often it
/// changes. Of changes that come faster than they can be written, the last one counts.
pub(super) fn record_soon(inner: &Arc<Inner>, session: &Session) {
    let tenure = &session.tenure;
    if tenure.record.is_none() || !tenure.claim_recording() {
        return;
    }
    let (task, tenure) = (Arc::clone(inner), Arc::clone(tenure));
    let (key, recorder) = (session.key, Recorder { tenure, is_done: false });
    let recording = async move { recorder.run(&task, &key).await };
    inner.tasks.spawn_on(recording, &inner.control);
}

/// Who records the changes of a session. Lets another one begin, even if its task dies.
struct Recorder {
    tenure: Arc<Tenure>,
    is_done: bool,
}

impl Recorder {
    async fn run(mut self, inner: &Inner, key: &SessionKey) {
        loop {
            let current = inner.store.session(key);
            if let Some(current) = current.filter(|now| Arc::ptr_eq(&now.tenure, &self.tenure)) {
                // It has been told; the next change is written all the same.
                _ = inner.record_session(&current).await;
            }
            if !self.tenure.changed_meanwhile() {
                self.is_done = true;
                return;
            }
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if !self.is_done {
            self.tenure.lost_recorder();
        }
    }
}

impl Inner {
    /// Tells that something was sent whose answer nobody has seen.
    pub(super) fn report_lost(&self, key: &SessionKey, what: Lost) {
        let (upstream, account) = self.upstream_and_account(key);
        let (upstream, account) = (upstream.name.clone(), account.name.clone());
        self.reporter.report(Event::AnswerLost { upstream, account, what });
    }

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
        let record = Record::begin(self.clock.wall());
        let content = self.entry(key, record, Stage::Begun, None);
        self.write(key, Change::Put(Table::Sessions, record.key, content)).await?;
        Ok(Some(record))
    }

    /// Records what a login without a session has come to, with what is left of the budget.
    ///
    /// # Errors
    /// When it is not on the disk, and has to be.
    pub(super) async fn record_stage(
        &self,
        key: &SessionKey,
        record: Option<Record>,
        stage: Stage,
    ) -> Result<(), Unwritable> {
        let Some(record) = record else { return Ok(()) };
        let content = self.entry(key, record, stage, None);
        self.write(key, Change::Replace(Table::Sessions, record.key, content)).await
    }

    /// Deletes a record: the upstream holds nothing of it any more.
    pub(super) async fn record_end(&self, key: &SessionKey, record: Option<Record>) {
        let Some(record) = record else { return };
        // Where it cannot be written it is asked after once more at the next start.
        _ = self.write(key, Change::Delete(Table::Sessions, record.key)).await;
    }

    /// Deletes the record of a session whose tokens of this life are closed. What a refresh gave
    /// meanwhile is open: its own logout deletes it.
    pub(super) async fn record_closed(&self, session: &Session, life: u32) {
        let (tenure, key) = (&session.tenure, &session.key);
        let Some(record) = tenure.record else { return };
        let recorded = tenure.recorded.lock().await;
        if recorded.life > life {
            return;
        }
        let change = Change::Delete(Table::Sessions, record.key);
        let pending = self.hand_over(key, Some(change)).await;
        drop(recorded);
        // Where it cannot be written it is asked after once more at the next start.
        _ = self.allowed(done(pending).await, key);
    }

    /// Records what a login or a refresh gave.
    ///
    /// # Errors
    /// When it is not on the disk, and has to be.
    pub(super) async fn record_given(&self, session: &Session) -> Result<(), Unwritable> {
        self.record_version(session, |_, _| Stage::Open).await
    }

    /// Records a session as it is now. Where it has been closed meanwhile this changes nothing.
    ///
    /// # Errors
    /// When it is not on the disk, and has to be.
    pub(super) async fn record_session(&self, session: &Session) -> Result<(), Unwritable> {
        self.record_version(session, Tenure::stage).await
    }

    /// Records that no start is to use a session again.
    pub(super) async fn record_closing(&self, session: &Session) {
        // Where this cannot be written, a start asks after the session before it uses it.
        _ = self.record_version(session, |_, _| Stage::Closing).await;
    }

    async fn record_version(
        &self,
        session: &Session,
        stage: impl FnOnce(&Tenure, u32) -> Stage,
    ) -> Result<(), Unwritable> {
        let (tenure, key) = (&session.tenure, &session.key);
        let Some(record) = tenure.record else { return Ok(()) };
        let mut recorded = tenure.recorded.lock().await;
        // What is read from here on is as new as anything that was written before.
        let newest = tenure.newest(session);
        let stage = stage(tenure, newest.life);
        let Some(writing) = recorded.take(newest.life, stage) else { return Ok(()) };
        let content = self.entry(key, record, stage, Some(&newest.material));
        let change = writing(Table::Sessions, record.key, content);
        let pending = self.hand_over(key, Some(change)).await;
        drop(recorded);
        self.allowed(done(pending).await, key)
    }

    /// Records what is left of an account's budget.
    ///
    /// # Errors
    /// When it is not on the disk, and has to be.
    pub(super) async fn record_budget(&self, key: &SessionKey) -> Result<(), Unwritable> {
        let pending = self.hand_over(key, None).await;
        self.allowed(done(pending).await, key)
    }

    /// Writes a change together with what is left of an account's budget.
    async fn write(&self, key: &SessionKey, change: Change) -> Result<(), Unwritable> {
        let pending = self.hand_over(key, Some(change)).await;
        self.allowed(done(pending).await, key)
    }

    /// Hands the same to the writer, in the order in which the budget changes; nothing where no
    /// state is kept.
    async fn hand_over(
        &self,
        key: &SessionKey,
        change: Option<Change>,
    ) -> Result<Option<Pending>, Unwritable> {
        let Some(store) = &self.ledger.store else { return Ok(None) };
        let (upstream, account) = self.upstream_and_account(key);
        let name = budget_key(store, &upstream.name, &account.login_name);
        let place = store.place().await?;
        Ok(Some(self.gate(key).with(|guard| {
            let snapshot = guard.snapshot(self.clock.now(), self.clock.wall());
            let budget = Change::Put(Table::Accounts, name, snapshot);
            place.write(change.into_iter().chain([budget]).collect())
        })))
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
        let SessionKey { fingerprint, scope, .. } = *key;
        let owner = Owner { upstream: &upstream, account: &account, fingerprint, scope };
        owner.entry(record, stage, material, self.clock.wall())
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

async fn done(pending: Result<Option<Pending>, Unwritable>) -> Result<(), Unwritable> {
    match pending? {
        Some(pending) => pending.done().await,
        None => Ok(()),
    }
}

/// Under which key an account's budget is kept: by its login name, never by its secret.
pub(super) fn budget_key(store: &Store, upstream: &str, login_name: &str) -> RecordKey {
    store.key_of(&["account", upstream, login_name])
}
