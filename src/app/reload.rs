//! Reads the configuration again while Doorward runs, and takes it over whole, or not at all.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex as StdMutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use tokio::sync::{Mutex, Notify, OwnedMutexGuard, watch};
use tokio_util::sync::CancellationToken;

use super::admin::Current;
use super::listeners::Planned;
use super::running::{Prepared, Running};
use super::{Listening, StartError, watching};
use crate::diagnosis::{Faults, Paint};
use crate::limit::Limits;
use crate::secret::Fingerprint;
use crate::settings::{Sources, Timeouts};
use crate::state::OpenError;
use crate::telemetry::{Event, Reload, ReloadStage};
use crate::upstream::with_causes;

/// Reads the configuration again when asked to. Clones are the same; they keep nothing running.
#[derive(Clone, Debug)]
pub struct Reloader(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// What runs; nothing from the stop on. Held for the whole of a reload.
    running: Weak<Mutex<Option<Running>>>,
    /// The reload that waits for another one to be over, if there is one.
    next: StdMutex<Option<Next>>,
    status: StdMutex<Status>,
    /// The files to watch may be others.
    changed: Notify,
    progress: watch::Sender<Progress>,
    sources: Sources,
    stopping: CancellationToken,
}

/// A reload that has not begun, for all who have asked for one since the last began.
type Next = Shared<BoxFuture<'static, Reloaded>>;

/// What can be asked without waiting for a reload.
#[derive(Debug)]
struct Status {
    now: Now,
    last: Option<Reloaded>,
    watched: watching::Watched,
}

/// What is in force.
#[derive(Debug)]
struct Now {
    listening: Vec<Listening>,
    admission: Arc<Limits>,
    timeouts: Timeouts,
    sha256: Arc<str>,
    warnings: Vec<String>,
    current: Arc<Current>,
}

impl Now {
    fn of(running: &Running) -> Self {
        let listening = running.listeners.iter().map(|listener| listener.listening.clone());
        Self {
            listening: listening.collect(),
            admission: Arc::clone(&running.in_force.admission),
            timeouts: running.loaded.settings.timeouts.clone(),
            sha256: Arc::clone(&running.sha256),
            warnings: running.loaded.warnings.clone(),
            current: Arc::new(Current::of(running)),
        }
    }
}

/// How far the last reload has come.
#[derive(Clone, Debug)]
pub enum Progress {
    /// It has begun.
    Reading,
    /// It is over.
    Over(Reloaded),
}

/// What came of a reload.
#[derive(Clone, Debug)]
pub struct Reloaded {
    /// When it was over.
    pub at: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// What tells the configuration that is in force since then from others: a SHA-256 over what it
    /// says, in hexadecimal digits.
    pub sha256: Arc<str>,
    /// Whether what was read is in force, or else why not.
    pub outcome: Result<(), Arc<StartError>>,
    /// What is allowed in what is in force but likely not meant, or dangerous on purpose.
    pub warnings: Vec<String>,
}

impl Reloader {
    /// For what runs, which is given back to be held.
    pub(super) fn of(
        running: Running,
        stopping: CancellationToken,
    ) -> (Arc<Mutex<Option<Running>>>, Self) {
        let status = Status {
            now: Now::of(&running),
            last: None,
            watched: watching::Watched::of(&running.loaded),
        };
        let sources = running.loaded.sources().clone();
        let running = Arc::new(Mutex::new(Some(running)));
        let inner = Inner {
            running: Arc::downgrade(&running),
            next: StdMutex::new(None),
            status: StdMutex::new(status),
            changed: Notify::new(),
            progress: watch::Sender::new(Progress::Reading),
            sources,
            stopping,
        };
        (running, Self(Arc::new(inner)))
    }

    /// Reads everything again: configuration, recipes, secrets, keys and certificates. All of it is
    /// judged first; where anything is wrong nothing changes. One reload follows the other, and
    /// whoever asks while one waits to begin gets what that one comes to: at most one waits. Cancel
    /// safe: a reload goes on without its caller. On the control side's runtime.
    pub async fn reload(&self) -> Reloaded {
        let next = self.next().get_or_insert_with(|| self.begin()).clone();
        next.await
    }

