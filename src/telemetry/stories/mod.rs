//! The stories of the last requests and what was counted of them since somebody looked, kept by the
//! core that served them and in place: only that core writes to its [`Book`], once for each request,
//! and its lock is free but while somebody reads a few stories. In the long run nothing is allocated,
//! but for methods of no list and for paths of more than 108 bytes.

mod counts;
mod ring;
mod slot;
mod story;
#[cfg(test)]
pub(crate) mod tests;

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use foldhash::fast::RandomState;
use http::{Method, StatusCode};

pub use counts::Counts;
use ring::Ring;
use slot::Slot;
pub use story::Story;
use story::system_time;

use super::request_id::Prefix;
use super::{Decision, Refused, RequestId, RequestIds};

/// Of how many clients it is known when they were last seen; there are hardly more than a
/// configuration file has room for.
pub const CLIENTS_MAX: usize = 100_000;

/// Bits of a story's number that tell its core: as many as the configuration may ask for.
const CORE_BITS: u32 = 10;

/// Stories that are read in one go: a core that finds its reader at work mostly waits for no more.
const READ_MAX: usize = 32;

/// Accounts of an upstream whose names are known, of all configurations that there were. Beyond it
/// those that came first are forgotten.
const ACCOUNTS_MAX: usize = 10_000;

/// What all cores keep.
#[derive(Debug, Default)]
pub struct Stories {
    kept_max: usize,
    wall: Arc<Wall>,
    books: Mutex<Vec<Arc<Book>>>,
}

/// What has to be added to the time since the start for the time of the wall clock, in nanoseconds.
/// Cores read it for each request, and none reads a clock for it.
#[derive(Debug, Default)]
struct Wall(AtomicU64);

/// What one core keeps.
#[derive(Debug)]
pub struct Book {
    kept_max: usize,
    /// Which core it is.
    core: u64,
    /// How the ids of its requests begin.
    prefix: Prefix,
    wall: Arc<Wall>,
    kept: Mutex<Kept>,
    /// By [`UpstreamNumber`]: as many as the configuration has had.
    names: Mutex<Vec<Named>>,
    /// What is counted into when `kept` is read; the reader's own until then.
    spare: Mutex<Counted>,
}

/// What only the core writes.
#[derive(Debug)]
struct Kept {
    last_number: u64,
    counted: Counted,
    ring: Ring,
}

/// What was counted since somebody has taken it.
#[derive(Debug, Default)]
struct Counted {
    /// Requests without an upstream.
    nowhere: Counts,
    /// By [`UpstreamNumber`].
    upstreams: Vec<Counts>,
    /// By number.
    clients: HashMap<u32, Client, RandomState>,
}

#[derive(Debug)]
struct Client {
    name: Arc<str>,
    /// When its last one ended: nanoseconds since the start, which no wall clock changes.
    ended: u64,
    requests: u64,
}

/// An upstream in a core's book.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpstreamNumber(u32);

/// What an upstream and its accounts are called.
#[derive(Clone, Debug)]
struct Named {
    name: Arc<str>,
    accounts: Vec<(u32, Arc<str>)>,
}

/// What is remembered of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// When a request of it last ended, since the start.
    pub ended: Duration,
    /// How many have ended.
    pub requests: u64,
}

/// What is noted of a request that ended.
#[derive(Debug)]
pub struct Note<'a> {
    /// When it ended, since the start.
    pub ended: Duration,
    /// Its id.
    pub id: &'a RequestId,
    /// Number and name of the client that sent it, if one did.
    pub client: Option<(u32, Arc<str>)>,
    /// The address that its connection came from; nothing on a Unix socket.
    pub peer: Option<IpAddr>,
    /// The upstream, where a route was found.
    pub upstream: Option<UpstreamNumber>,
    /// The account's number, where the request was allowed.
    pub account: Option<u32>,
    /// The method.
    pub method: &'a Method,
    /// The path without its query and without anything that is secret.
    pub path: &'a str,
    /// What became of it.
    pub decision: Decision,
    /// The status that the client got.
    pub status: StatusCode,
    /// What decided the answer, from a closed list.
    pub reason: &'static str,
    /// The generation of the session that the last sending carried.
    pub generation: Option<u64>,
    /// Whether it was sent a second time.
    pub is_replayed: bool,
    /// The session that the first sending carried, where the upstream's answer called that dead.
    pub refused: Option<Refused>,
    /// Whether it had to wait for a session that was not there yet.
    pub is_awaited: bool,
    /// From its head to its turn at the limits, or to the answer that it gets none.
    pub waited: Option<Duration>,
    /// From its head to the session that the last sending carried.
    pub session_after: Option<Duration>,
    /// From its head to the head of the upstream's last answer.
    pub head_after: Option<Duration>,
    /// From its head to the end of the answer's body.
    pub took: Duration,
    /// Bytes of the answer's body.
    pub body_bytes: u64,
    /// How many stretches of the answer's body were replaced because they showed a secret.
    pub redacted: u64,
}

