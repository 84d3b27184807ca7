//! What is remembered of what happened, in memory and bounded: the last requests, logins and
//! seconds, and when each client was last seen. Of requests it gathers what each core keeps, of
//! everything else it reads what rooms report; no request waits for it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use foldhash::fast::RandomState;
use tokio::sync::broadcast;

use super::answers::{self, Recent, Summary, Traffic, time};
use super::live::{LAG_MAX, Told};
use super::pulse::Pulse;
use super::told::{self, Shares};
use crate::clock::Clock;
use crate::telemetry::stories::{CLIENTS_MAX, Counts, Seen, Stories, Story};
use crate::telemetry::{Event, Interest, Interests, Login, Reader};

/// Of how many logins the story is kept; an account makes a few a day.
const LOGINS_KEPT: usize = 1000;

/// Of how many seconds the summary is kept: a quarter of an hour.
const SUMMARIES_KEPT: usize = 900;

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

/// Everything that is remembered.
#[derive(Debug)]
pub struct Records {
    /// What each core keeps of its requests.
    stories: Arc<Stories>,
    logins: Mutex<Ring<Login>>,
    summaries: Mutex<VecDeque<Summary>>,
    clients: Mutex<HashMap<Arc<str>, Seen, RandomState>>,
    pulse: Mutex<Pulse>,
    logins_of_second: Mutex<(u64, u64)>,
    live: broadcast::Sender<Arc<Told>>,
    interests: Interests,
    clock: Clock,
}

/// Reads what is reported into [`Records`].
#[derive(Debug)]
pub struct Recorder(Arc<Records>);

/// A recorder and what it fills, beside the stories that cores keep. Whoever watches has requests
/// reported by `interests`.
pub fn records(
    stories: Arc<Stories>,
    interests: Interests,
    clock: Clock,
) -> (Recorder, Arc<Records>) {
    let (live, _) = broadcast::channel(LAG_MAX);
    let records = Arc::new(Records {
        stories,
        logins: Mutex::new(Ring::new(LOGINS_KEPT)),
        summaries: Mutex::default(),
        clients: Mutex::default(),
        pulse: Mutex::default(),
        logins_of_second: Mutex::default(),
        live,
        interests,
        clock,
    });
    // Before the first request.
    records.set_wall();
    (Recorder(Arc::clone(&records)), records)
}

