//! Reads a trail again, file by file in their order, and finds the first place where the chain does
//! not hold.

use std::fmt;
use std::io::{self, BufRead, Read};
use std::path::{Path, PathBuf};

use super::chain::{Chain, Hash, LINE_BYTES_MAX, Seal, Sealed};
use super::tail::{Fragment, TAIL_BYTES_MAX};

/// A line in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1; 0 for the file as a whole.
    pub line: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(out, "{}", self.file.display()),
            line => write!(out, "{}:{line}", self.file.display()),
        }
    }
}

/// A trail whose chain holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// How many lines there are.
    pub lines: u64,
    /// The number and the time of the first line.
    pub first: (u64, String),
    /// The number and the time of the last line.
    pub last: (u64, String),
    /// The hash of the line before the first one; [`Hash::NONE`] where the chain begins.
    pub after: Hash,
    /// The hash of the last line.
    pub last_hash: Hash,
    /// Whether it takes a key to make such hashes.
    pub keyed: bool,
    /// Where a gateway starts although the one before it has not stopped: it was killed, or lines
    /// were cut off there.
    pub unstopped: Vec<Place>,
    /// Where a crash or a full disk has cut a line off.
    pub cut_off: Vec<Place>,
    /// How many lines the trail itself says that it has lost.
    pub lost: u64,
}

/// The first place where a chain does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {fault}")]
pub struct Break {
    /// Where.
    pub place: Place,
    /// What it is.
    pub fault: Fault,
}

/// What is wrong with a chain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The file cannot be read.
    #[error("the file cannot be read: {0}")]
    Unreadable(String),
    /// There is no line in the file.
    #[error("there is no line in this file")]
    Empty,
    /// The first line of a file is another one.
    #[error("the file does not begin with its first line")]
    NoHeader,
    /// What stands there is no line of a trail.
    #[error("this is no line of an audit trail: changed, or inserted")]
    NoLine,
    /// Lines are not there.
    #[error("{} missing before this one, from number {from}", are_lines(*count))]
    Missing {
        /// The number of the first of them.
        from: u64,
        /// How many.
        count: u64,
    },
    /// A line stands where it does not belong.
    #[error("line number {seq} stands where number {expected} belongs: moved, or inserted")]
    Moved {
        /// Its number.
        seq: u64,
        /// The number that belongs there.
        expected: u64,
    },
    /// The hash is another one.
    #[error(
        "the hash of this line does not hold: it was changed, or is not the one that was written \
         after the line before it"
    )]
    Changed,
    /// A file names another end of the file before it.
    #[error("a part of a line that stood at the end of the file before this one is not there")]
    EndGone,
    /// A file begins a chain of its own.
    #[error("a new chain begins here: nothing ties this file to the one before it")]
    NewChain,
    /// Hashes are made with a key, and none is given.
    #[error("this trail is sealed with a key: it takes that key to verify it")]
    KeyMissing,
    /// A key is given, and hashes are made without.
    #[error("this trail is not sealed with a key: somebody may have made it anew")]
    NotKeyed,
    /// The hash that must be in the chain is not.
    #[error("no line has the hash {0}: the chain was cut before it, or is another one")]
    NotKnown(Hash),
}

/// So many lines, and the verb that goes with them.
fn are_lines(count: u64) -> String {
    match count {
        1 => "1 line is".to_owned(),
        count => format!("{count} lines are"),
    }
}

impl Fault {
    /// Its name for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => "unreadable",
            Self::Empty => "empty",
            Self::NoHeader => "no_header",
            Self::NoLine => "no_line",
            Self::Missing { .. } => "missing",
            Self::Moved { .. } => "moved",
            Self::Changed => "changed",
            Self::EndGone => "end_gone",
            Self::NewChain => "new_chain",
            Self::KeyMissing => "key_missing",
            Self::NotKeyed => "not_keyed",
            Self::NotKnown(_) => "not_known",
        }
    }
}

