//! One request: [`exchange`] is the walk, read it first. [`error`] and [`reply`] are the one table
//! of typed answers.

mod authenticate;
pub mod authorize;
pub mod body;
mod causes;
mod conceal;
pub mod connections;
mod deadlines;
mod deliver;
mod ending;
pub mod error;
pub mod exchange;
mod extended_connect;
pub mod force;
pub mod incoming;
mod inspect;
mod local_login;
pub mod message;
pub mod overload;
mod parse;
mod passage;
pub mod patience;
mod places;
mod prepare;
mod record;
pub mod reply;
mod shown;
pub mod spill;
mod stream;
mod throttle;
pub mod upload;
pub mod tunnel;
mod under_way;

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use crate::access::CertificateError;
use crate::access::identity::{Credentials, Shown, Ways};
use connections::Connections;
use deadlines::Deadlines;
use force::{InForce, Serving};
use overload::Overload;
use patience::{Slowness, Watch};
pub use under_way::{UnderWay, UnderWayCount};

use crate::clock::Clock;
use crate::forward::hop::Origin;
use crate::forward::via::Via;
use crate::session::Broker;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::stories::{Book, Stories};
use crate::telemetry::trace::Tracing;
use crate::telemetry::{Rejected, Rejections, Reporter, RequestIds};

/// Bounds of one request.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How much of an answer's body is looked at to judge the session.
    pub verdict_body_bytes_max: usize,
    /// The longest body of a request that session values are put into.
    pub inject_body_bytes_max: usize,
    /// How much of an answer's body is rewritten where an endpoint shows session values.
    pub mask_body_bytes_max: usize,
    /// How long a request waits for a session and the head of its answer, all in all.
    pub request_timeout: std::time::Duration,
    /// How long a tunnel may be without a byte in either direction.
    pub tunnel_idle: std::time::Duration,
    /// The longest body of a client's login that is answered here.
    pub client_login_bytes_max: usize,
    /// How long such a body may take.
    pub client_login_timeout: std::time::Duration,
    /// How slowly a request's body may come.
    pub body: Slowness,
    /// How slowly an answer may be taken.
    pub answer: Slowness,
    /// How long what a login in open mode gives is said to be good.
    pub client_token_life: std::time::Duration,
}

/// What all cores share for as long as the process lives.
#[derive(Debug)]
pub struct Shared {
    /// Sessions.
    pub broker: Broker,
    /// The clock.
    pub clock: Clock,
    /// Where events are reported.
    pub reporter: Reporter,
    /// The stories of the last requests; nothing where nobody can ask for them.
    pub stories: Option<Arc<Stories>>,
    /// The last messages that were rejected.
    pub rejections: Rejections,
    /// What the process can still take on.
    pub overload: Arc<Overload>,
    /// Cancelled when what still runs is cut off.
    pub cut_off: CancellationToken,
    /// What is counted.
    pub metrics: Metrics,
    /// Connections of clients.
    pub connections: Connections,
    /// How traces are begun; nothing where there are none.
    pub tracing: Option<Tracing>,
    /// Our entry in `Via`; it also tells our own requests that came back.
    pub via: Via,
}

impl Shared {
    /// Keeps what this peer has sent and what never became a request.
    pub fn reject_unread(&self, peer: &Peer, reason: &'static str) {
        self.rejections.keep(Rejected {
            at: self.clock.wall(),
            listener: Arc::clone(&peer.listener),
            peer: peer.address,
            reason,
            head: None,
        });
    }
}

/// What one core has for its requests.
#[derive(Debug)]
pub struct Core {
    /// What all cores share.
    pub shared: Arc<Shared>,
    /// What is in force. A request takes it when it begins and keeps it to the head of its answer.
    serving: ArcSwap<Serving>,
    /// When its requests are overdue.
    deadlines: Deadlines,
    /// Who is waited for.
    pub watch: Arc<Watch>,
    ids: RequestIds,
    /// The stories of its requests.
    stories: Option<Arc<Book>>,
    /// Its requests.
    pub under_way: UnderWay,
}

/// Whom a listener lets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Everybody on this machine. Browsers of other sites are refused.
    Open,
    /// The clients that there are.
    Clients,
}

/// Where a connection came in.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The listener's name.
    listener: Arc<str>,
    address: Option<IpAddr>,
    origin: Origin,
    entry: Entry,
    scheme: &'static str,
    /// How the origin of this listener's own pages begins, where that is known.
    pages: Option<&'static str>,
    ways: Ways,
    /// Who has made the connection, as far as it shows that itself.
    shown: Shown,
}

impl Peer {
    /// The listener's name, and the peer's address, nothing on a Unix socket; `http` or `https`; who
    /// may call at this listener, and by what callers can show who they are.
    pub fn new(
        listener: Arc<str>,
        address: Option<IpAddr>,
        scheme: &'static str,
        entry: Entry,
        ways: Ways,
    ) -> Self {
        let (origin, shown) = (Origin::new(address, scheme), Shown::default());
        Self { listener, address, origin, entry, scheme, pages: Some(scheme), ways, shown }
    }

    /// The same where the origin of pages begins otherwise than with its own scheme, or where that is
    /// not known.
    pub fn of_pages(self, pages: Option<&'static str>) -> Self {
        Self { pages, ..self }
    }

    /// The same, of the client at `address`, whose connection a proxy in front passes on.
    #[must_use]
    pub fn behind_proxy(self, address: Option<IpAddr>) -> Self {
        let origin = Origin::new(address, self.scheme);
        Self { address, origin, ..self }
    }

    /// The same, with what its connection shows.
    ///
    /// # Errors
    /// When the connection's certificate cannot be read.
    pub fn connected(self, credentials: &Credentials<'_>) -> Result<Self, CertificateError> {
        Ok(match self.entry {
            Entry::Open => self,
            Entry::Clients => Self { shown: Shown::read(credentials)?, ..self },
        })
    }
}

impl Core {
    /// A core with connections of its own.
    pub fn new(shared: Arc<Shared>, in_force: Arc<InForce>) -> Self {
        let Limits { body, answer, .. } = in_force.limits;
        let watch = Arc::new(Watch::new(body, answer));
        let (ids, under_way) = (RequestIds::default(), UnderWay::default());
        let stories = shared.stories.as_ref().map(|stories| stories.book(&ids));
        let serving = Serving::new(&shared, stories.as_ref(), in_force, None);
        let serving = ArcSwap::from_pointee(serving);
        let deadlines = Deadlines::new(shared.clock.clone());
        Self { shared, serving, deadlines, watch, ids, stories, under_way }
    }

    /// What is in force now.
    pub fn serving(&self) -> Arc<Serving> {
        self.serving.load_full()
    }

    /// Puts another configuration in force, for requests that begin from now on. Connections to
    /// upstreams that are reached as before are kept.
    pub fn put_in_force(&self, in_force: &Arc<InForce>) {
        let Limits { body, answer, .. } = in_force.limits;
        self.watch.set(body, answer);
        let before = self.serving();
        let (stories, in_force) = (self.stories.as_ref(), Arc::clone(in_force));
        let serving = Serving::new(&self.shared, stories, in_force, Some(&before));
        self.serving.store(Arc::new(serving));
    }

    /// What looks after the deadlines of this core's requests; they come only while it runs.
    pub fn looks_after_deadlines(&self) -> impl Future<Output = ()> + use<> {
        self.deadlines.clone().run()
    }
}
