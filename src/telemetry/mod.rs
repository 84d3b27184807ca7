//! What happened, told once: rooms report typed events, readers turn them into log lines, the
//! demo's live view, the audit trail and metrics. Reporting never waits.

pub mod access_log;
mod audit;
mod issuer;
mod log;
pub mod metrics;
mod missing;
mod operation;
mod reach;
mod rejected;
mod reload;
mod request;
mod request_id;
mod revocation;
mod rotation;
pub mod stories;
mod strain;
pub mod trace;
pub mod visible;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;

pub use audit::{AuditTrouble, OnFailure};
pub use issuer::{IssuerKeys, KeysOutcome};
pub use log::{Format, Log};
pub use missing::Missing;
pub use operation::Operation;
pub use reach::{ReachChange, Reachability};
pub use rejected::{Head, Rejected, Rejections};
pub use reload::{Reload, ReloadStage};
pub use request::{
    Decision, Decoded, Pair, Refused, Request, Sending, Sendings, Server, Shown, Shows, Who,
};
pub use request_id::{RequestId, RequestIds};
pub use revocation::{Learned, Revocation};
pub use rotation::{Rotation, SecretTrouble, Stage};
pub use strain::Strain;

/// Events that wait for the reader; at the bound new ones are dropped and counted.
const WAITING_MAX: usize = 16 * 1024;

/// So many of them are not requests: a flood of those does not push out what happens to sessions.
const RESERVED: usize = 1024;

/// How long the reader lets events gather, so that a busy data core wakes it seldom.
const GATHER: Duration = Duration::from_millis(20);

/// Events taken in one go.
const BATCH_MAX: usize = 1024;

/// Something that happened. Holds names, numbers and closed lists: never a secret, a query or a
/// body.
#[derive(Clone, Debug)]
pub enum Event {
    /// A login ended.
    Login(Login),
    /// A session was found dead.
    Expired(About),
    /// An expiry was told by an answer of an older session: nothing had to be done.
    LateExpiry(About),
    /// The probe was asked.
    Probe {
        /// Which session.
        about: About,
        /// What it said.
        alive: bool,
        /// How long it took.
        took: Duration,
    },
    /// A logout ended.
    Logout {
        /// Which session.
        about: About,
        /// Whether the upstream confirmed it.
        confirmed: bool,
        /// How long it took.
        took: Duration,
    },
    /// A session was to be prolonged by its recipe's refresh steps.
    Refreshed {
        /// The version that was to be prolonged.
        about: About,
        /// The generation of the next one, or why there is none.
        outcome: Result<u64, &'static str>,
        /// How long it took.
        took: Duration,
    },
    /// Single values of a session were to be renewed by its recipe's renewal steps.
    Renewed {
        /// The version whose values were called stale.
        about: About,
        /// The generation of the next one, or why there is none.
        outcome: Result<u64, &'static str>,
        /// How long it took.
        took: Duration,
    },
    /// A living session is logged out.
    LetGo {
        /// Which session.
        about: About,
        /// Why.
        why: LetGo,
    },
    /// Somebody else seems to end an account's sessions by logging in: no login for a while.
    Displaced {
        /// The session that died young.
        about: About,
        /// For how long no login is tried.
        pause: Duration,
    },
    /// An upstream has answered that it was too much: requests of the account wait. Those that are
    /// answered so meanwhile are not told.
    Paused {
        /// The upstream's name.
        upstream: Arc<str>,
        /// The account's name in the configuration.
        account: Arc<str>,
        /// For how long.
        pause: Duration,
    },
    /// An account gets no more logins until its secret changes.
    Quarantined {
        /// The upstream's name.
        upstream: Arc<str>,
        /// The account's name in the configuration.
        account: Arc<str>,
        /// Why.
        cause: &'static str,
    },
    /// A changed secret is taken over, or not.
    Rotation(Rotation),
    /// The place of a secret is not as it should be.
    SecretTrouble(SecretTrouble),
    /// A session of an earlier run was found alive and is used on.
    Adopted(About),
    /// What an earlier run left open at an upstream was logged out, or could not be.
    LeftOpen {
        /// The upstream's name.
        upstream: Arc<str>,
        /// The account's name in the configuration.
        account: Arc<str>,
        /// Whether the upstream confirmed its end.
        closed: bool,
    },
    /// Something was sent and did not end: what it gave may be open, and cannot be closed.
    AnswerLost {
        /// The upstream's name.
        upstream: Arc<str>,
        /// The account's name in the configuration.
        account: Arc<str>,
        /// What was sent.
        what: Lost,
    },
    /// What has to survive a restart could not be written.
    StateUnwritable {
        /// The upstream's name.
        upstream: Arc<str>,
        /// The account's name in the configuration.
        account: Arc<str>,
        /// Why.
        why: String,
    },
    /// Something about the state that an operator should know.
    StateNotice(String),
    /// A client's key is revoked, or nobody knows which ones are.
    Revocation(Revocation),
    /// The keys of an issuer of tokens were fetched, or not.
    IssuerKeys(IssuerKeys),
    /// Something has changed in how an upstream can be reached.
    Reach(Reachability),
    /// The audit trail has gaps.
    Audit(AuditTrouble),
    /// The process takes on more or less than before.
    Strain(Strain),
    /// The configuration was read again.
    Reload(Reload),
    /// An operator has done something while Doorward ran.
    Operator(Operation),
    /// An operator has asked for the last rejected messages: one of them.
    Rejected(Box<Rejected>),
    /// A request ended, its body included. Readers keep it without a copy.
    Request(Arc<Request>),
}

