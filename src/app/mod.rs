//! The composition root: settings become rooms, rooms are started in order and stopped in order.
//!
//! The caller's runtime is the control side: logins, probes and logouts run on it. Each core gets a
//! thread with a runtime of its own, its own sockets and its own upstream connections.

mod access_log;
mod admin;
mod advice;
mod audit;
mod build;
mod clear;
mod clients;
mod core;
mod dumps;
mod explain;
mod heart;
mod ids;
mod issuers;
mod limits;
mod metrics;
mod listeners;
mod only;
mod outgoing;
mod reach;
mod reload;
mod revoked;
mod running;
mod secrets;
mod service;
mod sockets;
mod state;
mod strain;
mod traces;
mod trial;
mod unreached;
mod upstreams;
mod watching;
mod way;
mod words;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::access::key::NoRandomness;
use crate::access::revoked::Revocations;
use crate::access::tombstones::TombstoneError;
use crate::admin::Server;
use crate::clock::Clock;
use crate::diagnosis::Faults;
use crate::proxy::{Shared, UnderWayCount};
pub use crate::server::Inherited;
use crate::server::{Address, Ownership, Stop};
use crate::session::{Broker, LogoutReport, Mechanism};
use crate::settings::{self, Loaded, Settings};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::trace::Tracing;
use crate::telemetry::{Event, Reader, Rejected, reports};
use crate::upstream;
pub use crate::upstream::Resolver;
pub use advice::Advice;
pub use build::{BuildError, recipe_shape};
pub use clear::{ClearError, clear};
pub use clients::TOKENS_END;
pub use dumps::{DumpsBefore, allow_core_dumps, forbid_core_dumps, hide_memory};
pub use explain::{ExplainError, Explained, Held, Outcome, Question, explain};
use listeners::Planning;
pub use only::only;
use reach::Outside;
pub use reload::{Progress, Reloaded, Reloader};
use running::{Parts, Prepared, Process, Running};
pub use service::Service;
pub use state::NOT_KEPT;
pub use strain::{descriptor_advice, raise_descriptors};
pub use traces::TracesError;
pub use trial::{Subject, TrialError, Tried, Watcher, try_out};