    fn begin(&self) -> Next {
        let reloader = self.clone();
        let reloading = tokio::spawn(async move { reloader.reload_now().await });
        let reloader = self.clone();
        let reloading = reloading.map(move |reloaded| {
            let died = |_| reloader.over(SystemTime::now(), Err(StartError::Interrupted));
            reloaded.unwrap_or_else(died)
        });
        reloading.boxed().shared()
    }

    /// Tells of reloads from now on, whoever asks for them. Who does not look each time sees the last
    /// that there is to see.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.0.progress.subscribe()
    }

    /// What came of the last reload; nothing where there was none.
    pub fn last(&self) -> Option<Reloaded> {
        self.status().last.clone()
    }

    /// What tells the configuration in force from others: a SHA-256, in hexadecimal digits.
    pub fn sha256(&self) -> Arc<str> {
        Arc::clone(&self.status().now.sha256)
    }

    async fn reload_now(&self) -> Reloaded {
        let Inner { running, sources, stopping, .. } = &*self.0;
        let running = match running.upgrade() {
            Some(running) => Some(running.lock_owned().await),
            None => None,
        };
        let began = SystemTime::now();
        // Who asks from now on may know of a change that is not seen here.
        self.next().take();
        let Some(mut running) = running else {
            return self.over(began, Err(StartError::Stopping));
        };
        let Some(before) = &*running else {
            return self.over(began, Err(StartError::Stopping));
        };
        let reporter = before.process.reporter.clone();
        let report = |stage| {
            reporter.report(Event::Reload(Reload { stage, sha256: self.sha256() }));
        };
        report(ReloadStage::Begun);
        self.0.progress.send_replace(Progress::Reading);
        let sources = sources.clone();
        let reading = tokio::task::spawn_blocking(move || read(running, &sources));
        let read = tokio::select! {
            biased;
            // Commands that secrets come from may take long.
            () = stopping.cancelled() => return self.over(began, Err(StartError::Stopping)),
            read = reading => read,
        };
        let outcome = match read {
            Err(_) => Err(StartError::Interrupted),
            Ok((guard, watched, prepared)) => {
                running = guard;
                if let Some(watched) = watched.filter(|new| prepared.is_ok() || new.is_wanted()) {
                    self.status().watched = watched;
                }
                match (&mut *running, prepared) {
                    (Some(running), Ok((prepared, planned))) => {
                        running.put_in_force(prepared, planned);
                        self.status().now = Now::of(running);
                        Ok(())
                    }
                    (_, Err(error)) => Err(error),
                    (None, Ok(_)) => Err(StartError::Stopping),
                }
            }
        };
        let reloaded = self.over(began, outcome);
        let took = reloaded.took;
        report(match &reloaded.outcome {
            Ok(()) => ReloadStage::Done { took },
            Err(_) => ReloadStage::Failed { faults: reloaded.faults(), took },
        });
        self.0.changed.notify_one();
        reloaded
    }

    /// Takes note of what a reload came to.
    fn over(&self, began: SystemTime, outcome: Result<(), StartError>) -> Reloaded {
        let at = SystemTime::now();
        let (sha256, warnings) = {
            let now = &self.status().now;
            (Arc::clone(&now.sha256), now.warnings.clone())
        };
        let took = at.duration_since(began).unwrap_or_default();
        let outcome = outcome.map_err(Arc::new);
        let reloaded = Reloaded { at, took, sha256, outcome, warnings };
        self.status().last = Some(reloaded.clone());
        self.0.progress.send_replace(Progress::Over(reloaded.clone()));
        reloaded
    }

    /// The same, because files hold this now.
    pub(super) async fn reload_changed(&self, content: Fingerprint) {
        // Whatever comes of it: the same is not read again.
        self.status().watched.were_read(content);
        self.reload().await;
    }

    /// What operators see of what is in force.
    pub(super) fn current(&self) -> Arc<Current> {
        Arc::clone(&self.status().now.current)
    }

    pub(super) fn listening(&self) -> Vec<Listening> {
        self.status().now.listening.clone()
    }

    pub(super) fn timeouts(&self) -> Timeouts {
        self.status().now.timeouts.clone()
    }

    pub(super) fn waiting(&self) -> usize {
        self.admission().waiting()
    }

    /// The limits in force.
    pub(super) fn admission(&self) -> Arc<Limits> {
        Arc::clone(&self.status().now.admission)
    }

    pub(super) fn watched(&self) -> watching::Watched {
        self.status().watched.clone()
    }

    /// Comes when the files to watch may be others. For one who waits. Cancel safe.
    pub(super) async fn changed(&self) {
        self.0.changed.notified().await;
    }

    fn next(&self) -> MutexGuard<'_, Option<Next>> {
        self.0.next.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing panics under the locks: what they hold is whole.
    fn status(&self) -> MutexGuard<'_, Status> {
        self.0.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Guard = OwnedMutexGuard<Option<Running>>;

