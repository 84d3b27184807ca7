//! One account's budget where no gateway runs: for a login that is tried out, and for an operator
//! who clears what a gateway has left.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::account::{Admission, Failure, Guard, State, class_name};
use super::entry::{Owner, Record, Stage};
use super::jitter::Jitter;
use super::ledger::{Ledger, OnFailure, budget_key};
use super::restart::{Kept, Restore};
use super::{Account, Generation, Scope, Unavailable, Upstream};
use crate::clock::Clock;
use crate::login::Material;
use crate::secret::{Fingerprint, TotpStep};
use crate::state::{Change, Content, Store, Table, Unwritable};
use crate::upstream::{ErrorType, Unreached};

/// An upstream without an account is reached by nobody.
const NO_ACCOUNT: Unreached = Unreached::Failed(ErrorType::named("destination_unavailable"));

/// The attempt of one login, counted in the state like those of a gateway.
pub struct Counted<'a> {
    upstream: &'a Upstream,
    account: &'a Account,
    clock: &'a Clock,
    ledger: Ledger,
    guard: Mutex<Guard>,
    fingerprint: Fingerprint,
    record: Record,
}

/// Why no login is tried.
#[derive(Debug, thiserror::Error)]
pub enum NotCounted {
    /// The guard admits none.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// Its attempt cannot be recorded.
    #[error(transparent)]
    Unwritable(#[from] Unwritable),
}

impl<'a> Counted<'a> {
    /// Spends one attempt of the upstream's first account and records that. A login that comes too
    /// early is waited for, and `waits` is told for how long.
    ///
    /// # Errors
    /// When none may be tried; then nothing may be sent.
    pub async fn begin(
        kept: Kept,
        upstream: &'a Upstream,
        distance: Duration,
        clock: &'a Clock,
        waits: &mut dyn FnMut(Duration),
    ) -> Result<Self, NotCounted> {
        let account = upstream.accounts.first().ok_or(Unavailable::Unreachable(NO_ACCOUNT))?;
        let restore = kept.sorted();
        let mut guard = restore.guard(upstream, &account.login_name, distance, clock);
        let fingerprint = account.credentials().fingerprint;
        // What was interrupted is counted once, also where nothing is tried now.
        let interrupted = restore.interrupted(upstream, &account.login_name);
        if !interrupted.is_empty() {
            let owner = (upstream, &**account);
            write(restore.ledger(), owner, &guard, clock, interrupted).await?;
        }
        loop {
            match guard.admit(fingerprint, clock.now(), distance) {
                Admission::Admitted => break,
                Admission::Early(at) => {
                    waits(at.saturating_since(clock.now()));
                    clock.sleep_until(at).await;
                }
                Admission::Refused(unavailable) => return Err(unavailable.into()),
                // No other login is under way here.
                Admission::Crowded => return Err(Unavailable::Timeout.into()),
            }
        }
        let ledger = restore.ledger().clone();
        let record = Record::begin(clock.wall());
        let guard = Mutex::new(guard);
        let counted = Self { upstream, account, clock, ledger, guard, fingerprint, record };
        let begun = counted.entry(Stage::Begun, None);
        counted.write(vec![Change::Put(Table::Sessions, record.key, begun)]).await?;
        Ok(counted)
    }

    /// The last time step whose one-time code was sent.
    pub fn codes_used(&self) -> Option<TotpStep> {
        self.guard().code_used()
    }

    /// Records that the one-time code of this time step is about to be sent.
    ///
    /// # Errors
    /// When that cannot be written; then the code may not be sent.
    pub async fn sends_code(&self, step: TotpStep) -> Result<(), Unwritable> {
        // A later one is known already.
        _ = self.guard().use_code(step);
        self.record(Stage::Begun, None).await
    }

    /// Records what the login gave, which also proves the secret.
    ///
    /// # Errors
    /// When that cannot be written; then what it gave may not be used, only logged out.
    pub async fn opened(&self, material: &Material) -> Result<(), Unwritable> {
        self.guard().succeeded(self.fingerprint);
        self.record(Stage::Open, Some(material)).await
    }

    /// Records that the logout is about to be sent.
    pub async fn closes(&self, material: &Material) {
        // Where this cannot be written, a start asks after the session before it uses it.
        _ = self.record(Stage::Closing, Some(material)).await;
    }

    /// Whether what stays open is closed by the next start.
    pub fn is_closed_at_start(&self) -> bool {
        self.ledger.store.is_some() && !self.upstream.recipe.logout.is_empty()
    }

