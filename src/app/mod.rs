//! The composition root: settings become rooms, rooms are started in order and stopped in order.
//!
//! The caller's runtime is the control side: logins, probes and logouts run on it. Each core gets a
//! thread with a runtime of its own, its own sockets and its own upstream connections.

mod advice;
mod audit;
mod build;
mod clear;
mod clients;
mod core;
mod dumps;
mod explain;
mod heart;
mod issuers;
mod limits;
mod only;
mod reach;
mod revoked;
mod secrets;
mod service;
mod sockets;
mod state;
mod strain;
mod trial;
mod way;
mod words;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::access::Access;
use crate::access::identity::Ways;
use crate::access::key::NoRandomness;
use crate::access::revoked::Revocations;
use crate::access::tombstones::TombstoneError;
use crate::clock::Clock;
use crate::diagnosis::Faults;
use crate::limit::Limits;
use crate::proxy::{Shared, UnderWayCount};
pub use crate::server::Inherited;
use crate::server::{self, Address, Ownership, Stop};
use crate::session::{LogoutReport, Mechanism};
use crate::settings::{self, Loaded, Settings};
use crate::telemetry::{Event, Reader, Rejected, reports};
use crate::upstream;
pub use crate::upstream::Resolver;
pub use advice::Advice;
pub use build::{BuildError, recipe_shape};
pub use clear::{ClearError, clear};
pub use clients::TOKENS_END;
pub use dumps::{DumpsBefore, allow_core_dumps, forbid_core_dumps, hide_memory};
pub use explain::{ExplainError, Explained, Held, Outcome, Question, explain};
pub use only::only;
pub use service::Service;
pub use state::NOT_KEPT;
pub use strain::{descriptor_advice, raise_descriptors};
pub use trial::{Subject, TrialError, Tried, Watcher, try_out};

/// A running Doorward. Dropped without [`App::stop`], it cuts every connection off and leaves
/// sessions open.
#[derive(Debug)]
pub struct App {
    listening: Vec<Listening>,
    stop: Stop,
    /// Ends the cores' threads even when nobody asks to: a runtime that is dropped waits for them.
    _cut_off: [DropGuard; 2],
    cores: Vec<JoinHandle<()>>,
    hearts: Vec<heart::Heart>,
    under_way: Vec<UnderWayCount>,
    broker: crate::session::Broker,
    limits: Arc<Limits>,
    secrets: secrets::Keeper,
    revoked: Option<revoked::Keeper>,
    issuers: issuers::Keeper,
    reading: JoinHandle<()>,
    audit: Option<crate::audit::Ended>,
    timeouts: settings::Timeouts,
    clock: Clock,
    shared: Weak<Shared>,
    _gauge: strain::Gauge,
}

/// A listener that is there.
#[derive(Clone, Debug)]
pub struct Listening {
    /// Its name in the configuration.
    pub name: String,
    /// Where it listens, with the real port.
    pub address: Address,
    /// `http` or `https`.
    pub scheme: &'static str,
    ownership: Ownership,
}

impl Listening {
    /// What clients reach it by.
    pub fn url(&self) -> String {
        match &self.address {
            Address::Tcp(address) => format!("{}://{address}", self.scheme),
            Address::Unix(path) => format!("unix:{}", path.display()),
        }
    }

    /// Its address and port; nothing for a Unix socket.
    pub fn tcp(&self) -> Option<SocketAddr> {
        match &self.address {
            Address::Tcp(address) => Some(*address),
            Address::Unix(_) => None,
        }
    }

    /// Removes what it leaves behind in the file system, where that is ours.
    fn clean_up(&self) {
        if self.ownership == Ownership::Ours {
            self.address.clean_up();
        }
    }
}

/// What a start needs besides the settings.
pub struct Surroundings {
    /// The clock of every room.
    pub clock: Clock,
    /// Who knows the addresses of upstreams' names.
    pub resolver: Resolver,
    /// Who wants to know what happens.
    pub readers: Vec<Box<dyn Reader>>,
    /// A mechanism to switch off, to prove that its test notices.
    pub without: Option<Mechanism>,
    /// Sockets that were handed over to this process.
    pub inherited: Inherited,
}

