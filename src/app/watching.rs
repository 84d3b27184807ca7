//! Has the configuration read again when a file that it is in has changed, where the operator wants
//! that. What tells is the content: it counts when two looks find the same.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::reload::{self, Reloader};
use crate::clock::Clock;
use crate::secret::{Fingerprint, SecretText, Watch};
use crate::settings::Loaded;
use crate::telemetry::{Event, SecretTrouble, WeakReporter};

/// How often files are looked at although nothing was told: not every file system tells, and not
/// every directory can be watched.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// The pause between something that happened and the look at it, and between two looks. Machine
/// time, as the writer's.
const SETTLE: Duration = Duration::from_millis(100);

/// What is watched.
#[derive(Clone, Debug, Default)]
pub(super) struct Watched {
    /// Nothing where nobody wants it.
    files: Vec<PathBuf>,
    /// What was in them when they were last read.
    read: Option<Fingerprint>,
}

impl Watched {
    /// The files of a configuration, and what is in them now. Blocks on the file system.
    pub(super) fn of(loaded: &Loaded) -> Self {
        if !loaded.settings.watch {
            return Self::default();
        }
        let files = reload::files(loaded);
        let read = Some(content(&files));
        Self { files, read }
    }

    /// Whether anybody wants it.
    pub(super) fn is_wanted(&self) -> bool {
        self.read.is_some()
    }

    /// This is what was read last.
    pub(super) fn were_read(&mut self, content: Fingerprint) {
        self.read = self.read.map(|_| content);
    }
}

/// What is in files; of a folder, which files there are.
fn content(files: &[PathBuf]) -> Fingerprint {
    let texts = files.iter().map(|file| {
        let content = match std::fs::read_dir(file) {
            Ok(entries) => {
                let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
                names.sort();
                format!("{names:?}")
            }
            // What is missing is as good a content as any.
            Err(_) => data_encoding::HEXLOWER.encode(&std::fs::read(file).unwrap_or_default()),
        };
        SecretText::from(format!("{} {content}", file.display()))
    });
    Fingerprint::of(&texts.collect::<Vec<_>>())
}

/// The task that looks after the files. Dropped, it ends by itself.
#[derive(Debug)]
pub(super) struct Keeper {
    task: JoinHandle<()>,
    stop: DropGuard,
}

impl Keeper {
    /// Starts the task on the caller's runtime, the control side.
    pub(super) fn start(reloader: Reloader, clock: Clock, reporter: WeakReporter) -> Self {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            tokio::select! {
                () = keep(&reloader, &clock, &reporter) => {}
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

async fn keep(reloader: &Reloader, clock: &Clock, reporter: &WeakReporter) {
    loop {
        match reloader.watched().is_wanted() {
            true => watch(reloader, clock, reporter).await,
            false => reloader.changed().await,
        }
    }
}

/// Watches for as long as that is wanted.
async fn watch(reloader: &Reloader, clock: &Clock, reporter: &WeakReporter) {
    let told = Arc::new(Notify::new());
    let mut watch = Watch::new(Arc::clone(&told));
    // What the last look has found, if that is not what was read.
    let mut found = None;
    loop {
        let Watched { files, read: Some(read) } = reloader.watched() else { return };
        let look = tokio::task::spawn_blocking(move || {
            // First the watch, then the content: what changes in between is told.
            let inside = files.iter().map(|file| match file.is_dir() {
                true => file.join("*"),
                false => file.clone(),
            });
            let inside: Vec<_> = inside.collect();
            let unwatched = watch.follow(inside.iter().map(PathBuf::as_path));
            (watch, unwatched, content(&files))
        });
        // Only a look that died gives nothing back.
        let Ok((back, unwatched, now)) = look.await else { return };
        watch = back;
        for unwatched in unwatched {
            let (directory, why) = (unwatched.directory, unwatched.why);
            let trouble = SecretTrouble::Unwatched { directory, why };
            reporter.report(Event::SecretTrouble(trouble));
        }
        if read == now {
            found = None;
            tokio::select! {
                () = told.notified() => {}
                () = reloader.changed() => continue,
                () = clock.sleep(LOOK_EVERY) => continue,
            }
        } else if found == Some(now) {
            found = None;
            reloader.reload_changed(now).await;
            continue;
        } else {
            found = Some(now);
        }
        tokio::time::sleep(SETTLE).await;
    }
}
