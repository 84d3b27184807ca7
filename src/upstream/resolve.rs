//! Which addresses an upstream's name has: asked anew after a bounded time and when no connection
//! can be made, once for all who want to know at the same time. What was known last is used on while
//! nobody answers.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::net::lookup_host;
use tokio::sync::watch;

use super::addresses::{Endpoint, Preference, peers};
use super::dial::Observer;
use super::error::{ConnectError, is_exhausted};
use super::prohibited::Leads;
use crate::clock::Moment;
use crate::telemetry::ReachChange;

/// Addresses of a name that are used; further ones are not.
const ADDRESSES_MAX: usize = 32;

/// How long an answer may take where there is an older one (RFC 8767 section 5 has 1.8 s).
const NEW_ANSWER_WAIT_MAX: Duration = Duration::from_secs(1);

/// How long the question may stay open at all; resolvers give up sooner.
const QUESTION_TIME_MAX: Duration = Duration::from_secs(60);

/// When a name is asked for again that could not be resolved, and the last answer is used on.
const ASKED_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// From one answer to the next question that a failed connection asks, at least.
const QUESTIONS_DISTANCE: Duration = Duration::from_secs(1);

/// How long the last answer is used on while there is no new one.
const LAST_ANSWER_AGE_MAX: Duration = Duration::from_secs(60 * 60);

/// What a question becomes.
pub type Asked<'n> = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'n>>;

/// Who knows which addresses a name has.
pub trait Names: fmt::Debug + Send + Sync {
    /// The addresses of a host.
    fn addresses_of<'n>(&'n self, host: &'n str) -> Asked<'n>;
}

/// Who is asked for the addresses of names.
#[derive(Clone, Debug, Default)]
pub enum Resolver {
    /// The machine (`getaddrinfo`), with its hosts file and its name servers.
    #[default]
    System,
    /// Somebody else.
    Given(Arc<dyn Names>),
}

/// The addresses that an upstream has now.
pub(super) type Endpoints = Arc<[Arc<Endpoint>]>;

/// A name and the addresses that it had last.
#[derive(Debug)]
pub(super) struct Name {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) resolver: Resolver,
    /// How long an answer is taken for new.
    pub(super) every: Duration,
    pub(super) leads: Leads,
    pub(super) observer: Observer,
    known: Mutex<Known>,
    /// How many of the addresses are as good as the first one.
    peers: AtomicUsize,
    /// When the name is asked for again though nobody connects, in milliseconds of the clock.
    next_question: AtomicU64,
}

#[derive(Debug, Default)]
struct Known {
    endpoints: Endpoints,
    /// When these addresses were told.
    answered_at: Option<Moment>,
    /// When the name is asked for again; nothing: with the next connection.
    due: Option<Moment>,
    /// A question is open.
    asking: Option<watch::Receiver<()>>,
    /// Why the last question had no answer.
    trouble: Option<Trouble>,
    /// What the name led to and must not.
    refused: Vec<IpAddr>,
}

#[derive(Clone, Debug)]
struct Trouble {
    kind: io::ErrorKind,
    text: String,
    /// As the system numbers it, where it is the system that tells it.
    number: Option<i32>,
}

/// What is known at the moment.
enum Look {
    New(Endpoints),
    /// Somebody asks; until then there is what was known last.
    Asking(watch::Receiver<()>, Option<Endpoints>),
}

impl Resolver {
    async fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        match self {
            Self::System => match lookup_host((host, port)).await {
                Ok(addresses) => Ok(addresses.collect()),
                Err(error) => Err(lacking().unwrap_or(error)),
            },
            Self::Given(names) => {
                let addresses = names.addresses_of(host).await?;
                Ok(addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect())
            }
        }
    }
}

/// Descriptors that `getaddrinfo` needs at a time, or a few more: a file, and sockets to name
/// servers.
const DESCRIPTORS_NEEDED: usize = 4;

/// That there are no descriptors left, if there are none. Whoever resolves names without any tells
/// that no server has answered, or that there is no such name.
fn lacking() -> Option<io::Error> {
    let sockets = (0..DESCRIPTORS_NEEDED).map(|_| Socket::new(Domain::UNIX, Type::DGRAM, None));
    sockets.collect::<io::Result<Vec<_>>>().err().filter(is_exhausted)
}

