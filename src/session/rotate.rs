//! A changed secret, make before break: the new one is proved by a login and a probe of its own
//! before requests use it, and only then the old session is drained and logged out. A new secret
//! that is refused changes nothing.
//!
//! - No session is alive: there is nothing to break. Requests use the new secret at once, and the
//!   next one that needs a session logs in. Should that be refused, the old secret is used again,
//!   unless it was refused itself.
//! - The account may have one session only: requests wait while the old one is drained and logged
//!   out, and the new login follows; refused, it is made again with the old secret.
//! - The new secret cannot be tried (upstream down, throttled): the old session goes on, and the
//!   guard's pauses are waited for. A newer secret takes the place of the one that waits.

use std::convert::identity;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::account::class_name;
use super::broker::Inner;
use super::credentials::{Credentials, Vault};
use super::store::{Expiry, Joined};
use super::{
    Account, AccountId, Aliveness, Broker, Doubt, HoldCause, Scope, Session, SessionKey,
    Unavailable, flight, probe, retire,
};
use crate::secret::Fingerprint;
use crate::telemetry::{Event, Rotation, Stage, Trigger};
use crate::upstream::Unreached;

/// After a trial that ended without an answer the next one waits at least this long.
const RETRY_MIN: Duration = Duration::from_secs(1);

/// The cause of a refusal that only the probe has found.
const DEAD_FROM_THE_START: &str = "probe_failed";

impl Broker {
    /// Takes note of what the account's secrets are now, and rotates to them if they are others
    /// than before. Returns at once; what comes of it is told in events. Rotations of one account
    /// follow each other, and of several secrets that wait the newest counts.
    pub fn rotate(&self, account: &Arc<Account>, credentials: Credentials) {
        let inner = &self.0;
        if !account.vault.want(credentials) {
            return;
        }
        let turn = Turn { inner: Arc::clone(inner), account: Arc::clone(account) };
        let following = async move {
            let stopping = turn.inner.stopping.clone();
            let mut following = Following { turn, is_over: false };
            // At the stop nothing is half done: every session is in the store or being retired.
            tokio::select! {
                () = following.turn.follow() => following.is_over = true,
                () = stopping.cancelled() => {}
            }
        };
        inner.tasks.spawn_on(following, &inner.control);
    }
}

/// Lets the next secret begin a rotation of its own, even if this task dies.
struct Following {
    turn: Turn,
    is_over: bool,
}

impl Drop for Following {
    fn drop(&mut self) {
        if !self.is_over {
            self.turn.vault().lost_rotation();
        }
    }
}

/// The rotations of one account, one after the other.
struct Turn {
    inner: Arc<Inner>,
    account: Arc<Account>,
}

/// How one trial of a new secret ended.
enum Trial {
    /// Requests use it, on this session, or on that of the next login.
    Done(Option<Arc<Session>>),
    /// The upstream refused it.
    Refused(&'static str),
    /// It cannot be tried before this pause is over.
    Held(Duration, HoldCause),
    /// There is nothing more to do or to tell.
    Over,
}

impl Turn {
    async fn follow(&self) {
        while let Some(new) = self.vault().take_wanted() {
            if new.fingerprint != self.vault().fingerprint() {
                self.rotate(&new).await;
            }
            self.vault().give_up();
        }
    }

    async fn rotate(&self, new: &Arc<Credentials>) {
        let clock = &self.inner.clock;
        let started = clock.now();
        self.report(Stage::Begun);
        loop {
            match self.trial(new).await {
                Trial::Done(session) => {
                    let generation = session.map(|session| session.generation.0);
                    let took = clock.now().saturating_since(started);
                    return self.report(Stage::Done { generation, took });
                }
                Trial::Refused(cause) => {
                    self.vault().refused(new.fingerprint, cause);
                    return self.report(Stage::Refused { cause });
                }
                Trial::Over => return,
                Trial::Held(pause, cause) => {
                    let pause = pause.max(RETRY_MIN);
                    self.report(Stage::Waiting { cause: cause.as_str(), pause });
                    tokio::select! {
                        () = clock.sleep(pause) => {}
                        () = self.vault().newer() => return,
                    }
                }
            }
        }
    }

    async fn trial(&self, new: &Arc<Credentials>) -> Trial {
        let old = self.vault().fingerprint();
        let refusal = self.vault().refusal_of(new.fingerprint);
        if let Some(cause) = refusal.or_else(|| self.refusal(new.fingerprint)) {
            return Trial::Refused(cause);
        }
        loop {
            match self.inner.store.any(self.account.id, old) {
                // A login with the old secret is not cut short: what it gives is replaced.
                Some(Joined::Flight(flight)) => _ = flight::landed(flight).await,
                Some(Joined::Session(session)) => {
                    let key = SessionKey { fingerprint: new.fingerprint, ..session.key };
                    return match self.has_one_session_at_most() {
                        true => self.break_before_make(old, key, new).await,
                        false => self.make_before_break(old, key, new).await,
                    };
                }
                None => {
                    let or_back = self.refusal(old).is_none();
                    self.switch(old, |vault| vault.switch_unproved(new, or_back));
                    return Trial::Done(None);
                }
            }
        }
    }