impl Stories {
    /// The last `kept_max` stories of all cores.
    pub fn new(kept_max: usize) -> Self {
        Self { kept_max, ..Self::default() }
    }

    /// Whether any story is kept.
    pub fn is_kept(&self) -> bool {
        self.kept_max > 0
    }

    /// It is `wall` now, so long after the start. To be said again whenever the wall clock may have
    /// gone otherwise: from then on requests end by it.
    pub fn set_wall(&self, since_start: Duration, wall: SystemTime) {
        let wall = nanoseconds(wall.duration_since(UNIX_EPOCH).unwrap_or_default());
        let Wall(ahead) = &*self.wall;
        ahead.store(wall.wrapping_sub(nanoseconds(since_start)), Ordering::Relaxed);
    }

    /// What the wall clock shows, as far as is known, so long after the start.
    pub fn wall_time(&self, since_start: Duration) -> SystemTime {
        system_time(self.wall.at(nanoseconds(since_start)))
    }

    /// The book of one more core, whose requests have these ids.
    pub fn book(&self, ids: &RequestIds) -> Arc<Book> {
        let mut books = lock(&self.books);
        let ring = Ring::new(self.kept_max);
        let book = Arc::new(Book {
            kept_max: self.kept_max,
            core: books.len() as u64,
            prefix: ids.prefix(),
            wall: Arc::clone(&self.wall),
            kept: Mutex::new(Kept { last_number: 0, counted: Counted::default(), ring }),
            names: Mutex::default(),
            spare: Mutex::default(),
        });
        books.push(Arc::clone(&book));
        book
    }

    /// The stories that are kept, the newest first.
    pub fn newest_first(&self) -> Vec<Story> {
        let mut all: Vec<(u64, Slot, usize)> = Vec::new();
        let books = lock(&self.books).clone();
        for (book, number) in books.iter().zip(0..) {
            let is_full = all.len() == self.kept_max;
            // What is older than all of these makes room anyway.
            let oldest = all.last().map(|(number, ..)| *number).filter(|_| is_full);
            let is_newer = |slot: &Slot| oldest.is_none_or(|oldest| slot.number > oldest);
            let own = book.read(|slot| is_newer(slot).then(|| slot.clone()));
            all.extend(own.into_iter().map(|slot| (slot.number, slot, number)));
            // Stretches that are in order already, which this sort makes use of.
            all.sort_by_key(|(number, ..)| Reverse(*number));
            all.truncate(self.kept_max);
        }
        let names: Vec<_> = books.iter().map(|book| lock(&book.names).clone()).collect();
        let read = |(_, slot, number): (u64, Slot, usize)| {
            let (book, names) = (books.get(number)?, names.get(number)?);
            let id = book.prefix.id(slot.request);
            Some(Story::read(slot, id, names))
        };
        all.into_iter().filter_map(read).collect()
    }

    /// Upstream and session of each request that waited for a login, as far as they are kept.
    pub fn awaited(&self) -> Vec<(Arc<str>, u64)> {
        let mut all = Vec::new();
        for book in lock(&self.books).clone() {
            let awaited = book
                .read(|slot| Some(slot.upstream.zip(slot.generation).filter(|_| slot.is_awaited)));
            let names = lock(&book.names);
            let named = |(UpstreamNumber(number), generation): (UpstreamNumber, u64)| {
                Some((Arc::clone(&names.get(number as usize)?.name), generation))
            };
            all.extend(awaited.into_iter().flatten().filter_map(named));
        }
        all
    }

    /// Takes what was counted since this was last asked: for each upstream, and without one, and of
    /// each client that was seen. The same upstream or client may come once for each core.
    pub fn take_counts(
        &self,
        mut counts: impl FnMut(Option<&Arc<str>>, &Counts),
        mut clients: impl FnMut(&Arc<str>, Seen),
    ) {
        for book in &*lock(&self.books) {
            let mut counted = lock(&book.spare);
            std::mem::swap(&mut *counted, &mut lock(&book.kept).counted);
            let names = lock(&book.names);
            let named = names.iter().map(|named| Some(&named.name));
            let all =
                std::iter::once((None, &counted.nowhere)).chain(named.zip(&counted.upstreams));
            for (upstream, some) in all.filter(|(_, some)| some.requests > 0) {
                counts(upstream, some);
            }
            for Client { name, ended, requests } in counted.clients.values() {
                clients(name, Seen { ended: Duration::from_nanos(*ended), requests: *requests });
            }
            counted.clear();
        }
    }
}

