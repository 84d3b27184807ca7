//! What is remembered of what happened, in memory and bounded: the last requests, logins and
//! seconds, and when each client was last seen. It reads what rooms report; no request waits for it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use foldhash::fast::RandomState;
use tokio::sync::broadcast;

use super::answers::{self, Recent, Summary, Traffic, time};
use super::live::{LAG_MAX, Told};
use super::pulse::Pulse;
use super::told::{self, Shares};
use crate::telemetry::{Event, Interest, Interests, Login, Reader, Request, Who};

/// Of how many logins the story is kept; an account makes a few a day.
const LOGINS_KEPT: usize = 1000;

/// Of how many seconds the summary is kept: a quarter of an hour.
const SUMMARIES_KEPT: usize = 900;

/// Of how many clients it is known when they were last seen; there are hardly more than a
/// configuration file has room for.
const CLIENTS_MAX: usize = 100_000;

/// An hour, for counts of logins.
const HOUR: Duration = Duration::from_secs(3600);

/// A number that only grows, and what was remembered under it.
#[derive(Clone, Debug)]
pub(super) struct Numbered<T> {
    pub(super) number: u64,
    pub(super) at: SystemTime,
    pub(super) what: T,
}

/// The last ones; the oldest makes room.
#[derive(Debug)]
pub(super) struct Ring<T> {
    kept_max: usize,
    next: u64,
    kept: VecDeque<Numbered<T>>,
}

impl<T> Ring<T> {
    fn new(kept_max: usize) -> Self {
        Self { kept_max, next: 1, kept: VecDeque::new() }
    }

    fn push(&mut self, at: SystemTime, what: T) {
        if self.kept_max == 0 {
            return;
        }
        if self.kept.len() == self.kept_max {
            self.kept.pop_front();
        }
        self.kept.push_back(Numbered { number: self.next, at, what });
        self.next += 1;
    }

    fn newest_first(&self) -> impl Iterator<Item = &Numbered<T>> {
        self.kept.iter().rev()
    }
}

/// What is remembered of a client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) last: SystemTime,
    pub(super) requests: u64,
}

/// Everything that is remembered.
#[derive(Debug)]
pub struct Records {
    requests: Mutex<Ring<Arc<Request>>>,
    logins: Mutex<Ring<Login>>,
    summaries: Mutex<VecDeque<Summary>>,
    clients: Mutex<HashMap<Arc<str>, Seen, RandomState>>,
    pulse: Mutex<Pulse>,
    logins_of_second: Mutex<(u64, u64)>,
    live: broadcast::Sender<Arc<Told>>,
    interests: Interests,
    requests_kept: usize,
}

/// Reads what is reported into [`Records`].
#[derive(Debug)]
pub struct Recorder(Arc<Records>);

/// A recorder and what it fills: the stories of so many requests. Whoever watches has requests
/// reported by `interests` where none are kept.
pub fn records(requests_kept: usize, interests: Interests) -> (Recorder, Arc<Records>) {
    let (live, _) = broadcast::channel(LAG_MAX);
    let records = Arc::new(Records {
        requests: Mutex::new(Ring::new(requests_kept)),
        logins: Mutex::new(Ring::new(LOGINS_KEPT)),
        summaries: Mutex::default(),
        clients: Mutex::default(),
        pulse: Mutex::default(),
        logins_of_second: Mutex::default(),
        live,
        interests,
        requests_kept,
    });
    (Recorder(Arc::clone(&records)), records)
}

impl Reader for Recorder {
    fn read(&mut self, at: SystemTime, event: &Event) {
        match event {
            Event::Request(request) => self.0.request(at, request),
            Event::Login(login) => self.0.login(at, login),
            // An operator asked for these, and got them.
            Event::Rejected(_) => {}
            event => {
                if self.0.live.receiver_count() > 0
                    && let Some(change) = told::change(at, event)
                {
                    self.0.tell(Told::Session(change));
                }
            }
        }
    }

    fn wants_requests(&self) -> bool {
        self.0.requests_kept > 0
    }

    fn dropped(&mut self, count: u64) {
        self.0.tell(Told::Lost(count));
    }
}

impl Records {
    fn request(&self, at: SystemTime, request: &Arc<Request>) {
        let status = request.status.as_u16();
        lock(&self.pulse).count(request.upstream.as_ref(), status, request.took);
        if let Some(Who::Client(name)) = &request.who {
            let mut clients = lock(&self.clients);
            if let Some(seen) = clients.get_mut(name) {
                *seen = Seen { last: at, requests: seen.requests + 1 };
            } else if clients.len() < CLIENTS_MAX {
                clients.insert(Arc::clone(name), Seen { last: at, requests: 1 });
            }
        }
        let is_watched = self.live.receiver_count() > 0;
        if self.requests_kept == 0 && !is_watched {
            return;
        }
        lock(&self.requests).push(at, Arc::clone(request));
        if is_watched {
            self.tell(Told::Request(at, Arc::clone(request)));
        }
    }

