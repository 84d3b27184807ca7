//! Connections that wait for a request: reused last in, first out, so that those that are not needed
//! grow old together; where an upstream has several addresses, in turns.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::Body;

use super::addresses::Endpoint;
use super::connection::Connection;

/// Idle connections kept a core; more are closed.
const IDLE_CONNECTIONS_MAX: usize = 256;

/// Idle connections older than this are not used: load balancers close at 60 s, often silently.
const IDLE_AGE_MAX: Duration = Duration::from_secs(55);

/// How often idle connections are looked at, to close those that are too old or that their upstream
/// has closed.
const SWEEP_EVERY: Duration = Duration::from_secs(15);

/// So many are looked at for one that leads to another address.
const LOOKED_AT_MAX: usize = 8;

/// The idle connections of one core to one upstream; clones share them.
#[derive(Debug)]
pub(super) struct Idle<B>(Arc<Mutex<List<B>>>);

#[derive(Debug)]
struct List<B> {
    /// The one that has waited longest first.
    waiting: Vec<Waiting<B>>,
    /// A task closes those that nobody will use.
    is_swept: bool,
    /// Where the one leads that was taken last, where that matters.
    last: Weak<Endpoint>,
}

#[derive(Debug)]
struct Waiting<B> {
    connection: Connection<B>,
    since: Instant,
}

impl<B> Clone for Idle<B> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<B> Idle<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(List { waiting: Vec::new(), is_swept: false, last: Weak::new() })))
    }

    /// A connection that takes a request now, if so many wait.
    pub(super) fn take(&self, least: usize) -> Option<Connection<B>> {
        let mut list = lock(&self.0);
        while list.waiting.len() >= least {
            if least > 1 {
                list.bring_up_another();
            }
            let mut last = list.waiting.pop()?;
            if !last.is_usable() {
                continue;
            }
            if least > 1 {
                list.last = last.connection.endpoint().map(Arc::downgrade).unwrap_or_default();
            }
            if let Some(shared) = last.connection.share() {
                list.waiting.push(Waiting { since: Instant::now(), ..last });
                return Some(shared);
            }
            return Some(last.connection);
        }
        None
    }

    /// Keeps a connection for the next request.
    pub(super) fn give_back(&self, connection: Connection<B>) {
        let mut list = lock(&self.0);
        if list.waiting.len() >= IDLE_CONNECTIONS_MAX {
            return;
        }
        list.waiting.push(Waiting { connection, since: Instant::now() });
        if !list.is_swept {
            list.is_swept = true;
            tokio::spawn(sweep(Arc::downgrade(&self.0)));
        }
    }

    /// Where they lead.
    pub(super) fn endpoints(&self) -> Vec<Arc<Endpoint>> {
        let list = lock(&self.0);
        let endpoints = list.waiting.iter().filter_map(|waiting| waiting.connection.endpoint());
        endpoints.cloned().collect()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        lock(&self.0).waiting.len()
    }
}

/// Closes what nobody will use, as long as something waits.
async fn sweep<B>(list: Weak<Mutex<List<B>>>)
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        let Some(list) = list.upgrade() else { return };
        let mut list = lock(&list);
        list.waiting.retain_mut(Waiting::is_usable);
        if list.waiting.is_empty() {
            list.is_swept = false;
            return;
        }
    }
}

impl<B> List<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Makes the next one to be taken lead elsewhere than the one that was taken last, if one of
    /// those that have waited least does.
    fn bring_up_another(&mut self) {
        let leads_elsewhere = |waiting: &Waiting<B>| {
            let endpoint = waiting.connection.endpoint();
            endpoint.is_some_and(|endpoint| Arc::as_ptr(endpoint) != self.last.as_ptr())
        };
        let mut near = self.waiting.iter().rev().take(LOOKED_AT_MAX);
        if let Some(back) = near.position(leads_elsewhere) {
            let another = self.waiting.remove(self.waiting.len() - 1 - back);
            self.waiting.push(another);
        }
    }
}

impl<B> Waiting<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn is_usable(&mut self) -> bool {
        self.since.elapsed() <= IDLE_AGE_MAX && self.connection.is_usable()
    }
}

/// Nothing panics under the lock; a poisoned list is as good as another.
fn lock<B>(list: &Mutex<List<B>>) -> MutexGuard<'_, List<B>> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}
