//! Looks after the file of revoked keys while Doorward runs: what is appended to it counts at once,
//! and for ever.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::access::revoked::Revocations;
use crate::access::tombstones::{self, Tombstone, TombstoneError, Tombstones};
use crate::clock::Clock;
use crate::secret::Watch;
use crate::settings::Settings;
use crate::telemetry::{Event, Learned, Reporter, Revocation, SecretTrouble};

/// How often the file is looked at although nothing was told: not every file system tells.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// How often where its folder cannot be watched.
const LOOK_UNWATCHED: Duration = Duration::from_secs(1);

/// The pause between something that happened and the look at it, and between two looks: a trouble
/// only counts if the second one finds the same, since whoever writes may not be at the end. Machine
/// time, as the writer's.
const SETTLE: Duration = Duration::from_millis(100);

/// What is known of the file.
pub(super) struct Known {
    path: PathBuf,
    revocations: Revocations,
    /// The clients of the configured keys, by digest.
    clients: BTreeMap<String, Arc<str>>,
    reporter: Reporter,
    /// Tombstones that the file has had.
    seen: HashSet<[u8; 32]>,
    /// What was last found that is not as it should be.
    found: Option<Trouble>,
    /// What was last told.
    told: Option<Trouble>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Trouble {
    Unreadable(String),
    Missing(usize),
}

/// Reads the file before the first request; nothing where there is no place for one. Blocks on the
/// file system.
///
/// # Errors
/// When it cannot be understood: nobody knows which keys are good then.
pub(super) fn open(
    settings: &Settings,
    revocations: &Revocations,
    reporter: &Reporter,
) -> Result<Option<Known>, TombstoneError> {
    let Some(path) = settings.revoked_file() else { return Ok(None) };
    let clients = settings.clients.iter().flat_map(|client| {
        let name: Arc<str> = Arc::from(client.id.as_str());
        client.keys.iter().map(move |key| (key.digest.to_string(), Arc::clone(&name)))
    });
    let (revocations, clients) = (revocations.clone(), clients.collect());
    let reporter = reporter.clone();
    let seen = HashSet::new();
    let mut known = Known { path, revocations, clients, reporter, seen, found: None, told: None };
    let Tombstones { all, damage } = tombstones::read(&known.path)?;
    match damage {
        Some(damage) => Err(damage),
        None => {
            known.take(&all, Learned::AtStart);
            Ok(Some(known))
        }
    }
}

/// The task that looks after the file. Dropped, it ends by itself.
#[derive(Debug)]
pub(super) struct Keeper {
    task: JoinHandle<()>,
    stop: DropGuard,
}

impl Keeper {
    /// Starts the task on the caller's runtime, the control side.
    pub(super) fn start(known: Known, clock: Clock) -> Self {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            tokio::select! {
                () = keep(known, &clock) => {}
                () = stopped.cancelled() => {}
            }
        });
        Self { task, stop: stop.drop_guard() }
    }

    /// Ends the task.
    pub(super) async fn stop(self) {
        drop(self.stop);
        // A task that died has told so itself.
        _ = self.task.await;
    }
}

async fn keep(mut known: Known, clock: &Clock) {
    let changed = Arc::new(Notify::new());
    let mut watch = Watch::new(Arc::clone(&changed));
    loop {
        let look = tokio::task::spawn_blocking(move || {
            // First the watch, then the content: what changes in between is told.
            let unwatched = watch.follow([known.path.as_path()]);
            known.look();
            (known, watch, unwatched)
        });
        // Only a look that died gives nothing back.
        let Ok((known_again, watch_again, unwatched)) = look.await else { return };
        (known, watch) = (known_again, watch_again);
        for unwatched in unwatched {
            let (directory, why) = (unwatched.directory, unwatched.why);
            let trouble = SecretTrouble::Unwatched { directory, why };
            known.reporter.report(Event::SecretTrouble(trouble));
        }
        if known.is_settled() {
            let every = if watch.is_whole() { LOOK_EVERY } else { LOOK_UNWATCHED };
            tokio::select! {
                () = changed.notified() => {}
                () = clock.sleep(every) => continue,
            }
        }
        // A folder in which much goes on costs one look in this time.
        tokio::time::sleep(SETTLE).await;
    }
}

impl Known {
    /// Reads the file and takes over what it says. Blocks on the file system.
    fn look(&mut self) {
        let (all, trouble) = match tombstones::read(&self.path) {
            Ok(Tombstones { all, damage }) => (all, damage),
            Err(error) => (Vec::new(), Some(error)),
        };
        // What can be read counts, whatever stands beside it: a key more is refused, never one less.
        self.take(&all, Learned::Running);
        let missing =
            self.seen.iter().filter(|seen| !all.iter().any(|one| one.digest.bytes() == *seen));
        let found = match (trouble, missing.count()) {
            (Some(error), _) => Some(Trouble::Unreadable(in_one_line(&error))),
            (None, 0) => None,
            (None, keys) => Some(Trouble::Missing(keys)),
        };
        if found.is_some() && found == self.found && found != self.told {
            self.reporter.report(Event::Revocation(match found.clone() {
                Some(Trouble::Missing(keys)) => Revocation::Missing { keys },
                Some(Trouble::Unreadable(why)) => Revocation::Unreadable { why },
                None => return,
            }));
            self.told.clone_from(&found);
        }
        if found.is_none() {
            self.told = None;
        }
        self.found = found;
    }

    /// Whether there is nothing that has to be seen a second time.
    fn is_settled(&self) -> bool {
        self.found == self.told
    }

    fn take(&mut self, all: &[Tombstone], learned: Learned) {
        for Tombstone { digest, at, .. } in all {
            let is_new = self.revocations.revoke(digest);
            self.seen.insert(*digest.bytes());
            if !is_new {
                continue;
            }
            if let Some(client) = self.clients.get(&digest.to_string()) {
                self.reporter.report(Event::Revocation(Revocation::Taken {
                    client: Arc::clone(client),
                    key: digest.beginning(),
                    revoked_at: *at,
                    learned,
                }));
            }
        }
    }
}

fn in_one_line(error: &TombstoneError) -> String {
    match error {
        TombstoneError::Refused { source, .. } => format!("{error}: {source}"),
        error => error.to_string(),
    }
}
