//! The file: opened to be appended to, locked, and followed when somebody renames it away.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::chain::{Chain, Seal};
use super::line::Line;
use super::tail::{Fragment, Tail};

/// Only the owner reads and writes what is made here.
const MODE: u32 = 0o600;

/// An audit trail that lines are appended to.
#[derive(Debug)]
pub struct Trail {
    path: PathBuf,
    seal: Seal,
    chain: Chain,
    file: File,
    /// What the next write begins with.
    begin: Begin,
    /// What a full disk has left at the end of the file before; no line tells of it yet.
    left: Option<Fragment>,
}

/// What stands between the end of a file and the next line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begin {
    /// Nothing.
    Line,
    /// The end of the line before.
    LineEnd,
    /// The end of a part of a line, and a line about it.
    Fragment(Fragment),
    /// The file's first line.
    Header,
    /// The end of what is there already, and then the same.
    LateHeader(Option<Fragment>),
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file system refuses.
    #[error("the audit trail {} cannot be opened", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Somebody else appends to it.
    #[error("the audit trail {} is in use by another process", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// It is no file that one can append to.
    #[error("the audit trail {} is no ordinary file", path.display())]
    NoFile {
        /// What is there.
        path: PathBuf,
    },
    /// Its chain is another one.
    #[error(
        "the last line of the audit trail {} was not written {how}, or has been changed: move the \
         file away to begin a new trail",
        path.display()
    )]
    OtherSeal {
        /// The file.
        path: PathBuf,
        /// With a key or without.
        how: &'static str,
    },
    /// It is something else.
    #[error(
        "{} does not end with lines of an audit trail: move it away to begin a new one",
        path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
    },
}

/// That not all lines could be written.
#[derive(Debug)]
pub(super) struct Unwritten {
    /// How many of them are in the file nevertheless, counted from the first.
    pub(super) written: usize,
    /// Why the others are not.
    pub(super) why: String,
}