/// Reads the configuration, and makes what it says. The files that it is in come back as they were
/// before they were read: what changes later is seen as a change.
fn read(
    running: Guard,
    sources: &Sources,
) -> (Guard, Option<watching::Watched>, Result<(Prepared, Planned), StartError>) {
    let loaded = super::load(sources).map_err(StartError::Faults);
    // Looked at before it is read once more, so that no change falls in between.
    let watched = loaded.as_ref().ok().map(watching::Watched::of);
    let loaded = loaded.and_then(|_| super::load(sources).map_err(StartError::Faults));
    let prepared = loaded.and_then(|loaded| match &*running {
        Some(running) => running.prepare(loaded),
        None => Err(StartError::Stopping),
    });
    (running, watched, prepared)
}

impl Reloaded {
    /// What is wrong, each with its place; nothing where nothing is.
    pub fn faults(&self) -> Vec<String> {
        match &self.outcome {
            Ok(()) => Vec::new(),
            Err(error) => match error.faults() {
                Some(faults) => {
                    faults.sorted().into_iter().map(|fault| fault.in_one_line()).collect()
                }
                None => vec![with_causes(&**error)],
            },
        }
    }

    /// What there is to tell an operator of a reload that failed: the report on its faults.
    pub fn report(&self, paint: Paint) -> String {
        let Err(error) = &self.outcome else { return String::new() };
        match error.faults() {
            Some(faults) => faults.report_with(paint, KEPT),
            None => format!("error: {}; {KEPT}\n", with_causes(&**error)),
        }
    }
}

const KEPT: &str = "the configuration before is kept";

impl StartError {
    /// Whether another process runs with the state that this one was to have.
    pub fn is_held(&self) -> bool {
        matches!(self, Self::State(OpenError::Held { .. }))
    }

    fn faults(&self) -> Option<&Faults> {
        match self {
            Self::Faults(faults) | Self::Build(super::BuildError::Recipe(faults)) => Some(faults),
            _ => None,
        }
    }
}

impl fmt::Display for Reloaded {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.outcome {
            Ok(()) => write!(out, "configuration {} is in force", self.sha256),
            Err(_) => write!(out, "{}", self.faults().join("\n")),
        }
    }
}

/// The files whose changes have the configuration read again.
pub(super) fn files(loaded: &crate::settings::Loaded) -> Vec<PathBuf> {
    let mut files = loaded.files();
    let settings = &loaded.settings;
    let listeners = settings.listeners.iter().filter_map(|listener| listener.tls.as_ref());
    files.extend(listeners.flat_map(super::listeners::files_of).map(PathBuf::from));
    for upstream in &settings.upstreams {
        files.extend(super::upstreams::files_of(&upstream.tls).into_iter().map(PathBuf::from));
        if let crate::settings::Way::Proxy(proxy) = &upstream.way {
            files.extend(super::upstreams::files_of(&proxy.tls).into_iter().map(PathBuf::from));
        }
    }
    files.extend(settings.issuers.iter().filter_map(|issuer| issuer.ca_file.clone()));
    files
}
