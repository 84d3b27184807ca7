//! Looks after the secrets while Doorward runs: files and credentials are read again when their
//! directories have changed, commands are run again after their `refresh`, and the broker is told
//! what has changed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::clock::{Clock, Moment};
use crate::recipe::Recipe;
use crate::secret::{Environment, Place, SecretText, Source, Watch};
use crate::session::{Account, Broker};
use crate::telemetry::{Event, Reporter, SecretTrouble};

/// How often files are looked at although nothing was told: not every file system tells, and not
/// every directory can be watched.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// The pause between something that happened and the look at it, and between two looks: a changed
/// file only counts if the second one finds the same, since whoever writes it may not be at the end.
/// Machine time, as the writer's.
const SETTLE: Duration = Duration::from_millis(100);

/// What a keeper needs.
pub(super) struct Parts {
    pub(super) accounts: Vec<Kept>,
    pub(super) broker: Broker,
    pub(super) environment: Environment,
    pub(super) clock: Clock,
    pub(super) reporter: Reporter,
}

/// The secrets of one account.
pub(super) struct Kept {
    pub(super) account: Arc<Account>,
    pub(super) upstream_name: Arc<str>,
    pub(super) recipe: Arc<Recipe>,
    pub(super) fields: Vec<Field>,
}

/// One field of an account.
pub(super) struct Field {
    pub(super) name: String,
    /// What was last read and good.
    pub(super) text: SecretText,
    /// Where it comes from; nothing for text that stands in the configuration.
    pub(super) source: Option<Source>,
    /// What was last found there, where that is not `text`.
    found: Option<Finding>,
    /// The trouble that was last told.
    told: Option<String>,
}

#[derive(Clone, PartialEq, Eq)]
enum Found {
    Text(SecretText),
    Trouble(String),
}

/// What was found in the place of a field's text.
struct Finding {
    found: Found,
    /// Whether it counts: a file may still be written to.
    is_settled: bool,
}

impl Field {
    pub(super) fn new(name: &str, text: SecretText, source: Option<Source>) -> Self {
        Self { name: name.to_owned(), text, source, found: None, told: None }
    }

    /// Whether its secret can be another one while Doorward runs.
    pub(super) fn can_change(&self) -> bool {
        self.source.as_ref().is_some_and(|source| match &source.place {
            Place::File(_) | Place::Credential(_) => true,
            Place::Command(command) => command.refresh.is_some(),
            Place::Environment(_) => false,
        })
    }
}

/// The task that looks after the secrets. Dropped, it ends by itself.
#[derive(Debug)]
pub(super) struct Keeper {
    task: JoinHandle<()>,
    stop: DropGuard,
}

impl Keeper {
    /// Starts the task on the caller's runtime, the control side.
    pub(super) fn start(parts: Parts) -> Self {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            tokio::select! {
                () = keep(parts) => {}
                () = stopped.cancelled() => {}
            }
        });
        Self { task, stop: stop.drop_guard() }
    }

    /// Ends the task; a command under way is killed.
    pub(super) async fn stop(self) {
        drop(self.stop);
        // A task that died has told so itself.
        _ = self.task.await;
    }
}

async fn keep(parts: Parts) {
    let Parts { accounts, broker, environment, clock, reporter } = parts;
    let changed = Arc::new(Notify::new());
    let mut looking =
        Looking { watch: Watch::new(Arc::clone(&changed)), accounts, environment, reporter };
    let mut commands = Commands::new(&looking, &clock);
    // The first look is before the first wait: a secret may have changed since the start.
    loop {
        let look = tokio::task::spawn_blocking(move || {
            let found = looking.look();
            (looking, found)
        });
        // Only a look that died gives nothing back.
        let Ok((back, found)) = look.await else { return };
        looking = back;
        for changed in found.changed {
            looking.rotate(changed, &broker);
        }
        // Commands have their own times, also where a file changes without end.
        let mut waiting = std::pin::pin!(until_next_look(found.is_settled, &changed, &clock));
        loop {
            tokio::select! {
                () = &mut waiting => break,
                () = at(&clock, commands.next()) => commands.run_due(&looking, &clock),
                Some(ran) = commands.running.join_next() => {
                    let Ok((spot, found)) = ran else { continue };
                    commands.ended(spot, &clock);
                    if looking.printed(spot, found) {
                        looking.rotate(spot.0, &broker);
                    }
                }
            }
        }
    }
}

