//! What a service manager is told (sd_notify(3)): that Doorward is ready, what it does, that every
//! core is alive, and that it stops. Where there is no service manager nothing is told.

use std::sync::Weak;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::App;
use super::heart::{Beat, Heart};
use crate::proxy::{Shared, UnderWayCount};
use crate::server::Stop;

/// Of the time within which the manager wants to hear of the cores, this part passes between two
/// times that they are asked: an answer may come late and is still in time (sd_watchdog_enabled(3)
/// advises a half).
const WATCHDOG_PARTS: u32 = 3;

/// How often the status is looked at. It is told only where it has changed.
const STATUS_EVERY: Duration = Duration::from_secs(1);

/// Tells the service manager what becomes of an [`App`]; no more of it once it is dropped.
#[derive(Debug)]
pub struct Service {
    tasks: Vec<JoinHandle<()>>,
}

/// What there is to say of an [`App`], without keeping anything of it alive.
struct Words {
    shared: Weak<Shared>,
    under_way: Vec<UnderWayCount>,
    stop: Stop,
}

impl Service {
    /// Tells that the app is ready, and from now on how it is.
    pub fn start(app: &App) -> Self {
        let words = app.words();
        let status = words.status();
        tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
        let mut tasks = Vec::new();
        if is_there() {
            tasks.push(tokio::spawn(keep_status(words, status)));
        }
        if let Some(within) = sd_notify::watchdog_enabled() {
            tasks.push(tokio::spawn(watch(app.hearts.clone(), within, app.stop.clone())));
        }
        Self { tasks }
    }

    /// Tells that the configuration is read again. Must be followed by [`Service::reloaded`].
    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            // Since version 253 systemd asks for the moment, too.
            Ok(moment) => tell(&[NotifyState::Reloading, moment]),
            Err(_) => tell(&[NotifyState::Reloading]),
        }
    }

    /// Tells that it was read, whatever came of it.
    pub fn reloaded(&self) {
        tell(&[NotifyState::Ready]);
    }

    /// Tells that Doorward stops.
    pub fn stopping(&self) {
        tell(&[NotifyState::Stopping]);
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl App {
    fn words(&self) -> Words {
        Words {
            shared: self.shared.clone(),
            under_way: self.under_way.clone(),
            stop: self.stop.clone(),
        }
    }
}

impl Words {
    /// How the app is, for people.
    fn status(&self) -> String {
        let requests = self.under_way.iter().map(UnderWayCount::get).sum();
        let requests = counted(requests, "request");
        let sessions = self.shared.upgrade().map(|shared| shared.broker.live_sessions());
        match (sessions, self.stop.leaving.is_cancelled()) {
            (Some(sessions), false) => {
                format!("{} live, {requests} under way", counted(sessions, "session"))
            }
            (Some(sessions), true) => {
                format!("Stopping: {requests} under way, {} live", counted(sessions, "session"))
            }
            // The last core is gone, and what all of them shared.
            (None, _) => "Stopping: sessions are logged out".to_owned(),
        }
    }
}

fn counted(number: usize, one: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        number => format!("{number} {one}s"),
    }
}

async fn keep_status(words: Words, mut told: String) {
    loop {
        sleep(STATUS_EVERY).await;
        let status = words.status();
        if status != told {
            tell(&[NotifyState::Status(&status)]);
            told = status;
        }
    }
}

/// Tells that all is well each time that every core has answered. One that hangs keeps it from being
/// told, and the manager kills the process once it has heard nothing for `within`.
async fn watch(hearts: Vec<Heart>, within: Duration, stop: Stop) {
    loop {
        for heart in &hearts {
            if beat(heart, within).await == Beat::Gone && !stop.accepting.is_cancelled() {
                tracing::error!(
                    core = heart.number(),
                    "a core is gone; the watchdog is told nothing"
                );
                return;
            }
        }
        tell(&[NotifyState::Watchdog]);
        sleep(within / WATCHDOG_PARTS).await;
    }
}

/// Waits for a core however long it takes, and says so once it takes too long.
async fn beat(heart: &Heart, within: Duration) -> Beat {
    let mut beat = std::pin::pin!(heart.beat());
    if let Ok(beat) = timeout(within, beat.as_mut()).await {
        return beat;
    }
    tracing::error!(
        core = heart.number(),
        waited_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX),
        "a core does not answer; the watchdog is told nothing"
    );
    let beat = beat.await;
    tracing::warn!(core = heart.number(), "the core answers again");
    beat
}

/// Whether anybody listens.
fn is_there() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        // The manager acts on what it misses; this says why it misses it.
        tracing::warn!(%error, "the service manager cannot be told");
    }
}