    /// Nobody but this trial knows the new key before the switch.
    async fn make_before_break(
        &self,
        old: Fingerprint,
        key: SessionKey,
        new: &Arc<Credentials>,
    ) -> Trial {
        self.vault().try_out(new);
        let session = match self.log_in(key).await {
            Ok(session) => session,
            Err(unavailable) => return unavailable.into(),
        };
        if probe::probe(&self.inner, &session, Doubt::Ambiguous).await == Aliveness::Dead {
            let is_it = |current: &Session| current.generation == session.generation;
            if let Expiry::Ended(dead) = self.inner.store.expire(key, is_it, identity) {
                retire::retire(&self.inner, dead);
            }
            return Trial::Refused(DEAD_FROM_THE_START);
        }
        self.switch(old, |vault| vault.switch(new));
        Trial::Done(Some(session))
    }

    /// There is no room for two sessions: those who need one wait for the login under way, and that
    /// waits until the old session is closed.
    async fn break_before_make(
        &self,
        old: Fingerprint,
        key: SessionKey,
        new: &Arc<Credentials>,
    ) -> Trial {
        self.vault().try_out(new);
        let (closed, is_closed) = oneshot::channel::<()>();
        let begin = || {
            let closing = async move { _ = is_closed.await };
            flight::begin_after(closing, &self.inner, key, Trigger::Rotation)
        };
        let flight = match self.inner.store.join(key, begin) {
            Ok(Joined::Flight(flight)) => flight,
            Ok(Joined::Session(session)) => return Trial::Done(Some(session)),
            Err(unavailable) => return unavailable.into(),
        };
        for retired in self.switch(old, |vault| vault.switch_unproved(new, true)) {
            // A task that died has told so itself, and its session is not waited for.
            _ = retired.await;
        }
        _ = closed.send(());
        match flight::landed(flight).await {
            Ok(session) => Trial::Done(Some(session)),
            // The login has told it, and requests use the old secret again. The slot is free.
            Err(Unavailable::Refused(_)) => {
                _ = self.log_in(SessionKey { fingerprint: old, ..key }).await;
                Trial::Over
            }
            // The next request that needs a session tries again.
            Err(_) => Trial::Done(None),
        }
    }

    async fn log_in(&self, key: SessionKey) -> Result<Arc<Session>, Unavailable> {
        let begin = || flight::begin(&self.inner, key, Trigger::Rotation);
        match self.inner.store.join(key, begin)? {
            Joined::Session(session) => Ok(session),
            Joined::Flight(flight) => flight::landed(flight).await,
        }
    }

    /// Makes requests use another secret, and retires the sessions of the old one: a request that
    /// carries one keeps it.
    fn switch(&self, old: Fingerprint, switch: impl FnOnce(&Vault)) -> Vec<JoinHandle<()>> {
        switch(self.vault());
        let left = self.inner.store.take_all_of(self.account.id, old);
        let retired = left.into_iter().map(|session| {
            let now = self.inner.clock.now();
            self.inner.standing(&session.key).outlived(&session, now);
            retire::retire(&self.inner, session)
        });
        retired.collect()
    }

    fn vault(&self) -> &Vault {
        &self.account.vault
    }

    /// What the upstream said of these secrets, if it has refused them.
    fn refusal(&self, fingerprint: Fingerprint) -> Option<&'static str> {
        let key = self.inner.key(self.account.id, Scope::Shared);
        let refusal = self.inner.with_guard(&key, |guard| guard.refusal_of(fingerprint))?;
        Some(refusal.map_or("unclassified", class_name))
    }

    fn has_one_session_at_most(&self) -> bool {
        self.inner.members.of(self.account.id).upstream.recipe.session.sessions_max == Some(1)
    }

    fn report(&self, stage: Stage) {
        self.inner.report_rotation(self.account.id, stage);
    }
}

impl From<Unavailable> for Trial {
    fn from(unavailable: Unavailable) -> Self {
        match unavailable {
            Unavailable::Refused(class) => Self::Refused(class.map_or("unclassified", class_name)),
            Unavailable::HeldBack { retry_after, cause } => Self::Held(retry_after, cause),
            Unavailable::Unreachable(unreached) => {
                let pause = match unreached {
                    Unreached::CircuitOpen { retry_after } => retry_after.max(RETRY_MIN),
                    _ => RETRY_MIN,
                };
                Self::Held(pause, HoldCause::Unreachable)
            }
            Unavailable::Timeout => Self::Held(RETRY_MIN, HoldCause::AnswerLost),
            Unavailable::Stopping => Self::Over,
        }
    }
}

impl Inner {
    pub(super) fn report_rotation(&self, account: AccountId, stage: Stage) {
        let member = self.members.of(account);
        self.reporter.report(Event::Rotation(Rotation {
            upstream: Arc::clone(&member.upstream.name),
            account: Arc::clone(&member.account.name),
            stage,
        }));
    }
}
