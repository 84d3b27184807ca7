//! What the versions of one upstream session share: a session whose cookies roll is replaced by
//! its next version, and is the same session to the upstream.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::entry::{Record, Stage};
use super::ledger::Recorded;
use super::probe::Probed;
use super::renew::Renewing;
use super::slots::Slot;
use super::{Account, Generation, Session};
use crate::clock::Moment;
use crate::forward::inject::Injector;
use crate::login::Material;

/// One session's time at its upstream.
#[derive(Debug)]
pub(super) struct Tenure {
    /// Whose it is: known on, for as long as the session is there.
    _account: Arc<Account>,
    /// The generation of its first version; it also names the tenure.
    pub(super) first: Generation,
    /// When the login gave it.
    pub(super) opened: Moment,
    /// Its record in the ledger, where one is kept.
    pub(super) record: Option<Record>,
    /// Counts the requests that carry it.
    pub(super) users: TaskTracker,
    /// When a client's request was last answered as by a living session, in milliseconds of the
    /// clock.
    used: AtomicU64,
    /// Whether a client's request ever was.
    ever_used: AtomicBool,
    /// The same as `used`, also for our own probes.
    alive: AtomicU64,
    /// A renewal is under way, or was given up.
    renewal_claimed: AtomicBool,
    /// What has become of its refresh token, and of which life that is.
    refresh: Mutex<(Refresh, u32)>,
    /// What is to be logged out: the newest of its versions, whether requests use that or not.
    newest: Mutex<Option<Newest>>,
    /// What the probe last said.
    pub(super) probed: Mutex<Probed>,
    /// What is known of renewals of its values.
    pub(super) renewing: Renewing,
    /// When it was called dead by the answer to its very first request: the upstream may say so of
    /// any session.
    pub(super) contradicted: OnceLock<Moment>,
    recording: Mutex<Recording>,
    /// What its record holds. Whoever writes the record holds this from reading what there is to
    /// write until that is in its place among all writes: what is written later is never older.
    pub(super) recorded: tokio::sync::Mutex<Recorded>,
    slot: Mutex<Option<Slot>>,
    /// Its streams are to end.
    pub(super) cut: CancellationToken,
    logout_claimed: AtomicBool,
}

/// What has become of a session's refresh token, which may be good for one use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Refresh {
    /// It was not sent.
    #[default]
    Unsent,
    /// It was sent, and whoever did waits for what comes of it.
    UnderWay,
    /// It was sent, and gave nothing.
    Spent,
}

/// Whether somebody records what it becomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Recording {
    /// Nobody does.
    #[default]
    Idle,
    /// Somebody does.
    UnderWay,
    /// Somebody does, and has to look once more: it has changed since.
    Behind,
}

/// A version of a session, as far as its record and its logout need it.
#[derive(Clone, Debug)]
pub(super) struct Newest {
    pub(super) generation: Generation,
    /// Which of its tenure's lives it is a version of: each refresh begins a new one.
    pub(super) life: u32,
    pub(super) material: Arc<Material>,
    pub(super) injector: Arc<Injector>,
}

impl Newest {
    fn of(session: &Session, life: u32) -> Self {
        Self {
            generation: session.generation,
            life,
            material: Arc::clone(&session.material),
            injector: Arc::clone(&session.injector),
        }
    }
}

impl Tenure {
    /// A session that was opened at this moment.
    pub(super) fn begin(
        account: Arc<Account>,
        first: Generation,
        opened: Moment,
        slot: Option<Slot>,
        record: Option<Record>,
    ) -> Self {
        Self {
            _account: account,
            first,
            opened,
            record,
            users: TaskTracker::new(),
            used: AtomicU64::new(opened.milliseconds()),
            ever_used: AtomicBool::new(false),
            alive: AtomicU64::new(opened.milliseconds()),
            renewal_claimed: AtomicBool::new(false),
            refresh: Mutex::default(),
            newest: Mutex::default(),
            probed: Mutex::default(),
            renewing: Renewing::default(),
            contradicted: OnceLock::new(),
            recording: Mutex::default(),
            recorded: tokio::sync::Mutex::default(),
            slot: Mutex::new(slot),
            cut: CancellationToken::new(),
            logout_claimed: AtomicBool::new(false),
        }
    }

    /// A client's request was answered as by a living session. Says whether it was the first.
    pub(super) fn was_used(&self, now: Moment) -> bool {
        // Late by a few milliseconds or out of order: nothing depends on it. All cores share these
        // numbers: they are left alone where there is nothing to say.
        let now = now.milliseconds();
        for moment in [&self.used, &self.alive] {
            if moment.load(Ordering::Relaxed) != now {
                moment.store(now, Ordering::Relaxed);
            }
        }
        !self.was_ever_used() && !self.ever_used.swap(true, Ordering::Relaxed)
    }

    /// Whether a client's request ever was answered as by a living session.
    pub(super) fn was_ever_used(&self) -> bool {
        self.ever_used.load(Ordering::Relaxed)
    }

    /// A probe found it alive.
    pub(super) fn was_probed(&self, now: Moment) {
        self.alive.store(now.milliseconds(), Ordering::Relaxed);
    }

