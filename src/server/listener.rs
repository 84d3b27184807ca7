//! A listener as its sockets see it: what holds for a connection is what the listener is when the
//! connection comes, and may be something else for the next one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::{HalfClosed, Limits, Senders};
use crate::access::identity::Ways;
use crate::proxy::Entry;

/// What holds for a listener's connections.
#[derive(Clone)]
pub struct Listener {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// `https` where there is one.
    pub tls: Option<TlsAcceptor>,
    /// Whom it lets in.
    pub entry: Entry,
    /// By what callers can show who they are.
    pub ways: Ways,
    /// How the origin of its own pages begins, `http` or `https`; nothing where nobody here knows.
    pub pages: Option<&'static str>,
    /// Which peers send the PROXY protocol; mostly nobody is asked to.
    pub proxies: Option<Arc<Senders>>,
    /// What it means when a client ends its side.
    pub half_closed: HalfClosed,
    /// Bounds of its connections.
    pub limits: Limits,
}

/// What becomes of the connections that are there when their listener changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connections {
    /// They go on as they began.
    Stay,
    /// They end after the requests that have begun: no new one is to come in that way.
    End,
}

/// A listener, as long as it has sockets. Clones are the same.
#[derive(Clone)]
pub struct Open(Arc<Inner>);

struct Inner {
    now: ArcSwap<Current>,
    changed: Notify,
    /// No new connections any more, and those that are there end after their running requests.
    closing: CancellationToken,
}

/// What a listener is now.
pub(super) struct Current {
    pub(super) listener: Listener,
    /// The connections that came while it was so end after their running requests.
    pub(super) ending: CancellationToken,
}

impl Open {
    /// A listener whose connections end when `stopping` is cancelled, if not before.
    pub fn new(listener: Listener, stopping: &CancellationToken) -> Self {
        let closing = stopping.child_token();
        let current = Current { listener, ending: closing.child_token() };
        let changed = Notify::new();
        Self(Arc::new(Inner { now: ArcSwap::from_pointee(current), changed, closing }))
    }

    /// What holds for connections that come from now on.
    pub fn set(&self, listener: Listener, connections: Connections) {
        let before = self.0.now.load_full();
        let ending = match connections {
            Connections::Stay => before.ending.clone(),
            Connections::End => self.0.closing.child_token(),
        };
        self.0.now.store(Arc::new(Current { listener, ending }));
        self.0.changed.notify_waiters();
        if connections == Connections::End {
            before.ending.cancel();
        }
    }

    /// Takes no connections any more, and ends those that are there after their running requests.
    pub fn close(&self) {
        self.0.closing.cancel();
    }

    pub(super) fn closing(&self) -> &CancellationToken {
        &self.0.closing
    }

    pub(super) fn now(&self) -> Arc<Current> {
        self.0.now.load_full()
    }
}

/// Room for the connections of one listener on one core.
pub(super) struct Room(Arc<Taken>);

#[derive(Default)]
struct Taken {
    count: AtomicUsize,
    freed: Notify,
}

/// The place of a connection, given back when it is dropped.
pub(super) struct Place(Arc<Taken>);

impl Room {
    pub(super) fn new() -> Self {
        Self(Arc::default())
    }

    /// Waits for a place, as many as the listener says there are. For one who asks at a time. Cancel
    /// safe.
    pub(super) async fn enter(&self, open: &Open) -> Place {
        let Self(taken) = self;
        loop {
            // First the ear, then the question: what happens in between is heard.
            let changed = open.0.changed.notified();
            if taken.count.load(Ordering::Relaxed) < open.now().listener.limits.connections_max {
                taken.count.fetch_add(1, Ordering::Relaxed);
                return Place(Arc::clone(taken));
            }
            tokio::select! {
                () = taken.freed.notified() => {}
                () = changed => {}
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::Relaxed);
        self.0.freed.notify_one();
    }
}
