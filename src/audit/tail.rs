//! The end of a file that is there already: where its chain stands, and whether a crash or a full
//! disk has cut its last line off.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::chain::{BEGIN, Chain, Hash, LINE_BYTES_MAX, Seal, Sealed};

/// How much of a file's end is looked at, in bytes: a whole line and what is left of others have
/// room in it.
pub(super) const TAIL_BYTES_MAX: usize = 4 * LINE_BYTES_MAX;

/// How a file ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// There is nothing in it.
    Empty,
    /// With a line, whole and ended.
    Whole(Chain),
    /// With a line whose end is missing, and nothing else of it.
    Unended(Chain),
    /// With parts of lines behind the last whole one.
    Cut(Chain, Fragment),
    /// There is a part of a line in it and nothing else.
    Headless(Fragment),
    /// With a line that is not tied to the one before it as this seal ties them.
    OtherSeal,
    /// Not as an audit trail does.
    Foreign,
}

/// What a crash or a full disk has left of lines: almost always a part of one, without its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fragment {
    pub(super) bytes: u64,
    pub(super) sha256: Hash,
}

impl Fragment {
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self { bytes: bytes.len() as u64, sha256: Hash::of(bytes) }
    }
}

impl Tail {
    /// Reads the end of `file`.
    ///
    /// # Errors
    /// What the file system says.
    pub(super) fn of(file: &File, seal: &Seal) -> io::Result<Self> {
        let length = file.metadata()?.len();
        let from = length.saturating_sub(TAIL_BYTES_MAX as u64);
        let mut end = vec![0; usize::try_from(length - from).map_err(io::Error::other)?];
        file.read_exact_at(&mut end, from)?;
        Ok(Self::read(&end, seal))
    }

    fn read(end: &[u8], seal: &Seal) -> Self {
        if let Some(Last { line, is_ended, before, behind }) = last(end) {
            let named = line.facts.previous.as_ref().and_then(|previous| previous.parse().ok());
            let previous = named.or_else(|| last(before).map(|last| last.line.hash));
            // Where the line before is out of sight, `verify` finds it.
            if previous.is_some_and(|previous| !seal.holds(&previous, &line)) {
                return Self::OtherSeal;
            }
            return match (is_ended, behind) {
                (false, _) => Self::Unended(line.chain()),
                (true, []) => Self::Whole(line.chain()),
                (true, behind) => Self::Cut(line.chain(), Fragment::of(behind)),
            };
        }
        match end {
            [] => Self::Empty,
            // The very first line of a file was cut off.
            end if end.len() < LINE_BYTES_MAX && is_begun(end) => Self::Headless(Fragment::of(end)),
            _ => Self::Foreign,
        }
    }
}

/// The last line of some bytes.
struct Last<'b> {
    line: Sealed<'b>,
    is_ended: bool,
    before: &'b [u8],
    behind: &'b [u8],
}

fn last(bytes: &[u8]) -> Option<Last<'_>> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let ended = rest.strip_suffix(b"\n").unwrap_or(rest);
        let begin = ended.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let (before, last) = rest.split_at(begin);
        let line = last.strip_suffix(b"\n");
        if let Some(sealed) = Sealed::read(line.unwrap_or(last)) {
            let behind = bytes.get(rest.len()..).unwrap_or_default();
            return Some(Last { line: sealed, is_ended: line.is_some(), before, behind });
        }
        rest = before;
    }
    None
}

/// Whether a line begins so.
fn is_begun(bytes: &[u8]) -> bool {
    let begin = BEGIN.as_bytes();
    bytes.starts_with(begin) || begin.starts_with(bytes)
}
