//! What operators see of a running Doorward and do to it: an HTTP API at a Unix socket that is theirs
//! alone, on request at a TCP port behind a token, and a page for a browser. Beside it, for whoever
//! watches over the gateway, a small listener that tells nothing but whether it lives, is ready, and
//! its metrics.
//!
//! None of it is on the data path: it runs on the control side, has sockets of its own, and what it
//! remembers is what rooms report anyway, and what each core keeps of its requests. What it shows and does is given by [`Gateway`].

mod actions;
pub mod answers;
mod doors;
mod filter;
pub mod gateway;
mod guard;
mod handlers;
mod live;
mod openapi;
mod page;
mod problem;
mod prompt;
mod pulse;
mod records;
mod relay;
mod routes;
mod serve;
mod sockets;
mod summary;
mod told;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::extract::DefaultBodyLimit;
use axum::{Router, middleware};
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::clock::{Clock, Moment};
pub use doors::{Doors, NoRandomness, Token};
pub use gateway::Gateway;
use live::Watchers;
pub use openapi::document as openapi;
pub use records::{Recorder, Records, records};
pub use relay::{Relay, RelayError};
use routes::{HEALTH, operations, router};
use serve::Visitors;
pub use sockets::{Bound, Place, bind_tcp, bind_unix, bind_usual, service_socket, usual_socket};

/// The longest body of a request: a few names.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// How often those who watch are told a summary.
const SECOND: Duration = Duration::from_secs(1);

/// Metrics, as somebody else collects and writes them.
pub trait Metrics: Send + Sync + 'static {
    /// All of them, in the form that a collector asks for by `Accept`.
    fn exposition(&self, accept: Option<&str>) -> Exposition;
}

/// Metrics as a collector reads them.
#[derive(Clone, Debug)]
pub struct Exposition {
    /// `Content-Type`.
    pub content_type: String,
    /// The text.
    pub text: String,
}

/// What the API is made of.
pub struct Parts {
    /// What is shown and done.
    pub gateway: Arc<dyn Gateway>,
    /// What is remembered.
    pub records: Arc<Records>,
    /// The metrics.
    pub metrics: Arc<dyn Metrics>,
    /// The clock.
    pub clock: Clock,
    /// The sockets for operators.
    pub operators: Vec<Bound>,
    /// What callers over TCP must show, and by which names they may call.
    pub token: Option<Token>,
    /// See `token`.
    pub hosts: Vec<String>,
    /// The socket for whoever watches over the gateway.
    pub health: Option<Bound>,
}

/// What all answers are made from.
pub(crate) struct Api {
    gateway: Arc<dyn Gateway>,
    records: Arc<Records>,
    metrics: Arc<dyn Metrics>,
    doors: Arc<Doors>,
    /// Where operators come in over TCP.
    tcp: Option<SocketAddr>,
    watchers: Watchers,
    clock: Clock,
    started: Moment,
    started_at: SystemTime,
    /// Ends the streams of those who watch.
    stop: CancellationToken,
}

/// The running API. Dropped, it ends by itself.
pub struct Server {
    operators: Vec<Place>,
    health: Option<SocketAddr>,
    tasks: JoinSet<()>,
    stop: DropGuard,
}

impl fmt::Debug for Server {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (operators, health) = (&self.operators, &self.health);
        out.debug_struct("Server").field("operators", operators).field("health", health).finish()
    }
}

impl Server {
    /// Serves all sockets on the caller's runtime, the control side.
    ///
    /// # Errors
    /// When the runtime has no descriptor left.
    pub fn start(parts: Parts) -> io::Result<Self> {
        let Parts { gateway, records, metrics, clock, operators, token, hosts, health } = parts;
        let stop = CancellationToken::new();
        let places: Vec<_> = operators.iter().map(Bound::place).collect();
        let tcp = places.iter().find_map(|place| match place {
            Place::Tcp(address) => Some(*address),
            Place::Unix(_) => None,
        });
        let port = tcp.map_or(0, |address| address.port());
        let doors = Arc::new(Doors::new(token, hosts, port, clock.clone()));
        let api = Arc::new(Api {
            gateway,
            records,
            metrics,
            doors: Arc::clone(&doors),
            tcp,
            watchers: Watchers::default(),
            started: clock.now(),
            started_at: clock.wall(),
            clock,
            stop: stop.clone(),
        });
        let mut tasks = JoinSet::new();
        let guarded = router(operations())
            .layer(middleware::from_fn_with_state(doors, guard::guard))
            .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
            .with_state(Arc::clone(&api));
        for bound in operators {
            tasks.spawn(serve::serve(bound, guarded.clone(), Visitors::Operators, stop.clone())?);
        }
        let health_place = health.as_ref().map(Bound::place);
        if let Some(bound) = health {
            tasks.spawn(serve::serve(bound, health_router(&api), Visitors::Anybody, stop.clone())?);
        }
        if !places.is_empty() {
            tasks.spawn(tick(api));
        }
        let health = match health_place {
            Some(Place::Tcp(address)) => Some(address),
            Some(Place::Unix(_)) | None => None,
        };
        Ok(Self { operators: places, health, tasks, stop: stop.drop_guard() })
    }

    /// Where operators come in.
    pub fn operators(&self) -> &[Place] {
        &self.operators
    }

    /// Where whoever watches over the gateway asks.
    pub fn health(&self) -> Option<SocketAddr> {
        self.health
    }

    /// Ends all answers and closes the sockets.
    pub async fn stop(mut self) {
        drop(self.stop);
        while self.tasks.join_next().await.is_some() {
            // A task that died has said so itself.
        }
    }
}

fn health_router(api: &Arc<Api>) -> Router {
    let is_for_all = |one: &routes::Operation| HEALTH.contains(&one.path);
    router(operations().into_iter().filter(is_for_all))
        .layer(middleware::from_fn(guard::open))
        .with_state(Arc::clone(api))
}

/// Counts seconds until the API ends.
async fn tick(api: Arc<Api>) {
    let mut next = api.clock.now() + SECOND;
    loop {
        tokio::select! {
            () = api.stop.cancelled() => return,
            () = api.clock.sleep_until(next) => {}
        }
        // Where time was moved by more, what is behind is not counted one by one.
        next = (next + SECOND).max(api.clock.now());
        api.records.tick(api.clock.wall(), &api.gateway.traffic());
    }
}
