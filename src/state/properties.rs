//! What must hold for any state file that is found.

// What does not hold ends the test.
#![allow(clippy::panic)]

use std::fs;
use std::path::Path;
use std::sync::LazyLock;
use std::time::SystemTime;

use redb::ReadableDatabase;
use tempfile::TempDir;

use super::file::{self, Loaded};
use super::seal::Seal;
use super::{KEY_BYTES_MIN, Notice, OpenError, Table};
use crate::properties::Draws;
use crate::secret::SecretText;

/// What a record holds, and nobody sees who has not its key.
const CONTENT: &[u8] = b"the canary of a record";

/// In memory, where the system has that.
fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.unwrap_or_else(|error| panic!("{error}"))
}

fn seal() -> Seal {
    let key = SecretText::from("k".repeat(KEY_BYTES_MIN));
    Seal::new(&key).unwrap_or_else(|error| panic!("{error}"))
}

/// A file with one record.
static FILE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let folder = folder();
    let seal = seal();
    let path = folder.path().join("state");
    let made = file::load(&path, &seal, SystemTime::UNIX_EPOCH);
    let Loaded { place, database, .. } = made.unwrap_or_else(|error| panic!("{error}"));
    let key = seal.key_of(&["cms", "editor"]);
    let sealed = seal.close(Table::Accounts, key, CONTENT);
    let written = || -> Result<(), redb::Error> {
        let writing = database.begin_write()?;
        let row = [seal.id.as_slice(), &key.0].concat();
        let sealed = sealed.unwrap_or_default();
        writing
            .open_table(file::rows(Table::Accounts))?
            .insert(row.as_slice(), sealed.as_slice())?;
        Ok(writing.commit()?)
    };
    written().unwrap_or_else(|error| panic!("{error}"));
    drop(database);
    fs::read(&place.file).unwrap_or_else(|error| panic!("{error}"))
});

/// Whatever lies where the state file should be, a start ends well or says why not; what was there is
/// not lost, and no record comes out of it that was not sealed with the key.
pub fn states(data: &[u8]) {
    let mut draws = Draws::new(data);
    let choices = draws.byte();
    records(&mut draws);
    let bytes = match choices & 1 {
        1 => draws.rest().to_vec(),
        _ => damaged(draws),
    };
    let folder = folder();
    let path = folder.path().join("state");
    fs::create_dir(&path).unwrap_or_else(|error| panic!("{error}"));
    let private = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o700);
    fs::set_permissions(&path, private).unwrap_or_else(|error| panic!("{error}"));
    fs::write(path.join("state.redb"), &bytes).unwrap_or_else(|error| panic!("{error}"));
    match file::load(&path, &seal(), SystemTime::UNIX_EPOCH) {
        Err(OpenError::Newer { .. }) => {
            let left = fs::read(path.join("state.redb")).unwrap_or_default();
            assert_eq!(left.len(), bytes.len(), "a newer file is touched");
        }
        Err(error) => panic!("{error:?}"),
        Ok(loaded) => {
            for (_, _, content) in &loaded.records {
                assert_eq!(content.as_slice(), CONTENT);
            }
            let set_aside = loaded.notices.iter().find_map(|notice| match notice {
                Notice::SetAside { kept, .. } => Some(kept),
                _ => None,
            });
            if let Some(kept) = set_aside {
                let kept = fs::read(kept).unwrap_or_else(|error| panic!("{error}"));
                assert!(kept.len() >= bytes.len(), "it was not kept");
                assert!(loaded.cautious && loaded.records.is_empty());
            }
            assert!(loaded.database.begin_read().is_ok());
        }
    }
}

/// A good file, of which some bytes are other ones and the end may be missing.
fn damaged(mut draws: Draws<'_>) -> Vec<u8> {
    let mut bytes = FILE.clone();
    let cut = usize::from(draws.byte());
    bytes.truncate(bytes.len() / 256 * (256 - cut));
    while !draws.is_over() {
        let place = draws.below(1 << 16) * 16 + usize::from(draws.byte() & 15);
        let change = draws.byte();
        let length = bytes.len().max(1);
        bytes.get_mut(place % length).into_iter().for_each(|byte| *byte = change);
    }
    bytes
}

/// A record opens as it was closed, where it was closed, and in no other way.
fn records(draws: &mut Draws<'_>) {
    let (position, change) = (draws.below(200), draws.byte());
    let content = draws.line();
    let seal = seal();
    let (key, other) = (seal.key_of(&["a"]), seal.key_of(&["b"]));
    let Ok(mut record) = seal.close(Table::Sessions, key, content) else { return };
    let opened = seal.open(Table::Sessions, key, &record);
    assert_eq!(opened.as_ref().map(|opened| opened.as_slice()), Ok(content));
    assert!(seal.open(Table::Sessions, other, &record).is_err());
    assert!(seal.open(Table::Accounts, key, &record).is_err());
    assert!(seal.open(Table::Accounts, key, content).is_err());
    let place = position % record.len();
    if let Some(byte) = record.get_mut(place)
        && *byte != change
    {
        *byte = change;
        assert!(seal.open(Table::Sessions, key, &record).is_err(), "{place} does not count");
    }
}