    /// When a client last used it.
    pub(super) fn used(&self) -> Moment {
        moment(self.used.load(Ordering::Relaxed))
    }

    /// When it was last seen alive.
    pub(super) fn alive(&self) -> Moment {
        moment(self.alive.load(Ordering::Relaxed))
    }

    /// Claims the one renewal that a session gets, with all that it takes. False when it is claimed
    /// already.
    pub(super) fn claim_renewal(&self) -> bool {
        !self.renewal_claimed.swap(true, Ordering::Relaxed)
    }

    /// Claims the sending of its refresh steps. False when they were sent already.
    pub(super) fn claim_refresh(&self) -> bool {
        let life = self.life();
        let mut refresh = lock(&self.refresh);
        let is_claimed = refresh.0 == Refresh::Unsent;
        if is_claimed {
            *refresh = (Refresh::UnderWay, life);
        }
        is_claimed
    }

    /// What has become of its refresh token.
    pub(super) fn refresh(&self) -> Refresh {
        lock(&self.refresh).0
    }

    /// Its refresh gave nothing.
    pub(super) fn was_not_refreshed(&self) {
        lock(&self.refresh).0 = Refresh::Spent;
    }

    /// Nothing of its refresh was sent: the next flight may claim it.
    pub(super) fn was_not_sent(&self) {
        lock(&self.refresh).0 = Refresh::Unsent;
    }

    /// It was refreshed and goes on: the next refresh and the next renewal may be claimed.
    pub(super) fn was_refreshed(&self) {
        self.renewal_claimed.store(false, Ordering::Relaxed);
        lock(&self.refresh).0 = Refresh::Unsent;
    }

    /// How its record describes a version of this life.
    pub(super) fn stage(&self, life: u32) -> Stage {
        match *lock(&self.refresh) {
            // What a refresh gave can be refreshed in its turn, before it has landed, too.
            (_, sent) if life > sent => Stage::Open,
            (Refresh::Unsent, _) => Stage::Open,
            (Refresh::UnderWay, _) => Stage::Refreshing,
            (Refresh::Spent, _) => Stage::Spent,
        }
    }

    fn life(&self) -> u32 {
        lock(&self.newest).as_ref().map_or(0, |newest| newest.life)
    }

    /// A login or a refresh gave this version.
    pub(super) fn goes_on_as(&self, session: &Session) {
        let mut newest = lock(&self.newest);
        let life = newest.as_ref().map_or(0, |newest| newest.life + 1);
        *newest = Some(Newest::of(session, life));
    }

    /// An answer made `next` of `before`. False when another answer was faster.
    pub(super) fn rolls(&self, before: &Session, next: &Session) -> bool {
        let mut newest = lock(&self.newest);
        let is_first = newest.as_ref().is_none_or(|newest| newest.generation == before.generation);
        if is_first {
            let life = newest.as_ref().map_or(0, |newest| newest.life);
            *newest = Some(Newest::of(next, life));
        }
        is_first
    }

    /// The newest version of `session`.
    pub(super) fn newest(&self, session: &Session) -> Newest {
        lock(&self.newest).clone().unwrap_or_else(|| Newest::of(session, 0))
    }

    /// Whether the renewal is under way or was given up.
    pub(super) fn is_renewal_claimed(&self) -> bool {
        self.renewal_claimed.load(Ordering::Relaxed)
    }

    /// Claims the one logout that a session gets. False when it is claimed already.
    pub(super) fn claim_logout(&self) -> bool {
        !self.logout_claimed.swap(true, Ordering::Relaxed)
    }

    /// Lets a version with tokens of its own be logged out, too.
    pub(super) fn release_logout(&self) {
        self.logout_claimed.store(false, Ordering::Relaxed);
    }

    /// Claims the recording of what it has become. False when somebody records it already: who does
    /// looks once more then.
    pub(super) fn claim_recording(&self) -> bool {
        let mut recording = lock(&self.recording);
        let is_idle = *recording == Recording::Idle;
        *recording = if is_idle { Recording::UnderWay } else { Recording::Behind };
        is_idle
    }

    /// Whether it has changed since its recorder last looked; if it has not, the recorder is done.
    pub(super) fn changed_meanwhile(&self) -> bool {
        let mut recording = lock(&self.recording);
        let has_changed = *recording == Recording::Behind;
        *recording = if has_changed { Recording::UnderWay } else { Recording::Idle };
        has_changed
    }

    /// Its recorder has died: the next change is recorded anew.
    pub(super) fn lost_recorder(&self) {
        *lock(&self.recording) = Recording::Idle;
    }

    /// Gives its room back: the upstream holds nothing of it any more, as far as can be known.
    pub(super) fn end(&self) {
        drop(self.take_slot());
    }

    /// Takes its room over to a session that continues it.
    pub(super) fn take_slot(&self) -> Option<Slot> {
        lock(&self.slot).take()
    }
}

fn moment(milliseconds: u64) -> Moment {
    Moment::default() + Duration::from_millis(milliseconds)
}

/// Held for one read or write; nothing panics under it.
fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}
