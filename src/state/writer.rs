//! The one thread that writes: in order, many changes in one transaction where many wait.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use redb::{Database, ReadableTable};
use tokio::sync::{mpsc, oneshot};

use super::file::{self, Held, rows};
use super::seal::{KEY_ID_BYTES, Seal};
use super::{Change, RecordKey, Unwritable};

/// Orders that go into one transaction at most: they share its sync to the disk.
const BATCH_MAX: usize = 256;

type Done = oneshot::Sender<Result<(), Unwritable>>;

/// What the writer is told.
pub(super) enum Order {
    Write(Vec<Change>, Done),
    /// Ends the writer, when all that was ordered before is written.
    Close(oneshot::Sender<()>),
}

/// Starts the thread; it ends with the last sender, or when it is told to close.
pub(super) fn start(
    place: Held,
    database: Database,
    seal: Arc<Seal>,
    mut orders: mpsc::Receiver<Order>,
) -> io::Result<()> {
    let mut writer = Writer { database: Some(database), place, seal };
    let run = move || {
        while let Some(first) = orders.blocking_recv() {
            let (mut batch, mut closing) = (Vec::new(), None);
            let mut next = Some(first);
            while let Some(order) = next {
                match order {
                    Order::Write(changes, done) => batch.push((changes, done)),
                    Order::Close(done) => closing = Some(done),
                }
                let full = closing.is_some() || batch.len() >= BATCH_MAX;
                next = if full { None } else { orders.try_recv().ok() };
            }
            writer.write(batch);
            if let Some(done) = closing {
                drop(writer);
                // Whoever closes may have left.
                _ = done.send(());
                return;
            }
        }
    };
    std::thread::Builder::new().name("state".to_owned()).spawn(run).map(drop)
}

struct Writer {
    /// Nothing after a failure: the library wants the file to be opened anew.
    database: Option<Database>,
    place: Held,
    seal: Arc<Seal>,
}

impl Writer {
    fn write(&mut self, batch: Vec<(Vec<Change>, Done)>) {
        let result = match self.commit(batch.iter().flat_map(|(changes, _)| changes)) {
            Ok(()) => Ok(()),
            Err(why) => {
                self.database = None;
                Err(Unwritable(why))
            }
        };
        for (_, done) in batch {
            // Whoever ordered it may have left.
            _ = done.send(result.clone());
        }
    }

    fn commit<'c>(&mut self, changes: impl Iterator<Item = &'c Change>) -> Result<(), String> {
        let tried = catch_unwind(AssertUnwindSafe(|| -> Result<(), String> {
            let database = match self.database.take() {
                Some(database) => database,
                None => file::open(&self.place.file).map_err(|error| error.to_string())?,
            };
            let database = self.database.insert(database);
            apply(database, &self.seal, changes)
        }));
        tried.unwrap_or_else(|_| Err("the file is damaged".to_owned()))
    }
}

fn apply<'c>(
    database: &Database,
    seal: &Seal,
    changes: impl Iterator<Item = &'c Change>,
) -> Result<(), String> {
    let written = || -> Result<(), redb::Error> {
        let writing = database.begin_write()?;
        for change in changes {
            let (table, key) = match change {
                Change::Put(table, key, _)
                | Change::Replace(table, key, _)
                | Change::Delete(table, key) => (*table, *key),
            };
            let mut open = writing.open_table(rows(table))?;
            let row = row(seal, key);
            match change {
                Change::Replace(..) if open.get(row.as_slice())?.is_none() => {}
                Change::Put(_, _, content) | Change::Replace(_, _, content) => {
                    let sealed = seal.close(table, key, content);
                    let sealed = sealed.map_err(|error| io::Error::other(error.to_string()))?;
                    open.insert(row.as_slice(), sealed.as_slice())?;
                }
                Change::Delete(..) => drop(open.remove(row.as_slice())?),
            }
        }
        Ok(writing.commit()?)
    };
    written().map_err(|error| error.to_string())
}

/// Where a record stands in the file: under the key that sealed it, so that records of another key
/// are never overwritten.
fn row(seal: &Seal, key: RecordKey) -> [u8; KEY_ID_BYTES + 16] {
    let mut row = [0; KEY_ID_BYTES + 16];
    for (byte, part) in row.iter_mut().zip(seal.id.iter().chain(&key.0)) {
        *byte = *part;
    }
    row
}
