//! The folder and the file of the store: one process at a time, nothing destroyed, and a version
//! that says how records are written.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use redb::{
    Builder, Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError,
    TableDefinition, TableError,
};

use super::seal::{KEY_ID_BYTES, Seal};
use super::{Content, Notice, OpenError, RecordKey, Table};

/// How records are written. A newer version is refused; from an older one records are brought up
/// here, when there is one.
pub(super) const SCHEMA: u32 = 1;

const FILE: &str = "state.redb";
const LOCK: &str = "doorward.lock";

/// Read pages kept in memory, in bytes: all records are read once, at start.
const CACHE_BYTES: usize = 4 * 1024 * 1024;

const META: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("meta");
const SCHEMA_KEY: &str = "doorward schema";
const CAUTIOUS_KEY: &str = "cautious";
/// Records that did not fit their seal, by table and key.
const DAMAGED: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("damaged");

pub(super) type Rows = TableDefinition<'static, &'static [u8], &'static [u8]>;

/// The rows of a table.
pub(super) const fn rows(table: Table) -> Rows {
    match table {
        Table::Accounts => TableDefinition::new("accounts"),
        Table::Sessions => TableDefinition::new("sessions"),
    }
}

/// Where the store is. Nobody else has it as long as this lives.
pub(super) struct Held {
    pub(super) file: PathBuf,
    _lock: File,
}

pub(super) struct Loaded {
    pub(super) place: Held,
    pub(super) database: Database,
    pub(super) records: Vec<(Table, RecordKey, Content)>,
    pub(super) notices: Vec<Notice>,
    pub(super) cautious: bool,
}

pub(super) fn load(folder: &Path, seal: &Seal, now: SystemTime) -> Result<Loaded, OpenError> {
    let mut notices = Vec::new();
    notices.extend(prepare(folder)?);
    let place = Held { file: folder.join(FILE), _lock: lock(folder)? };
    let refused = |reason| OpenError::Files { path: place.file.clone(), reason };
    if fs::exists(&place.file).map_err(refused)? {
        match read(&place.file, seal) {
            Ok(contents) => return Ok(loaded(place, contents, notices)),
            Err(Trouble::Newer(found)) => {
                return Err(OpenError::Newer { file: place.file, found, known: SCHEMA });
            }
            Err(Trouble::Files(reason)) => return Err(refused(reason)),
            Err(Trouble::Broken(why)) => {
                let kept = set_aside(&place.file, now).map_err(refused)?;
                notices.push(Notice::SetAside { kept, why });
            }
        }
    }
    // As long as a broken file lies there, somebody may miss what it held: also when the process
    // was killed before it had begun a new one.
    let cautious = is_something_aside(folder).map_err(refused)?;
    create(&place.file, cautious).map_err(refused)?;
    match read(&place.file, seal) {
        Ok(contents) => Ok(loaded(place, contents, notices)),
        Err(Trouble::Files(reason)) => Err(refused(reason)),
        Err(Trouble::Broken(why)) => Err(refused(io::Error::other(why))),
        Err(Trouble::Newer(found)) => {
            Err(OpenError::Newer { file: place.file, found, known: SCHEMA })
        }
    }
}

fn loaded(place: Held, contents: Contents, mut notices: Vec<Notice>) -> Loaded {
    let Contents { database, records, other_key, damaged, mut cautious } = contents;
    if other_key > 0 {
        notices.push(Notice::OtherKey(other_key));
        cautious = true;
    }
    if damaged > 0 {
        notices.push(Notice::Damaged(damaged));
        cautious = true;
    }
    Loaded { place, database, records, notices, cautious }
}

struct Contents {
    database: Database,
    records: Vec<(Table, RecordKey, Content)>,
    other_key: usize,
    damaged: usize,
    cautious: bool,
}

/// Why a file cannot be read.
enum Trouble {
    /// It is broken, or none of ours.
    Broken(String),
    Newer(u32),
    /// The system refuses: nothing is known about the file.
    Files(io::Error),
}