impl Trail {
    /// Opens the trail at `path` and goes on where it ends. Blocks on the file system.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(path: &Path, seal: Seal) -> Result<Self, OpenError> {
        let (file, tail) = open(path, &seal)?;
        let (chain, begin) = match tail {
            Tail::Empty => (Chain::NEW, Begin::Header),
            Tail::Whole(chain) => (chain, Begin::Line),
            Tail::Unended(chain) => (chain, Begin::LineEnd),
            Tail::Cut(chain, cut) => (chain, Begin::Fragment(cut)),
            Tail::Headless(cut) => (Chain::NEW, Begin::LateHeader(Some(cut))),
            Tail::OtherSeal | Tail::Foreign => return Err(unusable(path, tail, &seal)),
        };
        Ok(Self { path: path.to_owned(), seal, chain, file, begin, left: None })
    }

    /// Appends lines, to a new file if the old one was renamed away. Blocks on the file system.
    ///
    /// # Errors
    /// What the file system says.
    pub fn append(&mut self, lines: &[Line]) -> io::Result<()> {
        self.try_append(lines).map_err(|unwritten| io::Error::other(unwritten.why))
    }

    pub(super) fn try_append(&mut self, lines: &[Line]) -> Result<(), Unwritten> {
        let unwritten = |why: String| Unwritten { written: 0, why };
        self.follow().map_err(|error| unwritten(chain_of(&error)))?;
        let mut chain = self.chain;
        let mut bytes = Vec::new();
        self.begin(&mut chain, &mut bytes);
        let first = chain.next;
        for line in lines {
            chain.push(&self.seal, line, &mut bytes);
        }
        match self.file.write_all(&bytes) {
            Ok(()) => {
                (self.chain, self.begin, self.left) = (chain, Begin::Line, None);
                Ok(())
            }
            Err(error) => {
                self.look_again();
                let written = self.chain.next.saturating_sub(first);
                Err(Unwritten { written: written as usize, why: error.to_string() })
            }
        }
    }

    /// Has the system write to the disk what was appended.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn begin(&self, chain: &mut Chain, bytes: &mut Vec<u8>) {
        let mut push = |line: &Line, bytes: &mut Vec<u8>| chain.push(&self.seal, line, bytes);
        let header = |cut| Line::file(self.chain.last, &self.seal, self.left, cut);
        match self.begin {
            Begin::Line => {}
            Begin::LineEnd => bytes.push(b'\n'),
            Begin::Fragment(cut) => {
                bytes.push(b'\n');
                push(&Line::cut_off(cut), bytes);
            }
            Begin::Header => push(&header(None), bytes),
            Begin::LateHeader(cut) => {
                bytes.push(b'\n');
                push(&header(cut), bytes);
            }
        }
    }

    /// Opens a new file where the old one was renamed away, removed or emptied.
    fn follow(&mut self) -> Result<(), OpenError> {
        let refused = |source| OpenError::Refused { path: self.path.clone(), source };
        let held = self.file.metadata().map_err(refused)?;
        match fs::metadata(&self.path) {
            Ok(there) if (there.dev(), there.ino()) == (held.dev(), held.ino()) => {
                if held.len() == 0 {
                    self.leave();
                    self.begin = Begin::Header;
                }
                return Ok(());
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(refused(error)),
        }
        let (file, tail) = open(&self.path, &self.seal)?;
        if tail == Tail::Foreign {
            return Err(unusable(&self.path, tail, &self.seal));
        }
        // The old file is whole on the disk before the new one names its end. Where that fails, a
        // later `verify` shows what is missing.
        _ = self.file.sync_data();
        self.file = file;
        self.leave();
        self.begin = match tail {
            Tail::Empty => Begin::Header,
            // What is there is nothing of this chain: that shows.
            _ => Begin::LateHeader(None),
        };
        Ok(())
    }

    /// Notes what the next file's first line has to tell of this one.
    fn leave(&mut self) {
        if let Begin::Fragment(cut) | Begin::LateHeader(Some(cut)) = self.begin {
            self.left = Some(cut);
        }
    }

    /// After a failure: what of the last write is in the file?
    fn look_again(&mut self) {
        let (chain, begin) = match Tail::of(&self.file, &self.seal) {
            Ok(Tail::Whole(chain)) => (chain, Begin::Line),
            Ok(Tail::Unended(chain)) => (chain, Begin::LineEnd),
            Ok(Tail::Cut(chain, cut)) => (chain, Begin::Fragment(cut)),
            // A part of the first line of this file is all that there is.
            Ok(Tail::Headless(cut)) => (self.chain, Begin::LateHeader(Some(cut))),
            Ok(Tail::Empty) => (self.chain, Begin::Header),
            // Nothing can be known: what was meant to be written before is the best guess.
            Ok(Tail::Foreign | Tail::OtherSeal) | Err(_) => return,
        };
        (self.chain, self.begin) = (chain, begin);
    }
}

impl Drop for Trail {
    fn drop(&mut self) {
        // A process that is being started shares the file for a moment, and with it the lock.
        _ = self.file.unlock();
    }
}

fn open(path: &Path, seal: &Seal) -> Result<(File, Tail), OpenError> {
    let refused = |source| OpenError::Refused { path: path.to_owned(), source };
    // A pipe would wait for somebody to read it.
    if fs::metadata(path).is_ok_and(|there| !there.is_file()) {
        return Err(OpenError::NoFile { path: path.to_owned() });
    }
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(MODE);
    let file = options.open(path).map_err(refused)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(OpenError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => return Err(refused(error)),
    }
    let tail = Tail::of(&file, seal).map_err(refused)?;
    Ok((file, tail))
}

/// Why nothing is appended to what is there.
fn unusable(path: &Path, tail: Tail, seal: &Seal) -> OpenError {
    let path = path.to_owned();
    match tail {
        Tail::OtherSeal if seal.is_keyed() => OpenError::OtherSeal { path, how: "with this key" },
        Tail::OtherSeal => OpenError::OtherSeal { path, how: "without a key" },
        _ => OpenError::Foreign { path },
    }
}

/// An error and its causes in one line.
fn chain_of(error: &OpenError) -> String {
    match error {
        OpenError::Refused { source, .. } => format!("{error}: {source}"),
        error => error.to_string(),
    }
}