/// What was sent whose answer nobody has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// A login: its session may be open, and nobody can close it.
    Login,
    /// A refresh: it is not sent again, and what it gave is used by nobody.
    Refresh,
}

impl Lost {
    /// The word in the audit trail.
    pub fn name(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Refresh => "refresh",
        }
    }

    /// What that means, for an operator.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Login => "a login's answer was lost: its session may be open",
            Self::Refresh => "a refresh's answer was lost: it is not sent again",
        }
    }
}

/// Which session an event is about.
#[derive(Clone, Debug)]
pub struct About {
    /// The upstream's name.
    pub upstream: Arc<str>,
    /// The account's name in the configuration.
    pub account: Arc<str>,
    /// The session's generation.
    pub generation: u64,
}

/// A login that ended.
#[derive(Clone, Debug)]
pub struct Login {
    /// The upstream's name.
    pub upstream: Arc<str>,
    /// The account's name in the configuration.
    pub account: Arc<str>,
    /// Why it was made.
    pub trigger: Trigger,
    /// The new session's generation, or why there is none.
    pub outcome: Result<u64, String>,
    /// The outcome as a word of a closed list.
    pub word: &'static str,
    /// How long it took.
    pub took: Duration,
}

impl Login {
    /// The word of a login that gave a session.
    pub const SUCCESS: &'static str = "success";
}

/// Why a login was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// There was no session.
    Cold,
    /// The session was found dead.
    Expired,
    /// The session was about to end.
    Refresh,
    /// The secret has changed.
    Rotation,
    /// An operator has asked for it.
    Manual,
}

/// Why a living session is logged out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LetGo {
    /// Nobody has used it for long.
    Unused,
    /// There is no room for it beside another one.
    Room,
}

/// Takes reports from every room. Clones report to the same readers.
#[derive(Clone, Debug)]
pub struct Reporter {
    sender: mpsc::Sender<(SystemTime, Event)>,
    dropped: Arc<AtomicU64>,
    wants_requests: Interests,
    blocks_requests: Arc<AtomicBool>,
}

/// Who wants to hear of every request: readers that always do, and others for a while. Clones count
/// the same.
#[derive(Clone, Debug, Default)]
pub struct Interests(Arc<AtomicUsize>);

/// Somebody wants to hear of every request, as long as this is there.
#[derive(Debug)]
pub struct Interest(Interests);

impl Interests {
    /// Whether somebody wants to hear of them.
    pub fn is_any(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }

    /// Has every request reported from now on.
    pub fn begin(&self) -> Interest {
        self.0.fetch_add(1, Ordering::Relaxed);
        Interest(self.clone())
    }
}

