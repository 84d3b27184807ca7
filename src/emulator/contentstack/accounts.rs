//! Users, their lock-out ladder and their second factor.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::clock::{Clock, Moment};
use crate::emulator::counters::Tally;
use crate::emulator::totp::{Totp, step_at};
use crate::emulator::user::{Kind, User};

/// So many refused logins in a row lock an account for a while.
const FAILURES_THAT_LOCK: u32 = 5;

/// So many lock it for good.
const FAILURES_THAT_LOCK_FOR_GOOD: u32 = 10;

/// How much longer each further failure locks (docs, security: account lockout policy).
const LOCK_STEP: Duration = Duration::from_secs(5 * 60);

/// Every user, by e-mail address in lower case.
#[derive(Default)]
pub struct Accounts(BTreeMap<String, Account>);

pub struct Account {
    pub uid: String,
    pub user: User,
    /// What `PUT /user` changed.
    pub changed: Map<String, Value>,
    failures: u32,
    lock: Lock,
    /// The last one-time step that was accepted: each is good once.
    code_step: Option<u64>,
}

#[derive(Clone, Copy)]
enum Lock {
    Open,
    Until(Moment),
    ForGood,
}

/// What a login call carried.
pub struct Attempt {
    pub email: String,
    pub password: String,
    pub code: Option<String>,
}

/// Why an account does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    BadPassword,
    Locked,
    CodeMissing,
    CodeWrong,
    CodeUsed,
}

impl Accounts {
    pub fn add(&mut self, user: User, uid: String) {
        let lock = if matches!(user.kind, Kind::Locked) { Lock::ForGood } else { Lock::Open };
        let changed = Map::new();
        let account = Account { uid, user, changed, failures: 0, lock, code_step: None };
        self.0.insert(account.user.login.to_lowercase(), account);
    }

    /// Whether adding this user would change a known user's password.
    pub fn password_changes(&self, user: &User) -> bool {
        self.of(&user.login).is_some_and(|known| known.user.password != user.password)
    }

    pub fn of(&self, email: &str) -> Option<&Account> {
        self.0.get(&email.to_lowercase())
    }

    pub fn of_mut(&mut self, email: &str) -> Option<&mut Account> {
        self.0.get_mut(&email.to_lowercase())
    }

    /// Opens an account or counts the failure.
    pub fn prove(
        &mut self,
        attempt: &Attempt,
        clock: &Clock,
        tally: &Tally,
    ) -> Result<&Account, Denied> {
        let account = self.of_mut(&attempt.email).ok_or(Denied::BadPassword)?;
        if account.is_locked(clock.now()) {
            return Err(Denied::Locked);
        }
        let proved = account.prove(attempt, clock);
        match proved {
            Ok(()) => account.failures = 0,
            Err(Denied::BadPassword | Denied::CodeWrong) => account.fail(clock.now(), tally),
            Err(Denied::CodeMissing | Denied::CodeUsed | Denied::Locked) => {}
        }
        proved.map(|()| &*account)
    }
}

impl Account {
    fn prove(&mut self, attempt: &Attempt, clock: &Clock) -> Result<(), Denied> {
        if attempt.password != self.user.password {
            return Err(Denied::BadPassword);
        }
        let Kind::SecondFactor { secret } = &self.user.kind else { return Ok(()) };
        let code = attempt.code.as_deref().ok_or(Denied::CodeMissing)?;
        let step = step_of(secret, code, step_at(clock.wall())).ok_or(Denied::CodeWrong)?;
        if self.code_step.is_some_and(|used| step <= used) {
            return Err(Denied::CodeUsed);
        }
        self.code_step = Some(step);
        Ok(())
    }

    fn is_locked(&self, now: Moment) -> bool {
        match self.lock {
            Lock::Open => false,
            Lock::Until(moment) => now < moment,
            Lock::ForGood => true,
        }
    }

    fn fail(&mut self, now: Moment, tally: &Tally) {
        self.failures += 1;
        if self.failures < FAILURES_THAT_LOCK {
            return;
        }
        self.lock = if self.failures >= FAILURES_THAT_LOCK_FOR_GOOD {
            Lock::ForGood
        } else {
            Lock::Until(now + LOCK_STEP * (self.failures - FAILURES_THAT_LOCK + 1))
        };
        tally.locked_out();
    }
}

/// The step that this code belongs to: the present one or, for slow fingers, the one before
/// (RFC 6238 section 5.2).
fn step_of(secret: &Totp, code: &str, now: u64) -> Option<u64> {
    [now, now.saturating_sub(1)].into_iter().find(|step| secret.code(*step) == code)
}