/// Why Doorward does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The settings cannot be used.
    #[error("{0}")]
    Faults(Faults),
    /// A room cannot be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The state of an earlier run cannot be used.
    #[error(transparent)]
    State(#[from] crate::state::OpenError),
    /// The audit trail cannot be opened.
    #[error(transparent)]
    Audit(#[from] crate::audit::OpenError),
    /// The audit trail cannot be written.
    #[error("the audit trail cannot be written")]
    AuditUnwritable(#[source] io::Error),
    /// Nobody knows which keys are revoked.
    #[error("the file of revoked keys cannot be used")]
    Revoked(#[from] TombstoneError),
    /// A listener cannot be bound.
    #[error("cannot listen at {address} (listener `{name}`)")]
    Listen {
        /// The listener's name.
        name: String,
        /// Its address, as it is configured.
        address: settings::Address,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A socket that was handed over does not fit its listener.
    #[error(transparent)]
    Inherited(#[from] sockets::Unfit),
    /// A thread cannot be started.
    #[error("cannot start a thread")]
    Core(#[source] io::Error),
}

impl App {
    /// Starts all rooms. Nothing is left behind when one cannot be started.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start(loaded: &Loaded, surroundings: Surroundings) -> Result<Self, StartError> {
        let mut listening = Vec::new();
        let started = Self::start_rooms(loaded, surroundings, &mut listening);
        if started.is_err() {
            listening.iter().for_each(Listening::clean_up);
        }
        started
    }

    fn start_rooms(
        loaded: &Loaded,
        surroundings: Surroundings,
        listening: &mut Vec<Listening>,
    ) -> Result<Self, StartError> {
        upstream::tls::install_crypto_provider();
        draw_first()?;
        let settings = &loaded.settings;
        let (credentials, _) = loaded.read_credentials().map_err(StartError::Faults)?;
        let (reporter, reports) = reports();
        let clock = surroundings.clock;
        let (kept, notices) = state::open(loaded, &clock)?;
        for notice in notices {
            reporter.report(Event::StateNotice(notice.to_string()));
        }
        let without = surroundings.without;
        let resolver = &surroundings.resolver;
        let built =
            build::rooms(settings, &credentials, &clock, &reporter, resolver, without, kept)?;
        let keeping = secrets::Parts {
            accounts: build::kept(settings, &credentials, &built.shared.broker)?,
            broker: built.shared.broker.clone(),
            environment: loaded.environment().clone(),
            clock: clock.clone(),
            reporter: reporter.clone(),
        };
        let recipes: Vec<_> = built.shared.broker.recipes().collect();
        let revocations = Revocations::default();
        let revoked = revoked::open(settings, &revocations, &reporter)?;
        let tokens = clients::tokens(loaded)?;
        let (issuers, fetchers) = issuers::issuers(settings)?;
        let clients = clients::clients(settings, &recipes, tokens, &revocations, issuers)?;
        let cores = settings.cores.unwrap_or_else(available_cores);

        let mut inherited = surroundings.inherited;
        let mut sockets: Vec<Vec<_>> = (0..cores).map(|_| Vec::new()).collect();
        for listener in &settings.listeners {
            let ways = clients::ways(listener, &settings.clients);
            let access = clients::access(listener.access, &clients);
            let (bound, served) = listen(listener, cores, access, ways, &clock, &mut inherited)?;
            let scheme = if served.tls.is_some() { "https" } else { "http" };
            for (place, socket) in bound.sockets.into_iter().enumerate() {
                if let Some(core) = sockets.get_mut(place % cores) {
                    core.push((socket, served.clone()));
                }
            }
            listening.push(Listening {
                name: listener.name.clone(),
                address: bound.address,
                scheme,
                ownership: bound.ownership,
            });
        }
        sockets::none_left(&inherited)?;

        let mut readers = surroundings.readers;
        let audit = audit::start(loaded, &reporter)?.map(|(audit, ended)| {
            readers.push(Box::new(audit));
            ended
        });
        let reports = reports.for_readers(readers);

        let stop = Stop::default();
        let mut shared = built.shared;
        shared.cut_off = stop.everything.clone();
        let shared = Arc::new(shared);
        let budget = strain::Budget::new(settings.limits.memory_bytes_max);
        let limits = build::server_limits(settings, cores);
        let mut threads = Vec::new();
        let (mut hearts, mut under_way) = (Vec::new(), Vec::new());
        for (number, sockets) in sockets.into_iter().enumerate() {
            let started = core::start(number, sockets, &shared, &built.origins, limits, &stop);
            match started {
                Ok(core::Running { thread, heart, under_way: counted }) => {
                    hearts.push(heart);
                    under_way.push(counted);
                    threads.push(Handle::current().spawn_blocking(move || {
                        // A core that panicked has said so already; the others go on.
                        _ = thread.join();
                    }));
                }
                Err(error) => {
                    stop.accepting.cancel();
                    stop.everything.cancel();
                    return Err(StartError::Core(error));
                }
            }
        }
        Ok(Self {
            listening: std::mem::take(listening),
            _cut_off: [stop.accepting.clone().drop_guard(), stop.everything.clone().drop_guard()],
            stop,
            cores: threads,
            hearts,
            under_way,
            broker: shared.broker.clone(),
            limits: Arc::clone(&shared.admission),
            secrets: secrets::Keeper::start(keeping),
            revoked: revoked.map(|known| revoked::Keeper::start(known, clock.clone())),
            issuers: issuers::Keeper::start(fetchers, &clock, &reporter),
            reading: tokio::spawn(reports.run()),
            audit,
            timeouts: settings.timeouts.clone(),
            clock,
            shared: Arc::downgrade(&shared),
            _gauge: strain::Gauge::start(
                budget,
                Arc::clone(&shared.overload),
                reporter.downgrade(),
            ),
        })
    }

    /// The listeners, with their real ports.
    pub fn listening(&self) -> &[Listening] {
        &self.listening
    }

    /// Whether this process is about to stop: nobody should be sent here any more.
    pub fn leaving(&self) -> &CancellationToken {
        &self.stop.leaving
    }

    /// How many requests wait for their turn at a limit.
    pub fn waiting(&self) -> usize {
        self.limits.waiting()
    }

    /// The last messages that were rejected for what they are, the oldest first.
    pub fn rejected(&self) -> Vec<Rejected> {
        self.shared.upgrade().map(|shared| shared.rejections.all()).unwrap_or_default()
    }

    /// Reports each of them.
    pub fn report_rejected(&self) {
        let Some(shared) = self.shared.upgrade() else { return };
        for rejected in shared.rejections.all() {
            shared.reporter.report(Event::Rejected(Box::new(rejected)));
        }
    }

    /// Writes what is waiting to be written and lets the state go; nothing is recorded afterwards.
    pub async fn close_state(&self) {
        self.broker.close_state().await;
    }

    /// Stops in order: for the shutdown delay everything is served, and whoever asks is told to send
    /// nobody; then no new connections, running requests end within the drain time, sessions are
    /// logged out within the logout time, the last events are read.
    pub async fn stop(self) -> LogoutReport {
        self.stop.leaving.cancel();
        self.clock.sleep(self.timeouts.shutdown_delay).await;
        self.stop.accepting.cancel();
        let drain = self.clock.sleep(self.timeouts.drain);
        let stop = self.stop.everything.clone();
        let cores = async {
            for core in self.cores {
                // The thread's own panic was reported by the thread.
                _ = core.await;
            }
        };
        let mut cores = std::pin::pin!(cores);
        tokio::select! {
            () = cores.as_mut() => {}
            () = drain => {
                stop.cancel();
                cores.await;
            }
        }
        for listener in &self.listening {
            listener.clean_up();
        }
        self.secrets.stop().await;
        if let Some(revoked) = self.revoked {
            revoked.stop().await;
        }
        self.issuers.stop().await;
        let report = self.broker.stop(self.timeouts.logout).await;
        self.broker.close_state().await;
        drop(self.broker);
        // Reports end when the last reporter is gone; a task that still holds one is not waited
        // for.
        _ = tokio::time::timeout(LAST_EVENTS, self.reading).await;
        if let Some(written) = self.audit {
            _ = tokio::time::timeout(LAST_EVENTS, written).await;
        }
        report
    }
}

/// How long the last events may take to be read, and the last lines of the audit trail to be
/// written.
const LAST_EVENTS: Duration = Duration::from_secs(1);

/// The crypto library gathers its entropy at the first draw of a process. As some of its builds are
/// made, that takes a core tens of milliseconds: no client's handshake is to wait for them.
fn draw_first() -> Result<(), BuildError> {
    aws_lc_rs::rand::fill(&mut [0]).map_err(|_| NoRandomness.into())
}

fn available_cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn listen(
    listener: &settings::Listener,
    cores: usize,
    access: Access,
    ways: Ways,
    clock: &Clock,
    inherited: &mut Inherited,
) -> Result<(server::Bound, server::Listener), StartError> {
    let tls = listener
        .tls
        .as_ref()
        .map(|tls| server::tls_server(build::listener_tls(tls, clock)))
        .transpose()
        .map_err(BuildError::from)?;
    let bound = sockets::open(listener, cores, inherited)?;
    let pages = match (&bound.address, tls.is_some() || listener.behind_tls) {
        (_, true) => Some("https"),
        (server::Address::Tcp(_), false) => Some("http"),
        // Only something in front makes pages of what comes by a Unix socket.
        (server::Address::Unix(_), false) => None,
    };
    let proxies = listener.proxies.as_ref().map(|proxies| Arc::new(build::senders(proxies)));
    let half_closed = build::half_closed(listener.half_closed);
    let name = Arc::from(listener.name.as_str());
    Ok((bound, server::Listener { name, tls, access, ways, pages, proxies, half_closed }))
}

/// Judges and reads the settings, with the recipes that they name.
///
/// # Errors
/// All faults at once.
pub fn load(sources: &settings::Sources) -> Result<Loaded, Faults> {
    Settings::load(sources, &recipe_shape)
}