impl Book {
    /// The number of an upstream, with the numbers and names of its accounts.
    pub fn upstream<'n>(
        &self,
        name: &Arc<str>,
        accounts: impl IntoIterator<Item = (u32, &'n Arc<str>)>,
    ) -> UpstreamNumber {
        let mut names = lock(&self.names);
        let number = names.iter().position(|known| known.name == *name).unwrap_or(names.len());
        if number == names.len() {
            names.push(Named { name: Arc::clone(name), accounts: Vec::new() });
        }
        if let Some(known) = names.get_mut(number) {
            for (id, name) in accounts {
                known.accounts.retain(|(known, _)| *known != id);
                known.accounts.push((id, Arc::clone(name)));
            }
            let too_many = known.accounts.len().saturating_sub(ACCOUNTS_MAX);
            known.accounts.drain(..too_many);
        }
        UpstreamNumber(number as u32)
    }

    /// Whether stories are kept here.
    pub fn is_kept(&self) -> bool {
        self.kept_max > 0
    }

    /// Counts a request that ended, and keeps its story where any is kept. Returns when that was.
    pub fn write(&self, note: Note<'_>) -> SystemTime {
        let ended = nanoseconds(note.ended);
        let at = self.wall.at(ended);
        let mut kept = lock(&self.kept);
        let Kept { last_number, counted, ring } = &mut *kept;
        counted.count(ended, &note);
        if let Some(slot) = ring.next() {
            // By the time of the end; where two have ended in the same microsecond, by their order.
            let number = (ended / 1000) << CORE_BITS | self.core;
            *last_number = number.max(*last_number + (1 << CORE_BITS));
            slot.write(*last_number, at, note);
        }
        drop(kept);
        system_time(at)
    }

    /// What `pick` makes of the stories, the newest first, until it makes nothing. The lock is let go
    /// again and again: what is written over meanwhile is left out.
    fn read<T>(&self, pick: impl Fn(&Slot) -> Option<T>) -> Vec<T> {
        let (mut all, mut order) = (Vec::new(), u64::MAX);
        loop {
            // Outside of the lock.
            all.reserve(READ_MAX);
            let kept = lock(&self.kept);
            for _ in 0..READ_MAX {
                let Some((found, slot)) = kept.ring.before(order) else { return all };
                let Some(picked) = pick(slot) else { return all };
                order = found;
                all.push(picked);
            }
        }
    }
}

impl Wall {
    /// Nanoseconds since 1970, so many after the start.
    fn at(&self, since_start: u64) -> u64 {
        since_start.wrapping_add(self.0.load(Ordering::Relaxed))
    }
}

impl Counted {
    fn count(&mut self, ended: u64, note: &Note<'_>) {
        let counts = match note.upstream {
            None => &mut self.nowhere,
            Some(UpstreamNumber(number)) => {
                let number = number as usize;
                if number >= self.upstreams.len() {
                    self.upstreams.resize_with(number + 1, Counts::default);
                }
                // There is one by now.
                self.upstreams.get_mut(number).unwrap_or(&mut self.nowhere)
            }
        };
        counts.count(note.status.as_u16(), note.took);
        let Some((number, name)) = &note.client else { return };
        if let Some(client) = self.clients.get_mut(number) {
            client.ended = ended;
            client.requests += 1;
        } else if self.clients.len() < CLIENTS_MAX {
            let client = Client { name: Arc::clone(name), ended, requests: 1 };
            self.clients.insert(*number, client);
        }
    }

    /// Nothing was counted; the memory is kept.
    fn clear(&mut self) {
        let all = std::iter::once(&mut self.nowhere).chain(&mut self.upstreams);
        all.filter(|counts| counts.requests > 0).for_each(|counts| *counts = Counts::default());
        self.clients.clear();
    }
}

impl Named {
    fn account(&self, id: u32) -> Option<Arc<str>> {
        let account = self.accounts.iter().find(|(known, _)| *known == id);
        account.map(|(_, name)| Arc::clone(name))
    }
}

/// 584 years at most.
fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Nothing panics under these locks: what they hold is whole.
fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}