impl Drop for Interest {
    fn drop(&mut self) {
        let Interests(count) = &self.0;
        count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A [`Reporter`] for readers: reports end although it is there.
#[derive(Clone, Debug)]
pub struct WeakReporter {
    sender: mpsc::WeakSender<(SystemTime, Event)>,
    blocks_requests: Arc<AtomicBool>,
}

/// The reading end of a [`Reporter`].
pub struct Reports {
    receiver: mpsc::Receiver<(SystemTime, Event)>,
    dropped: Arc<AtomicU64>,
    wants_requests: Interests,
    /// Those of the readers.
    interests: Vec<Interest>,
    readers: Vec<Box<dyn Reader>>,
}

/// Somebody who wants to know what happened.
pub trait Reader: Send {
    /// Takes one event.
    fn read(&mut self, at: SystemTime, event: &Event);

    /// Whether it wants to hear of every request; where nobody does, none is reported.
    fn wants_requests(&self) -> bool {
        false
    }

    /// Takes note that so many events were dropped.
    fn dropped(&mut self, _count: u64) {}
}

/// A reporter and its reading end.
pub fn reports() -> (Reporter, Reports) {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    let dropped = Arc::new(AtomicU64::new(0));
    let wants_requests = Interests::default();
    let reporter = Reporter {
        sender,
        dropped: Arc::clone(&dropped),
        wants_requests: wants_requests.clone(),
        blocks_requests: Arc::default(),
    };
    let (interests, readers) = (Vec::new(), Vec::new());
    (reporter, Reports { receiver, dropped, wants_requests, interests, readers })
}

impl Reporter {
    /// Whether some reader wants to hear of every request.
    pub fn wants_requests(&self) -> bool {
        self.wants_requests.is_any()
    }

    /// Where somebody can ask to hear of every request for a while.
    pub fn interests(&self) -> Interests {
        self.wants_requests.clone()
    }

    /// Whether a reader that may not miss a request cannot take note of any at the moment.
    pub fn blocks_requests(&self) -> bool {
        self.blocks_requests.load(Ordering::Relaxed)
    }

    /// Reports an event. Never waits: at the bound the event is dropped and counted.
    pub fn report(&self, event: Event) {
        self.report_at(SystemTime::now(), event);
    }

    /// The same of what happened at `at`.
    pub fn report_at(&self, at: SystemTime, event: Event) {
        let is_crowded = matches!(event, Event::Request(_)) && self.sender.capacity() <= RESERVED;
        if is_crowded || self.sender.try_send((at, event)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The same for a reader, which must not keep reports from ending.
    pub fn downgrade(&self) -> WeakReporter {
        let blocks_requests = Arc::clone(&self.blocks_requests);
        WeakReporter { sender: self.sender.downgrade(), blocks_requests }
    }
}

impl WeakReporter {
    /// Reports an event, unless reports have ended or the bound is reached.
    pub fn report(&self, event: Event) {
        if let Some(sender) = self.sender.upgrade() {
            _ = sender.try_send((SystemTime::now(), event));
        }
    }

    /// Has requests refused from now on.
    pub fn block_requests(&self) {
        self.blocks_requests.store(true, Ordering::Relaxed);
    }

    /// Lets requests pass again.
    pub fn let_requests_pass(&self) {
        self.blocks_requests.store(false, Ordering::Relaxed);
    }
}

impl Reports {
    /// Who reads. Requests are reported from here on, if one of them wants to hear of them: so this
    /// comes before the first request.
    #[must_use]
    pub fn for_readers(mut self, readers: Vec<Box<dyn Reader>>) -> Self {
        let wanting = readers.iter().filter(|reader| reader.wants_requests());
        self.interests = wanting.map(|_| self.wants_requests.begin()).collect();
        self.readers = readers;
        self
    }

    /// Hands every event to every reader, until all reporters are gone.
    pub async fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        while self.receiver.recv_many(&mut batch, BATCH_MAX).await > 0 {
            for (at, event) in batch.drain(..) {
                self.readers.iter_mut().for_each(|reader| reader.read(at, &event));
            }
            self.tell_dropped();
            if !self.receiver.is_closed() {
                tokio::time::sleep(GATHER).await;
            }
        }
        // What was dropped while the last ones were read.
        self.tell_dropped();
    }

    fn tell_dropped(&mut self) {
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            self.readers.iter_mut().for_each(|reader| reader.dropped(dropped));
        }
    }
}

impl LetGo {
    /// The word in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unused => "unused",
            Self::Room => "room",
        }
    }
}

impl Trigger {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Cold, Self::Expired, Self::Refresh, Self::Rotation, Self::Manual];

    /// The word in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cold => "cold",
            Self::Expired => "expired",
            Self::Refresh => "refresh",
            Self::Rotation => "rotation",
            Self::Manual => "manual",
        }
    }
}
