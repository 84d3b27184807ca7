//! The file of revoked keys: a line for each, and lines are only ever appended. `doorward key
//! revoke` writes it, a running gateway reads it. What of it cannot be understood is never passed
//! over: it may be the line of a key.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;
use jiff::Timestamp;

use super::key::{ClientId, Digest};

/// Its first line, with the version of the format.
const HEADER: &str = "doorward revoked keys 1";
const HEADER_OF_ANY_VERSION: &str = "doorward revoked keys ";
/// Stands for a client that is not known.
const NO_CLIENT: &str = "-";
/// 32 bits: a slip of an editor is found out; it is no seal.
const CHECKSUM_BYTES: usize = 4;
/// More than 100 000 tombstones are a mistake.
const BYTES_MAX: u64 = 16 * 1024 * 1024;
const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;
const GROUP_OR_OTHERS_WRITE: u32 = 0o022;

/// A key that is revoked for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tombstone {
    /// The key's digest.
    pub digest: Digest,
    /// Whose key it was, as far as the configuration said it then.
    pub client: Option<ClientId>,
    /// When it was revoked.
    pub at: SystemTime,
}

/// What stands in a file.
#[derive(Debug, Default)]
pub struct Tombstones {
    /// All that can be read.
    pub all: Vec<Tombstone>,
    /// What cannot.
    pub damage: Option<TombstoneError>,
}

/// Why a file of revoked keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TombstoneError {
    /// A line is not what it was written as. Without it a revoked key could be good again.
    #[error(
        "{path}:{line}: {what}; restore the line, or take every key that is to stay revoked out of the configuration before the line is removed"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The first such line, from 1.
        line: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Whoever may write it can make revoked keys good.
    #[error("{path}: group or others may write it (mode {mode:o}); set 600")]
    OthersMayWrite {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Something else has its name.
    #[error("{path} is no file")]
    NoFile {
        /// Where it should be.
        path: PathBuf,
    },
    /// The system refuses.
    #[error("{path} cannot be used")]
    Refused {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What became of a key that was to be revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is revoked now.
    Revoked,
    /// It was before.
    AlreadyRevoked,
}

/// Reads a file; one that is not there holds nothing. Blocks on the file system.
///
/// # Errors
/// See [`TombstoneError`]; lines that cannot be understood are [`Tombstones::damage`].
pub fn read(path: &Path) -> Result<Tombstones, TombstoneError> {
    let refused = |source| TombstoneError::Refused { path: path.to_owned(), source };
    // A pipe would wait for somebody to write to it.
    match fs::metadata(path) {
        Ok(there) if !there.is_file() => return Err(TombstoneError::NoFile { path: path.into() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Tombstones::default()),
        _ => {}
    }
    read_open(path, &File::open(path).map_err(refused)?)
}

/// Appends a tombstone for each key that has none yet, durable when this returns. Processes that do
/// it at the same time wait for each other. Blocks on the file system.
///
/// # Errors
/// See [`TombstoneError`]; nothing was written then.
pub fn append(
    path: &Path,
    keys: &[(Digest, Option<ClientId>)],
    at: SystemTime,
) -> Result<Vec<Outcome>, TombstoneError> {
    let refused = |source| TombstoneError::Refused { path: path.to_owned(), source };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder).map_err(refused)?;
    }
    // A link is none either.
    if fs::symlink_metadata(path).is_ok_and(|there| !there.is_file()) {
        return Err(TombstoneError::NoFile { path: path.to_owned() });
    }
    let file = locked(path).map_err(refused)?;
    let Tombstones { all, damage } = read_open(path, &file)?;
    if let Some(damage) = damage {
        return Err(damage);
    }
    give_to_owner(path, &file);
    let mut known: Vec<Digest> = all.iter().map(|tombstone| tombstone.digest).collect();
    let (mut outcomes, mut lines) = (Vec::new(), String::new());
    if file.metadata().map_err(refused)?.len() == 0 {
        lines.push_str(&format!("{HEADER}\n"));
    }
    for (digest, client) in keys {
        if known.contains(digest) {
            outcomes.push(Outcome::AlreadyRevoked);
            continue;
        }
        known.push(*digest);
        outcomes.push(Outcome::Revoked);
        lines.push_str(&Tombstone { digest: *digest, client: client.clone(), at }.line());
    }
    append_whole(&file, lines.as_bytes()).map_err(refused)?;
    sync_folder(path).map_err(refused)?;
    Ok(outcomes)
}

/// Appends in one write, so that a reader sees whole lines. What a full disk has taken of them is
/// taken back: half a line would keep every later revocation out. Nobody else writes meanwhile.
fn append_whole(mut file: &File, lines: &[u8]) -> io::Result<()> {
    let before = file.metadata()?.len();
    file.write_all(lines).and_then(|()| file.sync_all()).inspect_err(|_| {
        // Where that fails too, whoever reads the file tells of it.
        _ = file.set_len(before).and_then(|()| file.sync_all());
    })
}

