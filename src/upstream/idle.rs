//! Connections that wait for a request: reused last in, first out, so that those that are not needed
//! grow old together; where an upstream has several addresses, in turns.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use tokio::time::Instant;

use super::addresses::Endpoint;
use super::connection::Connection;

/// Idle connections kept a core; more are closed.
const IDLE_CONNECTIONS_MAX: usize = 256;

/// How often idle connections are looked at, to close those that are too old or that their upstream
/// has closed: as often as they grow too old, within these bounds.
const SWEEP_EVERY_MIN: Duration = Duration::from_secs(1);
const SWEEP_EVERY_MAX: Duration = Duration::from_secs(15);

/// So many are looked at for one that leads to another address.
const LOOKED_AT_MAX: usize = 8;

/// The idle connections of one core to one upstream; clones share them.
#[derive(Debug)]
pub(super) struct Idle<B>(Arc<Mutex<List<B>>>);

#[derive(Debug)]
struct List<B> {
    /// The one that has waited longest first.
    waiting: Vec<Waiting<B>>,
    /// Older ones are not used.
    age_max: Duration,
    /// A task closes those that nobody will use.
    is_swept: bool,
    /// Where the one leads that was taken last, where that matters.
    last: Weak<Endpoint>,
}

/// What becomes of connections that take no further request at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Full {
    PassedOver,
    Taken,
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
    /// Connections that have waited for longer than `age_max` are closed.
    pub(super) fn new(age_max: Duration) -> Self {
        let (waiting, last) = (Vec::new(), Weak::new());
        Self(Arc::new(Mutex::new(List { waiting, age_max, is_swept: false, last })))
    }

    /// A connection that takes a request now, if so many wait.
    pub(super) fn take(&self, least: usize) -> Option<Connection<B>> {
        self.take_one(least, Full::PassedOver)
    }

    /// A connection that takes a request, although that may have to wait there for another one's end.
    pub(super) fn take_any(&self) -> Option<Connection<B>> {
        self.take(1).or_else(|| self.take_one(1, Full::Taken))
    }

    fn take_one(&self, least: usize, full_ones: Full) -> Option<Connection<B>> {
        let mut list = lock(&self.0);
        let age_max = list.age_max;
        let mut full = 0;
        while list.waiting.len() >= least && list.waiting.len() > full {
            if least > 1 {
                list.bring_up_another();
            }
            let mut last = list.waiting.pop()?;
            if !last.is_usable(age_max) {
                continue;
            }
            if full_ones == Full::PassedOver && last.connection.is_full() {
                // All others come before it.
                list.waiting.insert(0, last);
                full += 1;
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
            let every = list.age_max.clamp(SWEEP_EVERY_MIN, SWEEP_EVERY_MAX);
            tokio::spawn(sweep(Arc::downgrade(&self.0), every));
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
async fn sweep<B>(list: Weak<Mutex<List<B>>>, every: Duration)
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    loop {
        tokio::time::sleep(every).await;
        let Some(list) = list.upgrade() else { return };
        let mut list = lock(&list);
        let age_max = list.age_max;
        list.waiting.retain_mut(|waiting| waiting.is_usable(age_max));
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
    fn is_usable(&mut self, age_max: Duration) -> bool {
        self.since.elapsed() <= age_max && self.connection.is_usable()
    }
}

/// Nothing panics under the lock; a poisoned list is as good as another.
fn lock<B>(list: &Mutex<List<B>>) -> MutexGuard<'_, List<B>> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use http_body_util::Empty;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::upstream::http1::Http1;
    use crate::upstream::stream::Stream;

    const AGE_MAX: Duration = Duration::from_secs(8);

    /// Fails when a connection is used, or kept open, that has waited for longer than it may, or
    /// when one is not used that has not.
    #[tokio::test]
    async fn a_connection_waits_no_longer_than_it_may() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stream, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let connection = Http1::new(Stream::tcp(stream.unwrap()), AGE_MAX);
        let idle = Idle::<Empty<Bytes>>::new(AGE_MAX);
        tokio::time::pause();
        idle.give_back(Connection::Http1(connection));
        tokio::time::advance(AGE_MAX).await;
        let connection = idle.take(1).unwrap();
        idle.give_back(connection);
        tokio::time::advance(AGE_MAX + Duration::from_millis(1)).await;
        assert!(idle.take(1).is_none());
        drop(accepted);
    }
}
