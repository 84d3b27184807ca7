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
use crate::secret::{Fingerprint, TotpStep};
use crate::state::{Change, Store, Table, Unwritable};

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
    /// early is waited for.
    ///
    /// # Errors
    /// When none may be tried; then nothing may be sent.
    pub async fn begin(
        kept: Kept,
        upstream: &'a Upstream,
        distance: Duration,
        clock: &'a Clock,
    ) -> Result<Self, NotCounted> {
        let account = upstream.accounts.first().ok_or(Unavailable::Unreachable)?;
        let restore = kept.sorted();
        let mut guard = restore.guard(upstream, &account.login_name, distance, clock);
        let fingerprint = account.credentials().fingerprint;
        // What was interrupted is counted once, also where nothing is tried now.
        let interrupted = restore.interrupted(upstream, &account.login_name);
        if !interrupted.is_empty() {
            let owner = (upstream, account);
            write(restore.ledger(), owner, &guard, clock, interrupted).await?;
        }
        loop {
            match guard.admit(fingerprint, clock.now(), distance) {
                Admission::Admitted => break,
                Admission::Early(at) => clock.sleep_until(at).await,
                Admission::Refused(unavailable) => return Err(unavailable.into()),
                // No other login is under way here.
                Admission::Crowded => return Err(Unavailable::Timeout.into()),
            }
        }
        let (ledger, _) = restore.into_parts();
        let record = Record::begin(clock.wall());
        let guard = Mutex::new(guard);
        let counted = Self { upstream, account, clock, ledger, guard, fingerprint, record };
        let begun = counted.stage(Stage::Begun);
        counted.write(Change::Put(Table::Sessions, record.key, begun)).await?;
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
        let begun = self.stage(Stage::Begun);
        self.write(Change::Replace(Table::Sessions, self.record.key, begun)).await
    }

    /// Nothing panics under the lock: a poisoned guard is whole.
    fn guard(&self) -> MutexGuard<'_, Guard> {
        self.guard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records how the login has ended; nothing failed where it succeeded.
    ///
    /// # Errors
    /// When that cannot be written: then the next start counts it as one whose answer was lost.
    pub async fn end(self, failure: Option<Failure>) -> Result<(), Unwritable> {
        let (now, jitter) = (self.clock.now(), Jitter::of(Generation(0)));
        let change = match failure {
            Some(Failure::AnswerLost) => {
                Change::Replace(Table::Sessions, self.record.key, self.stage(Stage::AnswerLost))
            }
            _ => Change::Delete(Table::Sessions, self.record.key),
        };
        match failure {
            None => self.guard().succeeded(self.fingerprint),
            Some(failure) => _ = self.guard().failed(failure, self.fingerprint, now, jitter),
        }
        self.write(change).await?;
        if let Some(store) = &self.ledger.store {
            store.close().await;
        }
        Ok(())
    }

    fn stage(&self, stage: Stage) -> crate::state::Content {
        let Self { upstream, account, fingerprint, record, .. } = *self;
        let owner = Owner { upstream, account, fingerprint, scope: Scope::Shared };
        owner.entry(record, stage, None, self.clock.wall())
    }

    async fn write(&self, change: Change) -> Result<(), Unwritable> {
        let guard = self.guard().clone();
        let owner = (self.upstream, self.account);
        write(&self.ledger, owner, &guard, self.clock, vec![change]).await
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

fn standing(state: &State) -> String {
    match state {
        State::Open => "open".to_owned(),
        State::HeldBack { cause, .. } => format!("held back ({})", cause.as_str()),
        State::Quarantined { cause, .. } => {
            format!("quarantined ({})", cause.map_or("unclassified", class_name))
        }
    }
}