/// Opens a file to be appended to, and takes it; it is given back when it is closed. A link is not
/// followed: through one, whoever owns the folder would have the superuser make a file anywhere.
fn locked(path: &Path) -> io::Result<File> {
    loop {
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true);
        let file = options.mode(FILE_MODE).custom_flags(nix::libc::O_NOFOLLOW).open(path)?;
        file.lock()?;
        // While we waited somebody may have put another file in its place.
        let (ours, there) = (file.metadata()?, fs::metadata(path));
        if there.is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino())) {
            return Ok(file);
        }
    }
}

/// A file that the superuser makes is the folder's owner's: a gateway that runs as that user reads it.
fn give_to_owner(path: &Path, file: &File) {
    let folder = path.parent().map(fs::metadata);
    if let (Some(Ok(folder)), Ok(ours)) = (folder, file.metadata())
        && ours.len() == 0
        && folder.uid() != ours.uid()
    {
        // Nobody else may give a file away; then the gateway says that it cannot read it.
        _ = fchown(file, Some(folder.uid()), Some(folder.gid()));
    }
}

/// A new file's name is durable only with its folder.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

fn read_open(path: &Path, file: &File) -> Result<Tombstones, TombstoneError> {
    let refused = |source| TombstoneError::Refused { path: path.to_owned(), source };
    let mode = file.metadata().map_err(refused)?.permissions().mode() & 0o7777;
    if mode & GROUP_OR_OTHERS_WRITE != 0 {
        return Err(TombstoneError::OthersMayWrite { path: path.to_owned(), mode });
    }
    let mut bytes = Vec::new();
    let length = file.take(BYTES_MAX + 1).read_to_end(&mut bytes).map_err(refused)? as u64;
    if length > BYTES_MAX {
        return Err(refused(io::ErrorKind::FileTooLarge.into()));
    }
    Ok(understood(path, &bytes))
}

/// A file with these tombstones.
#[cfg(any(test, fuzzing))]
pub(super) fn text(all: &[Tombstone]) -> String {
    let lines = all.iter().map(Tombstone::line);
    [format!("{HEADER}\n")].into_iter().chain(lines).collect()
}

pub(super) fn understood(path: &Path, bytes: &[u8]) -> Tombstones {
    let mut found = Tombstones::default();
    // A lossy copy of a damaged line has another checksum, as the line itself would.
    let text = String::from_utf8_lossy(bytes);
    let mut damaged = |line: usize, what| {
        let path = path.to_owned();
        found.damage.get_or_insert(TombstoneError::Damaged { path, line, what });
    };
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let number = index + 1;
        let Some(line) = line.strip_suffix('\n') else {
            damaged(number, "the line has no end");
            continue;
        };
        match (index, line) {
            (0, HEADER) => {}
            (0, line) if line.starts_with(HEADER_OF_ANY_VERSION) => {
                damaged(number, "a newer version of Doorward wrote this file");
            }
            (0, _) => damaged(number, "this is no file of revoked keys"),
            (_, line) => match Tombstone::read(line) {
                Some(tombstone) => found.all.push(tombstone),
                None => damaged(number, "this line is damaged"),
            },
        }
    }
    found
}

impl Tombstone {
    fn line(&self) -> String {
        let at = Timestamp::try_from(self.at).unwrap_or(Timestamp::UNIX_EPOCH);
        let client = self.client.as_ref().map_or(NO_CLIENT, ClientId::as_str);
        let text = format!("{at:.0} {} {client}", self.digest);
        let checksum = checksum(&text);
        format!("{text} {checksum}\n")
    }

    fn read(line: &str) -> Option<Self> {
        let (text, found) = line.rsplit_once(' ')?;
        if checksum(text) != found {
            return None;
        }
        let [at, digest, client] = text.split(' ').collect::<Vec<_>>().try_into().ok()?;
        let client = match client {
            NO_CLIENT => None,
            client => Some(client.parse().ok()?),
        };
        let at = at.parse::<Timestamp>().ok()?.into();
        Some(Self { digest: digest.parse().ok()?, client, at })
    }
}

