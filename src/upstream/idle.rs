//! Connections that wait for a request: reused last in, first out, so that those that are not needed
//! grow old together.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::Body;

use super::connection::Connection;

/// Idle connections kept a core; more are closed.
const IDLE_CONNECTIONS_MAX: usize = 256;

/// Idle connections older than this are not used: load balancers close at 60 s, often silently.
const IDLE_AGE_MAX: Duration = Duration::from_secs(55);

/// How often idle connections are looked at, to close those that are too old or that their upstream
/// has closed.
const SWEEP_EVERY: Duration = Duration::from_secs(15);

/// The idle connections of one core to one upstream; clones share them.
#[derive(Debug)]
pub(super) struct Idle<B>(Arc<Mutex<List<B>>>);

#[derive(Debug)]
struct List<B> {
    /// The one that has waited longest first.
    waiting: Vec<Waiting<B>>,
    /// A task closes those that nobody will use.
    is_swept: bool,
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
        Self(Arc::new(Mutex::new(List { waiting: Vec::new(), is_swept: false })))
    }

    /// A connection that takes a request now.
    pub(super) fn take(&self) -> Option<Connection<B>> {
        let mut list = lock(&self.0);
        while let Some(mut last) = list.waiting.pop() {
            if !last.is_usable() {
                continue;
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