impl From<StorageError> for Trouble {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Io(reason)
                if !matches!(
                    reason.kind(),
                    ErrorKind::InvalidData | ErrorKind::UnexpectedEof | ErrorKind::InvalidInput
                ) =>
            {
                Self::Files(reason)
            }
            other => Self::Broken(other.to_string()),
        }
    }
}

impl From<DatabaseError> for Trouble {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Storage(storage) => storage.into(),
            other => Self::Broken(other.to_string()),
        }
    }
}

impl From<TableError> for Trouble {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Storage(storage) => storage.into(),
            other => Self::Broken(other.to_string()),
        }
    }
}

impl From<redb::TransactionError> for Trouble {
    fn from(error: redb::TransactionError) -> Self {
        redb::Error::from(error).into()
    }
}

impl From<redb::CommitError> for Trouble {
    fn from(error: redb::CommitError) -> Self {
        redb::Error::from(error).into()
    }
}

impl From<redb::Error> for Trouble {
    fn from(error: redb::Error) -> Self {
        match error {
            redb::Error::Io(reason) => StorageError::Io(reason).into(),
            other => Self::Broken(other.to_string()),
        }
    }
}

/// Opens the file and reads all of it. A file that was damaged can make its library panic: that is
/// one more way of being broken.
fn read(file: &Path, seal: &Seal) -> Result<Contents, Trouble> {
    catch_unwind(AssertUnwindSafe(|| read_all(file, seal)))
        .unwrap_or_else(|_| Err(Trouble::Broken("it is damaged".to_owned())))
}

/// Opens the database of a file that is there.
pub(super) fn open(file: &Path) -> Result<Database, DatabaseError> {
    Builder::new().set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true).open(file)
}

fn read_all(file: &Path, seal: &Seal) -> Result<Contents, Trouble> {
    let database = open(file)?;
    let cautious = judge_meta(&database)?;
    let reading = database.begin_read()?;
    let (mut records, mut damaged, mut other_key) = (Vec::new(), Vec::new(), 0);
    for table in Table::ALL {
        for row in reading.open_table(rows(table))?.iter()? {
            let (key, sealed) = row?;
            let Some((id, key)) = key.value().split_at_checked(KEY_ID_BYTES) else {
                damaged.push((table, key.value().to_vec(), sealed.value().to_vec()));
                continue;
            };
            if id != seal.id {
                other_key += 1;
                continue;
            }
            let opened = <[u8; 16]>::try_from(key).ok().and_then(|key| {
                let key = RecordKey(key);
                seal.open(table, key, sealed.value()).ok().map(|content| (table, key, content))
            });
            match opened {
                Some(record) => records.push(record),
                None => damaged.push((table, [id, key].concat(), sealed.value().to_vec())),
            }
        }
    }
    drop(reading);
    let count = damaged.len();
    if count > 0 {
        keep_apart(&database, damaged)?;
    }
    Ok(Contents { database, records, other_key, damaged: count, cautious })
}

/// Whether the file is one of ours and how it is written. Returns whether it was begun with care.
fn judge_meta(database: &Database) -> Result<bool, Trouble> {
    let meta = database.begin_read()?.open_table(META)?;
    let Some(schema) = meta.get(SCHEMA_KEY)? else {
        return Err(Trouble::Broken("it is not a state file of doorward".to_owned()));
    };
    match <[u8; 4]>::try_from(schema.value()).map(u32::from_be_bytes) {
        Ok(SCHEMA) => Ok(meta.get(CAUTIOUS_KEY)?.is_some()),
        Ok(newer) if newer > SCHEMA => Err(Trouble::Newer(newer)),
        Ok(_) | Err(_) => Err(Trouble::Broken("its version is unknown".to_owned())),
    }
}

