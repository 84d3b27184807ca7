//! The store as a process finds it: what another left behind, whole or not.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::UNIX_EPOCH;

use tempfile::TempDir;

use super::*;

const NOW: SystemTime = UNIX_EPOCH;

fn key(letter: &str) -> SecretText {
    SecretText::from(letter.repeat(KEY_BYTES_MIN))
}

fn content(text: &str) -> Content {
    Zeroizing::new(text.as_bytes().to_vec())
}

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("state")
    }

    fn file(&self) -> PathBuf {
        self.path().join("state.redb")
    }

    fn try_open(&self) -> Result<Opened, OpenError> {
        Store::open(&self.path(), &key("a"), NOW)
    }

    fn open(&self) -> Opened {
        self.try_open().unwrap()
    }

    /// A store with one record, left in order.
    async fn filled() -> (Self, RecordKey) {
        let folder = Self::new();
        let Opened { store, .. } = folder.open();
        let key = store.key_of(&["cms", "editor"]);
        let change = Change::Put(Table::Accounts, key, content("canary of an account"));
        store.write(vec![change]).await.unwrap();
        store.close().await;
        (folder, key)
    }

    /// A start over a file that cannot be used: it is kept as it was, and the new store is begun
    /// with care.
    async fn assert_set_aside(&self) {
        let bytes = fs::read(self.file()).unwrap();
        let Opened { store, records, notices, cautious } = self.open();
        assert!(records.is_empty() && cautious, "{notices:?}");
        let [Notice::SetAside { kept, .. }] = &notices[..] else { panic!("{notices:?}") };
        assert!(fs::read(kept).unwrap() == bytes, "something was destroyed");
        store.write(vec![put(&store, "x")]).await.unwrap();
        store.close().await;
        // The next start finds the new file good, and is still told to be careful.
        let again = self.open();
        assert!(again.notices.is_empty() && again.cautious && again.records.len() == 1);
        again.store.close().await;
    }
}

fn put(store: &Store, name: &str) -> Change {
    Change::Put(Table::Accounts, store.key_of(&[name]), content(name))
}

#[tokio::test]
async fn what_was_written_is_there_after_a_restart_and_nobody_else_can_read_it() {
    let (folder, key) = Folder::filled().await;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder.path()), 0o700);
    for entry in fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        let bytes = fs::read(&path).unwrap();
        assert!(!bytes.windows(6).any(|seen| seen == b"canary" || seen == b"editor"));
    }
    let Opened { store, records, notices, cautious } = folder.open();
    assert!(notices.is_empty() && !cautious);
    assert_eq!(records, [(Table::Accounts, key, content("canary of an account"))]);
    store.write(vec![Change::Delete(Table::Accounts, key)]).await.unwrap();
    store.close().await;
    let again = folder.open();
    assert!(again.records.is_empty());
    again.store.close().await;
}

/// Fails when a late change of a record brings back one that was deleted.
#[tokio::test]
async fn what_was_deleted_stays_deleted_whatever_is_replaced_later() {
    let folder = Folder::new();
    let Opened { store, .. } = folder.open();
    let record = RecordKey::unique();
    let replace = || Change::Replace(Table::Sessions, record, content("late"));
    store.write(vec![Change::Put(Table::Sessions, record, content("first"))]).await.unwrap();
    // Both wait together for the writer.
    let delete = store.place().await.unwrap().write(vec![Change::Delete(Table::Sessions, record)]);
    let late = store.place().await.unwrap().write(vec![replace()]);
    delete.done().await.unwrap();
    late.done().await.unwrap();
    store.close().await;
    let Opened { store, records, .. } = folder.open();
    assert!(records.is_empty());
    store.close().await;
}

#[tokio::test]
async fn a_second_holder_is_told_who_the_first_is() {
    let folder = Folder::new();
    let first = folder.open();
    let refused = folder.try_open().unwrap_err();
    assert!(refused.to_string().contains(&format!("process {}", std::process::id())), "{refused}");
    first.store.close().await;
    folder.open().store.close().await;
}

#[tokio::test]
async fn a_closed_store_takes_nothing() {
    let folder = Folder::new();
    let Opened { store, .. } = folder.open();
    store.close().await;
    let change = Change::Put(Table::Accounts, store.key_of(&["x"]), content("x"));
    assert!(store.write(vec![change]).await.is_err());
}

/// Fails when a file that was cut off is trusted or destroyed.
#[tokio::test]
async fn a_truncated_file_is_kept_and_a_new_one_begun() {
    for left in [0, 1, 100, 4096, 8192] {
        let (folder, _) = Folder::filled().await;
        let bytes = fs::read(folder.file()).unwrap();
        assert!(bytes.len() > left);
        fs::write(folder.file(), &bytes[..left]).unwrap();
        folder.assert_set_aside().await;
    }
}

#[tokio::test]
async fn a_foreign_file_is_kept_and_a_new_one_begun() {
    for foreign in ["", "SQLite format 3\0", "just some notes"] {
        let (folder, _) = Folder::filled().await;
        fs::write(folder.file(), foreign).unwrap();
        folder.assert_set_aside().await;
    }
}