/// Verifies files in the order in which they were written. One of their lines must have the hash
/// `known`, if there is one. Blocks on the file system.
///
/// # Errors
/// The first place where the chain does not hold.
pub fn verify(files: &[PathBuf], seal: &Seal, known: Option<Hash>) -> Result<Verified, Break> {
    let mut walk = Walk::new(seal, known);
    for path in files {
        let at = |line, fault| Break { place: Place { file: path.clone(), line }, fault };
        let unreadable = |error: io::Error| at(0, Fault::Unreadable(error.to_string()));
        let file = std::fs::File::open(path).map_err(unreadable)?;
        walk.file(path, io::BufReader::new(file))?;
    }
    walk.end(files.last())
}

/// A walk through files, line by line.
pub(super) struct Walk<'s> {
    seal: &'s Seal,
    known: Option<Hash>,
    is_known: bool,
    /// Nothing before the first line.
    chain: Option<Chain>,
    /// Whether a gateway has started and not stopped.
    runs: bool,
    /// What stands at the end of the file before and is no line.
    left: Option<Unclear>,
    verified: Option<Verified>,
}

/// Bytes that are no line, until a line tells what they are.
struct Unclear {
    place: Place,
    bytes: Vec<u8>,
    is_ended: bool,
}

impl<'s> Walk<'s> {
    pub(super) fn new(seal: &'s Seal, known: Option<Hash>) -> Self {
        Self { seal, known, is_known: false, chain: None, runs: false, left: None, verified: None }
    }

    /// What all files come to, of which `last` is the last one.
    pub(super) fn end(mut self, last: Option<&PathBuf>) -> Result<Verified, Break> {
        let end = |fault| {
            let file = last.cloned().unwrap_or_default();
            Break { place: Place { file, line: 0 }, fault }
        };
        if let Some(left) = self.left.take() {
            self.note_cut(left.place);
        }
        let verified = self.verified.ok_or_else(|| end(Fault::Empty))?;
        match self.known {
            Some(known) if !self.is_known && known != verified.after => {
                Err(end(Fault::NotKnown(known)))
            }
            _ => Ok(verified),
        }
    }

