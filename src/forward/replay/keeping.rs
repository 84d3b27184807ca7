//! Where bodies are kept and how much of them, all requests together; the seam behind which files
//! stand, so that nothing here does I/O.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;

/// What all requests have for keeping bodies.
#[derive(Debug)]
pub struct Keeping {
    /// How many bytes of one body stay in memory.
    pub memory_bytes_max: u64,
    /// How long a body may be that is kept at all; what memory does not hold goes to a file.
    pub spill_bytes_max: u64,
    /// The memory of all bodies together.
    pub memory: Quota,
    /// The files of all bodies together.
    pub spill: Quota,
    /// Makes the files.
    pub storage: Box<dyn Storage>,
}

/// Makes places outside memory.
pub trait Storage: Send + Sync + Debug {
    /// A place for one body; nothing has to be there before the first byte is. Called within the
    /// runtime of the request.
    fn open(&self) -> Box<dyn Spill>;
}

/// A place for one body outside memory, gone when it is dropped. A failed one is not used again.
pub trait Spill: Send + Debug {
    /// Ready when [`Spill::write`] may be called: what has not been stored yet is within a bound.
    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), SpillError>>;

    /// Adds bytes at the end.
    fn write(&mut self, chunk: &[u8]);

    /// Ready when what was written is known to be there, or to be lost.
    fn poll_stored(&mut self, context: &mut Context<'_>) -> Poll<Result<(), SpillError>>;

    /// Some bytes from `position` on, which is before the end of what was written.
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        position: u64,
    ) -> Poll<Result<Bytes, SpillError>>;
}

/// Why a place outside memory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SpillError {
    /// The file cannot be made, written or read: a full disk, most often.
    #[error("the file cannot be used")]
    File(#[source] std::io::Error),
    /// The disk took longer than a request is held up.
    #[error("the disk is too slow")]
    Slow,
}

impl Keeping {
    /// The longest body that is kept.
    pub fn body_bytes_max(&self) -> u64 {
        self.memory_bytes_max.max(self.spill_bytes_max)
    }
}

/// A number of bytes that all requests together may take.
#[derive(Debug)]
pub struct Quota {
    bytes_max: u64,
    taken: AtomicU64,
}

impl Quota {
    /// At most `bytes_max` bytes.
    pub fn new(bytes_max: u64) -> Self {
        Self { bytes_max, taken: AtomicU64::new(0) }
    }

    /// The bytes that are taken now.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: u64) -> bool {
        let before = self.taken.fetch_add(bytes, Ordering::Relaxed);
        let fits = before.saturating_add(bytes) <= self.bytes_max;
        if !fits {
            self.give_back(bytes);
        }
        fits
    }

    fn give_back(&self, bytes: u64) {
        // All cores share this number: it is left alone where there is nothing to say.
        if bytes > 0 {
            self.taken.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

/// What one body has taken; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    keeping: Arc<Keeping>,
    memory: u64,
    spill: u64,
}

impl Share {
    pub(super) fn new(keeping: Arc<Keeping>) -> Self {
        Self { keeping, memory: 0, spill: 0 }
    }

    pub(super) fn keeping(&self) -> &Keeping {
        &self.keeping
    }

    /// Takes `bytes` more of memory; nothing is taken when they do not fit.
    pub(super) fn take_memory(&mut self, bytes: u64) -> bool {
        let fits = self.keeping.memory.take(bytes);
        self.memory += if fits { bytes } else { 0 };
        fits
    }

    /// Takes `bytes` more of the files; nothing is taken when they do not fit.
    pub(super) fn take_spill(&mut self, bytes: u64) -> bool {
        let fits = self.keeping.spill.take(bytes);
        self.spill += if fits { bytes } else { 0 };
        fits
    }

    pub(super) fn give_back(&mut self) {
        self.keeping.memory.give_back(std::mem::take(&mut self.memory));
        self.keeping.spill.give_back(std::mem::take(&mut self.spill));
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.give_back();
    }
}
