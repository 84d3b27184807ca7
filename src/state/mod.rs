//! What survives the process: sealed records in one embedded store in a folder of its own.
//!
//! The store knows nothing of what it keeps: records are bytes under keys, in two tables. One
//! thread writes, in the order in which it is told to; a write that has returned is on the disk.
//! All records are read once, when the store is opened.

mod file;
#[cfg(any(test, fuzzing))]
pub(crate) mod properties;
mod seal;
#[cfg(test)]
mod tests;
mod writer;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot};
use zeroize::Zeroizing;

use crate::secret::SecretText;
pub use seal::KEY_BYTES_MIN;
use seal::Seal;
use writer::Order;

/// Writes that wait for the writer; at the bound whoever wants to write waits.
const WAITING_MAX: usize = 1024;

/// How long a write may take before it counts as failed: no disk that can be worked with is slower.
const WRITE_TIME_MAX: Duration = Duration::from_secs(10);

/// Where a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// What is left of each account's budget.
    Accounts,
    /// What is open at upstreams.
    Sessions,
}

impl Table {
    const ALL: [Table; 2] = [Self::Accounts, Self::Sessions];

    fn name(self) -> &'static str {
        match self {
            Self::Accounts => "accounts",
            Self::Sessions => "sessions",
        }
    }
}

/// Which record of a table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordKey([u8; 16]);

impl RecordKey {
    /// A key that no other record has.
    pub fn unique() -> Self {
        Self(uuid::Uuid::new_v4().into_bytes())
    }
}

impl fmt::Debug for RecordKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "#{}", data_encoding::HEXLOWER.encode(&self.0))
    }
}

/// The content of a record, wiped when dropped.
pub type Content = Zeroizing<Vec<u8>>;

/// One change; those that are written together are all made or none.
pub enum Change {
    /// Writes a record, whether there is one or not.
    Put(Table, RecordKey, Content),
    /// Writes a record if there is one: what has been deleted stays deleted.
    Replace(Table, RecordKey, Content),
    /// Deletes a record.
    Delete(Table, RecordKey),
}

impl fmt::Debug for Change {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put(table, key, _) => write!(out, "put {} {key:?}", table.name()),
            Self::Replace(table, key, _) => write!(out, "replace {} {key:?}", table.name()),
            Self::Delete(table, key) => write!(out, "delete {} {key:?}", table.name()),
        }
    }
}

/// The store of one process. Clones are the same store.
#[derive(Clone)]
pub struct Store {
    orders: mpsc::Sender<Order>,
    seal: Arc<Seal>,
}

/// A store that was opened, and what it held.
#[derive(Debug)]
pub struct Opened {
    /// The store.
    pub store: Store,
    /// Every record that could be read.
    pub records: Vec<(Table, RecordKey, Content)>,
    /// What an operator should know.
    pub notices: Vec<Notice>,
    /// Something that was known may be missing: accounts without a record are to be tried with
    /// care.
    pub cautious: bool,
}

/// What an operator should know about a store that was opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Notice {
    /// The file was none of ours, or broken: it was moved aside and a new one begun.
    #[error("the state file could not be used ({why}): it was kept as `{}`, and a new one was begun; accounts start with one login attempt", .kept.display())]
    SetAside {
        /// Where it is now.
        kept: PathBuf,
        /// What was wrong with it.
        why: String,
    },
    /// Records that another key sealed. They stay where they are.
    #[error(
        "{0} records of the state were sealed with another key: they are kept and not used; unknown accounts start with one login attempt"
    )]
    OtherKey(usize),
    /// Records that do not fit their seal. They are kept apart.
    #[error(
        "{0} records of the state were changed or damaged: they are kept apart and not used; unknown accounts start with one login attempt"
    )]
    Damaged(usize),
    /// Others may look into the folder.
    #[error("the state folder `{}` can be read by others (mode {mode:04o}); chmod 700 {}", .path.display(), .path.display())]
    FolderOpen {
        /// The folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
}