    pub(super) fn file(&mut self, path: &Path, mut lines: impl BufRead) -> Result<(), Break> {
        let mut number = 0;
        let mut is_first = true;
        let mut unclear: Option<Unclear> = None;
        loop {
            let place = Place { file: path.to_owned(), line: number + 1 };
            let broken = |fault| Break { place: place.clone(), fault };
            let mut bytes = Vec::new();
            let read = lines.by_ref().take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut bytes);
            read.map_err(|error| broken(Fault::Unreadable(error.to_string())))?;
            if bytes.is_empty() {
                break;
            }
            number += 1;
            let line = Sealed::read(bytes.strip_suffix(b"\n").unwrap_or(&bytes));
            let Some(line) = line else {
                let is_ended = bytes.ends_with(b"\n");
                let begun = unclear.get_or_insert(Unclear { place, bytes: Vec::new(), is_ended });
                begun.bytes.extend_from_slice(&bytes);
                begun.is_ended = is_ended;
                if begun.bytes.len() > TAIL_BYTES_MAX {
                    return Err(Break { place: begun.place.clone(), fault: Fault::NoLine });
                }
                continue;
            };
            let cut = unclear.take();
            if let Some(cut) = &cut
                && !tells_of(&line, &cut.bytes)
            {
                return Err(Break { place: cut.place.clone(), fault: Fault::NoLine });
            }
            if is_first && let Some(left) = self.left.take() {
                let facts = &line.facts;
                let (bytes, sha256) = (facts.previous_bytes, facts.previous_sha256.as_deref());
                if !is_of(&left.bytes, bytes, sha256) {
                    return Err(Break { place: left.place, fault: Fault::NoLine });
                }
                self.note_cut(left.place);
            } else if is_first && self.chain.is_some() && line.facts.previous_bytes.is_some() {
                return Err(broken(Fault::EndGone));
            }
            self.line(&line, is_first).map_err(broken)?;
            is_first = false;
            self.note(&line, &place, cut);
            if !bytes.ends_with(b"\n") {
                self.note_cut(Place { file: path.to_owned(), line: number });
            }
        }
        match unclear {
            // The end of a file is where a crash cuts a line off. That a whole line was there is
            // known to the line after it.
            Some(cut) if !cut.is_ended && (!is_first || self.verified.is_some()) => {
                self.left = Some(cut);
            }
            Some(cut) => return Err(Break { place: cut.place, fault: Fault::NoLine }),
            None if is_first => {
                let place = Place { file: path.to_owned(), line: 0 };
                return Err(Break { place, fault: Fault::Empty });
            }
            None => {}
        }
        Ok(())
    }

    fn line(&mut self, line: &Sealed<'_>, is_first: bool) -> Result<(), Fault> {
        let facts = &line.facts;
        let previous = facts.previous.as_ref().and_then(|previous| previous.parse::<Hash>().ok());
        if is_first {
            let previous = (facts.event == "file").then_some(previous).flatten();
            let previous = previous.ok_or(Fault::NoHeader)?;
            match (facts.keyed, self.seal.is_keyed()) {
                (Some(true), false) => return Err(Fault::KeyMissing),
                (Some(false) | None, true) => return Err(Fault::NotKeyed),
                _ => {}
            }
            match self.chain {
                None => self.chain = Some(Chain { next: facts.seq, last: previous }),
                Some(chain) if chain.last != previous && previous == Hash::NONE => {
                    return Err(Fault::NewChain);
                }
                Some(_) => {}
            }
        }
        let chain = self.chain.unwrap_or(Chain::NEW);
        if facts.seq > chain.next {
            let (from, count) = (chain.next, facts.seq - chain.next);
            return Err(Fault::Missing { from, count });
        }
        if facts.seq < chain.next {
            return Err(Fault::Moved { seq: facts.seq, expected: chain.next });
        }
        let names_another = previous.is_some_and(|previous| previous != chain.last);
        if names_another || !self.seal.holds(&chain.last, line) {
            return Err(Fault::Changed);
        }
        self.is_known |= self.known == Some(line.hash);
        Ok(())
    }

    fn note(&mut self, line: &Sealed<'_>, place: &Place, cut: Option<Unclear>) {
        let facts = &line.facts;
        let here = (facts.seq, facts.at.clone());
        let keyed = self.seal.is_keyed();
        let after = self.chain.map_or(Hash::NONE, |chain| chain.last);
        let verified = self.verified.get_or_insert_with(|| Verified {
            lines: 0,
            first: here.clone(),
            last: here.clone(),
            after,
            last_hash: line.hash,
            keyed,
            unstopped: Vec::new(),
            cut_off: Vec::new(),
            lost: 0,
        });
        verified.lines += 1;
        verified.last = here;
        verified.last_hash = line.hash;
        verified.lost = verified.lost.saturating_add(facts.lost.unwrap_or(0));
        match facts.event.as_str() {
            "started" if std::mem::replace(&mut self.runs, true) => {
                verified.unstopped.push(place.clone());
            }
            "stopped" => self.runs = false,
            _ => {}
        }
        self.chain = Some(line.chain());
        if let Some(cut) = cut {
            self.note_cut(cut.place);
        }
    }

    fn note_cut(&mut self, place: Place) {
        if let Some(verified) = &mut self.verified {
            verified.cut_off.push(place);
        }
    }
}

/// Whether `line` was written behind these bytes, which are no line.
fn tells_of(line: &Sealed<'_>, bytes: &[u8]) -> bool {
    let facts = &line.facts;
    matches!(facts.event.as_str(), "cut_off" | "file")
        && is_of(without_end(bytes), facts.bytes, facts.sha256.as_deref())
}

/// Whether bytes have this length and this SHA-256.
fn is_of(bytes: &[u8], length: Option<u64>, sha256: Option<&str>) -> bool {
    let fragment = Fragment::of(bytes);
    length == Some(fragment.bytes) && sha256 == Some(fragment.sha256.to_string().as_str())
}

/// The end of a line that was cut off is written by whoever goes on.
fn without_end(bytes: &[u8]) -> &[u8] {
    bytes.strip_suffix(b"\n").unwrap_or(bytes)
}
