//! What was kept of one body: the beginning in memory, the rest in a file.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;

use super::Outlook;
use super::keeping::{Keeping, Share, Spill, SpillError};
use super::refusal::Refusal;

/// What is kept is passed on in chunks of at most this size, each a copy.
const CHUNK_BYTES_MAX: usize = 64 * 1024;

/// Memory is taken in steps: this much first, or the whole body where it is shorter, then as much
/// again as is there.
const FIRST_STEP_BYTES: u64 = 64 * 1024;

/// What was kept of one body.
pub(super) struct Store {
    share: Share,
    /// A copy: a chunk of the client's would keep the whole buffer that it was read into, 8 KiB for
    /// a single byte.
    memory: Vec<u8>,
    /// What came after the last byte that memory had room for.
    spill: Option<Box<dyn Spill>>,
    spilled: u64,
    announced: Option<u64>,
    intake: Intake,
}

impl fmt::Debug for Store {
    /// Without the client's bytes.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { memory, spilled, announced, intake, .. } = self;
        let mut shown = out.debug_struct("Store");
        shown.field("memory", &memory.len()).field("spilled", spilled);
        shown.field("announced", announced).field("intake", intake).finish_non_exhaustive()
    }
}

/// What becomes of further bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Intake {
    Open,
    /// What was kept is still good, and nothing is added.
    Closed,
    /// Something is missing: what was kept is gone.
    Lost(Refusal),
}

impl Store {
    pub(super) fn new(keeping: Arc<Keeping>, announced: Option<u64>) -> Self {
        // A body that says it is too long need not be kept at all.
        let intake = match announced {
            Some(bytes) if bytes > keeping.body_bytes_max() => Intake::Lost(Refusal::BodyTooLarge),
            _ => Intake::Open,
        };
        let share = Share::new(keeping);
        Self { share, memory: Vec::new(), spill: None, spilled: 0, announced, intake }
    }

    /// The bytes that are there.
    pub(super) fn length(&self) -> u64 {
        self.memory.len() as u64 + self.spilled
    }

    /// Why the body is not there.
    pub(super) fn lost(&self) -> Option<Refusal> {
        match self.intake {
            Intake::Lost(why) => Some(why),
            Intake::Open | Intake::Closed => None,
        }
    }

    /// Whether the whole body will be kept, as far as is known before its first byte.
    pub(super) fn outlook(&self) -> Outlook {
        let keeping = self.share.keeping();
        match (self.intake, self.announced) {
            (Intake::Lost(_), _) => Outlook::NotKept,
            (_, None) if keeping.body_bytes_max() == 0 => Outlook::NotKept,
            (_, None) if keeping.spill_bytes_max == 0 => Outlook::Unknown,
            _ => Outlook::Kept,
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.intake != Intake::Open
    }

    /// Nothing is added from now on; what is there stays.
    pub(super) fn close(&mut self) {
        if self.intake == Intake::Open {
            self.intake = Intake::Closed;
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.close();
        self.memory = Vec::new();
        self.spill = None;
        self.spilled = 0;
        self.share.give_back();
    }

    fn lose(&mut self, why: Refusal) {
        self.clear();
        self.intake = Intake::Lost(why);
    }

    /// Ready when the next chunk can be kept, or need not be.
    pub(super) fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.intake == Intake::Open
            && let Some(spill) = &mut self.spill
            && ready!(spill.poll_ready(context)).is_err()
        {
            self.lose(Refusal::SpillFailed);
        }
        Poll::Ready(())
    }

    /// Ready when it is known whether what was kept is there. Files are waited for as long as they
    /// take, which is within a bound.
    pub(super) fn poll_stored(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Some(spill) = &mut self.spill
            && ready!(spill.poll_stored(context)).is_err()
        {
            self.lose(Refusal::SpillFailed);
        }
        Poll::Ready(())
    }

    /// Keeps a chunk; call [`Self::poll_ready`] first.
    pub(super) fn keep(&mut self, chunk: &[u8]) {
        if self.intake != Intake::Open || chunk.is_empty() {
            return;
        }
        if self.spill.is_none() && self.grow(chunk.len() as u64) {
            self.memory.extend_from_slice(chunk);
            return;
        }
        let bytes = chunk.len() as u64;
        let keeping = self.share.keeping();
        if self.length().saturating_add(bytes) > keeping.spill_bytes_max {
            let fits = self.length().saturating_add(bytes) <= keeping.memory_bytes_max;
            self.lose(if fits { Refusal::NoRoom } else { Refusal::BodyTooLarge });
        } else if !self.share.take_spill(bytes) {
            self.lose(Refusal::NoRoom);
        } else {
            let keeping = self.share.keeping();
            self.spill.get_or_insert_with(|| keeping.storage.open()).write(chunk);
            self.spilled += bytes;
        }
    }

    /// Makes room for `bytes` more in memory, within what this body and all together may take.
    fn grow(&mut self, bytes: u64) -> bool {
        let (length, capacity) = (self.memory.len() as u64, self.memory.capacity() as u64);
        let bytes_max = self.share.keeping().memory_bytes_max;
        let needed = length.saturating_add(bytes);
        if needed <= capacity {
            return true;
        }
        if needed > bytes_max {
            return false;
        }
        let step = FIRST_STEP_BYTES.max(capacity.saturating_mul(2));
        let wished = step.min(self.announced.unwrap_or(bytes_max)).min(bytes_max).max(needed);
        for size in [wished, needed] {
            if self.share.take_memory(size - capacity) {
                // It is at most `memory_bytes_max`, which was a `usize`.
                self.memory.reserve_exact(usize::try_from(size - length).unwrap_or(0));
                return true;
            }
        }
        false
    }

    /// Some of what was kept, from `position` on, which is before its end.
    pub(super) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        position: u64,
    ) -> Poll<Result<Bytes, SpillError>> {
        let in_memory = usize::try_from(position).ok().and_then(|at| self.memory.get(at..));
        if let Some(rest) = in_memory.filter(|rest| !rest.is_empty()) {
            let chunk = rest.get(..CHUNK_BYTES_MAX).unwrap_or(rest);
            return Poll::Ready(Ok(Bytes::copy_from_slice(chunk)));
        }
        match &mut self.spill {
            Some(spill) => spill.poll_read(context, position - self.memory.len() as u64),
            None => Poll::Ready(Ok(Bytes::new())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::memory;
    use super::*;

    #[test]
    fn what_was_kept_is_not_shown() {
        let mut store = Store::new(memory(100), None);
        store.keep(b"hunter2");
        let shown = format!("{store:?}");
        // As text, and as the numbers of its bytes.
        assert!(!shown.contains("hunter2") && !shown.contains("104"), "{shown}");
        assert!(shown.contains("memory: 7"), "{shown}");
    }
}