impl Name {
    pub(super) fn new(
        (host, port): (String, u16),
        resolver: Resolver,
        every: Duration,
        leads: Leads,
        observer: Observer,
    ) -> Self {
        let (known, peers) = (Mutex::default(), AtomicUsize::new(1));
        let next_question = AtomicU64::new(u64::MAX);
        Self { host, port, resolver, every, leads, observer, known, peers, next_question }
    }

    /// How many of the addresses are as good as the first one.
    pub(super) fn peers(&self) -> usize {
        self.peers.load(Ordering::Relaxed)
    }

    /// The addresses that were told last; nobody is asked.
    pub(super) fn known(&self) -> Endpoints {
        Arc::clone(&self.lock().endpoints)
    }

    /// The addresses. Waits only where none are known, or only old ones. Cancel safe: the question
    /// is asked by a task of its own.
    ///
    /// # Errors
    /// When there is none that may be used.
    pub(super) async fn endpoints(self: &Arc<Self>) -> Result<Endpoints, ConnectError> {
        let (mut asking, kept) = match self.look() {
            Look::New(endpoints) => return Ok(endpoints),
            Look::Asking(asking, kept) => (asking, kept),
        };
        // The sender is dropped when it has been answered, or when whoever asked has ended.
        let answered = async { _ = asking.changed().await };
        match kept {
            None => answered.await,
            Some(kept) => {
                if tokio::time::timeout(NEW_ANSWER_WAIT_MAX, answered).await.is_err() {
                    return Ok(kept);
                }
            }
        }
        self.answer()
    }

    /// The addresses that were told last, and why the last question had no answer, if it had none.
    pub(super) fn told_last(&self) -> (Endpoints, Option<String>) {
        let known = self.lock();
        let trouble = known.trouble.as_ref().map(|trouble| trouble.text.clone());
        (Arc::clone(&known.endpoints), trouble)
    }

    /// Asks when it is time, and waits for nothing.
    pub(super) fn ask_when_due(self: &Arc<Self>) {
        let now = self.observer.clock.now();
        if now.milliseconds() >= self.next_question.load(Ordering::Relaxed) {
            _ = self.look();
        }
    }

    /// No connection could be made: the addresses may be others by now.
    pub(super) fn failed(&self) {
        let mut known = self.lock();
        let Some(answered_at) = known.answered_at else { return };
        let sooner = answered_at + QUESTIONS_DISTANCE;
        if known.trouble.is_none() && known.due.is_some_and(|due| sooner < due) {
            known.due = Some(sooner);
            self.ask_again_at(sooner);
        }
    }

    fn look(self: &Arc<Self>) -> Look {
        let now = self.observer.clock.now();
        let mut known = self.lock();
        let kept = known.kept(now);
        if let Some(endpoints) = &kept
            && known.due.is_some_and(|due| now < due)
        {
            return Look::New(Arc::clone(endpoints));
        }
        // One whose task has ended without an answer is no longer open.
        let open = known.asking.clone().filter(|asking| asking.has_changed().is_ok());
        let asking = open.unwrap_or_else(|| {
            let (sender, asking) = watch::channel(());
            known.asking = Some(asking.clone());
            self.ask_again_at(now + QUESTION_TIME_MAX);
            tokio::spawn(Arc::clone(self).ask(sender));
            asking
        });
        Look::Asking(asking, kept)
    }