fn checksum(text: &str) -> String {
    let digested = digest(&SHA256, text.as_bytes());
    let (beginning, _) = digested.as_ref().split_at(CHECKSUM_BYTES);
    HEXLOWER.encode(beginning)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::access::tests::key;

    fn file() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state/revoked");
        (folder, path)
    }

    fn digests(path: &Path) -> Vec<Digest> {
        let read = read(path).unwrap();
        assert!(read.damage.is_none(), "{:?}", read.damage);
        read.all.iter().map(|tombstone| tombstone.digest).collect()
    }

    #[test]
    fn what_is_revoked_is_read_back_and_stands_there_once() {
        let (_folder, path) = file();
        assert_eq!(digests(&path), []);
        let (alice, other) = (key("alice").digest(), key("x").digest());
        let at = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_800_000_000);
        let keys = [(alice, Some("alice".parse().unwrap())), (other, None), (alice, None)];
        let outcomes = append(&path, &keys, at).unwrap();
        assert_eq!(outcomes, [Outcome::Revoked, Outcome::Revoked, Outcome::AlreadyRevoked]);
        assert_eq!(append(&path, &[(other, None)], at).unwrap(), [Outcome::AlreadyRevoked]);
        let all = read(&path).unwrap().all;
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].client.as_ref().unwrap().as_str(), "alice");
        assert_eq!((all[0].at, &all[1].client), (at, &None));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn any_change_of_any_byte_is_told_with_its_line_and_the_other_lines_count() {
        let (_folder, path) = file();
        let keys = ["a", "b", "c"].map(|name| (key(name).digest(), name.parse().ok()));
        append(&path, &keys, SystemTime::now()).unwrap();
        let good = fs::read(&path).unwrap();
        for position in 0..good.len() {
            for changed in [b'0', b'1', b'\n', b' ', 0xff] {
                if good[position] == changed {
                    continue;
                }
                let mut bytes = good.clone();
                bytes[position] = changed;
                let Tombstones { all, damage } = understood(&path, &bytes);
                let expected = 1 + good[..position].iter().filter(|byte| **byte == b'\n').count();
                let Some(TombstoneError::Damaged { line, .. }) = damage else {
                    panic!("{position}: {changed} passes")
                };
                assert_eq!(line, expected, "{position}");
                assert!(!all.is_empty(), "{position}");
            }
        }
        for length in 1..good.len() {
            let is_whole = good[length - 1] == b'\n';
            assert_eq!(understood(&path, &good[..length]).damage.is_none(), is_whole, "{length}");
        }
    }

    #[test]
    fn nothing_is_appended_to_a_file_that_is_damaged_newer_or_open_to_others() {
        let (_folder, path) = file();
        let keys = [(key("a").digest(), None)];
        append(&path, &keys, SystemTime::now()).unwrap();
        let good = fs::read_to_string(&path).unwrap();
        for (text, told) in [
            (good.replace("keys 1", "keys 2"), "a newer version"),
            (good.replace("sha256", "sha255"), "this line is damaged"),
            (format!("{good}x"), "the line has no end"),
            ("anything\n".to_owned(), "no file of revoked keys"),
        ] {
            fs::write(&path, &text).unwrap();
            let error = append(&path, &keys, SystemTime::now()).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        fs::write(&path, &good).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o620)).unwrap();
        assert!(matches!(read(&path), Err(TombstoneError::OthersMayWrite { mode: 0o620, .. })));
        assert!(append(&path, &keys, SystemTime::now()).is_err());
        assert!(matches!(read(path.parent().unwrap()), Err(TombstoneError::NoFile { .. })));
    }

    /// Fails when whoever owns the folder can have the superuser make a file somewhere else, and give
    /// it away.
    #[test]
    fn a_link_leads_the_writer_nowhere() {
        let (folder, path) = file();
        fs::create_dir(path.parent().unwrap()).unwrap();
        let (new, empty) = (folder.path().join("new"), folder.path().join("empty"));
        fs::write(&empty, "").unwrap();
        for target in [&new, &empty] {
            std::os::unix::fs::symlink(target, &path).unwrap();
            let keys = [(key("a").digest(), None)];
            let error = append(&path, &keys, SystemTime::now()).unwrap_err();
            assert!(matches!(error, TombstoneError::NoFile { .. }), "{error}");
            // Also when it is put there behind our back.
            assert!(locked(&path).is_err());
            fs::remove_file(&path).unwrap();
        }
        assert!(!new.exists());
        assert_eq!(fs::metadata(&empty).unwrap().len(), 0);
    }

    #[test]
    fn writers_at_the_same_time_lose_nothing() {
        let (_folder, path) = file();
        let path = Arc::new(path);
        let writers = (0..8).map(|number| {
            let path = Arc::clone(&path);
            std::thread::spawn(move || {
                let keys = [(key(&format!("client-{number}")).digest(), None)];
                append(&path, &keys, SystemTime::now()).unwrap();
                keys[0].0
            })
        });
        let writers: Vec<_> = writers.collect();
        let written: Vec<Digest> = writers.into_iter().map(|one| one.join().unwrap()).collect();
        let found = digests(&path);
        assert_eq!(found.len(), 8);
        assert!(written.iter().all(|digest| found.contains(digest)));
    }
}