/// The library opens it as well as ours; what another program keeps in it must still be there.
#[tokio::test]
async fn a_database_of_another_program_is_kept_and_a_new_one_begun() {
    use redb::ReadableDatabase;
    const NOTES: redb::TableDefinition<&str, &str> = redb::TableDefinition::new("notes");
    let (folder, _) = Folder::filled().await;
    fs::remove_file(folder.file()).unwrap();
    let foreign = redb::Database::create(folder.file()).unwrap();
    let writing = foreign.begin_write().unwrap();
    writing.open_table(NOTES).unwrap().insert("milk", "two bottles").unwrap();
    writing.commit().unwrap();
    drop(foreign);
    let Opened { store, records, notices, cautious } = folder.open();
    assert!(records.is_empty() && cautious);
    store.close().await;
    let [Notice::SetAside { kept, .. }] = &notices[..] else { panic!("{notices:?}") };
    let foreign = redb::Database::open(kept).unwrap();
    let notes = foreign.begin_read().unwrap().open_table(NOTES).unwrap();
    assert_eq!(notes.get("milk").unwrap().unwrap().value(), "two bottles");
}

/// Fails when damage anywhere in the file stops the start, is taken for what was written, or
/// destroys the file.
#[tokio::test]
async fn damage_anywhere_is_noticed_or_harmless() {
    let (folder, key) = Folder::filled().await;
    let good = fs::read(folder.file()).unwrap();
    for at in (0..good.len()).step_by(good.len() / 24) {
        let folder = Folder::new();
        fs::create_dir(folder.path()).unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let mut bytes = good.clone();
        for byte in bytes.iter_mut().skip(at).take(64) {
            *byte ^= 0x5a;
        }
        fs::write(folder.file(), &bytes).unwrap();
        let opened = folder.open();
        let whole = opened.records == [(Table::Accounts, key, content("canary of an account"))];
        assert!(whole || opened.cautious, "{at}: {:?}", opened.notices);
        opened.store.close().await;
    }
}

/// Fails when budgets that a newer version wrote are ignored.
#[tokio::test]
async fn a_newer_file_is_refused_and_left_alone() {
    let (folder, _) = Folder::filled().await;
    let database = redb::Database::open(folder.file()).unwrap();
    let writing = database.begin_write().unwrap();
    let meta = redb::TableDefinition::<&str, &[u8]>::new("meta");
    writing
        .open_table(meta)
        .unwrap()
        .insert("doorward schema", 2_u32.to_be_bytes().as_slice())
        .unwrap();
    writing.commit().unwrap();
    drop(database);
    let refused = folder.try_open().unwrap_err();
    assert!(refused.to_string().contains("newer version"), "{refused}");
    assert!(folder.file().exists());
}

/// Fails when records of another key are lost, or stop the start.
#[tokio::test]
async fn records_of_another_key_are_kept_until_their_key_comes_back() {
    let (folder, record) = Folder::filled().await;
    let other = Store::open(&folder.path(), &key("b"), NOW).unwrap();
    assert_eq!(other.notices, [Notice::OtherKey(1)]);
    assert!(other.cautious && other.records.is_empty());
    let change = Change::Put(Table::Accounts, record, content("of the other key"));
    other.store.write(vec![change]).await.unwrap();
    other.store.close().await;
    let Opened { store, records, .. } = folder.open();
    assert_eq!(records, [(Table::Accounts, record, content("canary of an account"))]);
    store.close().await;
}

/// Fails when a record that was put in another's place is believed, or destroyed.
#[tokio::test]
async fn a_swapped_record_is_kept_apart() {
    let folder = Folder::new();
    let Opened { store, .. } = folder.open();
    store.write(vec![put(&store, "one"), put(&store, "other")]).await.unwrap();
    store.close().await;
    let rows = file::rows(Table::Accounts);
    let database = redb::Database::open(folder.file()).unwrap();
    let writing = database.begin_write().unwrap();
    {
        use redb::ReadableTable;
        let mut table = writing.open_table(rows).unwrap();
        let all: Vec<_> = table
            .iter()
            .unwrap()
            .map(|row| row.unwrap())
            .map(|(key, sealed)| (key.value().to_vec(), sealed.value().to_vec()))
            .collect();
        table.insert(all[0].0.as_slice(), all[1].1.as_slice()).unwrap();
    }
    writing.commit().unwrap();
    drop(database);
    let opened = folder.open();
    assert_eq!(opened.notices, [Notice::Damaged(1)]);
    assert!(opened.cautious);
    assert_eq!(opened.records.len(), 1);
    opened.store.close().await;
    let again = folder.open();
    assert!(again.notices.is_empty() && again.cautious);
    again.store.close().await;
}

#[test]
fn a_short_key_is_refused() {
    let folder = Folder::new();
    let short = SecretText::from("x".repeat(KEY_BYTES_MIN - 1));
    let refused = Store::open(&folder.path(), &short, NOW).unwrap_err();
    assert!(matches!(refused, OpenError::ShortKey(31)), "{refused}");
    assert!(!folder.path().exists());
}

#[test]
fn a_folder_that_others_can_change_is_refused_and_left_as_it_is() {
    let folder = Folder::new();
    fs::create_dir(folder.path()).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    assert!(matches!(folder.try_open(), Err(OpenError::FolderShared { .. })));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    assert!(matches!(folder.open().notices[..], [Notice::FolderOpen { .. }]));
}
