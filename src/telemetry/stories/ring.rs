//! The last stories of one core, each in its place.

use super::slot::Slot;

/// Slots that are made at once: memory comes with what is kept, and never moves.
const CHUNK: usize = 64;

/// The last stories. The oldest is written over.
#[derive(Debug)]
pub(super) struct Ring {
    kept_max: usize,
    /// How many were ever written.
    written: u64,
    /// Where the next one goes.
    place: usize,
    chunks: Vec<Vec<Slot>>,
}

impl Ring {
    pub(super) fn new(kept_max: usize) -> Self {
        Self { kept_max, written: 0, place: 0, chunks: Vec::new() }
    }

    /// The place for the next story; none where none is kept. It counts as written.
    pub(super) fn next(&mut self) -> Option<&mut Slot> {
        if self.kept_max == 0 {
            return None;
        }
        let place = self.place;
        self.place = if place + 1 == self.kept_max { 0 } else { place + 1 };
        self.written += 1;
        let (chunk, within) = (place / CHUNK, place % CHUNK);
        if chunk == self.chunks.len() {
            self.chunks.push(Vec::with_capacity(CHUNK.min(self.kept_max - place)));
        }
        let chunk = self.chunks.get_mut(chunk)?;
        if within == chunk.len() {
            chunk.push(Slot::vacant());
        }
        chunk.get_mut(within)
    }

    /// The newest story that was written before the one with this number in the order of writing, and
    /// its own such number.
    pub(super) fn before(&self, order: u64) -> Option<(u64, &Slot)> {
        let order = order.min(self.written).checked_sub(1)?;
        let kept_max = self.kept_max as u64;
        if self.written - order > kept_max {
            // Written over.
            return None;
        }
        let place = usize::try_from(order % kept_max).ok()?;
        Some((order, self.chunks.get(place / CHUNK)?.get(place % CHUNK)?))
    }
}