impl Reader for Recorder {
    fn read(&mut self, at: SystemTime, event: &Event) {
        match event {
            Event::Request(request) => {
                if self.0.live.receiver_count() > 0 {
                    self.0.tell(Told::Request(Story::of(at, request)));
                }
            }
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

    fn dropped(&mut self, count: u64) {
        self.0.tell(Told::Lost(count));
    }
}

impl Records {
    /// Requests end by the wall clock as it goes now.
    fn set_wall(&self) {
        let (_, since_start) = self.clock.now_and_since_start();
        self.stories.set_wall(since_start, SystemTime::now());
    }

    /// Adds what cores have counted meanwhile.
    fn gather(&self) {
        let (mut pulse, mut clients) = (lock(&self.pulse), lock(&self.clients));
        let count = |upstream: Option<&Arc<str>>, counts: &Counts| pulse.add(upstream, counts);
        let see = |name: &Arc<str>, more: Seen| {
            if let Some(seen) = clients.get_mut(name) {
                let (ended, requests) = (seen.ended.max(more.ended), seen.requests + more.requests);
                *seen = Seen { ended, requests };
            } else if clients.len() < CLIENTS_MAX {
                clients.insert(Arc::clone(name), more);
            }
        };
        self.stories.take_counts(count, see);
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
        self.set_wall();
        self.gather();
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

    /// Whether requests are counted at all.
    fn is_told(&self) -> bool {
        self.stories.is_kept() || self.interests.is_any()
    }

    /// Watches from now on. A reader that falls behind by more than the bound loses the oldest, and
    /// is told how many.
    pub(super) fn watch(&self) -> (broadcast::Receiver<Arc<Told>>, Interest) {
        (self.live.subscribe(), self.interests.begin())
    }

    /// The requests that are kept, the newest first.
    pub(super) fn requests(&self) -> Vec<Story> {
        self.stories.newest_first()
    }

    /// How many requests waited for each login, as far as they are kept.
    pub(super) fn shares(&self) -> Shares {
        Shares::of(self.stories.awaited())
    }

    /// The logins that are kept, the newest first.
    pub(super) fn logins(&self) -> Vec<Numbered<Login>> {
        lock(&self.logins).newest_first().cloned().collect()
    }

    /// The summaries of the last seconds, the oldest first.
    pub(super) fn summaries(&self) -> Vec<Summary> {
        lock(&self.summaries).iter().cloned().collect()
    }

    /// Adds to each of these clients when it was last seen and how many requests it has made.
    pub(super) fn add_seen(&self, clients: &mut [answers::Client]) {
        self.gather();
        let known = lock(&self.clients);
        for client in clients {
            if let Some(seen) = known.get(&*client.name) {
                client.last_used_at = Some(time(self.stories.wall_time(seen.ended)));
                client.requests = seen.requests;
            }
        }
    }

    /// What the last minute was like, of all and of each of these upstreams.
    pub(super) fn recent<'u>(
        &self,
        upstreams: impl IntoIterator<Item = &'u str>,
    ) -> (Recent, Vec<Recent>) {
        self.gather();
        let (pulse, is_told) = (lock(&self.pulse), self.is_told());
        let each = upstreams.into_iter().map(|upstream| pulse.recent(Some(upstream), is_told));
        (pulse.recent(None, is_told), each.collect())
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

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::telemetry::RequestIds;
    use crate::telemetry::stories::tests::note;
    use crate::telemetry::stories::{Book, Note};

    /// What is remembered, and the books of two cores.
    fn remembered(requests_kept: usize) -> (Arc<Records>, [Arc<Book>; 2], Interests) {
        let (stories, ids) = (Arc::new(Stories::new(requests_kept)), RequestIds::default());
        let books = [stories.book(&ids), stories.book(&ids)];
        let interests = Interests::default();
        let clock = Clock::manual(SystemTime::UNIX_EPOCH);
        let (_, records) = records(stories, interests.clone(), clock);
        (records, books, interests)
    }

    /// A request of alice ends, so many seconds after the start.
    fn end(book: &Book, seconds: u64, status: StatusCode) -> Duration {
        let (id, ended) = (RequestIds::default().next(), Duration::from_secs(seconds));
        let client = Some((1, Arc::from("alice")));
        book.write(Note { ended, client, status, ..note(&id, 0, "/") });
        ended
    }

    /// Fails when a core's part is left out or counted twice, or an earlier time stands for a later one.
    #[test]
    fn a_client_seen_by_two_cores_has_the_sum_of_its_requests_and_the_latest_time() {
        let (records, books, _) = remembered(10);
        let ended = end(&books[0], 20, StatusCode::OK);
        end(&books[1], 10, StatusCode::OK);
        let seen = || {
            records.gather();
            lock(&records.clients).get("alice").copied()
        };
        assert_eq!(seen(), Some(Seen { ended, requests: 2 }));
        assert_eq!(seen(), Some(Seen { ended, requests: 2 }));
        end(&books[1], 15, StatusCode::OK);
        assert_eq!(seen(), Some(Seen { ended, requests: 3 }));
    }

    /// Fails when a second tells what another one has told, or leaves out what somebody has asked for
    /// before it ended.
    #[test]
    fn a_second_is_told_once_and_from_all_cores() {
        let (records, books, _) = remembered(10);
        let told = || {
            records.tick(SystemTime::UNIX_EPOCH, &Traffic::default());
            let last = records.summaries().pop().unwrap();
            (last.requests, last.errors)
        };
        end(&books[0], 1, StatusCode::OK);
        assert_eq!(records.recent([]).0.requests, Some(1));
        end(&books[1], 1, StatusCode::BAD_GATEWAY);
        assert_eq!((told(), told()), ((Some(2), Some(1)), (Some(0), Some(0))));
        assert_eq!(records.recent([]).0.requests, Some(2));
    }

    /// Fails when counts are shown where nobody counts.
    #[test]
    fn where_nothing_is_kept_counts_are_told_only_while_somebody_watches() {
        let (records, _, interests) = remembered(0);
        assert_eq!(records.recent([]).0.requests, None);
        let watching = interests.begin();
        assert_eq!(records.recent([]).0.requests, Some(0));
        drop(watching);
        assert_eq!(records.recent([]).0.requests, None);
        assert!(records.requests().is_empty());
    }
}