    async fn ask(self: Arc<Self>, sender: watch::Sender<()>) {
        let asked = self.resolver.addresses(&self.host, self.port);
        let answer = match tokio::time::timeout(QUESTION_TIME_MAX, asked).await {
            Ok(Ok(addresses)) if addresses.is_empty() => {
                Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"))
            }
            Ok(answer) => answer,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        match answer {
            Ok(addresses) => self.take(addresses),
            Err(error) => self.go_without(&error),
        }
        drop(sender);
    }

    /// These are the addresses from now on.
    fn take(&self, mut addresses: Vec<SocketAddr>) {
        let now = self.observer.clock.now();
        let mut refused = Vec::new();
        addresses.retain(|address| {
            let may = self.leads.may_be(address.ip());
            if !may && !refused.contains(&address.ip()) {
                refused.push(address.ip());
            }
            may
        });
        addresses.sort();
        addresses.dedup();
        addresses.truncate(ADDRESSES_MAX);
        let mut known = self.lock();
        let before = std::mem::take(&mut known.endpoints);
        let is_same = before.iter().map(|endpoint| &endpoint.address).eq(&addresses);
        let endpoints: Endpoints = match is_same {
            true => before,
            false => {
                let endpoints = addresses.iter().map(|address| {
                    let stays = before.iter().find(|endpoint| endpoint.address == *address);
                    stays.cloned().unwrap_or_else(|| Arc::new(Endpoint::new(*address)))
                });
                let goes = before.iter().filter(|known| !addresses.contains(&known.address));
                goes.for_each(|endpoint| endpoint.goes());
                endpoints.collect()
            }
        };
        self.peers.store(peers(&endpoints, Preference::Ipv6), Ordering::Relaxed);
        let is_first = known.answered_at.replace(now).is_none();
        known.endpoints = endpoints;
        known.due = Some(now + self.every);
        self.ask_again_at(now + self.every);
        known.asking = None;
        let was_in_trouble = known.trouble.take().is_some();
        let was_refused = std::mem::replace(&mut known.refused, refused.clone());
        drop(known);
        if was_in_trouble {
            self.observer.report(ReachChange::NameResolved);
        }
        if !is_same && !is_first {
            self.observer.report(ReachChange::AddressesChanged { addresses: addresses.len() });
        }
        for address in refused.into_iter().filter(|address| !was_refused.contains(address)) {
            self.observer.report(ReachChange::AddressProhibited { address });
        }
    }

    /// Nobody says which addresses the name has: the last ones are used on, for a while.
    fn go_without(&self, error: &io::Error) {
        let now = self.observer.clock.now();
        let mut known = self.lock();
        known.asking = None;
        let kept = known.kept(now);
        known.due = kept.as_ref().map(|_| now + ASKED_AGAIN_AFTER);
        self.ask_again_at(now + ASKED_AGAIN_AFTER);
        let had_some = !known.endpoints.is_empty();
        if kept.is_none() {
            known.endpoints.iter().for_each(|endpoint| endpoint.goes());
            known.endpoints = Endpoints::default();
            known.refused.clear();
        }
        let (kind, text, number) = (error.kind(), error.to_string(), error.raw_os_error());
        let trouble = Trouble { kind, text, number };
        let was_in_trouble = known.trouble.replace(trouble).is_some();
        let age = known.answered_at.map(|at| now.saturating_since(at)).unwrap_or_default();
        drop(known);
        let is_dropped = had_some && kept.is_none();
        if !was_in_trouble || is_dropped {
            let kept_for = kept.map(|_| LAST_ANSWER_AGE_MAX.saturating_sub(age));
            let why = error.to_string();
            self.observer.report(ReachChange::NameUnresolved { why, kept_for });
        }
    }

    /// What there is when the question has been answered.
    fn answer(&self) -> Result<Endpoints, ConnectError> {
        let known = self.lock();
        if let Some(endpoints) = known.kept(self.observer.clock.now()) {
            return Ok(endpoints);
        }
        Err(match (&known.trouble, known.refused.first()) {
            (Some(trouble), _) => trouble.as_error(),
            (None, Some(address)) => ConnectError::Prohibited(*address),
            // Whoever asked has ended before the answer.
            (None, None) => ConnectError::Dns(io::ErrorKind::Interrupted.into()),
        })
    }

    fn ask_again_at(&self, moment: Moment) {
        self.next_question.store(moment.milliseconds(), Ordering::Relaxed);
    }

    /// Nothing panics under the lock.
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Trouble {
    fn as_error(&self) -> ConnectError {
        match self.number.map(io::Error::from_raw_os_error) {
            Some(error) if is_exhausted(&error) => ConnectError::Exhausted(error),
            _ => ConnectError::Dns(io::Error::new(self.kind, self.text.clone())),
        }
    }
}

impl Known {
    /// The last answer, if it is not too old to be used.
    fn kept(&self, now: Moment) -> Option<Endpoints> {
        let is_young = now.saturating_since(self.answered_at?) < LAST_ANSWER_AGE_MAX;
        (is_young && !self.endpoints.is_empty()).then(|| Arc::clone(&self.endpoints))
    }
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
pub(super) mod tests;