/// Waits until files are looked at again: soon, where one has to be read once more, else when
/// something is told or the time for it has come.
async fn until_next_look(is_settled: bool, changed: &Notify, clock: &Clock) {
    if is_settled {
        tokio::select! {
            () = changed.notified() => {}
            () = clock.sleep(LOOK_EVERY) => return,
        }
    }
    // A directory in which much goes on costs one look in this time.
    tokio::time::sleep(SETTLE).await;
}

/// Waits for a moment, or for ever.
async fn at(clock: &Clock, moment: Option<Moment>) {
    match moment {
        Some(moment) => clock.sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// Where a field stands among the accounts: its account's number, and its own.
type Spot = (usize, usize);

/// What is looked at, and what was found there.
struct Looking {
    watch: Watch,
    accounts: Vec<Kept>,
    environment: Environment,
    reporter: Reporter,
}

/// What one look has found.
struct Look {
    /// The accounts with another secret than before.
    changed: Vec<usize>,
    /// Whether there is nothing that has to be read once more.
    is_settled: bool,
}

/// When something that was found counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Counts {
    /// When the next look finds the same.
    SeenTwice,
    /// Now: what a command prints is whole when it has ended.
    AtOnce,
}

impl Looking {
    /// Reads every file. Blocks on the file system.
    fn look(&mut self) -> Look {
        // First the watch, then the content: what changes in between is told.
        let files = self.accounts.iter().flat_map(|kept| &kept.fields);
        let files = files.filter_map(|field| field.source.as_ref()?.file(&self.environment));
        let files: Vec<PathBuf> = files.collect();
        for unwatched in self.watch.follow(files.iter().map(PathBuf::as_path)) {
            let (directory, why) = (unwatched.directory, unwatched.why);
            let trouble = SecretTrouble::Unwatched { directory, why };
            self.reporter.report(Event::SecretTrouble(trouble));
        }
        let mut look = Look { changed: Vec::new(), is_settled: true };
        for account in 0..self.accounts.len() {
            let fields = self.accounts.get(account).map_or(0, |kept| kept.fields.len());
            for field in 0..fields {
                if let Some(found) = self.read((account, field)) {
                    self.note((account, field), found, Counts::SeenTwice);
                }
            }
            if !self.is_settled(account) {
                look.is_settled = false;
            } else if self.take_over(account) {
                look.changed.push(account);
            }
        }
        look
    }

    /// Takes what a command has printed. Returns whether the secrets of its account are others than
    /// before.
    fn printed(&mut self, spot: Spot, found: Found) -> bool {
        self.note(spot, found, Counts::AtOnce);
        // Where a file is still changing, the look that finds it settled takes both over.
        self.is_settled(spot.0) && self.take_over(spot.0)
    }

    fn read(&self, spot: Spot) -> Option<Found> {
        let source = self.field(spot)?.source.as_ref()?;
        source.file(&self.environment)?;
        Some(Found::of(source.read(&self.environment).map(|unsealed| unsealed.text)))
    }

    fn note(&mut self, spot: Spot, found: Found, counts: Counts) {
        let Some(field) = self.field_mut(spot) else { return };
        if found == Found::Text(field.text.clone()) {
            (field.found, field.told) = (None, None);
            return;
        }
        let was_seen = field.found.as_ref().is_some_and(|before| before.found == found);
        let is_settled = was_seen || counts == Counts::AtOnce;
        field.found = Some(Finding { found, is_settled });
    }

    /// Whether nothing of an account has to be read once more. Its secrets belong together: while
    /// one is changing, another that has changed may be half of a new pair.
    fn is_settled(&self, account: usize) -> bool {
        let mut fields = self.accounts.get(account).into_iter().flat_map(|kept| &kept.fields);
        fields.all(|field| field.found.as_ref().is_none_or(|finding| finding.is_settled))
    }

    /// Keeps the new secrets of an account, and tells of troubles, each once. Returns whether a
    /// secret is another one than before.
    fn take_over(&mut self, account: usize) -> bool {
        let Some(kept) = self.accounts.get_mut(account) else { return false };
        let (mut has_changed, mut troubles) = (false, Vec::new());
        for field in &mut kept.fields {
            match field.found.as_ref().map(|finding| &finding.found) {
                None => {}
                Some(Found::Text(text)) => {
                    field.text = text.clone();
                    (field.found, field.told) = (None, None);
                    has_changed = true;
                }
                // It stays as what was found: as long as it is so, it is nothing new.
                Some(Found::Trouble(why)) if field.told.as_ref() != Some(why) => {
                    field.told = Some(why.clone());
                    troubles.push(why.clone());
                }
                Some(Found::Trouble(_)) => {}
            }
        }
        troubles.into_iter().for_each(|why| self.report_unreadable(account, why));
        has_changed
    }

    fn report_unreadable(&self, account: usize, why: String) {
        let Some(kept) = self.accounts.get(account) else { return };
        let (upstream, account) = (&kept.upstream_name, &kept.account.name);
        let (upstream, account) = (Arc::clone(upstream), Arc::clone(account));
        let trouble = SecretTrouble::Unreadable { upstream, account, why };
        self.reporter.report(Event::SecretTrouble(trouble));
    }

    fn rotate(&self, account: usize, broker: &Broker) {
        let Some(kept) = self.accounts.get(account) else { return };
        let fields = kept.fields.iter().map(|field| (field.name.as_str(), field.text.clone()));
        broker.rotate(&kept.account, super::build::credentials(&kept.recipe, fields));
    }

    fn field(&self, (account, field): Spot) -> Option<&Field> {
        self.accounts.get(account)?.fields.get(field)
    }

    fn field_mut(&mut self, (account, field): Spot) -> Option<&mut Field> {
        self.accounts.get_mut(account)?.fields.get_mut(field)
    }
}

impl Found {
    fn of<E: std::error::Error>(read: Result<SecretText, E>) -> Self {
        let trouble = |error: E| {
            let reason = error.source().map(|reason| format!(": {reason}"));
            Self::Trouble(format!("{error}{}", reason.unwrap_or_default()))
        };
        read.map_or_else(trouble, Self::Text)
    }
}

/// The commands that are run again.
struct Commands {
    /// When each is due; nothing while it runs.
    due: Vec<(Spot, Duration, Option<Moment>)>,
    running: JoinSet<(Spot, Found)>,
}

impl Commands {
    fn new(looking: &Looking, clock: &Clock) -> Self {
        let mut due = Vec::new();
        for (account, kept) in looking.accounts.iter().enumerate() {
            for (field, one) in kept.fields.iter().enumerate() {
                if let Some(refresh) = one.source.as_ref().and_then(Source::refresh) {
                    due.push(((account, field), refresh, Some(clock.now() + refresh)));
                }
            }
        }
        Self { due, running: JoinSet::new() }
    }

    fn next(&self) -> Option<Moment> {
        self.due.iter().filter_map(|(_, _, due)| *due).min()
    }

    fn run_due(&mut self, looking: &Looking, clock: &Clock) {
        let now = clock.now();
        for (spot, _, due) in &mut self.due {
            if due.is_none_or(|due| due > now) {
                continue;
            }
            *due = None;
            let Some(source) = looking.field(*spot).and_then(|field| field.source.clone()) else {
                continue;
            };
            let (spot, environment) = (*spot, looking.environment.clone());
            self.running.spawn(async move {
                let read = source.read_async(&environment).await;
                (spot, Found::of(read.map(|unsealed| unsealed.text)))
            });
        }
    }

    fn ended(&mut self, spot: Spot, clock: &Clock) {
        for (known, refresh, due) in &mut self.due {
            if *known == spot {
                *due = Some(clock.now() + *refresh);
            }
        }
    }
}

#[cfg(test)]
#[path = "secrets_tests.rs"]
mod tests;