/// Moves damaged records to where no new record takes their place.
fn keep_apart(database: &Database, damaged: Vec<(Table, Vec<u8>, Vec<u8>)>) -> Result<(), Trouble> {
    let writing = database.begin_write()?;
    {
        let mut apart = writing.open_table(DAMAGED)?;
        for (table, key, sealed) in damaged {
            let named = [table.name().as_bytes(), b"/", &key].concat();
            apart.insert(named.as_slice(), sealed.as_slice())?;
            writing.open_table(rows(table))?.remove(key.as_slice())?;
        }
        // What they held stays unknown at later starts, too.
        writing.open_table(META)?.insert(CAUTIOUS_KEY, [1].as_slice())?;
    }
    Ok(writing.commit()?)
}

/// Begins a file: under another name until it is whole, so that a file with the right name is
/// never half of one.
fn create(file: &Path, cautious: bool) -> io::Result<()> {
    let new = file.with_extension("redb.new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    drop(private(&new, OpenOptions::new().create_new(true))?);
    let begun = || -> Result<(), redb::Error> {
        let database = Builder::new().create(&new)?;
        let writing = database.begin_write()?;
        {
            let mut meta = writing.open_table(META)?;
            meta.insert(SCHEMA_KEY, SCHEMA.to_be_bytes().as_slice())?;
            if cautious {
                meta.insert(CAUTIOUS_KEY, [1].as_slice())?;
            }
            for table in Table::ALL {
                writing.open_table(rows(table))?;
            }
        }
        Ok(writing.commit()?)
    };
    begun().map_err(io::Error::other)?;
    fs::rename(&new, file)?;
    match file.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// Gives a file that cannot be used another name.
fn set_aside(file: &Path, now: SystemTime) -> io::Result<PathBuf> {
    let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut number = 0_u32;
    loop {
        let suffix = if number == 0 { String::new() } else { format!(".{number}") };
        let kept = file.with_extension(format!("redb.broken-{seconds}{suffix}"));
        if !fs::exists(&kept)? {
            fs::rename(file, &kept)?;
            return Ok(kept);
        }
        number += 1;
    }
}

fn is_something_aside(folder: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        if name.to_string_lossy().starts_with(&format!("{FILE}.broken-")) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Makes the folder, or looks at the one that is there.
fn prepare(folder: &Path) -> Result<Option<Notice>, OpenError> {
    let refused = |reason| OpenError::Files { path: folder.to_owned(), reason };
    if !fs::exists(folder).map_err(refused)? {
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(folder).map_err(refused)?;
    }
    judge(folder, &fs::metadata(folder).map_err(refused)?)
}

#[cfg(unix)]
fn judge(folder: &Path, metadata: &fs::Metadata) -> Result<Option<Notice>, OpenError> {
    use std::os::unix::fs::PermissionsExt;
    let (path, mode) = (folder.to_owned(), metadata.permissions().mode() & 0o7777);
    if mode & 0o022 != 0 {
        return Err(OpenError::FolderShared { path, mode });
    }
    Ok((mode & 0o055 != 0).then_some(Notice::FolderOpen { path, mode }))
}

#[cfg(not(unix))]
fn judge(_: &Path, _: &fs::Metadata) -> Result<Option<Notice>, OpenError> {
    Ok(None)
}

/// Takes the folder, or says who has it. The lock is the system's own: it ends with the process,
/// however that ends.
fn lock(folder: &Path) -> Result<File, OpenError> {
    let path = folder.join(LOCK);
    let refused = |reason| OpenError::Files { path: path.clone(), reason };
    let mut options = OpenOptions::new();
    let mut file =
        private(&path, options.create(true).truncate(false).read(true)).map_err(refused)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let pid = file.take(32).read_to_string(&mut text).ok();
            let pid = pid.and_then(|_| text.trim().parse().ok());
            return Err(OpenError::Held { folder: folder.to_owned(), pid });
        }
        Err(TryLockError::Error(reason)) => return Err(refused(reason)),
    }
    let own = || -> io::Result<()> {
        file.set_len(0)?;
        file.rewind()?;
        write!(file, "{}", std::process::id())
    };
    let mut own = own;
    own().map_err(refused)?;
    Ok(file)
}

/// Opens a file for writing that only its owner may read and write.
fn private(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options.write(true).open(path)
}