    fn login(&self, at: SystemTime, login: &Login) {
        {
            let mut counts = lock(&self.logins_of_second);
            counts.0 += 1;
            counts.1 += u64::from(login.outcome.is_err());
        }
        lock(&self.logins).push(at, login.clone());
        self.tell(Told::Login(at, login.clone()));
    }

    fn tell(&self, told: Told) {
        if self.live.receiver_count() > 0 {
            // Without a receiver by now nobody is told.
            _ = self.live.send(Arc::new(told));
        }
    }

    /// A second has passed.
    pub(super) fn tick(&self, at: SystemTime, traffic: &Traffic) {
        let counts = lock(&self.pulse).tick();
        let (logins, logins_failed) = std::mem::take(&mut *lock(&self.logins_of_second));
        let is_told = self.is_told();
        let [p50_ms, p95_ms, p99_ms] = counts.percentiles();
        let summary = Summary {
            at: time(at),
            requests: is_told.then_some(counts.requests),
            errors: is_told.then_some(counts.errors),
            p50_ms,
            p95_ms,
            p99_ms,
            logins,
            logins_failed,
            sessions: traffic.sessions,
            waiting: traffic.waiting,
            connections: traffic.connections,
        };
        {
            let mut summaries = lock(&self.summaries);
            if summaries.len() == SUMMARIES_KEPT {
                summaries.pop_front();
            }
            summaries.push_back(summary.clone());
        }
        self.tell(Told::Summary(summary));
    }

    /// Whether requests are reported at all.
    fn is_told(&self) -> bool {
        self.interests.is_any()
    }

    /// Watches from now on. A reader that falls behind by more than the bound loses the oldest, and
    /// is told how many.
    pub(super) fn watch(&self) -> (broadcast::Receiver<Arc<Told>>, Interest) {
        (self.live.subscribe(), self.interests.begin())
    }

    /// The requests that are kept, the newest first.
    pub(super) fn requests(&self) -> Vec<Numbered<Arc<Request>>> {
        lock(&self.requests).newest_first().cloned().collect()
    }

    /// How many requests waited for each login, as far as they are kept.
    pub(super) fn shares(&self) -> Shares {
        Shares::of(lock(&self.requests).newest_first())
    }

    /// The logins that are kept, the newest first.
    pub(super) fn logins(&self) -> Vec<Numbered<Login>> {
        lock(&self.logins).newest_first().cloned().collect()
    }

    /// The summaries of the last seconds, the oldest first.
    pub(super) fn summaries(&self) -> Vec<Summary> {
        lock(&self.summaries).iter().cloned().collect()
    }

    /// When a client was last seen.
    pub(super) fn seen(&self, client: &str) -> Option<Seen> {
        lock(&self.clients).get(client).copied()
    }

    /// What the last minute was like, of all or of one upstream.
    pub(super) fn recent(&self, upstream: Option<&str>) -> Recent {
        lock(&self.pulse).recent(upstream, self.is_told())
    }

    /// How many logins an upstream had in the last hour, and how many of them failed.
    pub(super) fn logins_of(&self, upstream: &str, now: SystemTime) -> (usize, usize) {
        let logins = lock(&self.logins);
        // A clock that was set back has some of them happen later than now.
        let is_recent = |at| now.duration_since(at).unwrap_or_default() <= HOUR;
        let mut counts = (0, 0);
        for login in logins.newest_first().filter(|login| *login.what.upstream == *upstream) {
            if is_recent(login.at) {
                counts.0 += 1;
                counts.1 += usize::from(login.what.outcome.is_err());
            }
        }
        counts
    }

    /// The login that gave a session, or else the last one of the account.
    pub(super) fn last_login(
        &self,
        upstream: &str,
        account: &str,
        opened_as: Option<u64>,
    ) -> Option<answers::LastLogin> {
        let logins = lock(&self.logins);
        let of_account = || {
            logins.newest_first().filter(|login| {
                *login.what.upstream == *upstream && *login.what.account == *account
            })
        };
        let gave = |login: &&Numbered<Login>| {
            opened_as.is_some() && login.what.outcome.as_ref().ok() == opened_as.as_ref()
        };
        let found = of_account().find(gave).or_else(|| of_account().next());
        found.map(|login| told::last_login(login.at, &login.what))
    }
}

/// Nothing panics under these locks: what they hold is whole.
fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}
