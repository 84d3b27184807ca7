//! The judge's numbers. Only requests in the vendor's namespace count.

use std::collections::{HashSet, VecDeque};
use std::sync::Mutex;

use aws_lc_rs::digest::{SHA256, digest};
use serde::Serialize;

use super::house::lock;
use super::record::Credential;
use super::site::{Call, Judged};

/// So many executed writes are compared for duplicates; after that the oldest is forgotten.
const WRITES_REMEMBERED_MAX: usize = 100_000;

/// What an emulator has seen and done since it started or since the counters were reset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Counters {
    /// Login calls that gave a session which works.
    pub logins: u64,
    /// Login calls that gave none: bad password, locked, code missing, single sign-on; also a
    /// token that M-Files gave for a wrong password.
    pub logins_refused: u64,
    /// Login calls that carried some credential of a session.
    pub logins_with_credential: u64,
    /// The most login calls that were under way at one time, from arrival to answer.
    pub logins_at_once_max: u64,
    /// Accounts that were locked for too many refused logins.
    pub lockouts: u64,
    /// Logout calls that ended a session.
    pub logouts: u64,
    /// Sessions that would be accepted now. Not reset.
    pub live_sessions: u64,
    /// All requests.
    pub requests: u64,
    /// Requests that needed a credential and carried a live one.
    pub requests_with_live_credential: u64,
    /// Requests that needed a credential and carried none.
    pub requests_without_credential: u64,
    /// Requests that needed a credential and carried one that this emulator never gave out.
    pub requests_with_foreign_credential: u64,
    /// Requests that needed a credential and carried one that was good once.
    pub requests_with_dead_credential: u64,
    /// Operations executed that are not idempotent: something was made, changed or sent.
    pub writes: u64,
    /// Those of `writes` whose target and body had been executed before.
    pub duplicate_writes: u64,
    /// Requests refused for too high a rate.
    pub rate_limited: u64,
    /// Answers that [`Forced`](super::Forced) changed.
    pub forced: u64,
}

/// The book behind [`Counters`].
#[derive(Debug, Default)]
pub struct Tally(Mutex<Book>);

#[derive(Debug, Default)]
struct Book {
    counters: Counters,
    logins_under_way: u64,
    written: HashSet<Vec<u8>>,
    written_order: VecDeque<Vec<u8>>,
}

/// A login call under way; ends when dropped.
#[derive(Debug)]
pub struct LoginUnderWay<'a>(&'a Tally);

impl Drop for LoginUnderWay<'_> {
    fn drop(&mut self) {
        lock(&self.0.0).logins_under_way -= 1;
    }
}

impl Tally {
    /// The counters; `live_sessions` is the site's to say.
    pub fn counters(&self, live_sessions: u64) -> Counters {
        Counters { live_sessions, ..lock(&self.0).counters.clone() }
    }

    pub fn reset(&self) {
        let mut book = lock(&self.0);
        book.counters = Counters::default();
        book.written.clear();
        book.written_order.clear();
        // Logins under way stay so: their guards will still report.
        book.counters.logins_at_once_max = book.logins_under_way;
    }

    /// Counts a request at its arrival. Keep the guard of a login until its answer leaves.
    pub fn arrived(&self, judged: Judged) -> Option<LoginUnderWay<'_>> {
        let mut book = lock(&self.0);
        book.counters.requests += 1;
        match judged.call {
            Call::Open => None,
            Call::Guarded => {
                book.counters.guarded(judged.credential);
                None
            }
            Call::Login => {
                book.logins_under_way += 1;
                let under_way = book.logins_under_way;
                let counters = &mut book.counters;
                counters.logins_at_once_max = counters.logins_at_once_max.max(under_way);
                if judged.credential != Credential::None {
                    counters.logins_with_credential += 1;
                }
                Some(LoginUnderWay(self))
            }
        }
    }

    pub fn logged_in(&self) {
        lock(&self.0).counters.logins += 1;
    }

    pub fn login_refused(&self) {
        lock(&self.0).counters.logins_refused += 1;
    }

    pub fn locked_out(&self) {
        lock(&self.0).counters.lockouts += 1;
    }

    pub fn logged_out(&self) {
        lock(&self.0).counters.logouts += 1;
    }

    pub fn rate_limited(&self) {
        lock(&self.0).counters.rate_limited += 1;
    }

    pub fn forced(&self) {
        lock(&self.0).counters.forced += 1;
    }

    /// Counts an executed write.
    pub fn wrote(&self, target: &str, body: &[u8]) {
        let mut operation = digest(&SHA256, target.as_bytes()).as_ref().to_vec();
        operation.extend_from_slice(digest(&SHA256, body).as_ref());

        let mut book = lock(&self.0);
        book.counters.writes += 1;
        if !book.written.insert(operation.clone()) {
            book.counters.duplicate_writes += 1;
            return;
        }
        book.written_order.push_back(operation);
        if book.written_order.len() > WRITES_REMEMBERED_MAX
            && let Some(oldest) = book.written_order.pop_front()
        {
            book.written.remove(&oldest);
        }
    }
}

impl Counters {
    fn guarded(&mut self, credential: Credential) {
        let counter = match credential {
            Credential::Live => &mut self.requests_with_live_credential,
            Credential::None => &mut self.requests_without_credential,
            Credential::Foreign => &mut self.requests_with_foreign_credential,
            Credential::Dead => &mut self.requests_with_dead_credential,
        };
        *counter += 1;
    }
}