/// Why the store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("the state in `{}` is in use by {}", .folder.display(), holder(*.pid))]
    Held {
        /// The folder.
        folder: PathBuf,
        /// Whose it is, where the lock file says so.
        pid: Option<u32>,
    },
    /// A newer version wrote it. To start without it would forget budgets, and could lock accounts.
    #[error("the state in `{}` was written by a newer version of doorward (schema {found}; this one knows {known}): use that version, or move the file away and have every account start with one login attempt", .file.display())]
    Newer {
        /// The file.
        file: PathBuf,
        /// Its version.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// The key is too short to keep anything secret.
    #[error("the key of the state has {0} bytes; it needs at least {KEY_BYTES_MIN}")]
    ShortKey(usize),
    /// The key cannot be used by the crypto library.
    #[error("the key of the state cannot be used")]
    Key,
    /// Others could put another file there.
    #[error("the state folder `{}` can be changed by others (mode {mode:04o}); chmod 700 it", .path.display())]
    FolderShared {
        /// The folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file system refuses.
    #[error("the state in `{}` cannot be used", .path.display())]
    Files {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        reason: io::Error,
    },
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

/// A write did not reach the disk; nothing that depends on it may be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the state cannot be written: {0}")]
pub struct Unwritable(pub String);

impl Store {
    /// Opens the store in `folder`, and begins one where there is none. Blocks on the file system.
    ///
    /// # Errors
    /// See [`OpenError`]. A broken or foreign file is none: it is moved aside.
    pub fn open(folder: &Path, key: &SecretText, now: SystemTime) -> Result<Opened, OpenError> {
        let length = key.expose().len();
        if length < KEY_BYTES_MIN {
            return Err(OpenError::ShortKey(length));
        }
        let seal = Arc::new(Seal::new(key).map_err(|_| OpenError::Key)?);
        let file::Loaded { place, database, records, notices, cautious } =
            file::load(folder, &seal, now)?;
        let (orders, receiver) = mpsc::channel(WAITING_MAX);
        writer::start(place, database, Arc::clone(&seal), receiver)
            .map_err(|reason| OpenError::Files { path: folder.to_owned(), reason })?;
        Ok(Opened { store: Self { orders, seal }, records, notices, cautious })
    }

    /// The key of a record that is found by name.
    pub fn key_of(&self, name: &[&str]) -> RecordKey {
        self.seal.key_of(name)
    }

    /// Waits for a place in the queue. What is written with it is written after all that was
    /// written before.
    ///
    /// # Errors
    /// When the queue does not move, or the store has been closed.
    pub async fn place(&self) -> Result<Place<'_>, Unwritable> {
        match tokio::time::timeout(WRITE_TIME_MAX, self.orders.reserve()).await {
            Ok(Ok(permit)) => Ok(Place(permit)),
            Ok(Err(_)) => Err(Unwritable("the store is closed".to_owned())),
            Err(_) => Err(too_slow()),
        }
    }

    /// Writes changes, all or none, and waits until they are on the disk.
    ///
    /// # Errors
    /// When they are not, as far as is known. Not cancel safe: they may be written all the same.
    pub async fn write(&self, changes: Vec<Change>) -> Result<(), Unwritable> {
        self.place().await?.write(changes).done().await
    }

    /// Writes what is waiting and lets the folder go. Later writes fail.
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.orders.send(Order::Close(done)).await.is_ok() {
            // The writer that is gone has closed, too.
            _ = closed.await;
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Store").finish_non_exhaustive()
    }
}

/// A place in the queue of the writer.
pub struct Place<'s>(mpsc::Permit<'s, Order>);

impl Place<'_> {
    /// Hands changes to the writer. Never waits, so that what is changed under a lock can be
    /// written in the order of the changes.
    pub fn write(self, changes: Vec<Change>) -> Pending {
        let (done, written) = oneshot::channel();
        self.0.send(Order::Write(changes, done));
        Pending(written)
    }
}

/// A write under way.
#[must_use = "a write is durable only when it is done"]
pub struct Pending(oneshot::Receiver<Result<(), Unwritable>>);

impl Pending {
    /// Waits until the write is on the disk.
    ///
    /// # Errors
    /// When it is not, as far as is known.
    pub async fn done(self) -> Result<(), Unwritable> {
        match tokio::time::timeout(WRITE_TIME_MAX, self.0).await {
            Ok(Ok(written)) => written,
            Ok(Err(_)) => Err(Unwritable("the store is closed".to_owned())),
            Err(_) => Err(too_slow()),
        }
    }
}

fn too_slow() -> Unwritable {
    Unwritable(format!("no write for {} s", WRITE_TIME_MAX.as_secs()))
}
