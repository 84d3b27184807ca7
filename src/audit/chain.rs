//! The chain: what ties each line to the one before it, and what a line looks like.

use std::fmt;
use std::io::Write as _;
use std::str::FromStr;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{self, SHA256};
use aws_lc_rs::hmac;
use data_encoding::HEXLOWER;
use serde::Deserialize;

use super::line::Line;
use crate::secret::SecretText;

/// The longest line, its end included, in bytes. Names, paths and causes in it are bounded far
/// below that.
pub(super) const LINE_BYTES_MAX: usize = 64 * 1024;

const HASH_BYTES: usize = 32;

/// What every line begins with.
pub(super) const BEGIN: &str = "{\"seq\":";

/// What stands between the content of a line and its hash.
const BEFORE_HASH: &str = ",\"hash\":\"";

/// What stands behind the hash.
const AFTER_HASH: &str = "\"}";

/// The hash of a line: SHA-256, or HMAC-SHA-256 where a key is given, over the hash of the line
/// before it, in hexadecimal, and the line's own bytes before `,"hash":`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hash([u8; HASH_BYTES]);

impl Hash {
    /// Before the first line of a chain.
    pub const NONE: Self = Self([0; HASH_BYTES]);

    /// Of these bytes alone.
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self::from_digest(digest::digest(&SHA256, bytes).as_ref())
    }

    /// In hexadecimal, as it stands in lines.
    fn digits(&self) -> [u8; 2 * HASH_BYTES] {
        let mut digits = [0; 2 * HASH_BYTES];
        HEXLOWER.encode_mut(&self.0, &mut digits);
        digits
    }

    fn from_digest(digest: &[u8]) -> Self {
        // SHA-256 has as many bytes: nothing is cut off and nothing is missing.
        let mut bytes = [0; HASH_BYTES];
        for (byte, digested) in bytes.iter_mut().zip(digest) {
            *byte = *digested;
        }
        Self(bytes)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(std::str::from_utf8(&self.digits()).unwrap_or_default())
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// That a text is no hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a hash has 64 hexadecimal digits in small letters")]
pub struct NoHash;

impl FromStr for Hash {
    type Err = NoHash;

    fn from_str(text: &str) -> Result<Self, NoHash> {
        // Capitals are refused: a line has one spelling.
        let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|_| NoHash)?;
        bytes.try_into().map(Self).map_err(|_| NoHash)
    }
}

/// How hashes are made.
#[derive(Clone)]
pub enum Seal {
    /// By anybody: who can write the file can also make the chain anew.
    Plain,
    /// By those who have the key.
    Keyed(Box<hmac::Key>),
}

impl Seal {
    /// A seal with a key.
    pub fn keyed(key: &SecretText) -> Self {
        Self::Keyed(Box::new(hmac::Key::new(hmac::HMAC_SHA256, key.expose().as_bytes())))
    }

    /// Whether it takes a key to make it.
    pub fn is_keyed(&self) -> bool {
        matches!(self, Self::Keyed(_))
    }

    fn over(&self, previous: &Hash, content: &[u8]) -> Hash {
        let previous = previous.digits();
        match self {
            Self::Plain => {
                let mut context = digest::Context::new(&SHA256);
                context.update(&previous);
                context.update(content);
                Hash::from_digest(context.finish().as_ref())
            }
            Self::Keyed(key) => {
                let mut context = hmac::Context::with_key(key);
                context.update(&previous);
                context.update(content);
                Hash::from_digest(context.sign().as_ref())
            }
        }
    }

    /// Whether this line was written after the one with the hash `previous`.
    pub(super) fn holds(&self, previous: &Hash, line: &Sealed<'_>) -> bool {
        let Hash(made) = self.over(previous, line.content);
        verify_slices_are_equal(&made, &line.hash.0).is_ok()
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(if self.is_keyed() { "Keyed" } else { "Plain" })
    }
}

/// Where a chain stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chain {
    /// The number of the next line.
    pub(super) next: u64,
    /// The hash of the last line.
    pub(super) last: Hash,
}

impl Chain {
    /// A chain without a line.
    pub(super) const NEW: Self = Self { next: 0, last: Hash::NONE };

    /// Puts `line` behind the last one and appends its bytes to `out`.
    pub(super) fn push(&mut self, seal: &Seal, line: &Line, out: &mut Vec<u8>) {
        let begin = out.len();
        // Memory takes whatever it is given.
        _ = write!(out, "{BEGIN}{}", self.next);
        if !line.members().is_empty() {
            out.push(b',');
            out.extend_from_slice(line.members().as_bytes());
        }
        let hash = seal.over(&self.last, out.get(begin..).unwrap_or_default());
        out.extend_from_slice(BEFORE_HASH.as_bytes());
        out.extend_from_slice(&hash.digits());
        out.extend_from_slice(AFTER_HASH.as_bytes());
        out.push(b'\n');
        *self = Self { next: self.next.saturating_add(1), last: hash };
    }
}

/// A line as it stands in a file, without its end.
#[derive(Debug)]
pub(super) struct Sealed<'l> {
    content: &'l [u8],
    pub(super) hash: Hash,
    pub(super) facts: Facts,
}

/// What of a line has a meaning for the chain.
#[derive(Debug, Deserialize)]
pub(super) struct Facts {
    pub(super) seq: u64,
    pub(super) at: String,
    pub(super) event: String,
    /// Of a file's first line: the hash of the line before it, in the file before.
    pub(super) previous: Option<String>,
    /// Of a file's first line: the length of what a full disk has left at the end of the file before.
    pub(super) previous_bytes: Option<u64>,
    /// Of a file's first line: the SHA-256 of that.
    pub(super) previous_sha256: Option<String>,
    /// Of a file's first line: whether hashes are made with a key.
    pub(super) keyed: Option<bool>,
    /// Of a line about lost ones: how many.
    pub(super) lost: Option<u64>,
    /// Of a line about a half one: its length.
    pub(super) bytes: Option<u64>,
    /// Of a line about a half one: its SHA-256.
    pub(super) sha256: Option<String>,
}

impl<'l> Sealed<'l> {
    /// Reads a line; nothing where it is none.
    pub(super) fn read(line: &'l [u8]) -> Option<Self> {
        let rest = line.strip_suffix(AFTER_HASH.as_bytes())?;
        let (rest, hash) = rest.split_at_checked(rest.len().checked_sub(2 * HASH_BYTES)?)?;
        let content = rest.strip_suffix(BEFORE_HASH.as_bytes())?;
        let hash = std::str::from_utf8(hash).ok()?.parse().ok()?;
        let facts = serde_json::from_slice(line).ok()?;
        Some(Self { content, hash, facts })
    }

    /// Where the chain stands behind this line.
    pub(super) fn chain(&self) -> Chain {
        Chain { next: self.facts.seq.saturating_add(1), last: self.hash }
    }
}