/// A running Doorward. Dropped without [`App::stop`], it cuts every connection off and leaves
/// sessions open.
#[derive(Debug)]
pub struct App {
    running: Arc<Mutex<Option<Running>>>,
    reloader: Reloader,
    watching: watching::Keeper,
    stop: Stop,
    /// Ends the cores' threads even when nobody asks to: a runtime that is dropped waits for them.
    _cut_off: [DropGuard; 2],
    cores: Vec<JoinHandle<()>>,
    hearts: Vec<heart::Heart>,
    under_way: Vec<UnderWayCount>,
    broker: crate::session::Broker,
    reading: JoinHandle<()>,
    audit: Option<crate::audit::Ended>,
    access_log: Option<crate::telemetry::access_log::Ended>,
    traces: Option<traces::Sending>,
    clock: Clock,
    shared: Weak<Shared>,
    metrics: Metrics,
    admin: Option<Server>,
    /// An operator has asked for the stop.
    stop_asked: CancellationToken,
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
    /// The admin API's socket where the configuration names none; without it there is then no admin
    /// API.
    pub admin_socket: Option<PathBuf>,
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
    /// The access log cannot be opened.
    #[error("the access log {} cannot be opened", path.display())]
    AccessLog {
        /// Its file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Traces cannot be sent.
    #[error(transparent)]
    Traces(#[from] traces::TracesError),
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
    /// The admin API or the listener for those who watch cannot be bound.
    #[error("cannot listen at {place} (`{what}`)")]
    Admin {
        /// Its key in the configuration.
        what: &'static str,
        /// Its address.
        place: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A thread cannot be started.
    #[error("cannot start a thread")]
    Core(#[source] io::Error),
    /// Nothing is started any more.
    #[error("Doorward is stopping")]
    Stopping,
    /// A reload has died.
    #[error("the reload was interrupted")]
    Interrupted,
}

impl App {
    /// Starts all rooms. Nothing is left behind when one cannot be started.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start(loaded: &Loaded, surroundings: Surroundings) -> Result<Self, StartError> {
        upstream::tls::install_crypto_provider();
        draw_first()?;
        let Surroundings { clock, resolver, mut readers, without, mut inherited, admin_socket } =
            surroundings;
        let opened = admin::open(loaded, admin_socket.as_deref())?;
        let (reporter, reports) = reports();
        let reporter_too = Some(reporter.downgrade());
        let process = Process {
            outside: Outside { clock: clock.clone(), reporter: reporter_too, resolver },
            clock: clock.clone(),
            reporter: reporter.clone(),
            revocations: Revocations::default(),
            token_key: clients::key_of_process()?,
        };
        let revocations = process.revocations.clone();
        let prepared = Prepared::new(&process, loaded.clone(), None)?;
        let (kept, notices) = state::open(loaded, &clock)?;
        for notice in notices {
            reporter.report(Event::StateNotice(notice.to_string()));
        }
        let broker = Broker::new(prepared.broker_parts(&process, without, kept));
        let stop = Stop::default();
        let tracing = loaded.settings.traces.as_ref().map(|traces| Tracing::new(traces.ratio));
        let cut_off = stop.everything.clone();
        let stories = opened.stories();
        let kept = stories.clone();
        let shared = build::shared(broker.clone(), &clock, &reporter, kept, cut_off, tracing);
        let shared = Arc::new(shared);
        let released = CancellationToken::new();
        let in_force = prepared.in_force(&released);
        let metrics = shared.metrics.clone();
        metrics::begin(&metrics, &in_force.upstreams);
        readers.push(metrics.reader());

        let number = loaded.settings.cores.unwrap_or_else(available_cores);
        let ready = (0..number)
            .map(|number| core::Ready::new(number, &shared, &in_force, &stop.everything));
        let ready: Vec<_> = ready.collect::<Result<_, _>>().map_err(StartError::Core)?;
        let cores: Vec<_> = ready.iter().map(core::Ready::core).collect();
        let planning = Planning {
            before: &[],
            cores: &cores,
            clock: &clock,
            stopping: &stop.accepting,
            inherited: &mut inherited,
        };
        let planned = listeners::plan(&loaded.settings, planning)?;
        sockets::none_left(&inherited)?;
        let audit = audit::start(loaded, &reporter)?.map(|(audit, ended)| {
            readers.push(Box::new(audit));
            ended
        });
        let (mut access_log, mut access_log_lost) = (None, None);
        if let Some((log, ended, lost)) = access_log::start(&loaded.settings)? {
            readers.push(Box::new(log));
            (access_log, access_log_lost) = (Some(ended), Some(lost));
        }
        let traces = traces::start(&loaded.settings)?.map(|(traces, sending)| {
            readers.push(traces);
            sending
        });
        let (recorder, records) = opened.records(stories, &reporter, &clock);
        if let Some(recorder) = recorder {
            readers.push(Box::new(recorder));
        }
        // Before the first request.
        let reports = reports.for_readers(readers);
        let listeners = planned.carry_out(Vec::new(), &cores);

        let cut_off = [stop.accepting.clone().drop_guard(), stop.everything.clone().drop_guard()];
        let (mut cores, mut threads) = (Vec::new(), Vec::new());
        for ready in ready {
            // Dropped, the guards end those that run.
            let (core, thread) = ready.start().map_err(|error| {
                listeners.iter().for_each(|listener| listener.listening.clean_up());
                StartError::Core(error)
            })?;
            cores.push(core);
            threads.push(Handle::current().spawn_blocking(move || {
                // A core that panicked has said so already; the others go on.
                _ = thread.join();
            }));
        }
        let hearts = cores.iter().map(|core| core.heart.clone()).collect();
        let under_way = cores.iter().map(|core| core.under_way.clone()).collect();
        let stopping = stop.accepting.clone();
        let parts = Parts { shared, cores, listeners, in_force, released, stopping };
        let running = prepared.run(process, parts);
        let (shared, told) = (Arc::downgrade(&running.shared), reporter.downgrade());
        let (running, reloader) = Reloader::of(running, stop.accepting.clone());
        let missing = metrics::MissingLines {
            access_log: access_log_lost,
            spans: traces.as_ref().map(traces::Sending::missing),
        };
        metrics::watch(&metrics, &shared, reloader.clone(), missing);
        let stop_asked = CancellationToken::new();
        let view = admin::View {
            shared: Weak::clone(&shared),
            reloader: reloader.clone(),
            revocations,
            reporter: reporter.downgrade(),
            clock: clock.clone(),
            stopping: stop.leaving.clone(),
            stop_asked: stop_asked.clone(),
        };
        let collected = Arc::new(metrics::Collected(metrics.clone()));
        let admin = opened.serve(view, records, collected)?;
        Ok(Self {
            watching: watching::Keeper::start(reloader.clone(), clock.clone(), told),
            running,
            reloader,
            _cut_off: cut_off,
            stop,
            cores: threads,
            hearts,
            under_way,
            broker,
            reading: tokio::spawn(reports.run()),
            audit,
            access_log,
            traces,
            clock,
            shared,
            metrics,
            admin,
            stop_asked,
        })
    }

    /// The listeners, with their real ports.
    pub fn listening(&self) -> Vec<Listening> {
        self.reloader.listening()
    }

    /// What reads the configuration again.
    pub fn reloader(&self) -> &Reloader {
        &self.reloader
    }

    /// Whether this process is about to stop: nobody should be sent here any more.
    pub fn leaving(&self) -> &CancellationToken {
        &self.stop.leaving
    }

    /// How many requests wait for their turn at a limit.
    pub fn waiting(&self) -> usize {
        self.reloader.waiting()
    }

    /// What is counted, and how everything stands.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
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
    /// logged out within the logout time, the last events are read. A reload under way is given up.
    pub async fn stop(self) -> LogoutReport {
        self.stop.leaving.cancel();
        self.clock.sleep(self.reloader.timeouts().shutdown_delay).await;
        self.stop.accepting.cancel();
        let timeouts = self.reloader.timeouts();
        let drain = self.clock.sleep(timeouts.drain);
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
        self.watching.stop().await;
        for listener in self.reloader.listening() {
            listener.clean_up();
        }
        if let Some(admin) = self.admin {
            admin.stop().await;
        }
        if let Some(running) = self.running.lock().await.take() {
            running.stop().await;
        }
        let report = self.broker.stop(timeouts.logout).await;
        self.broker.close_state().await;
        drop(self.broker);
        // Reports end when the last reporter is gone; a task that still holds one is not waited
        // for.
        _ = tokio::time::timeout(LAST_EVENTS, self.reading).await;
        for written in self.audit.into_iter().chain(self.access_log) {
            _ = tokio::time::timeout(LAST_EVENTS, written).await;
        }
        if let Some(traces) = self.traces {
            _ = tokio::time::timeout(LAST_EVENTS, traces.ended()).await;
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

/// So many a configuration may ask for, too.
const CORES_MAX: usize = 1024;

fn available_cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(CORES_MAX)
}

/// Judges and reads the settings, with the recipes that they name.
///
/// # Errors
/// All faults at once.
pub fn load(sources: &settings::Sources) -> Result<Loaded, Faults> {
    Settings::load(sources, &recipe_shape)
}
