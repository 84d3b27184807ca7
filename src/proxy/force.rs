//! What is in force: what the configuration says of requests, as one immutable value that is replaced
//! whole. A request takes it when it begins; what it found then holds for it to the end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use foldhash::fast::RandomState;
use http::HeaderName;
use tokio_util::sync::DropGuard;

use super::upload::Upload;
use super::{Entry, Limits, Peer, Shared};
use crate::access::Access;
use crate::forward::replay::Sending;
use crate::forward::replay::keeping::Keeping;
use crate::limit;
use crate::route::Table;
use crate::session::{Session, Upstream, UpstreamId};
use crate::telemetry::Shows;
use crate::telemetry::metrics::{Catalog, Tally};
use crate::telemetry::stories::{self, UpstreamNumber};
use crate::upstream::Pool;

/// What a configuration says of requests. All cores share it.
#[derive(Debug)]
pub struct InForce {
    /// Where requests go.
    pub routes: Table,
    /// Where that is, with its accounts.
    pub upstreams: Vec<Arc<Upstream>>,
    /// The clients, for listeners that ask who calls.
    pub clients: Access,
    /// What may be asked, by clients, by routes and of accounts.
    pub admission: Arc<limit::Limits>,
    /// Bounds.
    pub limits: Limits,
    /// Where request bodies are kept so that they can be sent a second time.
    pub keeping: Arc<Keeping>,
    /// The operator's own header fields for keys.
    pub key_headers: Vec<HeaderName>,
    /// What reports show of requests, besides what they always tell.
    pub shows: Shows,
    /// What is counted under which names.
    pub catalog: Arc<Catalog>,
    /// Tells when no request goes by it any more.
    pub released: DropGuard,
}

/// What is in force, with one core's own connections.
#[derive(Debug)]
pub struct Serving {
    /// What all cores share for as long as the process lives.
    pub shared: Arc<Shared>,
    /// What is in force.
    pub in_force: Arc<InForce>,
    /// Where the core writes down what has come of requests that go by it.
    pub(super) books: Arc<Books>,
    destinations: HashMap<UpstreamId, Arc<Destination>, RandomState>,
}

/// Where one core writes down what has come of its requests.
#[derive(Debug)]
pub(super) struct Books {
    /// What all cores share for as long as the process lives.
    pub(super) shared: Arc<Shared>,
    /// What is counted of requests that go by one configuration.
    pub(super) tally: Arc<Tally>,
    /// Their stories, where an operator can ask for them.
    pub(super) stories: Option<Arc<stories::Book>>,
}

/// An upstream, with one core's connections to it.
#[derive(Debug)]
pub struct Destination {
    /// The upstream.
    pub upstream: Arc<Upstream>,
    /// Which one it is in the core's stories, where there are any.
    pub(super) in_stories: Option<UpstreamNumber>,
    /// The connections.
    pub pool: Arc<Connections>,
    /// Those to places that logins tell of, by their origins.
    elsewhere: Mutex<Vec<Arc<Connections>>>,
}

/// One core's connections to one place.
type Connections = Pool<Sending<Upload>>;

/// Places that a core keeps connections to beside an upstream's own; beyond it the oldest are left.
const ELSEWHERE_MAX: usize = 16;

impl Destination {
    /// The connections for requests of a session.
    pub(super) fn connections(&self, session: &Session) -> Arc<Connections> {
        let origin = session.origin(&self.upstream);
        if Arc::ptr_eq(origin, &self.upstream.origin) {
            return Arc::clone(&self.pool);
        }
        // Nothing panics under the lock: a poisoned list is whole.
        let mut elsewhere = self.elsewhere.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = elsewhere.iter().find(|pool| Arc::ptr_eq(pool.origin(), origin)) {
            return Arc::clone(pool);
        }
        if elsewhere.len() >= ELSEWHERE_MAX {
            elsewhere.remove(0);
        }
        let pool = Arc::new(Pool::new(Arc::clone(origin)));
        elsewhere.push(Arc::clone(&pool));
        pool
    }
}

impl Serving {
    /// With the connections of what was in force before, where they lead to the same.
    pub(super) fn new(
        shared: &Arc<Shared>,
        stories: Option<&Arc<stories::Book>>,
        in_force: Arc<InForce>,
        before: Option<&Serving>,
    ) -> Self {
        let kept = |upstream: &Upstream| {
            let mut pools = before?.destinations.values().map(|known| &known.pool);
            pools.find(|pool| Arc::ptr_eq(pool.origin(), &upstream.origin)).map(Arc::clone)
        };
        let destinations = in_force.upstreams.iter().map(|upstream| {
            let new = || Arc::new(Pool::new(Arc::clone(&upstream.origin)));
            let pool = kept(upstream).unwrap_or_else(new);
            let accounts = upstream.accounts.iter().map(|account| (account.id.0, &account.name));
            let in_stories = stories.map(|book| book.upstream(&upstream.name, accounts));
            let (upstream, id) = (Arc::clone(upstream), upstream.id);
            let elsewhere = Mutex::default();
            (id, Arc::new(Destination { upstream, in_stories, pool, elsewhere }))
        });
        let destinations = destinations.collect();
        let books = Arc::new(Books {
            shared: Arc::clone(shared),
            tally: shared.metrics.tally(&in_force.catalog),
            stories: stories.cloned(),
        });
        Self { shared: Arc::clone(shared), in_force, books, destinations }
    }

    /// The upstream with this id, as the routes name it.
    pub(super) fn destination(&self, id: UpstreamId) -> Option<&Arc<Destination>> {
        self.destinations.get(&id)
    }

    /// Who may call where a connection came in.
    pub(super) fn access(&self, peer: &Peer) -> &Access {
        match peer.entry {
            Entry::Open => &Access::Open,
            Entry::Clients => &self.in_force.clients,
        }
    }
}
