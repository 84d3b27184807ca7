//! What was kept of one body: the beginning in memory, the rest in a file.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;

use super::Outlook;
use super::keeping::{Keeping, Share, Spill, SpillError};
use super::memory::Memory;
use super::refusal::Refusal;

/// What was kept of one body.
pub(super) struct Store {
    share: Share,
    memory: Memory,
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
        shown.field("memory", &memory.length()).field("spilled", spilled);
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
        Self { share, memory: Memory::default(), spill: None, spilled: 0, announced, intake }
    }

    /// The bytes that are there.
    pub(super) fn length(&self) -> u64 {
        self.memory.length() as u64 + self.spilled
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
        self.memory = Memory::default();
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
    pub(super) fn keep(&mut self, chunk: &Bytes) {
        if self.intake != Intake::Open || chunk.is_empty() {
            return;
        }
        let chunk = match self.spill {
            None => self.remember(chunk.clone()),
            Some(_) => chunk.clone(),
        };
        if chunk.is_empty() {
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
            self.spill.get_or_insert_with(|| keeping.storage.open()).write(&chunk);
            self.spilled += bytes;
        }
    }

    /// Keeps of a chunk in memory what this body and all together may take; the rest is returned.
    fn remember(&mut self, mut chunk: Bytes) -> Bytes {
        loop {
            self.memory.fill(&mut chunk);
            if Memory::shares(&chunk) && self.takes(chunk.len() as u64) {
                self.memory.share(chunk);
                return Bytes::new();
            }
            if chunk.is_empty() || !self.make_room(chunk.len() as u64) {
                return chunk;
            }
        }
    }

    /// Takes so much memory, if there is.
    fn takes(&mut self, bytes: u64) -> bool {
        let room = self.share.keeping().memory_bytes_max;
        bytes <= room.saturating_sub(self.memory.length() as u64) && self.share.take_memory(bytes)
    }

    /// Makes room in memory, for `bytes` more if it can.
    fn make_room(&mut self, bytes: u64) -> bool {
        let length = self.memory.length() as u64;
        let room = self.share.keeping().memory_bytes_max.saturating_sub(length);
        let to_come = self.announced.map_or(u64::MAX, |announced| announced.saturating_sub(length));
        for wished in [to_come.max(bytes), bytes] {
            let room = room.min(wished).min(self.memory.room_max() as u64);
            if room > 0 && self.share.take_memory(room) {
                // It is at most what was a `usize`.
                self.memory.add_room(usize::try_from(room).unwrap_or(0));
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
        let remembered = usize::try_from(position).map(|at| self.memory.from(at));
        if let Ok(remembered) = remembered
            && !remembered.is_empty()
        {
            return Poll::Ready(Ok(remembered));
        }
        match &mut self.spill {
            Some(spill) => spill.poll_read(context, position - self.memory.length() as u64),
            None => Poll::Ready(Ok(Bytes::new())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::super::tests::{keeping, memory};
    use super::*;

    /// Fails when long chunks, which are kept as they are, take more than there is, or are not there
    /// again in their order where memory holds a part of them and a file the rest.
    #[test]
    fn long_chunks_are_kept_within_the_bounds_and_come_back_whole() {
        const KIB: u64 = 1024;
        let body: Vec<u8> = (0_u32..100_000).flat_map(u32::to_le_bytes).collect();
        let body = Bytes::from(body);
        let mut context = Context::from_waker(Waker::noop());
        for (memory_max, memory_total) in [
            (10 * KIB, u64::MAX),
            (100 * KIB, u64::MAX),
            (1000 * KIB, 100 * KIB),
            (1000 * KIB, 64 * KIB),
            (1000 * KIB, u64::MAX),
        ] {
            for chunk_bytes in [40_000, 65_536, 200_000, 400_000] {
                for announced in [None, Some(body.len() as u64)] {
                    let shared = keeping(memory_max, u64::MAX, memory_total, u64::MAX);
                    let mut store = Store::new(Arc::clone(&shared), announced);
                    let mut rest = body.clone();
                    while !rest.is_empty() {
                        store.keep(&rest.split_to(chunk_bytes.min(rest.len())));
                        assert!(shared.memory.taken() <= memory_max.min(memory_total));
                    }
                    assert_eq!(store.length(), body.len() as u64);
                    assert_eq!(store.spilled, shared.spill.taken());
                    let mut read = Vec::new();
                    while read.len() < body.len() {
                        let some = store.poll_read(&mut context, read.len() as u64);
                        let Poll::Ready(Ok(some)) = some else { panic!("nothing to read") };
                        assert!(!some.is_empty(), "nothing at {}", read.len());
                        read.extend_from_slice(&some);
                    }
                    assert!(read == body, "{memory_max} {memory_total} {chunk_bytes}");
                    drop(store);
                    assert_eq!((shared.memory.taken(), shared.spill.taken()), (0, 0));
                }
            }
        }
    }

    #[test]
    fn what_was_kept_is_not_shown() {
        let mut store = Store::new(memory(100), None);
        store.keep(&Bytes::from_static(b"hunter2"));
        let shown = format!("{store:?}");
        // As text, and as the numbers of its bytes.
        assert!(!shown.contains("hunter2") && !shown.contains("104"), "{shown}");
        assert!(shown.contains("memory: 7"), "{shown}");
    }
}