    /// Nothing panics under the lock: a poisoned guard is whole.
    fn guard(&self) -> MutexGuard<'_, Guard> {
        self.guard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records how it has ended: why there was no session, or whether the next start is to close the
    /// one that there was.
    ///
    /// # Errors
    /// When that cannot be written: then the next start takes it for interrupted.
    pub async fn end(
        self,
        failure: Option<Failure>,
        closed_at_start: bool,
    ) -> Result<(), Unwritable> {
        let key = self.record.key;
        if let Some(failure) = failure {
            let (now, jitter) = (self.clock.now(), Jitter::of(Generation(0)));
            _ = self.guard().failed(failure, self.fingerprint, now, jitter);
        }
        match failure {
            // What is to be closed is recorded, and only what is left of the budget is not.
            _ if closed_at_start => self.write(Vec::new()).await?,
            Some(Failure::AnswerLost) => self.record(Stage::AnswerLost, None).await?,
            _ => self.write(vec![Change::Delete(Table::Sessions, key)]).await?,
        }
        if let Some(store) = &self.ledger.store {
            store.close().await;
        }
        Ok(())
    }

    async fn record(&self, stage: Stage, material: Option<&Material>) -> Result<(), Unwritable> {
        let content = self.entry(stage, material);
        self.write(vec![Change::Replace(Table::Sessions, self.record.key, content)]).await
    }

    fn entry(&self, stage: Stage, material: Option<&Material>) -> Content {
        let Self { upstream, account, fingerprint, record, .. } = *self;
        let owner = Owner { upstream, account, fingerprint, scope: Scope::Shared };
        owner.entry(record, stage, material, self.clock.wall())
    }

    async fn write(&self, changes: Vec<Change>) -> Result<(), Unwritable> {
        let guard = self.guard().clone();
        let owner = (self.upstream, self.account);
        write(&self.ledger, owner, &guard, self.clock, changes).await
    }
}

/// Writes changes together with what is left of an account's budget.
async fn write(
    ledger: &Ledger,
    (upstream, account): (&Upstream, &Account),
    guard: &Guard,
    clock: &Clock,
    mut changes: Vec<Change>,
) -> Result<(), Unwritable> {
    let Some(store) = &ledger.store else { return Ok(()) };
    let name = budget_key(store, &upstream.name, &account.login_name);
    let snapshot = guard.snapshot(clock.now(), clock.wall());
    changes.push(Change::Put(Table::Accounts, name, snapshot));
    let written = store.write(changes).await;
    match ledger.on_failure {
        OnFailure::Block => written,
        OnFailure::Continue => Ok(()),
    }
}

/// What was cleared of one account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cleared {
    /// The account's name in the configuration.
    pub account: String,
    /// How it stood: `open`, or why it was held back or quarantined.
    pub was: String,
    /// The attempts that it had left.
    pub attempts_left: u32,
}

/// Gives every account of `upstream` a whole budget and lifts its quarantine.
///
/// # Errors
/// When that cannot be written.
pub async fn clear(
    kept: Kept,
    upstream: &Upstream,
    clock: &Clock,
) -> Result<Vec<Cleared>, Unwritable> {
    let restore: Restore = kept.sorted();
    let mut cleared = Vec::new();
    let mut changes = Vec::new();
    let Some(store) = restore.store().cloned() else { return Ok(cleared) };
    for account in &upstream.accounts {
        let guard = restore.guard(upstream, &account.login_name, Duration::ZERO, clock);
        cleared.push(Cleared {
            account: account.name.to_string(),
            was: standing(guard.state()),
            attempts_left: guard.attempts_left(),
        });
        // An attempt that was interrupted is over with the budget that it was counted in.
        changes.extend(restore.interrupted(upstream, &account.login_name));
        let name = budget_key(&store, &upstream.name, &account.login_name);
        let snapshot = guard.cleared(clock.now()).snapshot(clock.now(), clock.wall());
        changes.push(Change::Put(Table::Accounts, name, snapshot));
    }
    write_and_close(&store, changes).await?;
    Ok(cleared)
}

async fn write_and_close(store: &Store, changes: Vec<Change>) -> Result<(), Unwritable> {
    store.write(changes).await?;
    store.close().await;
    Ok(())
}

/// How an account stands, in words for an operator.
pub(super) fn standing(state: &State) -> String {
    match state {
        State::Open => "open".to_owned(),
        State::HeldBack { cause, .. } => format!("held back ({})", cause.as_str()),
        State::Quarantined { cause, .. } => {
            format!("quarantined ({})", cause.map_or("unclassified", class_name))
        }
    }
}
